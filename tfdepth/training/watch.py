"""Watches over collapse: signs of life at each line of the log, warnings in plain words."""
import collections
import sys
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdepth.networks.batch_norm import moving_statistics
from tfdepth.systems.signs import SMALLEST_FOCAL_SHIFT

WINDOW_STEPS = 100  # judged is the median of the lines of so many steps, ...
WINDOW_LINES = 3   # ... and of no fewer lines
LEARNT = 200       # steps after which what begins flat and unmoved tells something


class Collapse(NamedTuple):
    """A way to collapse, the sign that shows it, and what is said of it."""
    sign: str        # as in metrics.jsonl
    is_low: bool     # whether values below the limit are bad; else those above it
    limit: float
    first_step: int  # from which it is judged
    found: str       # what is the matter; {} is the median
    advice: str      # likely cause, what to try
    first_share: float = 0.0  # of the run's steps, which have to be done as well


RATE = "try a third of --config.optimizer.learning_rate, or --config.optimizer.clip_norm=1"
FLAT = (f"the learning rate is too high (begin anew: {RATE}), smoothness weighs too much "
        "(--config.system.loss_weights), the camera stands still or only turns, or its intrinsics "
        "are wrong (tools/check_data.py shows how frames differ, and the field of view)")
TOO_CLOSE = ("the camera stands still, only turns, or frames are too close in time (try "
             "--config.data.frame_gap=3; tools/check_data.py shows how frames differ)")

# In this order, as those above bring about those below. Limits are far from the medians that were
# measured over 100 steps, at 64x192, after step 100:
#                                     at limit  outside  automasked  translation  spread
#   with automask, synthetic / KITTI    0-.02    .05/.07   .55/.36    .008/.046   .99/.67
#   without it, synthetic / KITTI         0      .05/.11      -       .030/.071   .66/.72
#   without it, as published, step 300    0        .07        -         .064      .021, falling
#   with it, learning rate x 3          0-.44      .06    .50-.54   .006-.054     1.2-3.1, recovers
#   with it, learning rate x 10           1      .05-1    .68-.86    .02-28       .000
#   with it, smoothness x 10 000          1        .03     .6-.75       .016      .000
#   without it, learning rate x 20        1        .02        -     .000-.001     .000
#   without it, one frame with noise      1        .02        -         .000      .000
# A focal length of a tenth is no collapse: depth spreads (.32), rotation is ten times too large.
COLLAPSES = (
    Collapse("watch/at_limit_share", False, 0.75, 0,
             "{:.0%} of the pixels have the smallest or largest depth that the network can say, "
             "and hardly learn any more", FLAT),
    Collapse("watch/outside_share", False, 0.5, 0,
             "{:.0%} of the pixels are looked for outside the neighbouring frames",
             "the camera's intrinsics are wrong (tools/check_data.py shows the field of view), "
             "frames are too far apart (--config.data.frame_gap), or the learning rate is too "
             f"high ({RATE})"),
    Collapse("watch/automasked_share", False, 0.95, LEARNT,
             "{:.0%} of the pixels are taken for standing still, and do not train", TOO_CLOSE),
    Collapse("watch/translation_by_depth", True, 0.001, LEARNT,
             "the camera is predicted to stay where it is (it moves by {:.2%} of the median depth)",
             TOO_CLOSE),
    Collapse("watch/depth_spread", True, 0.005, LEARNT,
             "depth is the same all over an image (it differs by {:.1%})", FLAT,
             first_share=0.02),  # published long trainings begin flat
    Collapse("watch/focal_shift_px", True, SMALLEST_FOCAL_SHIFT, LEARNT,
             "the camera turns too little to tell its focal length (one that is 5 % off moves no "
             "pixel by more than {:.3f})", "a drive without bends, or frames that are too close or "
             "too small (try --config.data.frame_gap=3, or a larger --config.data.size); a run "
             "that ends so writes no camera file", first_share=0.2),
)


def make_signs(strategy, system):
    """Compiles the measurement of a system's signs, see `System.signs`.

    The networks run as in training, by the statistics of the batch itself: running ones lag behind
    for hundreds of steps. What batch normalisation keeps of that run is put back, so that a run
    learns the same, bit for bit, however often it is measured.

    Args: strategy: tf.distribute.Strategy in whose scope the system was made. system: System with
      its variables created.
    Returns: a function Batch (distributed) -> {"watch/name": float}, means over the replicas; and
      what cameras that are learned have come to, {"camera/name": float}.
    """
    def signs_of(batch):
        kept = [(variable, tf.identity(variable)) for variable in moving_statistics(system)]
        batch = system.with_cameras(batch)
        signs = system.signs(batch, system.forward(batch, training=True))
        for variable, value in kept:
            variable.assign(value)
        return signs

    @tf.function(autograph=False)
    def measure(batch):
        signs = strategy.run(signs_of, args=(batch,))
        return {name: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
                for name, value in signs.items()}

    return lambda batch: {
        **{f"watch/{name}": float(value) for name, value in measure(batch).items()},
        **_learned_cameras(system)}


def _learned_cameras(system):
    """{"camera/name": float}, focal length and principal point, pixels of the pictures, of the
    cameras that a system learns; of several with the camera's name."""
    found = system.cameras.intrinsics() if system.cameras else {}
    return {f"camera/{f'{camera}/' * (len(found) > 1)}{name}": float(matrix[place])
            for camera, matrix in found.items()
            for name, place in (("focal_length", (0, 0)), ("cx", (0, 2)), ("cy", (1, 2)))}


class CollapseWatch:
    """Warns, once each, of the COLLAPSES that the last lines of the log show."""

    def __init__(self, num_steps):
        """Args: num_steps: of the whole run."""
        self._num_steps = num_steps
        self._lines, self._warned = collections.deque(), set()

    def add(self, step, signs):
        """Args: step: steps that are done. signs: {name: float} of its batch, as `make_signs` gives
        them; what is not finite does not count."""
        lines = self._lines
        lines.append((step, signs))
        while len(lines) > WINDOW_LINES and lines[1][0] <= step - WINDOW_STEPS:
            lines.popleft()
        if len(lines) < WINDOW_LINES or step - lines[0][0] < WINDOW_STEPS:
            return
        for collapse in COLLAPSES:
            median = self._median(collapse.sign)
            first = max(collapse.first_step, collapse.first_share * self._num_steps)
            if step < first or not (
                    median < collapse.limit if collapse.is_low else median > collapse.limit):
                continue
            if collapse not in self._warned:
                self._warned.add(collapse)
                print(f"warning: step {step}: {collapse.found.format(median)}; in metrics.jsonl "
                      f"{collapse.sign}. Likely {collapse.advice}.", file=sys.stderr)
            return

    def _median(self, sign):
        """Over the window; NaN, which is neither low nor high, of a sign that is not there."""
        values = [signs.get(sign, np.nan) for _, signs in self._lines]
        finite = [value for value in values if np.isfinite(value)]
        return float(np.median(finite)) if finite else np.nan
