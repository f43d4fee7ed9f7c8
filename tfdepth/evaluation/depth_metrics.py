"""How far predicted depth is from measured depth, under the published protocols.

h, w: size of the prediction; H, W: size of the measured depth (`truth`). Depth is in metres along
the optical axis; 0 in `truth` means not measured. Everything is float64. A protocol is a row of
PROTOCOLS: a new one is a new row.
"""
import dataclasses
from typing import Callable, Dict, Iterable, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from tfdepth.checks import UserError, check_choice, check_shape


class DepthMetrics(NamedTuple):
    """The seven metrics of Eigen et al., NeurIPS 2014, section 4.2."""
    abs_rel: float     # mean |p - t| / t
    sq_rel: float      # mean (p - t)^2 / t, metres
    rmse: float        # metres
    rmse_log: float    # of natural logarithms
    a1: float          # share of pixels with max(p/t, t/p) < 1.25
    a2: float          # ... < 1.25^2
    a3: float          # ... < 1.25^3


HIGHER_IS_BETTER = ("a1", "a2", "a3")  # of the seven; of the others lower is better


@dataclasses.dataclass(frozen=True)
class Crop:
    """A rectangle in shares of the image size; pixel edges are rounded down."""
    top: float
    bottom: float
    left: float
    right: float


# Garg et al., ECCV 2016, as every KITTI paper since uses it.
GARG_CROP = Crop(top=0.40810811, bottom=0.99189189, left=0.03594771, right=0.96405229)


@dataclasses.dataclass(frozen=True)
class DepthProtocol:
    """Which pixels count, and what happens to a prediction before it is compared."""
    name: str
    about: str                        # one line for help texts and tables
    min_depth: float = 1e-3           # metres; predictions are clamped to min_depth..max_depth
    max_depth: float = 80.0
    crop: Optional[Crop] = None       # None: the whole image
    caps_truth: bool = True           # only min_depth < truth < max_depth counts; else truth > 0
    median_scaling: bool = True       # prediction * median(truth) / median(prediction)
    moving_only: bool = False         # metrics over what moves by itself; all pixels set the scale
    resized: str = "depth"            # a row of RESIZINGS: what is brought to the size of truth


class ImageDepth(NamedTuple):
    """One evaluated image."""
    name: str
    num_pixels: int                   # that count
    metrics: Optional[DepthMetrics]   # None when no pixel counts
    ratio: Optional[float]            # median(truth) / median(prediction) before clamping;
    #                                   measured always, applied if the protocol says so


class DepthEvaluation(NamedTuple):
    """A set of images. Nothing is left out silently: `unmeasured` names what has no metrics."""
    protocol: str
    metrics: Optional[DepthMetrics]   # mean over images; None when no image has a valid pixel
    ratio_median: Optional[float]     # of the images' scale ratios
    ratio_spread: Optional[float]     # std(ratios) / median(ratios); 0 = one scale fits all
    num_images: int                   # that have metrics
    unmeasured: Tuple[str, ...]       # names of images in which no pixel counts
    images: Tuple[ImageDepth, ...]    # every image, in the order of evaluation


def resize_bilinear(values: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Bilinear resize [h, w] -> [H, W] with half-pixel centres, border clamped, no smoothing.

    Args:
      values: [h, w].
      size: (H, W).

    Source: u = (u' + 0.5) w / W - 0.5, the rule of OpenCV's INTER_LINEAR.
    """
    check_shape("values", values, ["h", "w"])
    rows_above, rows_below, row_shares = _neighbours(values.shape[0], size[0])
    left, right, column_shares = _neighbours(values.shape[1], size[1])
    values = np.asarray(values, np.float64)
    row_shares = row_shares[:, np.newaxis]
    tall = values[rows_above] * (1 - row_shares) + values[rows_below] * row_shares  # [H, w]
    return tall[:, left] * (1 - column_shares) + tall[:, right] * column_shares     # [H, W]


def _neighbours(old: int, new: int):
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    before = np.floor(centres).astype(int)
    return before, np.minimum(before + 1, old - 1), centres - before


def resize_nearest(values: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Nearest-pixel resize [h, w] -> [H, W] with half-pixel centres; keeps holes (0) as they are.

    Args:
      values: [h, w].
      size: (H, W).
    """
    check_shape("values", values, ["h", "w"])
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int)
                     for old, new in zip(values.shape, size))
    return values[rows[:, np.newaxis], columns]


def _resize_inverse(depth: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    return 1.0 / resize_bilinear(1.0 / np.asarray(depth, np.float64), size)


RESIZINGS: Mapping[str, Callable] = {
    "depth": resize_bilinear,         # SfMLearner
    "disparity": _resize_inverse,     # Monodepth2: 1/depth is resized, then inverted
}


def _table(*protocols: DepthProtocol) -> Dict[str, DepthProtocol]:
    return {protocol.name: protocol for protocol in protocols}


PROTOCOLS = _table(
    DepthProtocol("depth", "any measured depth, whole image, 0-80 m, median scaling"),
    DepthProtocol("depth_moving", "the same over the pixels of what moves by itself; the scale is "
                  "that of all pixels", moving_only=True),
    DepthProtocol("eigen", "Eigen split as SfMLearner scores it: Garg crop, 80 m",
                  crop=GARG_CROP),
    DepthProtocol("eigen_50m", "the same up to 50 m", crop=GARG_CROP, max_depth=50.0),
    DepthProtocol("eigen_monodepth2", "Eigen split as Monodepth2 scores it: Garg crop, 80 m",
                  crop=GARG_CROP, resized="disparity"),
    DepthProtocol("eigen_monodepth2_50m", "the same up to 50 m", crop=GARG_CROP,
                  max_depth=50.0, resized="disparity"),
    DepthProtocol("improved", "KITTI's improved ground truth as Monodepth2 scores it: whole "
                  "image, predictions up to 80 m", caps_truth=False, resized="disparity"),
)


def find_protocol(name: str) -> DepthProtocol:
    """The row of PROTOCOLS called `name`.

    Raises:
      UserError: there is none; the message lists those that are.
    """
    check_choice("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def valid_pixels(truth: np.ndarray, protocol: DepthProtocol) -> np.ndarray:
    """Which pixels of `truth` [H, W] count under `protocol`: [H, W] bool."""
    low, high = (protocol.min_depth, protocol.max_depth) if protocol.caps_truth else (0.0, np.inf)
    valid = (truth > low) & (truth < high)
    if protocol.crop is not None:
        height, width = truth.shape
        inside = np.zeros_like(valid)
        inside[int(protocol.crop.top * height):int(protocol.crop.bottom * height),
               int(protocol.crop.left * width):int(protocol.crop.right * width)] = True
        valid &= inside
    return valid


def depth_metrics(depth: np.ndarray, truth: np.ndarray) -> DepthMetrics:
    """The seven metrics of positive depths at pixels that count.

    Args:
      depth, truth: [N], metres, > 0, N > 0.

    Raises:
      ValueError: the shapes differ from the above.

    Source: Eigen et al., NeurIPS 2014, section 4.2; rmse_log in natural logarithms, the
      thresholds strict, as in the evaluation code of SfMLearner and Monodepth2.
    """
    check_shape("depth", depth, ["N"])
    check_shape("truth", truth, list(depth.shape))
    depth, truth = np.asarray(depth, np.float64), np.asarray(truth, np.float64)
    error = depth - truth
    factor = np.maximum(depth / truth, truth / depth)
    return DepthMetrics(
        abs_rel=float(np.mean(np.abs(error) / truth)),
        sq_rel=float(np.mean(error**2 / truth)),
        rmse=float(np.sqrt(np.mean(error**2))),
        rmse_log=float(np.sqrt(np.mean((np.log(depth) - np.log(truth))**2))),
        a1=float(np.mean(factor < 1.25)),
        a2=float(np.mean(factor < 1.25**2)),
        a3=float(np.mean(factor < 1.25**3)))


def evaluate_image(name: str, depth: np.ndarray, truth: np.ndarray,
                   protocol: DepthProtocol, scored: Optional[np.ndarray] = None) -> ImageDepth:
    """Scores one prediction.

    Args:
      name: of the image, for messages and reports.
      depth: [h, w] predicted depth at the network's size (or any other), > 0.
      truth: [H, W] measured depth in metres, 0 = not measured.
      protocol: a row of PROTOCOLS, or one of your own.
      scored: [H, W] bool, which of the pixels that count have metrics; all of them decide the
        scale. None: all.

    Returns:
      Metrics and scale ratio; both are None when no pixel of `truth` counts, or none is scored.

    Raises:
      ValueError: a shape differs from the above.
      UserError: a predicted depth is not a positive finite number, or a measured one is negative
        or not finite.

    Source: eval_depth.py of SfMLearner, evaluate_depth.py of Monodepth2.
    """
    check_shape("depth", depth, ["h", "w"])
    check_shape("truth", truth, ["H", "W"])
    check_choice("resized", protocol.resized, RESIZINGS)
    depth, truth = np.asarray(depth, np.float64), np.asarray(truth, np.float64)
    _refuse(name, "predicted", "positive and finite", depth, ~(np.isfinite(depth) & (depth > 0)))
    _refuse(name, "measured", "finite, 0 or more", truth, ~(np.isfinite(truth) & (truth >= 0)))
    valid = valid_pixels(truth, protocol)
    scored = np.ones_like(valid) if scored is None else np.asarray(scored, bool)
    check_shape("scored", scored, list(truth.shape))
    scored = scored[valid]                                          # [pixels that count]
    num_pixels = int(scored.sum())
    if num_pixels == 0:
        return ImageDepth(name, 0, None, None)
    depth = RESIZINGS[protocol.resized](depth, truth.shape)[valid]  # [pixels that count]
    truth = truth[valid]
    ratio = float(np.median(truth) / np.median(depth))
    scaled = depth * ratio if protocol.median_scaling else depth
    clamped = np.clip(scaled, protocol.min_depth, protocol.max_depth)
    return ImageDepth(name, num_pixels, depth_metrics(clamped[scored], truth[scored]), ratio)


def _refuse(name: str, kind: str, rule: str, values: np.ndarray, wrong: np.ndarray):
    if wrong.any():
        raise UserError(f"{name}: {kind} depth must be {rule}; {int(wrong.sum())} of {wrong.size} "
                        f"pixels are not, the first is {values[wrong][0]:g}.")


def evaluate_depth(samples: Iterable[Tuple],
                   protocol: DepthProtocol) -> DepthEvaluation:
    """Scores a set of images: metrics of each image first, then their mean over images.

    Args:
      samples: (name, depth [h, w], truth [H, W]), or with `scored` [H, W] behind, of every image;
        see `evaluate_image`. Sizes may differ from image to image; an iterator is read once, one
        image at a time.
      protocol: a row of PROTOCOLS, or one of your own.

    Raises:
      UserError: as `evaluate_image`.
    """
    images = tuple(evaluate_image(name, depth, truth, protocol, *scored)
                   for name, depth, truth, *scored in samples)
    measured = [image for image in images if image.metrics is not None]
    unmeasured = tuple(image.name for image in images if image.metrics is None)
    if not measured:
        return DepthEvaluation(protocol.name, None, None, None, 0, unmeasured, images)
    ratios = np.array([image.ratio for image in measured])
    return DepthEvaluation(
        protocol=protocol.name,
        metrics=DepthMetrics(*np.mean([image.metrics for image in measured], axis=0).tolist()),
        ratio_median=float(np.median(ratios)),
        ratio_spread=float(np.std(ratios) / np.median(ratios)),
        num_images=len(measured),
        unmeasured=unmeasured,
        images=images)
