"""Camera motion against the truth over short snippets.

N frames of a drive, S snippets, n frames a snippet (5 in the papers). A snippet is
`first_from_camera` [n, 4, 4]: it maps points of each of its cameras to its first one, so the last
column is where a camera stands seen from the first. Predictions are known up to one scale, which
is fitted anew in every snippet: drift of scale from snippet to snippet costs nothing here, see
the spread of the scales.

The two protocols measure different things and must not share a table: by chaining inverse
motions, Monodepth2's sees each step from its end, and the mean motion of KITTI alone, which looks
at no image, has nearly half the error there (0.018 m for 0.032 m on sequence 09).
"""
import dataclasses
from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from tfdepth.checks import UserError, check_shape
from tfdepth.evaluation.trajectories import chain, rebase, relative_motions


@dataclasses.dataclass(frozen=True)
class OdometryProtocol:
    """How a drive is cut into snippets."""
    name: str
    about: str
    snippet_length: int = 5       # frames, two or more
    short_ends: bool = False      # windows start at every frame but the last, so that those at
    #                               the end of a drive have fewer frames, down to two
    inverse_chain: bool = False   # motions are inverted, then chained as if they were not: no
    #                               physical path. Needs whole trajectories


class Snippets(NamedTuple):
    """All windows of a drive whose frames are neighbours in time."""
    starts: np.ndarray              # [S] index of the first frame in the drive
    first_from_camera: np.ndarray   # [S, n, 4, 4]


class SnippetErrors(NamedTuple):
    """One value a snippet."""
    ate_sfmlearner: np.ndarray   # [S] metres: sqrt(sum of squares) / n, as both projects do
    ate_rmse: np.ndarray         # [S] metres: sqrt(sum of squares / n), sqrt(n) times as much
    scale: np.ndarray            # [S] what the predicted positions were multiplied by


class OdometryEvaluation(NamedTuple):
    """A set of snippets; std is that of the population (divided by S)."""
    protocol: str
    num_snippets: int
    ate_sfmlearner_mean: float        # metres; the number of the papers' tables
    ate_sfmlearner_std: float
    ate_rmse_mean: float              # metres; the true root mean square
    ate_rmse_std: float
    scale_median: float               # below 0: predicted backwards
    scale_spread: Optional[float]     # std(scale) / |median(scale)|; None when the median is 0
    snippets: SnippetErrors


ODOMETRY_PROTOCOLS = {protocol.name: protocol for protocol in (
    OdometryProtocol("odometry_sfmlearner", "ATE of 5-frame snippets as SfMLearner scores it"),
    OdometryProtocol("odometry_monodepth2", "ATE of 5-frame snippets as Monodepth2 scores it: "
                     "inverse motions chained", short_ends=True, inverse_chain=True),
)}


def consecutive_runs(frame_numbers: Sequence[int]) -> List[slice]:
    """Where frames are neighbours in time: (3, 4, 5, 9, 10) -> [slice(0, 3), slice(3, 5)]."""
    breaks = np.flatnonzero(np.diff(frame_numbers) != 1) + 1
    edges = [0, *breaks.tolist(), len(frame_numbers)]
    return [slice(start, stop) for start, stop in zip(edges, edges[1:]) if stop > start]


def cut_snippets(world_from_camera: np.ndarray, length: int,
                 frame_numbers: Optional[Sequence[int]] = None) -> Snippets:
    """Every window of `length` frames, re-based to its first frame.

    Args:
      world_from_camera: [N, 4, 4], metres.
      length: frames of a window, n.
      frame_numbers: N ascending numbers; a window with a hole is left out. None: no holes.

    Returns:
      N - length + 1 snippets when there is no hole; none (S = 0) when the drive is too short.

    Raises:
      ValueError: a shape differs from the above.
    """
    check_shape("world_from_camera", world_from_camera, ["N", 4, 4])
    numbers = np.arange(len(world_from_camera)) if frame_numbers is None else frame_numbers
    check_shape("frame_numbers", np.asarray(numbers), [len(world_from_camera)])
    windows = _windows(numbers, length)
    return Snippets(windows[:, 0], rebase(np.asarray(world_from_camera)[windows]))


def _windows(frame_numbers: Sequence[int], length: int, only_last: bool = False) -> np.ndarray:
    """Every window without a hole, or the last one of every run only: [S, length] rows."""
    starts = [start for run in consecutive_runs(frame_numbers)
              for start in range(run.start, run.stop - length + 1)
              if not only_last or start == run.stop - length]
    return np.array(starts, int)[:, np.newaxis] + np.arange(length)


def snippets_from_motions(source_from_target: np.ndarray) -> np.ndarray:
    """What a system predicts of n frames -> a snippet; the target is the frame in the middle.

    Args:
      source_from_target: [..., n - 1, 4, 4], sources in time order, n - 1 even.

    Returns:
      first_from_camera [..., n, 4, 4].

    Raises:
      ValueError: the shape differs from the above.

    Source: SfMLearner, test_kitti_pose.py (the pose of a frame is M_first inv(M_frame)).
    """
    check_shape("source_from_target", source_from_target, ["...", "S", 4, 4])
    num_sources = source_from_target.shape[-3]
    if num_sources % 2:
        raise ValueError("`source_from_target` must have as many sources before the target as "
                         f"after it; got {num_sources} sources.")
    camera_from_target = np.insert(np.asarray(source_from_target, np.float64),
                                   num_sources // 2, np.eye(4), axis=-3)   # [..., n, 4, 4]
    target_from_camera = np.linalg.inv(camera_from_target)
    first_from_target = camera_from_target[..., :1, :, :]
    return first_from_target @ target_from_camera


def join_snippets(first_from_camera: np.ndarray) -> np.ndarray:
    """Joins snippets that start one frame apart to one trajectory.

    Takes the first step of every snippet, and all steps of the last one.

    Args:
      first_from_camera: [S, n, 4, 4], S > 0, each snippet one frame after the one before.

    Returns:
      first_from_camera [S + n - 1, 4, 4], the first camera of the first snippet as the world.

    Raises:
      ValueError: the shape differs from the above.

    Source: the odometry evaluation of DeepCameraFramework, see methods.md D7.
    """
    check_shape("first_from_camera", first_from_camera, ["S", "n", 4, 4])
    joined = chain(first_from_camera[:-1, 1])                              # [S, 4, 4]
    return np.concatenate([joined[:-1], joined[-1] @ first_from_camera[-1]])


def fit_scale(positions: np.ndarray, true_positions: np.ndarray) -> np.ndarray:
    """The factor that brings `positions` nearest to `true_positions` in least squares.

    Args:
      positions, true_positions: [..., n, 3], metres, in frames with a common origin.

    Returns:
      [...]: sum(truth * prediction) / sum(prediction^2); 0 where the prediction does not move.
    """
    product = np.sum(true_positions * positions, axis=(-2, -1))
    square = np.sum(positions * positions, axis=(-2, -1))
    return np.divide(product, square, out=np.zeros_like(product), where=square > 0)


def snippet_errors(positions: np.ndarray, true_positions: np.ndarray) -> SnippetErrors:
    """Absolute trajectory error of every snippet, after shift and scale.

    The prediction is shifted so that its first position is the true one, then scaled by
    `fit_scale`. A prediction that does not move at all has scale 0 and the error of standing
    still. The published code drops snippets whose error is exactly 0; here they count.

    Args:
      positions, true_positions: [S, n, 3], metres.

    Raises:
      ValueError: the shapes differ from the above.
      UserError: a position is not finite.

    Source: pose_evaluation_utils.py of SfMLearner (compute_ate).
    """
    check_shape("positions", positions, ["S", "n", 3])
    check_shape("true_positions", true_positions, list(positions.shape))
    for kind, values in (("predicted", positions), ("true", true_positions)):
        wrong = ~np.isfinite(values).all(axis=(1, 2))
        if wrong.any():
            raise UserError(f"{kind} positions must be finite; those of {int(wrong.sum())} of "
                            f"{len(wrong)} snippets are not, the first is snippet "
                            f"{int(np.argmax(wrong))}.")
    positions, true_positions = (np.asarray(values, np.float64)
                                 for values in (positions, true_positions))
    moved = positions - positions[:, :1] + true_positions[:, :1]
    scale = fit_scale(moved, true_positions)                               # [S]
    offsets = scale[:, np.newaxis, np.newaxis] * moved - true_positions
    root = np.sqrt(np.sum(offsets**2, axis=(1, 2)))                        # [S]
    num_frames = positions.shape[1]
    return SnippetErrors(root / num_frames, root / np.sqrt(num_frames), scale)


def trajectory_errors(world_from_camera: np.ndarray, true_world_from_camera: np.ndarray,
                      protocol: OdometryProtocol,
                      frame_numbers: Optional[Sequence[int]] = None) -> SnippetErrors:
    """Cuts a predicted and the true trajectory of the same N frames into snippets; their errors.

    Args:
      world_from_camera: [N, 4, 4] predicted; its world and unit are free.
      true_world_from_camera: [N, 4, 4], metres.
      protocol: a row of ODOMETRY_PROTOCOLS.
      frame_numbers: N ascending numbers; snippets with a hole do not count. None: no holes.

    Returns:
      The errors of S snippets, S = 0 when none fits into the drive; see `summarise`.

    Raises:
      ValueError: the shapes differ from the above.
      UserError: a position is not finite.

    Source: evaluate_pose.py of Monodepth2, for its protocol.
    """
    check_shape("world_from_camera", world_from_camera, ["N", 4, 4])
    check_shape("true_world_from_camera", true_world_from_camera, list(world_from_camera.shape))
    numbers = np.arange(len(world_from_camera)) if frame_numbers is None else frame_numbers
    check_shape("frame_numbers", np.asarray(numbers), [len(world_from_camera)])
    both = [np.asarray(world_from_camera), np.asarray(true_world_from_camera)]
    if protocol.inverse_chain:
        both = [chain(np.linalg.inv(relative_motions(poses))) for poses in both]
    windows = [_windows(numbers, protocol.snippet_length)]
    if protocol.short_ends:
        windows += [_windows(numbers, length, only_last=True)
                    for length in range(protocol.snippet_length - 1, 1, -1)]
    errors = [snippet_errors(*(rebase(poses[rows])[..., :3, 3] for poses in both))
              for rows in windows]
    return SnippetErrors(*map(np.concatenate, zip(*errors)))


def summarise(errors: Sequence[SnippetErrors],
              protocol: OdometryProtocol) -> Optional[OdometryEvaluation]:
    """Means over the snippets of several drives, each snippet with the same weight.

    Args:
      errors: one entry a drive, all of `protocol`.

    Returns:
      None when there is no snippet: not available, which is not an error of 0.
    """
    errors = SnippetErrors(*map(np.concatenate, zip(*errors)))
    if len(errors.scale) == 0:
        return None
    scale_median = float(np.median(errors.scale))
    return OdometryEvaluation(
        protocol=protocol.name,
        num_snippets=len(errors.scale),
        ate_sfmlearner_mean=float(np.mean(errors.ate_sfmlearner)),
        ate_sfmlearner_std=float(np.std(errors.ate_sfmlearner)),
        ate_rmse_mean=float(np.mean(errors.ate_rmse)),
        ate_rmse_std=float(np.std(errors.ate_rmse)),
        scale_median=scale_median,
        scale_spread=float(np.std(errors.scale)) / abs(scale_median) if scale_median else None,
        snippets=errors)


def evaluate_snippets(first_from_camera: np.ndarray, true_first_from_camera: np.ndarray,
                      protocol: OdometryProtocol) -> Optional[OdometryEvaluation]:
    """Scores predicted snippets, S of the same frames as the true ones.

    Args:
      first_from_camera: [S, n, 4, 4] predicted, in any unit of length.
      true_first_from_camera: [S, n, 4, 4], metres.
      protocol: a row of ODOMETRY_PROTOCOLS; n is its snippet_length.

    Returns:
      None when there is no snippet; see `summarise`.

    Raises:
      ValueError: the shapes differ from the above.
      UserError: a position is not finite, or the protocol needs whole trajectories.
    """
    if protocol.inverse_chain:
        raise UserError(f"{protocol.name} scores whole trajectories, with the motion from every "
                        "frame to the next; got snippets.")
    check_shape("first_from_camera", first_from_camera, ["S", protocol.snippet_length, 4, 4])
    check_shape("true_first_from_camera", true_first_from_camera, list(first_from_camera.shape))
    return summarise([snippet_errors(first_from_camera[..., :3, 3],
                                     true_first_from_camera[..., :3, 3])], protocol)


def evaluate_trajectory(world_from_camera: np.ndarray, true_world_from_camera: np.ndarray,
                        protocol: OdometryProtocol,
                        frame_numbers: Optional[Sequence[int]] = None,
                        ) -> Optional[OdometryEvaluation]:
    """The summary of one drive; see `trajectory_errors` and `summarise`."""
    return summarise([trajectory_errors(world_from_camera, true_world_from_camera, protocol,
                                        frame_numbers)], protocol)
