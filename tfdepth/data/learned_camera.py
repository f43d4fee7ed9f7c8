"""Cameras that nobody knows: how a run that learns them tells them apart, and where it begins.

With --config.data.intrinsics=learned. Pictures of one size are of one camera if the data declare
the same matrix for them, or none. Nothing else is made of what is declared.
"""
import dataclasses
import re
import zlib
from typing import Optional, Tuple

import numpy as np

from tfdepth.data import intrinsics_file
from tfdepth.data.drives import Drive

LEARNED = "learned"   # as DataConfig.intrinsics
FLAG = f"--config.data.intrinsics={LEARNED}"
FIELD_OF_VIEW = 60.0  # degrees between the left and the right edge: the first guess


def camera_name(size: Tuple[int, int], declared: Optional[np.ndarray] = None) -> str:
    """The name of a camera, as "1242x375-0b3f11c2", or "1242x375" where nothing is declared.

    Args:
      size: (height, width) of its pictures.
      declared: [3, 3], pixels of `size`.
    """
    name = f"{size[1]}x{size[0]}"
    if declared is None:
        return name
    return f"{name}-{zlib.crc32(np.round(declared, 3).astype('<f8').tobytes()):08x}"


def camera_number(name: str) -> int:
    """The number of a camera in batches: 31 bits of its name's checksum."""
    return zlib.crc32(name.encode()) >> 1


def picture_size(name: str) -> Tuple[int, int]:
    """(height, width) of the pictures of the camera of a name."""
    width, height = re.match(r"(\d+)x(\d+)", name).groups()
    return int(height), int(width)


def first_guess(size: Tuple[int, int]) -> np.ndarray:
    """[3, 3] of the camera with FIELD_OF_VIEW, square pixels and its axis through the middle."""
    return intrinsics_file.from_field_of_view(FLAG, FIELD_OF_VIEW, size)


def to_be_learned(drive: Drive) -> Drive:
    """A drive with the first guess in place of what is declared for it."""
    if drive.camera:  # the loader found nothing declared
        return drive
    return dataclasses.replace(drive, camera=camera_name(drive.size, drive.intrinsics),
                               intrinsics=first_guess(drive.size))
