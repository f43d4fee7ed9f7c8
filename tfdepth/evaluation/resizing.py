"""Bringing a predicted depth map to the size of the measured one, or to some of its pixels.

h, w: size of the prediction; H, W: the size wanted. Only what is asked for is computed: LiDAR
measures a twentieth of the pixels.
"""
from typing import Callable, Mapping, Optional, Tuple

import numpy as np

from tfdepth.checks import check_shape

Pixels = Tuple[np.ndarray, np.ndarray]  # rows and columns, index arrays of one shape or broadcast


def resize_bilinear(values: np.ndarray, size: Tuple[int, int],
                    pixels: Optional[Pixels] = None) -> np.ndarray:
    """Bilinear resize [h, w] -> [H, W] with half-pixel centres, border clamped, no smoothing.

    Args:
      values: [h, w].
      size: (H, W).
      pixels: which of the H x W to compute; the result has their shape. None: all, [H, W].

    Returns:
      float64.

    Source: u = (u' + 0.5) w / W - 0.5, the rule of OpenCV's INTER_LINEAR.
    """
    check_shape("values", values, ["h", "w"])
    rows, columns = _all_pixels(size) if pixels is None else pixels
    above, below, row_shares = (each[rows] for each in _neighbours(values.shape[0], size[0]))
    left, right, column_shares = (each[columns] for each in _neighbours(values.shape[1], size[1]))
    values = np.asarray(values, np.float64)
    at_left = values[above, left] * (1 - row_shares) + values[below, left] * row_shares
    at_right = values[above, right] * (1 - row_shares) + values[below, right] * row_shares
    return at_left * (1 - column_shares) + at_right * column_shares


def _all_pixels(size: Tuple[int, int]) -> Pixels:
    return np.arange(size[0])[:, np.newaxis], np.arange(size[1])


def _neighbours(old: int, new: int):
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    before = np.floor(centres).astype(int)
    return before, np.minimum(before + 1, old - 1), centres - before


def _resize_inverse(depth: np.ndarray, size: Tuple[int, int],
                    pixels: Optional[Pixels] = None) -> np.ndarray:
    return 1.0 / resize_bilinear(1.0 / np.asarray(depth, np.float64), size, pixels)


def _resize_by_corners(depth: np.ndarray, size: Tuple[int, int],
                       pixels: Optional[Pixels] = None) -> np.ndarray:
    """The pixel at (i h / H, j w / W) rounded down: OpenCV's INTER_NEAREST. From 192 to 21 rows it
    lies half a row of the result above the one that `resize_nearest` takes."""
    rows, columns = _all_pixels(size) if pixels is None else pixels
    rows, columns = (np.asarray(indices) * old // new for indices, old, new
                     in zip((rows, columns), depth.shape, size))
    return np.asarray(depth, np.float64)[rows, columns]


RESIZINGS: Mapping[str, Callable] = {
    "depth": resize_bilinear,         # SfMLearner
    "disparity": _resize_inverse,     # Monodepth2: 1/depth is resized, then inverted
    "nearest": _resize_by_corners,    # Monodepth2 on Make3D
}


def resize_nearest(values: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Nearest-pixel resize [h, w] -> [H, W] with half-pixel centres; keeps holes (0) as they are.

    Args:
      values: [h, w].
      size: (H, W).
    """
    check_shape("values", values, ["h", "w"])
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int)
                     for old, new in zip(values.shape, size))
    return values[rows[:, np.newaxis], columns]
