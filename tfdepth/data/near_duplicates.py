"""Frames that hardly differ from the last one kept, and the numbers of those that are kept.

Near-duplicates teach nothing, and once they are left out neighbours must be told anew:
- a camera or a converter that repeats frames leaves steps of an even length between those kept;
  they are all neighbours;
- after a standstill the step is longer than that. What moved meanwhile would be a false motion of
  the camera, so there the numbers have a hole, as they have where the source has one.
"""
from typing import Iterable, Iterator, Sequence, Tuple

import numpy as np
from PIL import Image

_THUMBNAIL_HEIGHT = 32  # as in tfdepth.data.motion
_NEIGHBOUR_STEPS = 2    # usual steps that still join neighbours: where every 4th frame is repeated
#                         (24 a second shown at 30) the steps are 1 and 2


def find_near_duplicates(frames: Iterable[Tuple[int, np.ndarray]], min_image_change: float
                         ) -> Iterator[Tuple[int, np.ndarray, bool]]:
    """Compares each frame with the last one that was kept, so slow motion adds up.

    Args:
      frames: (frame number, uint8 [H, W, 3]), numbers ascending.
      min_image_change: mean |difference| of grey copies of 32 rows, in [0, 1]; less is a
        near-duplicate.

    Yields:
      (frame number, frame, whether to keep it). The first frame after a hole is always kept.
    """
    previous, kept = None, None
    for number, pixels in frames:
        small = _thumbnail(pixels)                                           # [32, w]
        keep = (previous is None or number != previous + 1
                or np.abs(small - kept).mean() >= min_image_change)
        kept = small if keep else kept
        previous = number
        yield number, pixels, bool(keep)


def renumber(kept: Sequence[int], seen: Sequence[int]) -> Tuple[int, ...]:
    """Frame numbers after near-duplicates have been left out.

    The usual step is the median one between kept frames, over which the source has no hole. Steps
    of up to two of these become 1: neighbours. Longer ones and those with a hole of the source
    stay holes, of as many usual steps.

    Args:
      kept: the K numbers that are kept, ascending, of `seen`.
      seen: the numbers of all frames, ascending.

    Returns:
      K numbers from kept[0] on; none is larger than it was.
    """
    steps = np.diff(np.asarray(kept, np.int64))                              # [K - 1]
    whole = steps == np.diff(np.searchsorted(seen, kept))
    usual = np.sort(steps[whole])[(whole.sum() - 1) // 2] if whole.any() else 1
    joins = whole & (steps <= _NEIGHBOUR_STEPS * usual)
    steps = np.where(joins, 1, np.maximum(2, steps // usual))
    return tuple((kept[0] + np.concatenate([[0], np.cumsum(steps)])).tolist())


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    """float32 [32, w], brightness in [0, 1]; what images.read_thumbnail gives for a PNG of it."""
    picture = Image.fromarray(pixels).convert("L")
    width = max(1, round(picture.width * _THUMBNAIL_HEIGHT / picture.height))
    small = picture.resize((width, _THUMBNAIL_HEIGHT), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255
