"""Measures the factor from a model's unit to metres, and stores it with the run: --calibrate.

A method is a function that gives the factor and how sure it is; `calibrate` does the rest. Every
method compares what the model predicts of the user's images with what the user knows, but for
`stereo_baseline`, which follows from how the model was trained.
"""
import os
from typing import Callable, NamedTuple

import numpy as np

from tfdepth.checks import UserError, check_choice
from tfdepth.data import files
from tfdepth.geometry.ground import COLUMNS, MAX_TILT, MIN_SHARE, ROWS
from tfdepth.inference import NO_MOTION, load_predictor
from tfdepth.prediction import factors
from tfdepth.prediction.observing import observe_depth, observe_motion
from tfdepth.prediction.running import no_camera
from tfdepth.prediction.trajectory import check_rate
from tfdepth.prediction.true_depth import MeasuredDepth, read_distances
from tfdepth.prediction.true_motion import steady_speed, true_lengths
from tfdepth.runs.checkpoints import fingerprint
from tfdepth.runs.folder import RunFolder
from tfdepth.runs.scale import Scale, write_scale
from tfdepth.systems.base import PRECISIONS

MAX_SPREAD = 0.25    # of the factors of frames, steps or pixels; more is no calibration
MIN_STEPS = 5        # moving ones, of `speed`
FLAT = 0.02          # deviation of log depth within images; of streets it is 0.3 and more
STANDING = 0.05      # metres a frame; what moves less counts as standing


class Request(NamedTuple):
    """What a method gets."""
    predictor: object          # Predictor in the model's own unit
    model: str                 # its run folder
    value: str                 # behind "METHOD="; "" = none
    source: str                # --input
    camera: str                # --intrinsics
    frames_per_second: float   # 0 = unknown
    show: Callable             # takes lines of text for the user

    def frames(self):
        """Yields `ObservedFrame` of each image; warns behind the last if the depth of all is flat.
        `speed` looks at motion and does not come by here."""
        spread = 0.0
        for frame in observe_depth(self.predictor, self.source, self.camera, self.model):
            spread = max(spread, np.std(np.log(frame.network_depth)))
            yield frame
        if spread < FLAT:
            self.show(f"warning: depth varies by {spread:.1%} within an image: this is a wall, or "
                      f"the model, of step {self.predictor.step}, has hardly learned, and then no "
                      "factor makes metres of its depth")

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
    check_rate(frames_per_second)
    row = METHODS[name]
    predictor = load_predictor(model, precision, calibrated=False)
    measured, what = row.measure(
        Request(predictor, model, value, source, camera, frames_per_second, show))
    counted = f"{measured.count} {row.unit}{'s' * (measured.count != 1)}"
    if (measured.spread or 0.0) > MAX_SPREAD:
        raise UserError(
            f"--calibrate {method}: expected {row.unit}s that agree on the scale, with a median "
            f"deviation within {MAX_SPREAD:.0%}; found {measured.spread:.0%} over {counted}. "
            f"{row.advice} Nothing was stored.")
    known = "spread not known" if measured.spread is None else f"spread {measured.spread:.1%}"
    origin = f"{what} ({counted}, {known})" if row.unit else f"{what} (exact)"
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
    found = []
    for frame in request.frames():
        if frame.intrinsics is None:
            raise no_camera("--calibrate camera_height", request.source)
        found.append(factors.of_camera_height(frame.network_depth, frame.intrinsics, metres))
    ratios = [factor for factor in found if factor is not None]
    if 2 * len(ratios) < len(found):
        raise UserError(
            f"--calibrate camera_height: {request.source}: expected the ground in the lower middle "
            f"of the images (rows from {ROWS[0]:.0%} on, columns {COLUMNS[0]:.0%} to "
            f"{COLUMNS[1]:.0%}), a plane of {MIN_SHARE:.0%} of the pixels there within "
            f"{MAX_TILT:g} degrees of level; found it in {len(ratios)} of {len(found)} images. "
            "Choose images of a free road, taken upright, or train longer. Nothing was stored.")
    return factors.of_ratios(ratios), f"a camera height of {metres:g} m over the ground"


def _distance(request):
    distances = read_distances(request.value)
    ratios, frames = [], []
    for frame in request.frames():
        height, width = frame.depth.shape
        frames.append(frame.name)
        for each in distances:
            if each.name not in (None, frame.name):
                continue
            if not (0 <= each.x <= width - 1 and 0 <= each.y <= height - 1):
                raise UserError(f"{each.where}: expected a pixel of the {width} x {height} image, "
                                f"0,0 to {width - 1},{height - 1}; found {each.x:g},{each.y:g}.")
            ratios.append(each.metres / frame.depth[round(each.y), round(each.x)])
    for each in distances:
        if each.name is None and len(frames) > 1:
            raise UserError(f"{each.where}: expected one image, or distance=FILE with lines "
                            f"IMAGE,X,Y,METRES; found {len(frames)} images in {request.source}.")
        if each.name is not None and each.name not in frames:
            raise UserError(f"{each.where}: expected the name of an image of {request.source} "
                            f"({files.listing(frames, 3)}); found {each.name[:60]!r}.")
    return factors.of_ratios(ratios), "known distances along the optical axis"


def _speed(request):
    if not request.predictor.system.predicts_motion:
        raise UserError(f"--calibrate speed: {NO_MOTION}")
    seen = observe_motion(request.predictor, request.source, request.camera, request.model)
    if not len(seen.steps):
        raise UserError(f"--calibrate speed: {request.source}: expected a video, or images of one "
                        "size numbered without gaps, as many as the model sees at once; found none "
                        f"in {len(seen.names)} images.")
    truth = true_lengths(request.value, request.source, seen.names, seen.numbers, seen.steps,
                         request.frames_per_second or seen.rate)
    shortest = STANDING * (seen.steps[:, 1] - seen.steps[:, 0])
    measured = factors.of_steps(seen.lengths, truth, shortest)
    if measured is None or measured.count < MIN_STEPS:
        raise UserError(f"--calibrate speed: {request.source}: expected a camera that moves, by "
                        f"{STANDING:g} m a frame or more, in {MIN_STEPS} steps at least; found "
                        f"{0 if measured is None else measured.count} of {len(truth)} "
                        f"({np.isnan(truth).sum()} of unknown length). Choose a part of the drive "
                        "in which the vehicle does not stand.")
    speed = steady_speed(request.value)
    return measured, "measured motion" if speed is None else f"a speed of {speed:g} m/s"


def _lidar(request):
    truth = MeasuredDepth(request.source, request.value)
    found, names = [], []
    for frame in request.frames():
        names.append(frame.name)
        true_depth = truth.of_frame(frame.name, frame.depth.shape)
        if true_depth is not None:
            found.append(factors.of_depth_map(frame.depth, true_depth))
    measured = [each for each in found if each is not None]
    if not measured:
        raise UserError(f"{truth.folder}: expected files named as the images "
                        f"({files.listing(names, 2)}), with {factors.MIN_PIXELS} measured pixels "
                        f"or more; found {len(found)} of these names.")
    return factors.of_frames(measured), "measured depth (LiDAR)"


class Method(NamedTuple):
    """A row of METHODS."""
    measure: Callable   # Request -> factors.Measured, and what it is by, in words
    unit: str           # one of what is counted; "": exact
    advice: str         # when these disagree


_TRAIN = "or train longer on such images."
METHODS = {
    "stereo_baseline": Method(_stereo_baseline, "", ""),
    "camera_height": Method(
        _camera_height, "image", f"Choose images in which the road is free and flat, {_TRAIN}"),
    "distance": Method(
        _distance, "point", f"Are the pixels and metres right? Choose other points, {_TRAIN}"),
    "speed": Method(
        _speed, "step", f"Do the times belong to the images? Choose a steady drive, {_TRAIN}"),
    "lidar": Method(_lidar, "image", f"Do the maps belong to the images? Choose others, {_TRAIN}"),
}
