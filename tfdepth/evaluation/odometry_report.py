"""Scores camera motion under a protocol: a run's own, anyone's from a file, and the mean motion.

N frames of a path, M of them with a predicted pose, S snippets of n frames.
"""
import os
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data.drives import Drive
from tfdepth.evaluation.baselines import MeanMotion
from tfdepth.evaluation.odometry import (
    ODOMETRY_PROTOCOLS, OdometryProtocol, SnippetErrors, consecutive_runs, cut_snippets,
    snippet_errors, summarise, trajectory_errors)
from tfdepth.evaluation.odometry_plots import (
    draw_ate_by_turning, draw_errors_by_length, side_motion)
from tfdepth.evaluation.path_errors import PATH_PROTOCOLS, path_errors
from tfdepth.evaluation.predicted_motion import predicted_snippets, predicted_trajectory
from tfdepth.evaluation.snippet_files import read_snippets
from tfdepth.evaluation.tables import Row
from tfdepth.evaluation.trajectory_files import Trajectory, match_frames, read_trajectory

SNIPPET_COLUMNS = ("ate_sfmlearner_mean", "ate_sfmlearner_std", "ate_rmse_mean", "ate_rmse_std",
                   "scale_median", "scale_spread", "num_snippets")
PATH_COLUMNS = ("translation_percent", "rotation_deg_per_100m", "ate_m", "rpe_m", "rpe_deg",
                "scale", "num_frames", "num_segments", "num_skipped")


class TruePath(NamedTuple):
    """Frames of a drive that are neighbours in time, with their poses."""
    name: str
    image_paths: Sequence[str]       # N
    frame_numbers: Sequence[int]     # N
    world_from_camera: np.ndarray    # [N, 4, 4], metres


class Motion(NamedTuple):
    """What a method says of one path."""
    trajectory: Optional[Trajectory]         # None: it has none
    snippets: Optional[np.ndarray] = None    # first_from_camera [S, n, 4, 4], predicted at once,
    starts: Optional[Sequence[int]] = None   # S frame numbers; None: they start at every frame


def true_paths(drives: Sequence[Drive]) -> List[TruePath]:
    """The paths of drives with poses, two frames or more; a hole in the frame numbers ends one."""
    paths = []
    for drive in drives:
        runs = [] if drive.world_from_camera is None else [
            run for run in consecutive_runs(drive.frame_numbers) if run.stop > run.start + 1]
        for run in runs:
            first = f" from frame {drive.frame_numbers[run.start]}" if len(runs) > 1 else ""
            paths.append(TruePath(drive.name + first, drive.image_paths[run],
                                  drive.frame_numbers[run], drive.world_from_camera[run]))
    return paths


def motion_of_run(predictor, path: TruePath, length: int) -> Motion:
    """What a run predicts along a path; its snippets of `length` frames too where it has them.

    Raises: UserError: a file cannot be read, or the model predicts no motion.
    """
    trajectory = predicted_trajectory(predictor, path.image_paths)
    return Motion(None if trajectory is None else Trajectory(
        np.array(path.frame_numbers), trajectory),
        predicted_snippets(predictor, path.image_paths, length))


def motion_of_file(file: str, path: TruePath, times: Optional[np.ndarray] = None) -> Motion:
    """Anyone's trajectory of a path, or their folder of snippets.

    Args: file, times: as for `read_trajectory`. path: of the same frames, or more.
    Raises: UserError: as `read_trajectory`, `read_snippets` and `match_frames`.
    """
    trajectory = read_trajectory(file, times)
    match_frames(file, trajectory.frame_numbers, path.frame_numbers)
    if not os.path.isdir(file):
        return Motion(trajectory)
    snippets = read_snippets(file)
    return Motion(trajectory, snippets.first_from_camera, snippets.starts)


def mean_motions(training: Sequence[TruePath], paths: Sequence[TruePath],
                 length: int) -> List[Motion]:
    """The mean motion of training drives, repeated along each path; [] when no training drive has
    `length` frames."""
    trajectories = [each.world_from_camera for each in training]
    if not any(len(trajectory) >= length for trajectory in trajectories):
        return []
    mean = MeanMotion.fit(trajectories, length)
    return [Motion(Trajectory(np.array(path.frame_numbers),
                              mean.predict_composed(len(path.frame_numbers)))) for path in paths]


def odometry_table(protocol: str, paths: Sequence[TruePath],
                   methods: Mapping[str, Sequence[Motion]],
                   alignment: str = "") -> Tuple[List[Row], Dict]:
    """The table of a protocol, and its figures.

    Args:
      protocol: a name of ODOMETRY_PROTOCOLS or of PATH_PROTOCOLS.
      paths: what is scored.
      methods: name -> what it predicts of each path.
      alignment: of a protocol by path length, a row of ALIGNMENTS; "" = the protocol's own.

    Returns:
      rows: (method, or "method, path" where there are several paths, {column: value}).
      figures: {file name: matplotlib Figure}.

    Raises: UserError: no path is long enough.
    """
    if protocol in PATH_PROTOCOLS:
        return _path_table(protocol, paths, methods, alignment)
    if alignment:
        raise UserError(f"--alignment: {protocol} fits a scale to each snippet; expected none.")
    return _snippet_table(ODOMETRY_PROTOCOLS[protocol], paths, methods)


def _snippet_table(protocol: OdometryProtocol, paths, methods):
    rows, turning = [], {}
    for name, motions in methods.items():
        pairs = [(path, _snippet_errors(motion, path, protocol))
                 for path, motion in zip(paths, motions)]
        found = [(path, errors) for path, errors in pairs
                 if errors is not None and len(errors.scale)]
        if not found:
            raise UserError(f"no drive has {protocol.snippet_length} frames in a row of which "
                            f"{name} sees neighbours.")
        for path, errors in pairs if len(paths) > 1 else ():
            summary = None if errors is None else summarise([errors], protocol)
            rows.append((f"{name}, {path.name}",
                         {} if summary is None else _columns(summary, SNIPPET_COLUMNS)))
        rows.append((name, _columns(summarise([errors for _, errors in found], protocol),
                                    SNIPPET_COLUMNS)))
        sides = [side_motion(cut_snippets(path.world_from_camera,
                                          protocol.snippet_length).first_from_camera)
                 for path, _ in found]
        turning[name] = (np.concatenate(sides),
                         np.concatenate([errors.ate_sfmlearner for _, errors in found]))
    if any(len(sides) != len(errors) for sides, errors in turning.values()):
        return rows, {}  # snippets of another length at the ends, or missing frames
    return rows, {f"{protocol.name}-by-turning.png": draw_ate_by_turning(turning, protocol.about)}


def _snippet_errors(motion: Motion, path: TruePath, protocol) -> Optional[SnippetErrors]:
    if motion.snippets is not None and not protocol.inverse_chain:
        if motion.snippets.shape[1] != protocol.snippet_length:
            raise UserError(f"{protocol.name}: expected snippets of {protocol.snippet_length} "
                            f"frames; found {motion.snippets.shape[1]}.")
        true = cut_snippets(path.world_from_camera, protocol.snippet_length).first_from_camera
        if motion.starts is not None:
            true = true[np.searchsorted(path.frame_numbers, motion.starts)]
        return snippet_errors(motion.snippets[..., :3, 3], true[..., :3, 3])
    if motion.trajectory is None:
        return None
    numbers, poses = motion.trajectory
    places = np.searchsorted(path.frame_numbers, numbers)
    return trajectory_errors(poses, path.world_from_camera[places], protocol, numbers)


def _path_table(protocol, paths, methods, alignment):
    rows, figures = [], {}
    for k, path in enumerate(paths):
        errors = {}
        for name, motions in methods.items():
            if motions[k].trajectory is None:
                continue
            numbers, poses = motions[k].trajectory
            errors[name] = path_errors(poses, path.world_from_camera, PATH_PROTOCOLS[protocol],
                                       np.searchsorted(path.frame_numbers, numbers),
                                       alignment or None)
            rows.append((f"{name}, {path.name}" if len(paths) > 1 else name,
                         _columns(errors[name], PATH_COLUMNS)))
        if any(each.num_segments for each in errors.values()):
            figures[f"{protocol}-{path.name.replace('/', '-')}.png"] = draw_errors_by_length(
                errors, f"{protocol}, {path.name}")
    if not rows:
        raise UserError("no method has a trajectory of any drive.")
    return rows, figures


def _columns(result, names):
    return {name: getattr(result, name) for name in names}
