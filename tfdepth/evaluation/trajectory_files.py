"""Reads anyone's trajectory: KITTI's or TUM's text form, or SfMLearner's folder of snippets."""
import os
from typing import NamedTuple, Optional, Sequence

import numpy as np

from tfdepth.checks import UserError, check_shape
from tfdepth.data.files import expand, listing, parse_numbers, read_poses, read_text
from tfdepth.evaluation.odometry import join_snippets
from tfdepth.evaluation.snippet_files import TIME_TOLERANCE, read_snippets
from tfdepth.evaluation.trajectories import ROTATION_TOLERANCE, read_tum, rigid_transforms
from tfdepth.files import Path

_WHAT = ("a trajectory: 12 numbers a line (KITTI), 13 (frame number, then KITTI's 12) or 8 (TUM: "
         "time, position, quaternion)")
_RATE = 10.0    # frames a second where no times are known, as in KITTI


class Trajectory(NamedTuple):
    """Camera poses of some frames of a drive, M of them."""
    frame_numbers: np.ndarray       # [M] int, ascending; frames without a pose are not there
    world_from_camera: np.ndarray   # [M, 4, 4]


def read_trajectory(path: Path, times: Optional[np.ndarray] = None) -> Trajectory:
    """Reads a trajectory in whatever form it is; the words of its first line tell which.

    12 numbers a line: KITTI, line k is frame k. 13: the frame number comes first; it ascends,
    and frames may be missing. 8: TUM; each time must be that of a frame, frames may be missing.
    A folder: the snippets are joined, by the first step of each; to score the snippets
    themselves (odometry_sfmlearner), use `snippet_files.read_snippets`.

    Args:
      path: a text file, or a folder of SfMLearner's snippets that start one frame apart.
      times: [N] seconds of every frame, ascending (`read_times`), for TUM files. None: frame k
        is at 0.1 k seconds.

    Raises:
      UserError: the file is missing or malformed or mixes forms (the message names the line), a
        frame number or time does not ascend, a time is not that of a frame, or a snippet of the
        folder is missing.
    """
    path = expand(str(path))
    if os.path.isdir(path):
        return _read_folder(path)
    lines = [(number, line) for number, line in
             enumerate(read_text(path, _WHAT).splitlines(), start=1)
             if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise UserError(f"{path}: expected {_WHAT}; found only comments.")
    number, line = lines[0]
    num_words = len(line.split())
    if num_words == 12:
        world_from_camera = read_poses(path)
        return Trajectory(np.arange(len(world_from_camera)), world_from_camera)
    if num_words == 13:
        return _read_numbered(path, lines)
    if num_words == 8:
        timed = read_tum(path)
        return Trajectory(_frames_at(path, timed.timestamps, times), timed.world_from_camera)
    raise UserError(f"{path}, line {number}: expected {_WHAT}; found {num_words} words.")


def read_times(path: Path) -> np.ndarray:
    """Reads KITTI's times.txt: one number a line, the seconds of frame 0, 1 ...

    Returns:
      [N] float64, ascending.

    Raises:
      UserError: the file is missing, a line is not one finite number, or time does not advance.
    """
    path = expand(str(path))
    lines = read_text(path, "times, one number of seconds a line").rstrip().splitlines()
    times = np.array([parse_numbers(line, 1, f"{path}, line {k + 1}")[0]
                      for k, line in enumerate(lines)])
    _check_ascending(path, times, range(1, len(times) + 1), "a time")
    return times


def match_frames(path: Path, frame_numbers: np.ndarray,
                 true_frame_numbers: Sequence[int]) -> np.ndarray:
    """The rows of the truth that predicted poses belong to.

    Args:
      path: where the poses are from, for the message.
      frame_numbers: [M] ascending, frames with a predicted pose.
      true_frame_numbers: [N] ascending, frames with a true one.

    Returns:
      [M] rows of `true_frame_numbers`, ascending.

    Raises:
      UserError: a predicted pose is of a frame that the truth does not have.
    """
    frame_numbers, true_frame_numbers = np.asarray(frame_numbers), np.asarray(true_frame_numbers)
    extra = frame_numbers[~np.isin(frame_numbers, true_frame_numbers)]
    if len(extra):
        raise UserError(f"{path}: expected poses of the {len(true_frame_numbers)} true frames "
                        f"({true_frame_numbers[0]} to {true_frame_numbers[-1]}); found "
                        f"{len(extra)} of other frames: {listing(extra.tolist())}.")
    return np.searchsorted(true_frame_numbers, frame_numbers)


def _read_folder(path) -> Trajectory:
    snippets = read_snippets(path)
    holes = np.flatnonzero(np.diff(snippets.starts) != 1)
    if len(holes):
        before = int(snippets.starts[holes[0]])
        raise UserError(f"{path}: expected snippets that start one frame apart, to join them; "
                        f"found {int(snippets.starts[holes[0] + 1]):06d}.txt after "
                        f"{before:06d}.txt.")
    world_from_camera = join_snippets(snippets.first_from_camera)
    return Trajectory(snippets.starts[0] + np.arange(len(world_from_camera)), world_from_camera)


def _read_numbered(path, lines) -> Trajectory:
    """`lines`: (line number, text with 13 numbers)."""
    table = np.array([parse_numbers(line, 13, f"{path}, line {number}")
                      for number, line in lines])
    numbers, poses = table[:, 0], table[:, 1:].reshape(-1, 3, 4)
    rotations = poses[..., :3]
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        proper = (errors < ROTATION_TOLERANCE) & (np.linalg.det(rotations) > 0)
    for (line_number, line), number, is_proper in zip(lines, numbers, proper):
        if not (0 <= number < 1e9 and number == int(number)):
            raise UserError(f"{path}, line {line_number}: expected a frame number, then 12 "
                            f"numbers; found {line.split()[0]!r} in its place.")
        if not is_proper:
            raise UserError(f"{path}, line {line_number}: expected a frame number and the rows "
                            "of [R | t] with R a rotation; found a 3x3 part that is none.")
    _check_ascending(path, numbers, [number for number, _ in lines], "a frame number")
    return Trajectory(numbers.astype(int), rigid_transforms(rotations, poses[..., 3]))


def _frames_at(path, timestamps: np.ndarray, times: Optional[np.ndarray]) -> np.ndarray:
    """The frame that each time belongs to, within TIME_TOLERANCE."""
    if times is None:
        frames = np.round(timestamps * _RATE).astype(int)
        frame_times = frames / _RATE
        about = f"times of frames at {_RATE:g} Hz from 0"
    else:
        check_shape("times", times, ["N"])
        frames = np.searchsorted((times[:-1] + times[1:]) / 2, timestamps)   # the nearest
        frame_times = times[frames]
        about = f"times of the {len(times)} frames"
    wrong = (np.abs(timestamps - frame_times) > TIME_TOLERANCE) | (frames < 0)
    if wrong.any():
        raise UserError(f"{path}: expected {about}, within {TIME_TOLERANCE} s; found "
                        f"{int(wrong.sum())} of {len(wrong)} others, the first is "
                        f"{timestamps[np.argmax(wrong)]:.6f}.")
    twice = np.diff(frames) == 0
    if twice.any():
        raise UserError(f"{path}: expected one pose a frame; found two of frame "
                        f"{int(frames[np.argmax(twice)])}.")
    return frames


def _check_ascending(path, values, line_numbers, what):
    for number, before, value in zip(line_numbers[1:], values, values[1:]):
        if value <= before:
            raise UserError(f"{path}, line {number}: expected {what} after {before:g}; found "
                            f"{value:g}.")
