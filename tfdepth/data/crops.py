"""The parts of pictures that published supervised systems see.

"kb" holds for every picture, and so for training, validation and evaluation: drives are loaded as
such parts of their files. "nyu" holds for training alone; networks are tested on whole pictures.
"""
import dataclasses
from typing import Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data.config import DataConfig
from tfdepth.data.drives import Drive

CROPS = ("", "kb", "nyu")  # DataConfig.crop


def kb_crop(size: Tuple[int, int]) -> Tuple[int, int, int, int]:
    """The part of a KITTI image that BTS sees: its lowest 352 rows, 1216 columns in the middle.

    Args:
      size: (height, width) of the image, pixels.

    Returns:
      (top, left, height, width).

    Raises:
      UserError: the image is smaller than that.

    Source: the KITTI benchmark (its test images have this size); bts_dataloader.py of BTS.
    """
    height, width = 352, 1216
    if size[0] < height or size[1] < width:
        raise UserError(f"the KB crop needs images of {width} x {height} pixels (width x height) "
                        f"or more; got {size[1]} x {size[0]}.")
    return size[0] - height, (size[1] - width) // 2, height, width


def crop_camera(intrinsics: np.ndarray, top: int, left: int) -> np.ndarray:
    """The camera of a part of an image from this row and column on: [3, 3] or [3, 4]."""
    return np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]]) @ intrinsics


def kb_part(drive: Drive) -> Drive:
    """A drive of which only the KB crop of every picture counts.

    Raises: UserError: its pictures are smaller than that.
    """
    try:
        top, left, *size = kb_crop(drive.size)
    except UserError as error:
        raise UserError(f"--config.data.crop: {drive.name}: {error}") from None
    moved = lambda matrix: None if matrix is None else crop_camera(matrix, top, left)
    return dataclasses.replace(
        drive, size=tuple(size), file_size=drive.file_size or drive.size,
        corner=(drive.corner[0] + top, drive.corner[1] + left),
        intrinsics=moved(drive.intrinsics), image_from_lidar=moved(drive.image_from_lidar))


def training_window(config: DataConfig) -> Tuple[int, int, int, int]:
    """The part that training sees of pictures of config.size: (top, left, height, width).

    Of NYU's 480 x 640 pixels rows 45 to 471 and columns 43 to 607, of a smaller size in proportion:
    the pictures have a white frame. A random crop is drawn from what is left. Source:
    bts_dataloader.py of BTS.
    """
    height, width = config.size
    if config.crop != "nyu":
        return 0, 0, height, width
    top, bottom = 45 * height // 480, 472 * height // 480
    left, right = 43 * width // 640, 608 * width // 640
    return top, left, bottom - top, right - left


def training_size(config: DataConfig) -> Sequence[int]:
    """(height, width) of the batches that training sees; elsewhere networks see config.size."""
    return tuple(config.random_crop) or training_window(config)[2:]
