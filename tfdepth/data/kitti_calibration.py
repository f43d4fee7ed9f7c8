"""The calibration of one recording date of KITTI raw: cameras, LiDAR, GPS/IMU unit.

A date folder holds calib_cam_to_cam.txt, calib_velo_to_cam.txt and calib_imu_to_velo.txt, text
files of lines "key: values". Only the keys that are asked for are parsed, so dates and other
words do no harm. "rectified" is the rectified frame of camera 0 (x right, y down, z forward);
the frames of the rectified cameras differ from it by a translation only.

Source: Geiger et al., Vision meets Robotics: The KITTI Dataset, IJRR 2013, section 4.
"""
import os
from typing import Dict, NamedTuple, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, intrinsics_file

_CAMERAS, _LIDAR, _IMU = "calib_cam_to_cam.txt", "calib_velo_to_cam.txt", "calib_imu_to_velo.txt"


class Camera(NamedTuple):
    """One rectified camera."""
    size: Tuple[int, int]    # (height, width), pixels
    intrinsics: np.ndarray   # [3, 3] float64, pixels
    position: np.ndarray     # [3] float64, metres, in the rectified frame of camera 0
    projection: np.ndarray   # [3, 4] float64: rectified frame, metres -> depth * (u, v, 1)

    @property
    def camera_from_rectified(self) -> np.ndarray:
        """[4, 4] float64, metres."""
        transform = np.eye(4)
        transform[:3, 3] = -self.position
        return transform


def read_camera(folder: str, camera: str) -> Camera:
    """One camera of a date.

    Args:
      folder: the date folder.
      camera: image_00 ... image_03.

    Raises:
      UserError: calib_cam_to_cam.txt cannot be read, its rows S_rect_0k or P_rect_0k are missing
        or damaged, or they describe no plausible camera.
    """
    path = os.path.join(folder, _CAMERAS)
    rows = _read_rows(path)
    number = camera[-2:]
    width, height = _numbers(path, rows, f"S_rect_{number}", 2)
    if not (width >= 1 and height >= 1 and width % 1 == 0 and height % 1 == 0):
        raise UserError(f"{path}, S_rect_{number}: expected width and height in pixels; "
                        f"found {width:g} {height:g}.")
    size = (int(height), int(width))
    projection = _numbers(path, rows, f"P_rect_{number}", 12).reshape(3, 4)
    intrinsics, position = split_projection(f"{path}, P_rect_{number}", projection, size)
    return Camera(size, intrinsics, position, projection)


def rectified_from_lidar(folder: str) -> np.ndarray:
    """[4, 4] float64, metres: LiDAR (x forward, y left, z up) -> rectified frame of camera 0.

    Camera.projection @ rectified_from_lidar maps LiDAR points to an image.

    Raises:
      UserError: calib_cam_to_cam.txt or calib_velo_to_cam.txt cannot be read, or R_rect_00, R or
        T is missing, damaged or no rotation.
    """
    path = os.path.join(folder, _CAMERAS)
    rectified_from_camera_0 = np.eye(4)
    rectified_from_camera_0[:3, :3] = _rotation(path, _read_rows(path), "R_rect_00")
    return rectified_from_camera_0 @ _read_rigid(os.path.join(folder, _LIDAR))


def rectified_from_imu(folder: str) -> np.ndarray:
    """[4, 4] float64, metres: GPS/IMU (x forward, y left, z up) -> rectified frame of camera 0.

    Raises:
      UserError: as `rectified_from_lidar`, or the same for calib_imu_to_velo.txt.
    """
    return rectified_from_lidar(folder) @ _read_rigid(os.path.join(folder, _IMU))


def split_projection(where: str, projection: np.ndarray, size: Tuple[int, int],
                     ) -> Tuple[np.ndarray, np.ndarray]:
    """Takes a rectified projection P = K [I | t] apart.

    Args:
      where: file, and what in it, that messages name.
      projection: [3, 4] float64, metres -> pixels of `size`.
      size: (height, width), pixels.

    Returns:
      ([3, 3] float64 intrinsics K, [3] float64 position of the camera, metres). The position is
      -t = -inv(K) P[:, 3]; its first entry is -P[0, 3] / P[0, 0] up to the millimetres of P[2, 3].

    Raises:
      UserError: it is no plausible rectified projection.
    """
    intrinsics = projection[:, :3].copy()
    if projection[0, 0] <= 0 or projection[1, 1] <= 0:
        raise UserError(f"{where}: expected positive focal lengths; "
                        f"found fx {projection[0, 0]:g}, fy {projection[1, 1]:g}.")
    zeros = (intrinsics[0, 1], intrinsics[1, 0], intrinsics[2, 0], intrinsics[2, 1])
    if any(zeros) or intrinsics[2, 2] != 1:
        raise UserError(f"{where}: expected fx 0 cx * 0 fy cy * 0 0 1 *, a rectified projection; "
                        f"found {' '.join(f'{value:g}' for value in projection.ravel())}.")
    intrinsics_file.check_plausible(where, intrinsics, size)
    position = -np.linalg.solve(intrinsics, projection[:, 3])
    if not np.abs(position).max() < 10:
        raise UserError(f"{where}: expected a camera within 10 m of camera 0; "
                        f"found it at {np.array2string(position, precision=3)} m.")
    return intrinsics, position


def _read_rows(path: str) -> Dict[str, str]:
    """Key -> the text of its values."""
    rows = {}
    for line in files.read_text(path, "KITTI's calibration of one date").splitlines():
        key, colon, values = line.partition(":")
        if colon:
            rows[key.strip()] = values
    return rows


def _numbers(path: str, rows: Dict[str, str], key: str, count: int) -> np.ndarray:
    if key not in rows:
        raise UserError(f"{path}: expected a row \"{key}: {count} numbers\"; "
                        f"found {files.listing(sorted(rows))}.")
    return files.parse_numbers(rows[key], count, f"{path}, {key}")


def _rotation(path: str, rows: Dict[str, str], key: str) -> np.ndarray:
    """[3, 3] float64."""
    rotation = _numbers(path, rows, key, 9).reshape(3, 3)
    fits = np.abs(rotation @ rotation.T - np.eye(3)).max() < 0.01 and np.linalg.det(rotation) > 0
    if not fits:
        raise UserError(f"{path}, {key}: expected the rows of a rotation; "
                        f"found {' '.join(f'{value:g}' for value in rotation.ravel())}.")
    return rotation


def _read_rigid(path: str) -> np.ndarray:
    """[R | T] of a file as [4, 4] float64."""
    rows = _read_rows(path)
    transform = np.eye(4)
    transform[:3, :3] = _rotation(path, rows, "R")
    transform[:3, 3] = _numbers(path, rows, "T", 3)
    return transform
