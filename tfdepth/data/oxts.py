"""Records of KITTI's GPS/IMU unit (an OXTS RT3003): where it was, how it stood, how fast it went.

One text file a frame, oxts/data/0000000000.txt, of 30 numbers. Shape letters: N frames.

Source: Geiger et al., Vision meets Robotics: The KITTI Dataset, IJRR 2013, section 3, and
dataformat.txt beside the records.
"""
import os
from typing import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from tfdepth.checks import UserError
from tfdepth.data import files

NUM_FIELDS = 30
_LATITUDE, _LONGITUDE, _ALTITUDE = 0, 1, 2   # degrees, degrees, metres
_ROLL, _PITCH, _YAW = 3, 4, 5                # radians; yaw 0 = east, counter-clockwise
_VELOCITY = slice(8, 11)                     # forward, left, up, metres a second
_EARTH_RADIUS = 6378137.0                    # metres


def read_records(folder: str, frame_numbers: Sequence[int]) -> np.ndarray:
    """Reads the records of some frames.

    Args:
      folder: oxts/data of a drive; it need not exist.
      frame_numbers: N of them.

    Returns:
      [N, 30] float64, the fields in the order of dataformat.txt; NaN where a frame has no record.

    Raises:
      UserError: a record does not hold 30 finite numbers, or its place is not on earth.
    """
    records = np.full((len(frame_numbers), NUM_FIELDS), np.nan)
    if not os.path.isdir(folder):
        return records
    present = set(files.list_folder(folder, "a folder of GPS/IMU records"))
    for k, number in enumerate(frame_numbers):
        name = f"{number:010d}.txt"
        if name not in present:
            continue
        path = os.path.join(folder, name)
        text = files.read_text(path, f"a GPS/IMU record, {NUM_FIELDS} numbers")
        records[k] = record = files.parse_numbers(text, NUM_FIELDS, path)
        latitude, longitude = record[_LATITUDE], record[_LONGITUDE]
        if not (abs(latitude) < 90 and abs(longitude) <= 180):
            raise UserError(f"{path}: expected latitude and longitude in degrees; "
                            f"found {latitude:g} {longitude:g}.")
    return records


def world_from_imu(records: np.ndarray) -> np.ndarray:
    """Poses of the unit (x forward, y left, z up) along a drive.

    The place is Mercator's projection x = s r lon, y = s r log tan(pi/4 + lat/2) with the earth's
    radius r and the scale s = cos(lat) of the first record, so that lengths near it are true; the
    rotation is Rz(yaw) Ry(pitch) Rx(roll).

    Args:
      records: [N, 30] of `read_records`.

    Returns:
      [N, 4, 4] float64, metres. The world is the frame of the unit at the first record. NaN where
      there is no record.

    Source: Geiger et al., IJRR 2013, and its development kit.
    """
    poses = np.full((len(records), 4, 4), np.nan)
    known = np.isfinite(records).all(axis=1)                                 # [N]
    if not known.any():
        return poses
    fields = records[known]
    latitude, longitude = np.radians(fields[:, [_LATITUDE, _LONGITUDE]]).T   # [n] each
    scale = np.cos(latitude[0]) * _EARTH_RADIUS
    positions = np.stack([scale * longitude, scale * np.log(np.tan(np.pi / 4 + latitude / 2)),
                          fields[:, _ALTITUDE]], axis=1)                     # [n, 3]
    rotations = Rotation.from_euler("ZYX", fields[:, [_YAW, _PITCH, _ROLL]]).as_matrix()
    first_from_earth = rotations[0].T
    poses[known] = np.eye(4)
    poses[known, :3, :3] = first_from_earth @ rotations
    # the difference first: places on earth are millions of metres
    poses[known, :3, 3] = (positions - positions[0]) @ first_from_earth.T
    return poses


def speeds(records: np.ndarray) -> np.ndarray:
    """[N] float64 metres a second, of [N, 30] records; NaN where there is no record."""
    return np.linalg.norm(records[:, _VELOCITY], axis=1)
