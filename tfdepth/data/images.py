"""Reading and writing single pictures: frames, depth maps; every failure is a UserError.

Only PNG and JPEG are opened; nothing is unpickled. Stored pixels count: an orientation note in
a JPEG is not applied. A path may name a record of a prepared folder (shards.frame_bytes). Shape
letters in this module: H rows, W columns.
"""
import concurrent.futures
import contextlib
import io
import os
import struct
import zlib
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
from PIL import Image

from tfdepth.checks import UserError
from tfdepth.data import files
from tfdepth.data.shards import frame_bytes, is_record

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_MAX_PIXELS = 1 << 26      # larger pictures are damaged headers or attacks
_MAX_DEPTH = 1000.0        # metres
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXPECTED = "a PNG or JPEG image"


class _Header(NamedTuple):
    size: Tuple[int, int]  # (height, width)
    bits: int              # a channel
    kind: str              # "grey" or "colour"


def read_size(path: str) -> Tuple[int, int]:
    """(height, width) of an image in pixels; reads its header only.

    Raises:
      UserError: the file is missing, empty or not an image.
    """
    return _read_header(path).size


def read_frame_size(path: str) -> Tuple[int, int]:
    """(height, width) of a frame in pixels; reads its header only.

    Raises:
      UserError: as `read_size`, or an image that `read_image` does not take.
    """
    header = _read_header(path)
    if header.bits == 16 and header.kind == "grey":
        raise UserError(f"{path}: expected a frame with 8 bits a channel; found 16-bit grey. If it "
                        "is a depth map it does not belong here; if not, convert it to 8 bits.")
    return header.size


def image_names(folder: str, what: str = "a folder of images") -> List[str]:
    """Names of the images in a folder, by their suffix, in natural order.

    Raises:
      UserError: no such folder, or it may not be read; `what` says what was expected.
    """
    return [name for name in files.list_folder(folder, what)
            if name.lower().endswith(IMAGE_SUFFIXES)]


def read_image(path: str) -> np.ndarray:
    """Reads a frame.

    Args:
      path: PNG or JPEG, 8 bits a channel. Grey is repeated, transparency is dropped.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      UserError: the file is missing, empty, truncated, damaged or not an image, or is grey with
        16 bits a pixel (a depth map, or a picture whose range nobody declared).
    """
    read_frame_size(path)
    with _decoding(path), Image.open(_source(path), formats=("PNG", "JPEG")) as image:
        pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    return pixels                                                            # [H, W, 3]


def read_thumbnail(path: str, height: int) -> np.ndarray:
    """Reads a frame as a small grey picture, to compare frames with each other.

    Args:
      path: as for `read_image`.
      height: rows of the result; the width follows from the shape of the frame.

    Returns:
      float32 [height, w], brightness in [0, 1], each pixel the mean of the area that it covers.

    Raises:
      UserError: as `read_image`.
    """
    read_frame_size(path)
    with _decoding(path), Image.open(_source(path), formats=("PNG", "JPEG")) as image:
        width = max(1, round(image.width * height / image.height))
        image.draft("L", (2 * width, 2 * height))  # lets a JPEG decode at a fraction of its size
        small = image.convert("L").resize((width, height), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255                               # [height, w]


def verify_image(path: str, frame: bool = True):
    """Reads all of an image; in a PNG the checksums too, which decoding does not look at.

    Args:
      path: PNG or JPEG.
      frame: whether it must be one that `read_image` takes, not any image.

    Raises:
      UserError: the file is missing, empty, truncated, damaged or not an image.
    """
    if frame:
        read_frame_size(path)
    else:
        _read_header(path)
    with _decoding(path), Image.open(_source(path), formats=("PNG", "JPEG")) as image:
        image.load()
    with _decoding(path), Image.open(_source(path), formats=("PNG", "JPEG")) as image:
        image.verify()


def read_depth(path: str, divisor: float = 256.0) -> np.ndarray:
    """Reads a depth map in KITTI's form.

    Args:
      path: 16-bit grey PNG that holds metres x `divisor`; 0 = no measurement.
      divisor: steps a metre; 256 in KITTI, 1000 for millimetres.

    Returns:
      float32 [H, W], metres along the optical axis; 0 = no measurement.

    Raises:
      UserError: the file cannot be read or is not a 16-bit grey PNG, or its values cannot be
        depths: none above 255 (8-bit values in a 16-bit file), any equal to 65535 (a mark, or
        cut off), or any beyond 1000 m.
    """
    if not divisor > 0:
        raise ValueError(f"`divisor` must be positive; got {divisor}.")
    header = _read_header(path)
    if header.bits != 16 or header.kind != "grey":
        raise UserError(f"{path}: expected depth as a 16-bit grey PNG; found {header.bits}-bit "
                        f"{header.kind}. 8 bits cannot hold metres; write depth x {divisor:g}.")
    with _decoding(path), Image.open(_source(path), formats=("PNG",)) as image:
        steps = np.array(image).astype(np.int64)                             # [H, W]
    largest = int(steps.max())
    expected = f"expected depth x {divisor:g}, 0 = none"
    if 0 < largest <= 255:
        raise UserError(f"{path}: {expected}; found no value above {largest}, "
                        "as if 8-bit values had been saved in a 16-bit file.")
    if largest >= 65535:
        raise UserError(f"{path}: {expected}; found {np.mean(steps == 65535):.1%} of the pixels at "
                        "65535. Write 0 where there is no measurement.")
    if largest / divisor > _MAX_DEPTH:
        raise UserError(f"{path}: {expected}; found {largest / divisor:.0f} m, more than "
                        f"{_MAX_DEPTH:.0f} m. Is the divisor right?")
    return (steps / divisor).astype(np.float32)


def check_depth_size(path: str, size: Tuple[int, int]):
    """Raises UserError unless a depth map has the size of its image, (height, width)."""
    found = read_size(path)
    if found != tuple(size):
        raise UserError(f"{path}: expected {size[1]} x {size[0]} pixels (width x height) as its "
                        f"image; found {found[1]} x {found[0]}.")


def write_depth(path: str, depth: np.ndarray, divisor: float = 256.0):
    """Writes a depth map in the form that `read_depth` reads.

    Args:
      path: the PNG to write; appears whole or not at all.
      depth: [H, W], metres; 0 = none. What is positive never rounds to 0.
      divisor: steps a metre.

    Raises:
      ValueError: `depth` is not [H, W], or a value is negative, not finite or too large for 16
        bits at this divisor.
      UserError: the file cannot be written.
    """
    depth = np.asarray(depth)
    if depth.ndim != 2 or depth.size == 0:
        raise ValueError(f"`depth` must have shape [H, W]; got {list(depth.shape)}.")
    limit = 65534 / divisor
    if not (depth.min() >= 0 and depth.max() <= limit):  # NaN fails both
        raise ValueError(f"`depth` must lie in [0, {limit:.2f}] m to be written x {divisor:g}; "
                         f"got {depth.min()} to {depth.max()}.")
    steps = np.where(depth > 0, np.clip(np.rint(depth * divisor), 1, 65534), 0).astype(np.uint16)
    write_png(path, steps)


def write_png(path: str, pixels: np.ndarray):
    """Writes a picture, uint8 [H, W, 3] (RGB) or [H, W], or uint16 [H, W].

    Args:
      path: the PNG to write; appears whole or not at all.
      pixels: as above.

    Raises:
      UserError: the file cannot be written.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        Image.fromarray(pixels).save(temporary, format="PNG")
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot write the picture; {files.one_line(error)}.") from None
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def check_same_size(paths: Sequence[str], threads: int = 8) -> Tuple[int, int]:
    """The (height, width) that all images share; reads all headers, in parallel.

    Args:
      paths: at least one image file.
      threads: how many files are read at once.

    Raises:
      UserError: files that cannot be read (their number and the first of them), or images of
        different sizes (the first that differs, with both sizes).
    """
    def size_or_error(path):
        try:
            return read_size(path)
        except UserError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(max_workers=threads) as pool:
        results = list(pool.map(size_or_error, paths))
    bad = [k for k, result in enumerate(results) if isinstance(result, UserError)]
    if bad:
        others = files.listing([os.path.basename(paths[k]) for k in bad[1:]])
        more = f" {len(bad)} of {len(paths)} files are bad; the others: {others}."
        raise UserError(f"{results[bad[0]]}{more if len(bad) > 1 else ''}")
    for path, size in zip(paths, results):
        if size != results[0]:
            count = sum(other != results[0] for other in results)
            raise UserError(
                f"{path}: expected {results[0][1]} x {results[0][0]} pixels (width x height) as in "
                f"{os.path.basename(paths[0])}; found {size[1]} x {size[0]} "
                f"({count} of {len(paths)} files differ).")
    return results[0]


@contextlib.contextmanager
def _decoding(path: str):
    """Turns whatever a decoder raises on foreign bytes into a UserError."""
    try:
        yield
    except Exception as error:  # the set is open: OSError, SyntaxError, ValueError, struct.error
        raise UserError(f"{path}: expected {_EXPECTED}; the file is truncated or damaged "
                        f"({files.one_line(error)}).") from None


def _source(path: str):
    """What to open for a picture: its file, or the bytes of a record of a prepared folder."""
    return io.BytesIO(frame_bytes(path)) if is_record(path) else path


def _read_header(path: str) -> _Header:
    """What the first bytes of an image say; PNG is read here, for speed, JPEG by Pillow."""
    try:
        source = _source(path)
        with open(source, "rb") if source is path else source as file:
            head = file.read(33)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {_EXPECTED}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected {_EXPECTED}; {files.one_line(error)}.") from None
    if not head:
        raise UserError(f"{path}: expected {_EXPECTED}; the file is empty.")
    if head.startswith(_SIGNATURE):
        if len(head) < 33:
            raise UserError(f"{path}: expected {_EXPECTED}; the file is truncated "
                            f"({len(head)} bytes).")
        width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
        sound = (head[12:16] == b"IHDR" and width > 0 and height > 0
                 and zlib.crc32(head[12:29]) == struct.unpack(">I", head[29:33])[0])
        if not sound:
            raise UserError(f"{path}: expected {_EXPECTED}; the PNG header is damaged.")
        header = _Header((height, width), bits, "grey" if colour in (0, 4) else "colour")
    elif head.startswith(b"\xff\xd8"):
        with _decoding(path), Image.open(_source(path), formats=("JPEG",)) as image:
            kind = "grey" if image.mode == "L" else "colour"
            header = _Header((image.height, image.width), 8, kind)
    else:
        raise UserError(f"{path}: expected {_EXPECTED}; found {_describe(head)}.")
    if header.size[0] * header.size[1] > _MAX_PIXELS:
        raise UserError(f"{path}: expected at most {_MAX_PIXELS} pixels; the header says "
                        f"{header.size[1]} x {header.size[0]}.")
    return header


def _describe(head: bytes) -> str:
    """What a file that is no image seems to be."""
    known = {b"GIF8": "a GIF", b"BM": "a BMP image", b"RIFF": "a WebP or AVI file",
             b"P5": "a PGM image", b"P6": "a PPM image", b"II*\0": "a TIFF image",
             b"MM\0*": "a TIFF image", b"PK": "a zip archive", b"\x93NUMPY": "a NumPy array"}
    for start, name in known.items():
        if head.startswith(start):
            return name
    text = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return f"text ({head[:20].decode()!r})" if text else "unknown bytes"
