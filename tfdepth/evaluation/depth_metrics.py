"""How far predicted depth is from measured depth, under the published protocols.

h, w: size of the prediction; H, W: size of the measured depth (`truth`). Depth is in metres along
the optical axis; 0 in `truth` means not measured. Everything is float64. A protocol is a row of
PROTOCOLS: a new one is a new row.
"""
import dataclasses
from typing import Dict, Iterable, NamedTuple, Optional, Tuple

import numpy as np

from tfdepth.checks import UserError, check_choice, check_shape
from tfdepth.data.crops import kb_crop
from tfdepth.evaluation.resizing import RESIZINGS, Pixels


class DepthMetrics(NamedTuple):
    """All metrics of predicted depth p against truth t; a protocol says which it reports."""
    abs_rel: float      # mean |p - t| / t
    sq_rel: float       # mean (p - t)^2 / t, metres
    rmse: float         # metres
    rmse_log: float     # of natural logarithms
    a1: float           # share of pixels with max(p/t, t/p) < 1.25
    a2: float           # ... < 1.25^2
    a3: float           # ... < 1.25^3
    silog: float        # 100 std(log p - log t): a global factor costs nothing
    log10: float        # mean |log10 p - log10 t|
    log10_rms: float    # root mean square of the same


STANDARD_METRICS = DepthMetrics._fields[:7]  # of Eigen et al., NeurIPS 2014, section 4.2
HIGHER_IS_BETTER = ("a1", "a2", "a3")        # of the others lower is better


@dataclasses.dataclass(frozen=True)
class Crop:
    """A rectangle in shares of the image size; pixel edges are rounded down."""
    top: float
    bottom: float
    left: float
    right: float


# Garg et al., ECCV 2016, as every KITTI paper since uses it.
GARG_CROP = Crop(top=0.40810811, bottom=0.99189189, left=0.03594771, right=0.96405229)
# The part of NYU's 480 x 640 pixels that papers score; bts_eval.py of BTS.
NYU_CROP = Crop(top=45 / 480, bottom=471 / 480, left=41 / 640, right=601 / 640)


@dataclasses.dataclass(frozen=True)
class DepthProtocol:
    """Which pixels count, and what happens to a prediction before it is compared."""
    name: str
    about: str                        # one line for help texts and tables
    frames: str = ""                  # the data it is for: eigen, improved, make3d or nyu; "" = a
    #                                   run's own test drives
    min_depth: float = 1e-3           # metres; predictions are clamped to min_depth..max_depth
    max_depth: float = 80.0
    crop: Optional[Crop] = None       # None: the whole image
    kb_crop: bool = False             # networks see kb_crop() of the image; elsewhere predict 0
    caps_truth: bool = True           # only min_depth < truth < max_depth counts; else truth > 0
    median_scaling: bool = True       # prediction * median(truth) / median(prediction); without
    #                                   it predictions must be in metres
    moving_only: bool = False         # metrics over what moves by itself; all pixels set the scale
    resized: str = "depth"            # a row of RESIZINGS: what is brought to the size of truth
    metrics: Tuple[str, ...] = STANDARD_METRICS    # fields of DepthMetrics to report


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


def _table(*protocols: DepthProtocol) -> Dict[str, DepthProtocol]:
    return {protocol.name: protocol for protocol in protocols}


PROTOCOLS = _table(
    DepthProtocol("depth", "any measured depth, whole image, 0-80 m, median scaling"),
    DepthProtocol("depth_metres", "any measured depth, whole image, 0-80 m, metres as predicted",
                  median_scaling=False),
    DepthProtocol("depth_moving", "the same over the pixels of what moves by itself; the scale is "
                  "that of all pixels", moving_only=True),
    DepthProtocol("eigen", "Eigen split as SfMLearner scores it: Garg crop, 80 m",
                  frames="eigen", crop=GARG_CROP),
    DepthProtocol("eigen_50m", "the same up to 50 m", frames="eigen", crop=GARG_CROP,
                  max_depth=50.0),
    DepthProtocol("eigen_monodepth2", "Eigen split as Monodepth2 scores it: Garg crop, 80 m",
                  frames="eigen", crop=GARG_CROP, resized="disparity"),
    DepthProtocol("eigen_monodepth2_50m", "the same up to 50 m", frames="eigen", crop=GARG_CROP,
                  max_depth=50.0, resized="disparity"),
    DepthProtocol("eigen_stereo", "Eigen split as Monodepth2 scores models trained with stereo "
                  "pairs: metres as predicted", frames="eigen", crop=GARG_CROP,
                  median_scaling=False, resized="disparity"),
    DepthProtocol("improved", "KITTI's improved ground truth as Monodepth2 scores it: whole "
                  "image, predictions up to 80 m", frames="improved", caps_truth=False,
                  resized="disparity"),
    DepthProtocol("improved_stereo", "the same for models trained with stereo pairs: metres as "
                  "predicted", frames="improved", caps_truth=False, median_scaling=False,
                  resized="disparity"),
    DepthProtocol("bts", "KITTI's improved ground truth as BTS scores it: KB crop of the image, "
                  "Garg crop, 80 m, metres as predicted", frames="improved", crop=GARG_CROP,
                  kb_crop=True, median_scaling=False),
    DepthProtocol("make3d", "Make3D as Monodepth2 scores it: truth below 70 m (C1), median "
                  "scaling", frames="make3d", min_depth=0.0, max_depth=70.0, resized="nearest",
                  metrics=("abs_rel", "sq_rel", "rmse", "log10_rms", "log10")),
    DepthProtocol("nyu", "NYU depth as BTS scores it: its crop, 10 m, metres as predicted",
                  frames="nyu", max_depth=10.0, crop=NYU_CROP, median_scaling=False,
                  metrics=(*STANDARD_METRICS, "silog", "log10")),
)


def find_protocol(name: str) -> DepthProtocol:
    """The row of PROTOCOLS called `name`.

    Raises:
      UserError: there is none; the message lists those that are.
    """
    check_choice("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def counted_pixels(truth: np.ndarray, protocol: DepthProtocol) -> Pixels:
    """Which pixels of `truth` [H, W] count under `protocol`: rows [N] and columns [N], in reading
    order."""
    rows, columns = np.nonzero(truth != 0)
    values = truth[rows, columns].astype(np.float64)
    low, high = (protocol.min_depth, protocol.max_depth) if protocol.caps_truth else (0.0, np.inf)
    counts = (values > low) & (values < high)
    if protocol.crop is not None:
        height, width = truth.shape
        top, bottom = int(protocol.crop.top * height), int(protocol.crop.bottom * height)
        left, right = int(protocol.crop.left * width), int(protocol.crop.right * width)
        counts &= (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return rows[counts], columns[counts]


def depth_metrics(depth: np.ndarray, truth: np.ndarray) -> DepthMetrics:
    """All metrics of positive depths at pixels that count.

    Args:
      depth, truth: [N], metres, > 0, N > 0.

    Raises:
      ValueError: the shapes differ from the above.

    Source: Eigen et al., NeurIPS 2014, section 4.2; rmse_log in natural logarithms, the
      thresholds strict, as in the evaluation code of SfMLearner and Monodepth2. silog and log10
      as in that of BTS; log10_rms as posted for Make3D by the author of Monodepth2.
    """
    check_shape("depth", depth, ["N"])
    check_shape("truth", truth, list(depth.shape))
    depth, truth = np.asarray(depth, np.float64), np.asarray(truth, np.float64)
    error = depth - truth
    log_error = np.log(depth) - np.log(truth)
    rmse_log = float(np.sqrt(np.mean(log_error**2)))
    factor = np.maximum(depth / truth, truth / depth)
    return DepthMetrics(
        abs_rel=float(np.mean(np.abs(error) / truth)),
        sq_rel=float(np.mean(error**2 / truth)),
        rmse=float(np.sqrt(np.mean(error**2))),
        rmse_log=rmse_log,
        a1=float(np.mean(factor < 1.25)),
        a2=float(np.mean(factor < 1.25**2)),
        a3=float(np.mean(factor < 1.25**3)),
        silog=100 * float(np.std(log_error)),
        log10=float(np.mean(np.abs(log_error)) / np.log(10)),
        log10_rms=rmse_log / float(np.log(10)))


def evaluate_image(name: str, depth: np.ndarray, truth: np.ndarray,
                   protocol: DepthProtocol, scored: Optional[np.ndarray] = None) -> ImageDepth:
    """Scores one prediction.

    Args:
      name: of the image, for messages and reports.
      depth: [h, w] predicted depth at the network's size (or any other), > 0; of the whole image,
        or of its KB crop if the protocol says so. Then a map of the size of `truth` is one of the
        whole image, and may hold 0, infinity and NaN, which are clamped.
      truth: [H, W] measured depth in metres, 0 = not measured.
      protocol: a row of PROTOCOLS, or one of your own.
      scored: [H, W] bool, which of the pixels that count have metrics; all of them decide the
        scale. None: all.

    Returns:
      Metrics and scale ratio; both are None when no pixel of `truth` counts, or none is scored.

    Raises:
      ValueError: a shape differs from the above.
      UserError: a predicted depth is not a positive finite number, a measured one is negative
        or not finite, or the image is too small for the protocol's KB crop.

    Source: eval_depth.py of SfMLearner, evaluate_depth.py of Monodepth2, bts_eval.py of BTS.
    """
    check_shape("depth", depth, ["h", "w"])
    check_shape("truth", truth, ["H", "W"])
    check_choice("resized", protocol.resized, RESIZINGS)
    depth, truth = np.asarray(depth), np.asarray(truth)
    if protocol.kb_crop and depth.shape == truth.shape:  # as published, pasted into zeros
        depth = np.clip(np.nan_to_num(depth, nan=protocol.min_depth), protocol.min_depth,
                        protocol.max_depth)
    _refuse(name, "predicted", "positive and finite", depth, ~(np.isfinite(depth) & (depth > 0)))
    _refuse(name, "measured", "finite, 0 or more", truth, ~(np.isfinite(truth) & (truth >= 0)))
    pixels = counted_pixels(truth, protocol)
    scored = np.ones_like(truth, bool) if scored is None else np.asarray(scored, bool)
    check_shape("scored", scored, list(truth.shape))
    scored = scored[pixels]                                         # [pixels that count]
    num_pixels = int(scored.sum())
    if num_pixels == 0:
        return ImageDepth(name, 0, None, None)
    depth = _predicted_at(pixels, depth, truth.shape, protocol)     # [pixels that count]
    truth = truth[pixels].astype(np.float64)
    ratio = float(np.median(truth) / np.median(depth))
    scaled = depth * ratio if protocol.median_scaling else depth
    clamped = np.clip(scaled, protocol.min_depth, protocol.max_depth)
    return ImageDepth(name, num_pixels, depth_metrics(clamped[scored], truth[scored]), ratio)


def _predicted_at(pixels: Pixels, depth: np.ndarray, size: Tuple[int, int],
                  protocol: DepthProtocol) -> np.ndarray:
    resize = RESIZINGS[protocol.resized]
    if not protocol.kb_crop or depth.shape == size:
        return resize(depth, size, pixels)
    rows, columns = pixels
    top, left, height, width = kb_crop(size)
    seen = (rows >= top) & (columns >= left) & (columns < left + width)
    values = np.full(len(rows), protocol.min_depth)  # 0, clamped
    values[seen] = resize(depth, (height, width), (rows[seen] - top, columns[seen] - left))
    return values


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
