"""Pictures inside TFRecord files, read one at a time in any order.

A shard is a pair of files:
  shard-00003-of-00040.tfrecord  some frames; a tf.train.Example each, with the features drive,
                                 number, image and, where there are such, stereo, depth, moving and
                                 thumbnail (encoded pictures)
  shard-00003-of-00040.npz       its index: where each picture lies in the file, and checksums

The order of training is random access, which readers of TFRecord do not offer. So a picture is
named by its place, "FOLDER/shard-00003-of-00040.tfrecord#OFFSET+LENGTH:CRC32" (bytes; the checksum
in hexadecimal), and such a name stands in a Drive wherever a path of a file can: `frame_bytes`
reads both. Letters: N frames of a shard, K kinds of pictures.
"""
import io
import re
import zlib
from typing import NamedTuple, Optional, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files

KINDS = ("image", "stereo", "depth", "moving", "thumbnail")  # fields <kind>_paths of Drive
_RECORD = re.compile(r"(.*\.tfrecord)#(\d+)\+(\d+):([0-9a-f]{8})", re.DOTALL)


class ShardIndex(NamedTuple):
    """The pictures of one shard, and the file itself."""
    spans: np.ndarray      # [N, K, 3] int64: offset, length, CRC-32; length 0 = no such picture
    file: Tuple[int, int]  # size in bytes and CRC-32 of the whole file


def frame_bytes(path: str) -> bytes:
    """The bytes of a picture, whether it is a file or a record of a shard.

    Raises:
      UserError: it cannot be read or is empty, or the bytes of a record have another checksum.
    """
    record = _RECORD.fullmatch(str(path))
    try:
        if not record:
            with open(path, "rb", buffering=0) as file:
                data = file.readall()
            if not data:  # to the pipeline, no bytes mean that there is no such picture
                raise UserError(f"{path}: expected a PNG or JPEG image; the file is empty.")
            return data
        name, offset, length = record[1], int(record[2]), int(record[3])
        with open(name, "rb", buffering=0) as file:
            file.seek(offset)
            data = file.read(length)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a PNG or JPEG image.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read; {files.one_line(error)}.") from None
    if len(data) != length or zlib.crc32(data) != int(record[4], 16):
        raise UserError(f"{name}: expected {length} bytes with checksum {record[4]} at {offset}; "
                        f"found {len(data)} with {zlib.crc32(data):08x}. The shard is damaged; "
                        "the command that made the folder mends it.")
    return data


def is_record(path: str) -> bool:
    """Whether `path` names a record of a shard rather than a file."""
    return _RECORD.fullmatch(str(path)) is not None


def record_name(shard: str, offset: int, length: int, checksum: int) -> str:
    """The name under which `frame_bytes` reads a picture of a shard; "" where `length` is 0."""
    return f"{shard}#{offset}+{length}:{checksum:08x}" if length else ""


def read_index(path: str) -> Optional[ShardIndex]:
    """The index of a shard, an .npz file; None where it is missing or damaged."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            spans, whole = arrays["spans"], arrays["size_crc32"]
    except Exception:  # whatever a damaged zip file raises: the shard will be made again
        return None
    sound = (spans.ndim == 3 and spans.shape[1:] == (len(KINDS), 3) and whole.shape == (2,)
             and spans.dtype == whole.dtype == np.int64)
    return ShardIndex(spans, tuple(whole.tolist())) if sound else None


def file_checksum(path: str) -> Tuple[int, int]:
    """Size in bytes and CRC-32 of a file; (-1, 0) where there is none."""
    checksum, size = 0, 0
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                checksum, size = zlib.crc32(chunk, checksum), size + len(chunk)
    except OSError:
        return -1, 0
    return size, checksum


def pack(arrays: dict) -> bytes:
    """The bytes of an .npz file; the same for the same arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
