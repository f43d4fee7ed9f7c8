"""Cameras that a run learns: which, whether motion can tell them, and the files of them at its end.

Only rotation tells a focal length, see `signs.focal_shift`. Where poses are known the run is
refused before it begins; elsewhere the predicted motion shows it, CollapseWatch tells it during the
run, and no file is written at its end.
"""
import json
import math

import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.data.files import listing
from tfdepth.data.intrinsics_file import write_intrinsics
from tfdepth.data.learned_camera import FLAG, first_guess, picture_size
from tfdepth.data.pictures import intrinsics_at
from tfdepth.data.pipeline import open_source
from tfdepth.evaluation.view_synthesis import true_motions
from tfdepth.runs.cameras import load_cameras
from tfdepth.systems.signs import FOCAL_ERROR, SMALLEST_FOCAL_SHIFT, focal_shift

_EXPECTED = (f"expected a camera that turns, as nothing else tells its focal length: one that is "
             f"{FOCAL_ERROR:.0%} off has to move some pixels by {SMALLEST_FOCAL_SHIFT:g} or more "
             "(root of the mean square)")
_MEND = ("Declare the camera by a file, or try frames that are farther apart "
         "(--config.data.frame_gap=3) or larger (--config.data.size)")


def learn_cameras(system, split, config):
    """Makes variables of the cameras of a run that nobody knows; called before
    `System.create_variables`. Does nothing where all are known.

    Args: system: System. split: Split, the run's drives. config: DataConfig.
    Raises: UserError: if the system cannot learn a camera, no training drive is of it, or it turns
      too little, by known poses.
    """
    drives = split.train + split.validation + split.test
    names = sorted({drive.camera for drive in drives} - {""})
    if not names:
        return
    system.learn_cameras(names)
    for name in names:
        seen = tuple(drive for drive in split.train if drive.camera == name)
        if not seen:
            others = [drive.name for drive in drives if drive.camera == name]
            raise UserError(f"{FLAG}: expected a training drive of every camera; {listing(others)} "
                            f"({name}) have none.")
        _check_turning(seen, config)


def _check_turning(drives, config):
    """Raises UserError if the drives of a camera have poses, and turn too little."""
    source = open_source(drives, config)
    motions = true_motions(source)
    if motions is None:
        return
    camera = tf.constant(intrinsics_at(drives[0], config.size)[None])
    shift = _root_mean_square(focal_shift(tf.constant(motions), camera, config.size).numpy().flat)
    if shift < SMALLEST_FOCAL_SHIFT:
        raise UserError(f"{FLAG}: {_EXPECTED}; found {shift:.3f} pixels in "
                        f"{listing([drive.name for drive in drives])}, by their poses. {_MEND}.")


def write_cameras(run):
    """Writes the cameras that a run learned as camera files, `RunFolder.camera_files`.

    Args: run: RunFolder of a run that is complete.
    Raises: UserError: if its camera turned too little, by the predicted motion; files that were
      there are removed. OSError: if they cannot be written.
    """
    found = load_cameras(run)
    for path in run.camera_files():
        path.unlink()
    if not found:
        return
    shift = _predicted_shift(run)
    if shift < SMALLEST_FOCAL_SHIFT:
        raise UserError(f"{run.path}: the run is complete, but writes no camera file. {FLAG}: "
                        f"{_EXPECTED}; found {shift:.3f} pixels, by the predicted motion. {_MEND}.")
    for name, intrinsics in found.items():
        path = run.camera_file(name if len(found) > 1 else "")
        write_intrinsics(path, intrinsics, picture_size(name))
        guess = first_guess(picture_size(name))
        print(f"{path}: focal length {intrinsics[0, 0]:.1f}, principal point "
              f"({intrinsics[0, 2]:.1f}, {intrinsics[1, 2]:.1f}) pixels; the first guess was "
              f"{guess[0, 0]:.1f}, ({guess[0, 2]:.1f}, {guess[1, 2]:.1f})")


def _predicted_shift(run):
    """Of the later half of the lines of metrics.jsonl."""
    shifts = []
    with open(run.metrics, encoding="utf-8") as file:
        for line in file:
            shift = json.loads(line).get("watch/focal_shift_px")
            shifts += [] if shift is None else [shift]
    return _root_mean_square(shifts[len(shifts) // 2:])


def _root_mean_square(values):
    """Of numbers; 0 of none."""
    values = [float(value) for value in values]
    return math.sqrt(sum(value**2 for value in values) / max(1, len(values)))
