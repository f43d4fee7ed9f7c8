"""Camera trajectories: rigid transforms in NumPy, quaternions, KITTI and TUM files.

N cameras in time order. A trajectory is `world_from_camera` [N, 4, 4], float64, metres: it maps
points of each camera (x right, y down, z forward) to a common world, so its last column is where
the camera is. `first_from_camera` is the same with the first camera as the world.
"""
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from tfdepth.checks import UserError, check_shape
from tfdepth.data.files import parse_numbers, read_text
from tfdepth.files import Path, write_atomically

# How far R^T R may be from the identity, and |quaternion| from 1, in a file. Published files
# are rounded: KITTI's own are within 1e-5, those with four decimals within 1e-3.
ROTATION_TOLERANCE = 1e-2
_TUM = "a trajectory, timestamp tx ty tz qx qy qz qw a line"


class TimedTrajectory(NamedTuple):
    """What a TUM file holds."""
    timestamps: np.ndarray          # [N] seconds, ascending
    world_from_camera: np.ndarray   # [N, 4, 4]


def rigid_transforms(rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Puts [..., 3, 3] rotations and [..., 3] translations into [..., 4, 4] transforms.

    Raises:
      ValueError: the last axes differ from the above.
    """
    check_shape("rotations", rotations, ["...", 3, 3])
    check_shape("translations", translations, ["...", 3])
    shape = np.broadcast_shapes(rotations.shape[:-2], translations.shape[:-1])
    transforms = np.zeros(shape + (4, 4))
    transforms[..., :3, :3] = rotations
    transforms[..., :3, 3] = translations
    transforms[..., 3, 3] = 1.0
    return transforms


def rebase(world_from_camera: np.ndarray) -> np.ndarray:
    """Makes the first camera the world: [..., N, 4, 4] -> first_from_camera [..., N, 4, 4].

    Raises:
      ValueError: `world_from_camera` is not [..., N, 4, 4].
    """
    check_shape("world_from_camera", world_from_camera, ["...", "N", 4, 4])
    world_from_first = np.asarray(world_from_camera, np.float64)[..., :1, :, :]
    return np.linalg.inv(world_from_first) @ world_from_camera


def relative_motions(world_from_camera: np.ndarray) -> np.ndarray:
    """The motion of every step: [N, 4, 4] -> earlier_from_later [N - 1, 4, 4].

    Its translation is where the later camera stands in the frame of the earlier one.

    Raises:
      ValueError: `world_from_camera` is not [N, 4, 4].
    """
    check_shape("world_from_camera", world_from_camera, ["N", 4, 4])
    world_from_camera = np.asarray(world_from_camera, np.float64)
    world_from_earlier, world_from_later = world_from_camera[:-1], world_from_camera[1:]
    return np.linalg.inv(world_from_earlier) @ world_from_later


def chain(earlier_from_later: np.ndarray) -> np.ndarray:
    """Joins steps to a trajectory: [N - 1, 4, 4] -> first_from_camera [N, 4, 4].

    The inverse of `relative_motions`, up to the choice of the world.

    Raises:
      ValueError: `earlier_from_later` is not [N - 1, 4, 4].
    """
    check_shape("earlier_from_later", earlier_from_later, ["N-1", 4, 4])
    first_from_camera = [np.eye(4)]
    for step in earlier_from_later:
        first_from_camera.append(first_from_camera[-1] @ step)
    return np.stack(first_from_camera)


def quaternions_from_rotations(rotations: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] -> unit quaternions (x, y, z, w) [..., 4] with w >= 0.

    Raises:
      ValueError: `rotations` is not [..., 3, 3], or a determinant is not positive.
    """
    check_shape("rotations", rotations, ["...", 3, 3])
    quaternions = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat(canonical=True)
    return quaternions.reshape(rotations.shape[:-2] + (4,))


def rotations_from_quaternions(quaternions_xyzw: np.ndarray) -> np.ndarray:
    """Quaternions (x, y, z, w) [..., 4] of any length above 0 -> rotation matrices [..., 3, 3].

    Raises:
      ValueError: `quaternions_xyzw` is not [..., 4], or one is zero.
    """
    check_shape("quaternions_xyzw", quaternions_xyzw, ["...", 4])
    rotations = Rotation.from_quat(quaternions_xyzw.reshape(-1, 4)).as_matrix()
    return rotations.reshape(quaternions_xyzw.shape[:-1] + (3, 3))


def write_kitti_poses(path: Path, world_from_camera: np.ndarray):
    """Writes world_from_camera [N, 4, 4] as KITTI poses: 12 numbers a line, 10 digits each.

    Raises:
      ValueError: `world_from_camera` is not [N, 4, 4].
    """
    check_shape("world_from_camera", world_from_camera, ["N", 4, 4])
    lines = (" ".join(f"{value:.9e}" for value in pose[:3].ravel())
             for pose in world_from_camera)
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def read_tum(path: Path) -> TimedTrajectory:
    """Reads a TUM trajectory file: `timestamp tx ty tz qx qy qz qw` a line.

    Empty lines and lines that start with "#" are left out. Quaternions are normalised.

    Raises:
      UserError: a line has not 8 finite numbers, its quaternion is not of length 1, or time does
        not advance; the file is missing or empty.
    """
    lines = enumerate(read_text(path, _TUM).splitlines(), start=1)
    rows = [(number, parse_numbers(line, 8, f"{path}, line {number}"))
            for number, line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not rows:
        raise UserError(f"{path}: expected {_TUM}; found only comments.")
    table = np.array([values for _, values in rows])
    lengths = np.linalg.norm(table[:, 4:], axis=1)
    previous = -np.inf
    for (number, values), length in zip(rows, lengths):
        if abs(length - 1.0) > ROTATION_TOLERANCE:
            raise UserError(f"{path}, line {number}: expected a rotation: a quaternion "
                            f"(qx qy qz qw) of length 1; found length {length:.3g}.")
        if values[0] <= previous:
            raise UserError(f"{path}, line {number}: expected a timestamp after "
                            f"{previous:.6f}; found {values[0]:.6f}.")
        previous = values[0]
    rotations = rotations_from_quaternions(table[:, 4:])
    return TimedTrajectory(table[:, 0], rigid_transforms(rotations, table[:, 1:4]))


def format_tum(timestamps: np.ndarray, world_from_camera: np.ndarray) -> str:
    """One line `timestamp tx ty tz qx qy qz qw` a pose, 6 decimals, w >= 0, no negative zero.

    Args:
      timestamps: [N] seconds.
      world_from_camera: [N, 4, 4].

    Raises:
      ValueError: a shape differs from the above.
    """
    check_shape("world_from_camera", world_from_camera, ["N", 4, 4])
    world_from_camera = np.asarray(world_from_camera, np.float64)
    check_shape("timestamps", np.asarray(timestamps), [len(world_from_camera)])
    quaternions = quaternions_from_rotations(world_from_camera[:, :3, :3])
    lines = []
    for time, position, quaternion in zip(timestamps, world_from_camera[:, :3, 3], quaternions):
        numbers = (float(time), *position.tolist(), *quaternion.tolist())
        lines.append(" ".join(f"{round(number, 6) + 0.0:.6f}" for number in numbers))
    return "".join(f"{line}\n" for line in lines)


def write_tum(path: Path, timestamps: np.ndarray, world_from_camera: np.ndarray):
    """Writes a TUM trajectory file; see `format_tum`."""
    write_atomically(path, format_tum(timestamps, world_from_camera))
