"""Measured depth from LiDAR scans, by the rules of the published KITTI evaluations.

N points of a scan, n pixels that have a depth; H rows, W columns. The LiDAR's axes are x forward,
y left, z up, metres. KITTI ships scans, not depth maps, so a map is made when it is asked for and
kept in a cache.
"""
import hashlib
import io
import json
import os
import warnings
import zipfile
from typing import NamedTuple, Optional, Tuple

import numpy as np

from tfdepth.checks import UserError, check_choice, check_shape
from tfdepth.data import files
from tfdepth.files import cache_path, write_atomically

_MAX_METRES = 1000.0   # of a coordinate; the LiDAR reaches 120
VERSION = 1   # raise it whenever the same scan gives another depth map
# What depth means: x in the LiDAR's frame, as SfMLearner and Monodepth2 evaluate, or the distance
# along the optical axis, some 30 cm less in KITTI.
VALUES = ("forward", "camera")
_EXPECTED = "a LiDAR scan, 4 float32 a point (x, y, z, reflectance)"


class SparseDepth(NamedTuple):
    """Pixels that have a depth, in reading order."""
    rows: np.ndarray       # [n] uint16
    columns: np.ndarray    # [n] uint16
    depth: np.ndarray      # [n] float32, metres, > 0


def read_scan(path: str) -> np.ndarray:
    """The points of a velodyne .bin file: float32 [N, 4], x, y, z in metres and reflectance.

    Raises:
      UserError: the file is missing, empty or not a whole number of points, or a number is not
        finite, or a point lies beyond 1000 m.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {_EXPECTED}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected {_EXPECTED}; {files.one_line(error)}.") from None
    if not data or len(data) % 16:
        raise UserError(f"{path}: expected {_EXPECTED}; "
                        + (f"found {len(data)} bytes, no multiple of 16." if data
                           else "the file is empty."))
    points = np.frombuffer(data, "<f4").reshape(-1, 4)
    sound = (np.abs(points) <= (*3 * (_MAX_METRES,), np.finfo(np.float32).max)).all(axis=1)
    if not sound.all():  # NaN is not sound
        raise UserError(f"{path}: expected {_EXPECTED}; found {np.sum(~sound)} of {len(points)} "
                        f"points that are not finite or lie beyond {_MAX_METRES:g} m.")
    return points


def sparse_depth(points: np.ndarray, image_from_lidar: np.ndarray, size: Tuple[int, int],
                 value: str = "forward") -> SparseDepth:
    """Projects a scan into an image.

    Points behind the LiDAR (x < 0) are dropped. Of several points in a pixel the smallest depth
    counts; a pixel where that is not positive has none.

    Args:
      points: [N, 3 or 4], x, y, z in metres; a fourth column is not looked at.
      image_from_lidar: [3, 4], (x, y, z, 1) -> depth * (u, v, 1), pixels.
      size: (H, W) of the image.
      value: one of VALUES.

    Raises:
      ValueError: a shape differs from the above, or `value` is none of VALUES.

    Source: kitti_eval/depth_evaluation_utils.py of SfMLearner and kitti_utils.py of Monodepth2,
      with the pixel numbers of KITTI's own tools: rounded (half to even), minus 1. In the first
      and the last column those two mix up neighbouring rows; here every pixel is its own.
    """
    check_shape("points", points[..., :3], ["N", 3])
    check_shape("image_from_lidar", image_from_lidar, [3, 4])
    check_choice("value", value, VALUES)
    height, width = size
    if max(size) > 1 << 16:
        raise ValueError(f"`size` must be at most {1 << 16} pixels a side; got {size}.")
    points = points[points[:, 0] >= 0, :3].astype(np.float64)
    scaled = points @ image_from_lidar[:, :3].T + image_from_lidar[:, 3]     # [N, 3]
    with np.errstate(divide="ignore", invalid="ignore"):  # z = 0 gives no pixel of the image
        columns, rows = np.round(scaled[:, :2] / scaled[:, 2:]).T - 1
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pixels = rows[inside].astype(int) * width + columns[inside].astype(int)
    depth = (points[:, 0] if value == "forward" else scaled[:, 2])[inside].astype(np.float32)
    nearest = np.full(height * width, np.inf, np.float32)
    np.minimum.at(nearest, pixels, depth)
    pixels = np.flatnonzero((nearest > 0) & (nearest < np.inf))              # [n]
    rows, columns = np.divmod(pixels, width)
    return SparseDepth(rows.astype(np.uint16), columns.astype(np.uint16), nearest[pixels])


def depth_map(sparse: SparseDepth, size: Tuple[int, int]) -> np.ndarray:
    """The same as a map: float32 [H, W], metres, 0 = not measured."""
    depth = np.zeros(size, np.float32)
    depth[sparse.rows, sparse.columns] = sparse.depth
    return depth


def lidar_depth(scan_path: str, image_from_lidar: np.ndarray, size: Tuple[int, int],
                value: str = "forward", cache: Optional[str] = None) -> np.ndarray:
    """The depth map of a scan, from the cache where it is there and whole.

    A cached map is found by the scan's path, size and time of change and by all other arguments,
    so a changed scan or calibration gives a new one.

    Args:
      scan_path: a velodyne .bin file.
      image_from_lidar, size, value: as for `sparse_depth`.
      cache: folder of the cache; None = tfdepth/lidar below $XDG_CACHE_HOME or ~/.cache. Where it
        cannot be written a warning says so, and nothing is kept.

    Returns:
      float32 [H, W], metres, 0 = not measured: what `images.read_depth` gives of a depth map.

    Raises:
      UserError: as `read_scan`.
      ValueError: as `sparse_depth`.
    """
    image_from_lidar = np.asarray(image_from_lidar, np.float64)
    try:
        status = os.stat(scan_path)
    except (OSError, ValueError):
        read_scan(scan_path)  # words the error
        raise
    facts = [VERSION, os.path.abspath(scan_path), status.st_size, status.st_mtime_ns,
             image_from_lidar.tolist(), [int(side) for side in size], value]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    cache = cache_path("lidar") if cache is None else os.path.expanduser(cache)
    path = os.path.join(cache, f"{key}.npz")
    kept = _read_kept(path, size)
    if kept is not None:
        return kept
    sparse = sparse_depth(read_scan(scan_path), image_from_lidar, size, value)
    content = io.BytesIO()
    np.savez(content, **sparse._asdict())
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        warnings.warn(f"{cache}: cannot keep LiDAR depth here ({error.strerror}); "
                      "it is made anew each time.")
    return depth_map(sparse, size)


def _read_kept(path: str, size: Tuple[int, int]) -> Optional[np.ndarray]:
    """The depth map in a file of the cache, or None where there is none, or it is damaged."""
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:  # compares the checksums of all arrays
                return None
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return depth_map(SparseDepth(*(arrays[name] for name in SparseDepth._fields)), size)
    except Exception:  # what foreign bytes can raise is an open set, as in images._decoding
        return None
