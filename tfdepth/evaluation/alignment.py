"""Brings a predicted trajectory onto the true one before their distance is measured.

N cameras, the same frames in both. Both are first re-based to their first frame, so the world of
the result is the first true camera. Then a scale, a rigid motion or both are fitted to the
camera positions by least squares, once for the whole trajectory.
"""
from typing import NamedTuple, Tuple

import numpy as np

from tfdepth.checks import UserError, check_choice, check_shape
from tfdepth.evaluation.odometry import fit_scale
from tfdepth.evaluation.trajectories import rebase, relative_motions, rigid_transforms

ALIGNMENTS = {
    "none": "first camera only: for predictions in metres",
    "scale": "one factor, the first camera stays",
    "scale_7dof": "the factor of 7dof only",
    "scale_steps": "one factor, the ratio of the root mean squares of all steps",
    "6dof": "rotation and translation (SE3): for predictions in metres",
    "7dof": "factor, rotation and translation (Sim3): for a single camera",
}


class Aligned(NamedTuple):
    """Both trajectories in the frame of the first true camera, and what was fitted.

    A predicted position p has become scale * rotation p + translation.
    """
    world_from_camera: np.ndarray        # [N, 4, 4] predicted, metres
    true_world_from_camera: np.ndarray   # [N, 4, 4] metres
    scale: float
    rotation: np.ndarray                 # [3, 3]
    translation: np.ndarray              # [3] metres


def align(world_from_camera: np.ndarray, true_world_from_camera: np.ndarray,
          mode: str) -> Aligned:
    """Aligns a predicted trajectory with the true one of the same frames.

    A prediction that does not move gets scale 0 from every mode that fits one, so it has the
    error of standing still. Positions on one line leave the rotation about it open; neither
    distances nor motions between frames depend on it.

    Args:
      world_from_camera: [N, 4, 4] predicted, N > 0; its world and unit are free.
      true_world_from_camera: [N, 4, 4], metres.
      mode: a name of ALIGNMENTS.

    Raises:
      ValueError: the shapes differ from the above.
      UserError: unknown mode, or a pose is not finite.

    Source: the modes of kitti-odom-eval (Zhan et al.); scale_steps: see methods.md D7.
    """
    check_choice("alignment", mode, ALIGNMENTS)
    check_shape("world_from_camera", world_from_camera, ["N", 4, 4])
    check_shape("true_world_from_camera", true_world_from_camera, [len(world_from_camera), 4, 4])
    check_finite("predicted", world_from_camera)
    check_finite("true", true_world_from_camera)
    predicted, true = rebase(world_from_camera), rebase(true_world_from_camera)
    positions, true_positions = predicted[:, :3, 3], true[:, :3, 3]
    scale, rotation, translation = 1.0, np.eye(3), np.zeros(3)
    if mode in ("6dof", "7dof"):
        scale, rotation, translation = umeyama(positions, true_positions, mode == "7dof")
    elif mode == "scale_7dof":
        scale, _, _ = umeyama(positions, true_positions, True)
    elif mode == "scale":
        scale = float(fit_scale(positions, true_positions))
    elif mode == "scale_steps":
        length, true_length = (float(np.linalg.norm(relative_motions(poses)[:, :3, 3]))
                               for poses in (predicted, true))
        scale = true_length / length if length else 0.0
    predicted[:, :3, 3] *= scale
    return Aligned(rigid_transforms(rotation, translation) @ predicted, true, scale, rotation,
                   translation)


def umeyama(points: np.ndarray, true_points: np.ndarray,
            with_scale: bool) -> Tuple[float, np.ndarray, np.ndarray]:
    """The similarity (or rigid motion) that brings `points` nearest to `true_points`.

    Args:
      points, true_points: [N, 3], N > 0, in pairs.
      with_scale: False keeps the scale at 1.

    Returns:
      scale, rotation [3, 3], translation [3]: true point = scale * rotation point + translation.
      Points that are all the same get scale 0 (when it is fitted) and no rotation.

    Raises:
      ValueError: the shapes differ from the above.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point
    patterns, PAMI 1991, equations 38 to 43.
    """
    check_shape("points", points, ["N", 3])
    check_shape("true_points", true_points, [len(points), 3])
    centre, true_centre = points.mean(axis=0), true_points.mean(axis=0)
    centred, true_centred = points - centre, true_points - true_centre
    left, singular, right = np.linalg.svd(true_centred.T @ centred / len(points))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ (signs[:, np.newaxis] * right)      # a reflection is not a rotation
    scale = 1.0
    if with_scale:
        variance = np.mean(np.sum(centred**2, axis=1))
        scale = float(np.sum(signs * singular) / variance) if variance else 0.0
    return scale, rotation, true_centre - scale * rotation @ centre


def check_finite(kind: str, world_from_camera: np.ndarray):
    """Raises UserError unless all poses [N, 4, 4] are finite; `kind` starts the message."""
    wrong = ~np.isfinite(world_from_camera).all(axis=(1, 2))
    if wrong.any():
        raise UserError(f"{kind} poses must be finite; {int(wrong.sum())} of {len(wrong)} are "
                        f"not, the first is pose {int(np.argmax(wrong))}.")
