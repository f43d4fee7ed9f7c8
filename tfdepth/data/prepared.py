"""Prepared folders: a data set at the size that networks see, in shards.

A folder, made by tfdepth.data.prepare, holds
  manifest.json   size and form of the pictures; of each drive its name, camera and what it has
  drives.npz      the arrays PER_FRAME of all drives, one drive after the other
  shard-*         the pictures, frame after frame, drive after drive (tfdepth.data.shards)
Sizes and cameras are those after the resize. Letters: N frames of a drive, F of the folder, K kinds
of pictures.
"""
import json
import os
import zlib
from typing import List, Optional, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, intrinsics_file
from tfdepth.data.drives import Drive
from tfdepth.data.shards import (
    KINDS, ShardIndex, file_checksum, pack, read_index, record_name)
from tfdepth.files import write_atomically

VERSION = 1
PER_FRAME = ("frame_numbers", "world_from_camera", "travel")  # fields of Drive
_MANIFEST = "manifest.json"
_ARRAYS = "drives.npz"
_WHAT = "a folder made by tools/prepare_data.py"


def load(root: str, size: Sequence[int], stereo: bool = False,
         crop: str = "") -> Tuple[Drive, ...]:
    """The drives of a prepared folder, as those of the original but with smaller pictures.

    Args:
      root: the folder.
      size: (height, width) that networks will see; must be that of the folder.
      stereo: whether each frame needs the other camera's picture.
      crop: DataConfig.crop; pictures must have been prepared with it. "nyu" is cut in training.

    Returns:
      Drives whose pictures are records of shards. LiDAR scans are not there.

    Raises:
      UserError: no complete prepared folder (missing parts and shards are named), another size or
        crop, no pictures of the other camera, or damaged files.
    """
    root = files.expand(root)
    manifest = read_manifest(root)
    if list(size) != manifest["size"]:
        raise UserError(f"--config.data.size: expected {tuple(manifest['size'])}, the size at "
                        f"which {root} was prepared; got {tuple(size)}.")
    if (crop == "kb") != (manifest.get("crop") == "kb"):
        raise UserError(f"--config.data.crop: expected {manifest.get('crop', '')!r}, as in {root}; "
                        f"got {crop!r}. tools/prepare_data.py --kb_crop makes a folder of \"kb\".")
    indexes = read_indexes(root, manifest)
    missing = [k for k, index in enumerate(indexes) if index is None]
    if missing:
        raise UserError(f"{root}: expected a complete prepared folder; "
                        f"{describe_missing(manifest, missing)}. The command that began it makes "
                        "what is missing.")
    path = os.path.join(root, _ARRAYS)
    if file_checksum(path)[1] != manifest["arrays_crc32"]:
        raise UserError(f"{path}: expected the checksum that {_MANIFEST} states; found another. "
                        "The file is damaged; prepare the folder anew.")
    spans = np.concatenate([index.spans for index in indexes])               # [F, K, 3]
    names = [os.path.join(root, f"{name}.tfrecord")
             for name, index in zip(shard_names(manifest), indexes) for _ in index.spans]
    drives, start, positions = [], 0, dict.fromkeys(PER_FRAME, 0)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            arrays = {field: arrays[field] for field in arrays.files}
        for entry in manifest["drives"]:
            end = start + entry["frames"]
            fields = {}
            for field in entry["per_frame"]:
                position = positions[field]
                fields[field] = arrays[field][position:position + entry["frames"]]
                positions[field] += entry["frames"]
            drives.append(_drive(manifest, entry, fields, spans[start:end], names[start:end]))
            start = end
        if start != len(spans):
            raise ValueError(f"{start} frames in the manifest, {len(spans)} in the shards")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _damaged(root, error) from None
    for drive in drives if stereo else ():
        if drive.stereo_paths is None:
            raise UserError(f"{root}: expected pictures of the other camera of {drive.name}; the "
                            "folder was prepared without them.")
    return tuple(drives)


def _drive(manifest, entry, fields, spans, names) -> Drive:
    """A Drive of its entry in the manifest, its arrays of N rows, [N, K, 3] and N shards."""
    if not len(fields["frame_numbers"]) == len(names) == entry["frames"]:
        raise ValueError(f"other numbers of frames than {entry['frames']} in {entry['name']}")
    if not set(entry["kinds"]) <= set(KINDS):
        raise ValueError(f"unknown kinds of pictures in {entry['name']}")
    size = tuple(manifest["size"])
    intrinsics = np.array(entry["intrinsics"], np.float64).reshape(3, 3)
    intrinsics_file.check_plausible(entry["name"], intrinsics, size)
    fields["frame_numbers"] = tuple(fields["frame_numbers"].tolist())
    for k, kind in enumerate(KINDS):
        if kind in entry["kinds"]:
            fields[f"{kind}_paths"] = tuple(
                record_name(name, *span) for name, span in zip(names, spans[:, k].tolist()))
    if entry["stereo_from_camera"] is not None:
        fields["stereo_from_camera"] = np.array(entry["stereo_from_camera"], np.float64)
    return Drive(name=entry["name"], size=size, intrinsics=intrinsics,
                 depth_divisor=float(entry["depth_divisor"]), **fields)


def read_manifest(root: str) -> dict:
    """The manifest of a prepared folder.

    Raises:
      UserError: there is none, or it is damaged or of another version.
    """
    files.list_folder(root, _WHAT)
    text = files.read_text(os.path.join(root, _MANIFEST), f"{_WHAT}, with its manifest")
    try:
        manifest = json.loads(text)
        version = manifest["version"]
        frames = sum(entry["frames"] for entry in manifest["drives"])
        if version == VERSION and not (
                frames > 0 and min(entry["frames"] for entry in manifest["drives"]) > 0
                and manifest["frames_per_shard"] > 0 and manifest["parts"] > 0
                and len(manifest["size"]) == 2 and min(manifest["size"]) > 0):
            raise ValueError("numbers that cannot be")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _damaged(root, error) from None
    if version != VERSION:
        raise UserError(f"{os.path.join(root, _MANIFEST)}: expected version {VERSION}; found "
                        f"{version!r}. Prepare the folder anew.")
    return manifest


def write_manifest(root: str, manifest: dict, arrays: dict):
    """Writes manifest and per-frame arrays, or checks that those already there are the same.

    Args:
      root: the folder.
      manifest: without "arrays_crc32", which is filled in.
      arrays: {field: array}, the PER_FRAME fields of the drives that have them, one drive after
        the other.

    Returns: the manifest of the folder. Its "parts" may differ from those asked for.
    Raises: UserError: the folder was prepared otherwise; OSError: it cannot be written.
    """
    packed = pack(arrays)
    manifest = {**manifest, "arrays_crc32": zlib.crc32(packed)}
    if os.path.exists(os.path.join(root, _MANIFEST)):
        found = read_manifest(root)
        for key, value in manifest.items():
            if found.get(key) != value and key != "parts":
                what = ("the same frames, cameras and poses" if key in ("drives", "arrays_crc32")
                        else f"{key} {found.get(key)!r}, not {value!r}")
                raise UserError(f"{root}: was prepared by another command; expected {what}. "
                                "Repeat that command, or give another folder.")
        manifest = found
    if file_checksum(os.path.join(root, _ARRAYS))[1] != manifest["arrays_crc32"]:
        write_atomically(os.path.join(root, _ARRAYS), packed)
    if not os.path.exists(os.path.join(root, _MANIFEST)):
        write_atomically(os.path.join(root, _MANIFEST), json.dumps(manifest, indent=1) + "\n")
    return manifest


def shard_names(manifest: dict) -> Tuple[str, ...]:
    """The shards of a folder without suffix: "shard-00003-of-00040"."""
    frames = sum(entry["frames"] for entry in manifest["drives"])
    count = -(-frames // manifest["frames_per_shard"])
    return tuple(f"shard-{k:05d}-of-{count:05d}" for k in range(count))


def read_indexes(root: str, manifest: dict) -> List[Optional[ShardIndex]]:
    """The index of every shard; None where index or shard is missing or has another size."""
    indexes = []
    for name in shard_names(manifest):
        index = read_index(os.path.join(root, f"{name}.npz"))
        try:
            size = os.path.getsize(os.path.join(root, f"{name}.tfrecord"))
        except OSError:
            size = -1
        indexes.append(index if index is not None and index.file[0] == size else None)
    return indexes


def describe_missing(manifest: dict, missing: Sequence[int]) -> str:
    """Says which shards, by their numbers, and so which parts of the work are missing."""
    names, parts = shard_names(manifest), manifest["parts"]
    text = (f"{len(missing)} of {len(names)} shards are missing "
            f"({files.listing([names[k] for k in missing], 3)})")
    unfinished = sorted({k % parts + 1 for k in missing})
    return text if parts == 1 else (
        f"{text}, of the parts {files.listing([f'{part}/{parts}' for part in unfinished], 8)}")


def _damaged(root: str, error: Exception) -> UserError:
    return UserError(f"{os.path.join(root, _MANIFEST)}: expected that of {_WHAT}; it is damaged "
                     f"({files.one_line(error)}).")
