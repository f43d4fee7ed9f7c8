"""How far the camera truly went between frames of a clip: speeds or a trajectory of the user's.

Shape letters: N frames, n steps; a step is a pair of frames.
"""
import os
import re

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, oxts
from tfdepth.data.kitti_raw import seconds_to_next
from tfdepth.data.video_import import FACTS, frames_left_out
from tfdepth.evaluation.trajectories import read_tum
from tfdepth.evaluation.trajectory_files import read_trajectory
from tfdepth.prediction.true_depth import RAW_LAYOUT, kitti_raw_folders

_FILE = ("speeds (seconds since the first image and metres a second, 2 numbers a line) or a "
         "trajectory in metres (KITTI, 12 numbers a line, or TUM, 8)")


def true_lengths(value, source, names, numbers, steps, rate=0.0):
    """Metres between the frames of steps.

    Args:
      value: a number, metres a second; a folder of KITTI's GPS/IMU records, named as the images;
        "": that of the KITTI raw drive of the images; or a text file as _FILE says. A trajectory
        of N poses has one a frame; of another number, KITTI's line k is of the image numbered k,
        and TUM's times are seconds since the first image.
      source: the images.
      names: N, of the frames.
      numbers: [N] int, their places in time.
      steps: [n, 2] int, earlier and later frame.
      rate: frames a second; 0 = unknown.

    Returns: float64 [n]; NaN where the files do not tell. Along the way by speeds, straight by a
      trajectory; of steps so short the two are the same.
    Raises: UserError: if the files are missing or damaged, or do not belong to these images.
    """
    path, speed = files.expand(value), steady_speed(value)
    if speed is not None:
        if not 0 < speed < 1000:
            raise UserError(f"--calibrate speed: expected metres a second above 0; got {value}.")
        metres = speed * np.diff(_times(source, numbers, rate, "a speed needs"))
    elif not value or os.path.isdir(path):
        metres = _by_records(source, names, path)
    else:
        lines = _lines(path)
        words = len(lines[0][1].split())
        if words != 2:
            positions = _positions(source, names, numbers, path, words == 8, rate)
            return np.linalg.norm(positions[steps[:, 1]] - positions[steps[:, 0]], axis=1)
        metres = _by_speeds(path, lines, _times(source, numbers, rate,
                                                "times of speeds need"))
    return np.array([metres[earlier:later].sum() for earlier, later in steps])


def steady_speed(value):
    """A value that is a number, or None."""
    try:
        return float(value)
    except ValueError:
        return None


def _lines(path):
    """(number, text) of the lines of a text file; commas count as blanks."""
    lines = enumerate(files.read_text(path, _FILE).replace(",", " ").splitlines(), start=1)
    found = [(number, line) for number, line in lines
             if line.strip() and not line.lstrip().startswith("#")]
    if not found:
        raise UserError(f"{path}: expected {_FILE}; found only comments.")
    return found


def _times(source, numbers, rate, what):
    """[N] seconds since the first image, of images at a steady rate."""
    check_numbers(source)
    if not rate:
        raise UserError(f"{source}: {what} the rate of the images; expected --frames_per_second.")
    return (numbers - numbers[0]) / rate


def check_numbers(source):
    """Raises UserError where the numbers of images are no times, as an import left frames out."""
    left_out = frames_left_out(files.expand(source))
    if left_out:
        raise UserError(f"{source}: expected images numbered by time; prepare_data left out "
                        f"{left_out} that hardly differ ({FACTS}), and numbered the rest anew. "
                        "Import it again with --min_image_change=0, or give what it was made of.")


def _numbers(source, names):
    """[N] the numbers at the end of the images' names."""
    check_numbers(source)
    ends = [re.search("[0-9]+$", name) for name in names]
    if not all(ends):
        raise UserError(f"{source}: expected images numbered by their names, as 000007.png; "
                        f"found {files.listing(names, 2)}.")
    return np.array([int(end.group()) for end in ends])


def _by_records(source, names, folder):
    """[N - 1] metres from each frame to the next, NaN where a record is missing."""
    raw = kitti_raw_folders(source)
    if raw is None:
        raise UserError("--calibrate speed: GPS/IMU records belong to images in KITTI raw's "
                        f"layout, {RAW_LAYOUT}; found {source}. Otherwise expected speed=NUMBER, or "
                        f"speed=FILE with {_FILE}.")
    folder = folder or os.path.join(raw.drive, "oxts", "data")
    numbers = _numbers(source, names)
    speeds = oxts.speeds(oxts.read_records(folder, numbers))                 # [N]
    if not np.isfinite(speeds).any():
        raise UserError(f"{folder}: expected GPS/IMU records named as the images, "
                        f"{numbers[0]:010d}.txt; found none.")
    seconds = seconds_to_next(os.path.join(raw.drive, raw.camera, "timestamps.txt"), numbers)
    return (speeds[:-1] + speeds[1:]) / 2 * seconds[:-1]


def _by_speeds(path, lines, times):
    """[N - 1] metres from each image to the next, NaN outside the times of the file."""
    table = np.array([files.parse_numbers(line, 2, f"{path}, line {number}")
                      for number, line in lines])
    seconds, speeds = table.T
    if len(table) < 2 or not (np.diff(seconds) > 0).all():
        raise UserError(f"{path}: expected at least 2 lines of seconds, which ascend, and metres a "
                        "second; found " + ("1 line." if len(table) < 2 else "a time that does "
                                            f"not, on line {_first_descent(lines, seconds)}."))
    if (speeds < 0).any():
        raise UserError(f"{path}, line {lines[int(np.argmax(speeds < 0))][0]}: expected metres a "
                        f"second, not below 0; found {speeds.min():g}.")
    # The speed is linear between the lines, so the way is the trapezoids' up to a line, and from
    # there one more trapezoid.
    at_lines = np.concatenate([[0.0], np.cumsum(np.diff(seconds) * (speeds[1:] + speeds[:-1]) / 2)])
    before = np.clip(np.searchsorted(seconds, times, side="right") - 1, 0, len(seconds) - 1)
    way = at_lines[before] + (times - seconds[before]) * (
        speeds[before] + np.interp(times, seconds, speeds)) / 2
    way[(times < seconds[0]) | (times > seconds[-1])] = np.nan
    if np.isnan(np.diff(way)).all():
        raise UserError(f"{path}: expected times in seconds since the first image, 0 to "
                        f"{times[-1]:g}; found {seconds[0]:.10g} to {seconds[-1]:.10g}.")
    return np.diff(way)


def _first_descent(lines, seconds):
    return lines[int(np.argmax(np.diff(seconds) <= 0)) + 1][0]


def _positions(source, names, numbers, path, is_tum, rate):
    """[N, 3] metres, NaN where a frame has no pose."""
    count = len(names)
    positions = np.full([count, 3], np.nan)
    if is_tum:
        found = read_tum(path)
        if len(found.timestamps) == count:
            return found.world_from_camera[:, :3, 3]
        times = _times(source, numbers, rate,
                       f"{len(found.timestamps)} poses of {count} images need")
        found, rows_of = read_trajectory(path, times), np.arange(count)
    else:
        found = read_trajectory(path)
        whole = np.array_equal(found.frame_numbers, np.arange(count))
        rows_of = np.arange(count) if whole else _numbers(source, names)
    rows = {number: row for row, number in enumerate(found.frame_numbers.tolist())}
    for frame, number in enumerate(rows_of.tolist()):
        if number in rows:
            positions[frame] = found.world_from_camera[rows[number], :3, 3]
    if np.isnan(positions).all():
        raise UserError(f"{path}: expected poses of the images {files.listing(names, 3)}; "
                        f"found frames {found.frame_numbers[0]} to {found.frame_numbers[-1]}.")
    return positions
