"""Errors of a whole trajectory: by path length as in the KITTI benchmark, ATE and RPE.

N true frames, of which M have a predicted pose; K segments. A segment starts at every `step`-th
frame and ends at the first frame whose path from there is longer than a nominal length. Its
error is the motion that remains between the predicted and the true motion along it, by metre.
"""
import dataclasses
from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tfdepth.checks import check_shape
from tfdepth.evaluation.alignment import align, check_finite
from tfdepth.evaluation.odometry import consecutive_runs


@dataclasses.dataclass(frozen=True)
class PathProtocol:
    """Which segments count, and how the prediction is aligned before."""
    name: str
    about: str
    lengths: Tuple[float, ...]       # metres, ascending
    alignment: str = "7dof"          # a name of alignment.ALIGNMENTS
    step: int = 10                   # frames from one start to the next
    by_true_length: bool = False     # errors are divided by the true length of the path, not by
    #                                  the nominal one, which is a little shorter


class Segments(NamedTuple):
    """One value a segment, by start, then by length."""
    start: np.ndarray                   # [K] row of the truth
    end: np.ndarray                     # [K] row of the truth
    length: np.ndarray                  # [K] metres, nominal
    translation_percent: np.ndarray     # [K]
    rotation_deg_per_100m: np.ndarray   # [K]


class LengthErrors(NamedTuple):
    """Means over the segments of one length; None when there is no segment."""
    length: float                       # metres
    num_segments: int
    translation_percent: Optional[float]
    rotation_deg_per_100m: Optional[float]


class PathErrors(NamedTuple):
    """Errors of one trajectory. What cannot be measured is None, never 0."""
    protocol: str
    alignment: str
    scale: float                        # what predicted positions were multiplied by
    num_frames: int                     # M
    num_segments: int                   # K; 0: the path is too short, or frames are missing
    num_skipped: int                    # segments that lack the pose of an end
    translation_percent: Optional[float]      # mean over all segments, short ones weigh more
    rotation_deg_per_100m: Optional[float]
    ate_m: Optional[float]              # RMS distance of positions after alignment; None of fewer
    #                                     than four poses, which an alignment fits exactly
    rpe_m: Optional[float]              # mean error of the motion to the next frame: translation
    rpe_deg: Optional[float]            # and angle; None when no two frames are neighbours
    per_length: Tuple[LengthErrors, ...]
    segments: Segments


_FAR = tuple(range(100, 801, 100))
_NEAR = tuple(range(25, 201, 25))
PATH_PROTOCOLS = {protocol.name: protocol for protocol in (
    PathProtocol("odometry_kitti", "errors by path length of the KITTI benchmark", _FAR),
    PathProtocol("odometry_kitti_25", "the same over 25 to 200 m", _NEAR),
    PathProtocol("odometry_attention", "errors by path length as the authors of the attention "
                 "maps compute them", _FAR, "scale_steps", by_true_length=True),
    PathProtocol("odometry_attention_25", "the same over 25 to 200 m", _NEAR, "scale_steps",
                 by_true_length=True),
)}


def path_errors(world_from_camera: np.ndarray, true_world_from_camera: np.ndarray,
                protocol: PathProtocol, rows: Optional[Sequence[int]] = None,
                alignment: Optional[str] = None) -> PathErrors:
    """Scores a trajectory; frames may be missing in the prediction.

    Path lengths are those of the truth, with all of its frames. A segment one of whose ends has
    no predicted pose is skipped and counted; the frames between its ends do not matter.

    Args:
      world_from_camera: [M, 4, 4] predicted, M > 0; its world and unit are free.
      true_world_from_camera: [N, 4, 4], metres, in time order.
      protocol: a row of PATH_PROTOCOLS.
      rows: [M] ascending, the row of the truth that each predicted pose belongs to; see
        `trajectory_files.match_frames`. None: M = N.
      alignment: a name of ALIGNMENTS in place of the protocol's.

    Raises:
      ValueError: a shape differs from the above, or `rows` are not ascending rows of the truth.
      UserError: unknown alignment, or a pose is not finite.

    Source: the development kit of KITTI odometry and kitti-odom-eval; by_true_length and
    scale_steps: the evaluation of DeepCameraFramework (methods.md D7). That one takes the inverse
    of the remaining motion, which is as long and turns as much.
    """
    check_shape("true_world_from_camera", true_world_from_camera, ["N", 4, 4])
    num_true = len(true_world_from_camera)
    rows = np.arange(num_true) if rows is None else np.asarray(rows, int)
    check_shape("world_from_camera", world_from_camera, [len(rows), 4, 4])
    if not len(rows) or rows[0] < 0 or rows[-1] >= num_true or (np.diff(rows) <= 0).any():
        raise ValueError(f"`rows` must ascend within 0 to {num_true - 1}; got {rows.tolist()}.")
    check_finite("true", true_world_from_camera)
    mode = alignment or protocol.alignment
    aligned = align(world_from_camera, true_world_from_camera[rows], mode)
    predicted, true = aligned.world_from_camera, aligned.true_world_from_camera
    segments, num_skipped = _segments(predicted, true, true_world_from_camera, rows, protocol)
    steps = np.array([place for run in consecutive_runs(rows)
                      for place in range(run.start, run.stop - 1)], int)
    distances, angles = _motion_errors(true, predicted, steps, steps + 1)  # this way round
    offsets = predicted[:, :3, 3] - true[:, :3, 3]
    enough = len(rows) >= 4
    per_length = []
    for length in protocol.lengths:
        chosen = segments.length == length
        per_length.append(LengthErrors(length, int(chosen.sum()),
                                       _mean(segments.translation_percent[chosen]),
                                       _mean(segments.rotation_deg_per_100m[chosen])))
    return PathErrors(
        protocol=protocol.name,
        alignment=mode,
        scale=aligned.scale,
        num_frames=len(rows),
        num_segments=len(segments.start),
        num_skipped=num_skipped,
        translation_percent=_mean(segments.translation_percent),
        rotation_deg_per_100m=_mean(segments.rotation_deg_per_100m),
        ate_m=float(np.sqrt(np.mean(np.sum(offsets**2, axis=1)))) if enough else None,
        rpe_m=_mean(distances) if enough else None,
        rpe_deg=_mean(np.rad2deg(angles)) if enough else None,
        per_length=tuple(per_length),
        segments=segments)


def _segments(predicted, true, all_true, rows, protocol) -> Tuple[Segments, int]:
    """All segments whose two ends have a predicted pose, and the number of the others."""
    num_true = len(all_true)
    steps = np.linalg.norm(np.diff(all_true[:, :3, 3], axis=0), axis=1)
    path = np.concatenate([[0.0], np.cumsum(steps)])                       # [N] metres
    start, length = (grid.ravel() for grid in np.meshgrid(
        np.arange(0, num_true, protocol.step), protocol.lengths, indexing="ij"))
    end = np.searchsorted(path, path[start] + length, side="right")        # the first beyond
    place = np.full(num_true + 1, -1)                                      # row -> predicted pose
    place[rows] = np.arange(len(rows))
    fits = end < num_true
    whole = fits & (place[start] >= 0) & (place[end] >= 0)
    start, end, length = start[whole], end[whole], length[whole]
    distances, angles = _motion_errors(predicted, true, place[start], place[end])
    metres = path[end] - path[start] if protocol.by_true_length else length
    return (Segments(start, end, length, 100 * distances / metres,
                     100 * np.rad2deg(angles) / metres), int(fits.sum() - whole.sum()))


def _motion_errors(base, other, start, end) -> Tuple[np.ndarray, np.ndarray]:
    """What remains of the motions of `other` from `start` to `end` after those of `base`.

    Returns:
      metres, radians. The angle comes from the trace, as published. True rotations in files are
      orthonormal to 1e-6 only: other formulas, and `base` and `other` exchanged, differ by up to
      a percent in the mean angle between neighbouring frames.
    """
    base_motion, motion = (np.linalg.inv(poses[start]) @ poses[end] for poses in (base, other))
    remaining = np.linalg.inv(base_motion) @ motion
    cosine = (np.trace(remaining[:, :3, :3], axis1=1, axis2=2) - 1) / 2
    return np.linalg.norm(remaining[:, :3, 3], axis=1), np.arccos(np.clip(cosine, -1, 1))


def _mean(values: np.ndarray) -> Optional[float]:
    return float(np.mean(values)) if len(values) else None
