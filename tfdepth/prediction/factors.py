"""The factor from a model's unit to metres, from what it predicts and what is true: arrays only.

Shape letters: N frames, n steps, H rows, W columns.
"""
from typing import NamedTuple, Optional, Sequence

import numpy as np

from tfdepth.checks import check_shape
from tfdepth.geometry.ground import fit_ground

MIN_PIXELS = 20   # with measured depth, of a frame that counts


class Measured(NamedTuple):
    """A factor, and how well it is known."""
    factor: float             # metres = factor x the model's unit
    count: int                # of what was compared
    spread: Optional[float]   # median absolute deviation by the median; None of a single one


def of_ratios(ratios: Sequence[float]) -> Measured:
    """The median of true / predicted lengths.

    Args: ratios: at least one; infinite where something of length 0 was predicted.
    Returns: a factor and a spread that are infinite where half of the ratios are.
    """
    ratios = np.asarray(ratios, np.float64)
    factor = float(np.median(ratios))
    if not np.isfinite(factor):
        return Measured(factor, len(ratios), np.inf)
    spread = float(np.median(np.abs(ratios - factor)) / factor) if len(ratios) > 1 else None
    return Measured(factor, len(ratios), spread)


def of_depth_map(depth: np.ndarray, true_depth: np.ndarray) -> Optional[Measured]:
    """Of the measured pixels of one frame.

    Args: depth: [H, W] > 0. true_depth: [H, W] metres, 0 = not measured.
    Returns: None of fewer than MIN_PIXELS.
    Raises: ValueError: if the shapes differ.
    """
    check_shape("depth", depth, ["H", "W"])
    check_shape("true_depth", true_depth, depth.shape)
    valid = true_depth > 0
    if valid.sum() < MIN_PIXELS:
        return None
    return of_ratios(true_depth[valid] / depth[valid])


def of_frames(frames: Sequence[Measured]) -> Measured:
    """The median over N frames; its spread is that over frames or the median one within a frame,
    whichever is larger: what frames have in common, and what a frame knows, both limit it.
    """
    over_frames = of_ratios([frame.factor for frame in frames])
    within = float(np.median([frame.spread for frame in frames]))
    return over_frames._replace(spread=max(within, over_frames.spread or 0.0))


def of_camera_height(depth: np.ndarray, intrinsics: np.ndarray, metres: float) -> Optional[float]:
    """Of one frame in which the ground is seen.

    Args: depth: [H, W] > 0. intrinsics: [3, 3], pixels of it. metres: of the camera over the
      ground.
    Returns: the factor; None where no ground is found, see `fit_ground`.
    """
    ground = fit_ground(depth, intrinsics)
    return None if ground is None else metres / ground.height


def of_steps(lengths: np.ndarray, true_lengths: np.ndarray, shortest: np.ndarray,
             ) -> Optional[Measured]:
    """Of steps of the camera.

    Args:
      lengths: [n] predicted.
      true_lengths: [n] metres; NaN = not known.
      shortest: [n] metres; a shorter step says nothing but the noise of the measurement.

    Returns: None if no step is known and as long.
    Raises: ValueError: if the shapes differ.
    """
    check_shape("lengths", lengths, ["n"])
    check_shape("true_lengths", true_lengths, lengths.shape)
    moving = true_lengths >= shortest                                         # False of NaN
    if not moving.any():
        return None
    with np.errstate(divide="ignore"):
        return of_ratios(true_lengths[moving] / lengths[moving])
