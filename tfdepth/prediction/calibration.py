"""Measures the factor from a model's unit to metres, and stores it with the run: --calibrate.

A method is a function that gives the factor and how sure it is; `calibrate` does the rest. Every
method compares what the model predicts of the user's images with what the user knows, but for
`stereo_baseline`, which follows from how the model was trained.

Shape letters: N images, h, w of an image.
"""
import os
from typing import Callable, NamedTuple

import numpy as np
from tqdm import tqdm

from tfdepth.checks import UserError, check_choice
from tfdepth.data import files
from tfdepth.evaluation.predicted_motion import predicted_trajectory
from tfdepth.evaluation.resizing import RESIZINGS
from tfdepth.evaluation.trajectories import relative_motions
from tfdepth.geometry.camera import resize_intrinsics
from tfdepth.geometry.ground import COLUMNS, MAX_TILT, MIN_SHARE, ROWS
from tfdepth.inference import load_predictor
from tfdepth.prediction import factors
from tfdepth.prediction.clips import open_clip
from tfdepth.prediction.true_depth import MeasuredDepth, read_distances
from tfdepth.prediction.true_motion import steady_speed, true_lengths
from tfdepth.runs.checkpoints import fingerprint
from tfdepth.runs.folder import RunFolder
from tfdepth.runs.scale import Scale, write_scale
from tfdepth.systems.base import PRECISIONS

MAX_SPREAD = 0.25    # of the factors of frames, steps or pixels; more is no calibration
MIN_STEPS = 5        # moving ones, of `speed`
STANDING = 0.05      # metres a frame; what moves less counts as standing


class Request(NamedTuple):
    """What a method gets."""
    predictor: object          # Predictor in the model's own unit
    value: str                 # behind "METHOD="; "" = none
    source: str                # --input
    camera: str                # --intrinsics
    frames_per_second: float   # 0 = unknown

    def clip(self):
        """The user's images."""
        return open_clip(self.source, self.camera)

    def depths(self, clip):
        """Yields the model's depth of each image, [H, W] at the network's size."""
        predicted = self.predictor.depths_of_files(clip.paths, clip.follows, clip.intrinsics)
        for path, (_, depth) in zip(clip.paths, tqdm(
                predicted, "calibrating", len(clip.paths), unit=" images", disable=None)):
            if not (np.isfinite(depth) & (depth > 0)).all():
                raise UserError(f"{path}: expected a model with finite depth above 0; that of step "
                                f"{self.predictor.step} is not so. Did it diverge?")
            yield depth

    def metres(self, method, what):
        """The value as a positive number of metres."""
        try:
            metres = float(self.value)
        except ValueError:
            metres = 0.0
        if not 0 < metres < 1e6:
            raise UserError(f"--calibrate {method}={self.value}: expected {method}=METRES, {what}, "
                            f"a number above 0; got {self.value or 'none'}.")
        return metres


def calibrate(model, method, source="", camera="", precision="float32", frames_per_second=0.0,
              show=print):
    """Measures the scale of a run's best checkpoint and stores it in the run folder.

    Args:
      model: run folder.
      method: "NAME" or "NAME=VALUE", a row of METHODS.
      source, camera, precision: as `predicting.predict_files`; `stereo_baseline` needs no source.
      frames_per_second: of the images, for `speed`; 0 = as a video's file says.
      show: called with lines of text for the user.

    Returns: Scale.
    Raises: UserError: if the method is unknown or its value malformed, files are missing or do not
      belong together, or what was measured is too uncertain; what was stored before stays.
    """
    name, _, value = str(method).partition("=")
    check_choice("--calibrate", name, METHODS)
    check_choice("--precision", precision, PRECISIONS)
    if not 0 <= frames_per_second < 1e4:
        raise UserError("--frames_per_second: expected a number above 0; got "
                        f"{frames_per_second:g}.")
    row = METHODS[name]
    predictor = load_predictor(model, precision, calibrated=False)
    measured, what = row.measure(Request(predictor, value, source, camera, frames_per_second))
    if not np.isfinite(measured.factor) or (measured.spread or 0.0) > MAX_SPREAD:
        raise UserError(
            f"--calibrate {method}: expected {row.unit} that agree on the scale, with a median "
            f"deviation within {MAX_SPREAD:.0%}; found {measured.spread:.0%} over {measured.count} "
            f"{row.unit}. {row.advice} Nothing was stored.")
    known = "spread not known" if measured.spread is None else f"spread {measured.spread:.1%}"
    origin = f"{what} (exact)" if not row.unit else f"{what} ({measured.count} {row.unit}, {known})"
    scale = Scale(measured.factor, origin, str(method),
                  os.path.abspath(files.expand(source)) if source and row.unit else "",
                  measured.count, measured.spread, predictor.step,
                  fingerprint(RunFolder(model).checkpoints, predictor.step))
    write_scale(model, scale)
    show(f"calibrated by {origin}: metres = {scale.factor:.6g} x depth of the model of step "
         f"{scale.step}; stored in {RunFolder(model).scale}")
    return scale


def _stereo_baseline(request):
    metres = request.metres("stereo_baseline", "the true distance of the two cameras")
    data = request.predictor.config.data
    if not data.stereo:
        raise UserError(f"--calibrate stereo_baseline: expected a run trained on stereo pairs; "
                        f"this one saw one camera alone, offsets {tuple(data.offsets)}. "
                        "Calibrate it by another method.")
    if not data.stereo_baseline:
        raise UserError("--calibrate stereo_baseline: expected a run trained with a distance of "
                        "the cameras in units of its own (--config.data.stereo_baseline=0.1); "
                        "this one was trained with the true one, in metres, and needs none.")
    return (factors.Measured(metres / data.stereo_baseline, 1, None),
            f"a true stereo baseline of {metres:g} m for {data.stereo_baseline:g} units")


def _camera_height(request):
    metres = request.metres("camera_height", "of the camera over the ground")
    clip = request.clip()
    if any(intrinsics is None for intrinsics in clip.intrinsics):
        raise UserError(f"--calibrate camera_height: {clip.source}: expected its camera; found "
                        "none. --intrinsics names a camera file, or intrinsics.json lies beside "
                        "the images.")
    found, size = [], request.predictor.size
    for frame, depth in enumerate(request.depths(clip)):
        scale_yx = (size[0] / clip.sizes[frame][0], size[1] / clip.sizes[frame][1])
        intrinsics = resize_intrinsics(clip.intrinsics[frame].astype(np.float32), scale_yx).numpy()
        found.append(factors.of_camera_height(depth, intrinsics, metres))
    ratios = [factor for factor in found if factor is not None]
    if 2 * len(ratios) < len(found):
        raise UserError(
            f"--calibrate camera_height: {clip.source}: expected the ground in the lower middle of "
            f"the images (rows from {ROWS[0]:.0%} on, columns {COLUMNS[0]:.0%} to "
            f"{COLUMNS[1]:.0%}), a plane of {MIN_SHARE:.0%} of the pixels there within "
            f"{MAX_TILT:g} degrees of level; found it in {len(ratios)} of {len(found)} images. "
            "Choose images of a free road, taken upright, or train longer. Nothing was stored.")
    return factors.of_ratios(ratios), f"a camera height of {metres:g} m over the ground"


def _distance(request):
    clip = request.clip()
    points = read_distances(clip, request.value)
    resize = RESIZINGS[request.predictor.system.resized]
    ratios = []
    for frame, depth in enumerate(request.depths(clip)):
        for x, y, metres in points.get(frame, ()):
            ratios.append(metres / resize(depth, clip.sizes[frame])[round(y), round(x)])
    return factors.of_ratios(ratios), "known distances along the optical axis"


def _speed(request):
    config = request.predictor.config.data
    if not request.predictor.system.predicts_motion:
        raise UserError("--calibrate speed: expected a model that predicts motion; this one was "
                        "trained on stereo pairs alone, or on measured depth.")
    clip = request.clip()
    steps, lengths = predicted_steps(request.predictor, clip)
    if not len(steps):
        raise UserError(f"--calibrate speed: {clip.source}: expected a video, or images of one "
                        "size numbered in steps of one, more than the model sees at once; found "
                        f"{len(clip.paths)} images, {sum(clip.follows)} of which follow another.")
    truth = true_lengths(clip, request.value, steps, request.frames_per_second)
    shortest = STANDING * (steps[:, 1] - steps[:, 0])
    measured = factors.of_steps(lengths, truth, shortest)
    if measured is None or measured.count < MIN_STEPS:
        count = 0 if measured is None else measured.count
        raise UserError(f"--calibrate speed: {clip.source}: expected a camera that moves, by "
                        f"{STANDING:g} m a frame or more, in {MIN_STEPS} steps at least; found "
                        f"{count} of {len(steps)} ({np.isnan(truth).sum()} of unknown length). "
                        "Choose a part of the drive in which the vehicle does not stand.")
    return measured, ("measured motion" if steady_speed(request.value) is None else
                      f"a speed of {request.value} m/s")


def predicted_steps(predictor, clip):
    """The lengths of the camera's steps along a clip, at the distance of frames that the model
    learned from.

    Returns: [n, 2] int, earlier and later image, and [n] in the model's unit.
    Raises: UserError: if an image cannot be read.
    """
    gap = predictor.config.data.frame_gap
    starts = [frame for frame, follows in enumerate(clip.follows) if not follows]
    steps, lengths = [np.zeros([0, 2], int)], [np.zeros(0)]
    for start, end in zip(starts, [*starts[1:], len(clip.paths)]):
        frames = np.arange(start, end, gap)
        trajectory = predicted_trajectory(predictor, [clip.paths[frame] for frame in frames])
        if trajectory is not None:
            steps.append(np.stack([frames[:-1], frames[1:]], axis=1))
            lengths.append(np.linalg.norm(relative_motions(trajectory)[:, :3, 3], axis=1))
    return np.concatenate(steps), np.concatenate(lengths)


def _lidar(request):
    clip = request.clip()
    truth = MeasuredDepth(clip, request.value)
    resize = RESIZINGS[request.predictor.system.resized]
    found = []
    for frame, depth in enumerate(request.depths(clip)):
        true_depth = truth.of_frame(frame)
        if true_depth is not None:
            found.append(factors.of_depth_map(resize(depth, clip.sizes[frame]), true_depth))
    frames = [each for each in found if each is not None]
    if not frames:
        raise UserError(f"{truth.folder}: expected {factors.MIN_PIXELS} measured pixels or more in "
                        f"an image; none of {len(found)} maps has so many.")
    return factors.of_frames(frames), "measured depth (LiDAR)"


class Method(NamedTuple):
    """A row of METHODS."""
    measure: Callable   # Request -> factors.Measured, and what it is by, in words
    unit: str           # what is counted; "": exact
    advice: str         # when these disagree


_TRAIN = "or train longer on such images."
METHODS = {
    "stereo_baseline": Method(_stereo_baseline, "", ""),
    "camera_height": Method(
        _camera_height, "images", f"Choose images in which the road is free and flat, {_TRAIN}"),
    "distance": Method(
        _distance, "points", f"Are the pixels and metres right? Choose other points, {_TRAIN}"),
    "speed": Method(
        _speed, "steps", f"Do the times belong to the images? Choose a steady drive, {_TRAIN}"),
    "lidar": Method(_lidar, "images", f"Do the maps belong to the images? Choose others, {_TRAIN}"),
}
