"""The depth files of a frame, and what they have in common in a clip.

Shape letters: H rows, W columns of the network; h, w of an image.
"""
import io
import math
import pathlib
from typing import Any, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from tfdepth.data import images
from tfdepth.evaluation.plots import inverse_depth_range
from tfdepth.evaluation.tables import write_json
from tfdepth.files import write_atomically

FORMATS = ("png", "npy", "npz")
LARGEST_STEP = 65534         # of a 16-bit PNG; readers take 65535 for a mark
RANGE_SAMPLES = 1_000_000    # pixels, spread evenly over the clip, that decide the colour range


class ClipRange(NamedTuple):
    """What the files of a clip have in common."""
    divisor: float                # stored value = depth x divisor
    colours: Tuple[float, float]  # inverse depths of the darkest and of the brightest colour


def png_divisor(largest: float) -> float:
    """Steps a unit of depth: the largest power of two with which `largest` fits into 16 bits.

    Relative depth has no unit that KITTI's 256 would suit: of a model whose depths are below 1 it
    would keep few steps. So the farthest pixel of a clip always fits, with a rounding error below
    2e-5 of it; a pixel 1000 times nearer has one below 2 %.
    """
    return 2.0 ** (math.frexp(LARGEST_STEP / largest)[1] - 1)


def range_of_clip(depths, count, size, file_format) -> ClipRange:
    """The common divisor and colours; depths: iterable of `count` arrays of `size`, (H, W)."""
    pixels = size[0] * size[1]
    places = np.linspace(0, count * pixels - 1, min(count * pixels, RANGE_SAMPLES)).astype(np.int64)
    samples, largest = np.empty(len(places), np.float32), 0.0
    for frame, depth in enumerate(depths):
        first, end = np.searchsorted(places, [frame * pixels, (frame + 1) * pixels])
        samples[first:end] = depth.ravel()[places[first:end] - frame * pixels]
        largest = max(largest, float(depth.max()))
    return ClipRange(png_divisor(largest) if file_format == "png" else 1.0,
                     inverse_depth_range(1.0 / samples))


def write_depth(folder: pathlib.Path, name: str, file_format: str, depth: np.ndarray,
                divisor: float, intrinsics: Optional[np.ndarray], facts: Mapping[str, Any]) -> int:
    """Writes a depth map and its description; that one last, so that what has one is complete.

    Args:
      folder: the one of all depth maps.
      name: of the files, without a suffix.
      file_format: one of FORMATS.
      depth: [h, w] float32, > 0.
      divisor: stored value = depth x divisor; 1 but for "png".
      intrinsics: [3, 3], pixels of h x w; None where nobody knows.
      facts: what else the description holds.

    Returns:
      How many pixels the PNG holds as too near.
    """
    values, description = folder / f"{name}.{file_format}", folder / f"{name}.json"
    description.unlink(missing_ok=True)  # that of an earlier run
    clamped = 0
    if file_format == "png":
        images.write_depth(str(values), depth, divisor)
        clamped = int(np.sum(depth * divisor <= 0.5))  # would round to 0, "no depth"
    else:
        content = io.BytesIO()
        if file_format == "npy":
            np.save(content, depth, allow_pickle=False)
        else:
            camera = {} if intrinsics is None else {"intrinsics": intrinsics}
            np.savez_compressed(content, depth=depth, **camera)
        write_atomically(values, content.getvalue())
    write_json(description, {
        "file": values.name,
        "kind": "depth",                   # along the optical axis, not ray length or disparity
        "divisor": divisor,                # depth = stored value / divisor
        "clamped_pixels": clamped,
        "depth_range": [depth.min(), depth.max()],
        "source_size": depth.shape,        # (height, width)
        "intrinsics": intrinsics,
        **facts})
    return clamped
