"""The ground in front of a camera: a plane in the points of a depth map.

Points X = (x, y, z), y down, of a plane satisfy q . X = 1 with q = normal / height, and of any point
q . X - 1 is its distance to the plane by the camera's height. As X = z (u, v, 1) with the pixel's
direction (u, v, 1), that is also the relative error of its depth z, near or far, so one tolerance
holds for the whole picture and for depth of any unit.

NumPy alone. Shape letters: H rows, W columns, N points.
"""
from typing import NamedTuple, Optional

import numpy as np

from tfdepth.checks import check_shape

ROWS, COLUMNS = (0.55, 1.0), (0.25, 0.75)  # of a picture, where the ground is looked for
MAX_TILT = 30.0     # degrees between the normal and the y axis of the camera
MIN_SHARE = 0.4     # of the points there, that lie on the plane
_TOLERANCE = 0.05   # |q . X - 1| of points that count as on the plane
_POINTS = 4000      # at most, spread evenly
_TRIALS = 300       # planes tried: three of 40 % inliers are drawn once in 16
_ROUNDS = 5         # of least squares over the points on the plane


class Ground(NamedTuple):
    """A plane below the camera."""
    height: float       # of the camera over it, > 0, in the unit of the depth
    normal: np.ndarray  # [3], unit, from the camera to the ground; y > 0
    share: float        # of the points that were looked at, on the plane


def fit_ground(depth: np.ndarray, intrinsics: np.ndarray, seed: int = 0) -> Optional[Ground]:
    """Finds the plane that most points of the lower middle of a picture lie on.

    Args:
      depth: [H, W] along the optical axis, > 0.
      intrinsics: [3, 3], pixels of the depth map.
      seed: of the points that are drawn.

    Returns: the plane, or None if none below the camera, within MAX_TILT, holds MIN_SHARE of the
      points.
    Raises: ValueError: if a shape differs from the above.
    Source: Fischler and Bolles, Random sample consensus, 1981; then least squares.
    """
    check_shape("depth", depth, ["H", "W"])
    check_shape("intrinsics", intrinsics, [3, 3])
    points = _lower_middle(np.asarray(depth, np.float64), np.asarray(intrinsics, np.float64))
    if len(points) < 3:
        return None
    draws = np.random.default_rng(seed).integers(0, len(points), (_TRIALS, 3))
    first, second, third = np.moveaxis(points[draws], 1, 0)                   # [trials, 3] each
    # Cramer's rule for q . X = 1 of the three points.
    crossed = np.cross(first, second) + np.cross(second, third) + np.cross(third, first)
    volume = np.sum(np.cross(first, second) * third, axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        planes = crossed / volume                                             # [trials, 3]
        planes = planes[np.isfinite(planes).all(axis=1)]
    planes = planes[planes[:, 1] >= np.cos(np.radians(MAX_TILT)) * np.linalg.norm(planes, axis=1)]
    if not len(planes):
        return None
    counts = np.sum(np.abs(planes @ points.T - 1.0) < _TOLERANCE, axis=1)
    plane = planes[np.argmax(counts)]
    for _ in range(_ROUNDS):
        inliers = points[np.abs(points @ plane - 1.0) < _TOLERANCE]
        if len(inliers) < max(3, MIN_SHARE * len(points)):
            return None
        plane = np.linalg.lstsq(inliers, np.ones(len(inliers)), rcond=None)[0]
    share = np.mean(np.abs(points @ plane - 1.0) < _TOLERANCE)
    length = np.linalg.norm(plane)
    if share < MIN_SHARE or plane[1] < np.cos(np.radians(MAX_TILT)) * length:
        return None
    return Ground(1.0 / length, plane / length, float(share))


def _lower_middle(depth, intrinsics):
    """Points [N, 3] float64 of the lower middle of a depth map."""
    height, width = depth.shape
    rows, columns = np.meshgrid(
        *(np.arange(int(low * side), int(high * side))
          for (low, high), side in ((ROWS, height), (COLUMNS, width))), indexing="ij")
    rows, columns = rows.ravel(), columns.ravel()
    chosen = np.unique(np.linspace(0, rows.size - 1, min(rows.size, _POINTS)).astype(int))
    rows, columns = rows[chosen], columns[chosen]
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1).astype(np.float64)
    return depth[rows, columns, np.newaxis] * (pixels @ np.linalg.inv(intrinsics).T)
