"""A clip as one HTML page: frames beside depth, the point cloud and the path of the camera.

The page is viewer.html with viewer.js and the data in it. It asks nothing of any network, and its
content security policy forbids to, so it can be opened from a disk. Every frame is a script element
of JSON that is never executed:

    name        of the file
    size        (height, width) of the frame
    intrinsics  nine numbers, row by row, pixels of `size`
    image       base64 of a JPEG, its longest side at most 1280 pixels
    stride, offset, grid, nearest, step, depth
                depth of the pixels (offset + stride i, offset + stride j), grid = (rows, columns)
                of them, at most 640 on a side. Each is a whole number, depth = nearest e^(step
                number), so that the error is below 0.05 % at any distance. From each its
                neighbours are predicted (left + upper - upper left) and the rest, as 16 bits
                with the sign in the lowest, is kept: all low bytes, then all high bytes, by
                zlib, in base64

Elements like these hold what the clip has in common (`facts`). A browser needs no library for this,
and no canvas, whose pixels some browsers blur against fingerprinting.

Shape letters: N frames; h, w of a frame; R, C of its grid of depths.
"""
import base64
import html
import importlib.resources
import io
import json
import math
import zlib
from typing import Iterable, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from tfdepth.checks import UserError, check_shape
from tfdepth.evaluation.plots import colour_depth
from tfdepth.files import Path, open_atomically

_LONGEST_IMAGE, _LONGEST_GRID = 1280, 640   # pixels
_JPEG_QUALITY = 85
_STEP = 0.001                               # of the natural logarithm of depth


class ViewerFrame(NamedTuple):
    """One picture of the page. Sizes may differ from frame to frame."""
    name: str
    image: np.ndarray        # uint8 [h, w, 3], RGB
    depth: np.ndarray        # float32 [h, w], > 0, along the optical axis
    intrinsics: np.ndarray   # [3, 3], pixels of h x w


def write_viewer(path: Path, title: str, frames: Iterable[ViewerFrame],
                 inverse_depth_range: Tuple[float, float],
                 world_from_camera: Optional[np.ndarray] = None, unit: str = "relative units"):
    """Writes the page, whole or not at all. Of the frames, one at a time is in memory.

    Args:
      path: of the page.
      title: its heading.
      frames: one or more.
      inverse_depth_range: inverse depths of the darkest and of the brightest colour.
      world_from_camera: [N, 4, 4], rigid, in the unit of depth; None without a trajectory.
      unit: of depth, in words ("metres"), for labels.

    Raises:
      ValueError: there is no frame, a shape differs from the above, depth is not finite and > 0,
        or an empty range.
      UserError: a pose is not finite.
    """
    low, high = map(float, inverse_depth_range)
    if not 0 < low < high < math.inf:
        raise ValueError(f"`inverse_depth_range` must be 0 < low < high; got {low}, {high}.")
    if world_from_camera is not None:
        world_from_camera = np.asarray(world_from_camera, np.float64)
        check_shape("world_from_camera", world_from_camera, ["N", 4, 4])
        if not np.isfinite(world_from_camera).all():
            raise UserError(f"{title}: poses must be finite; "
                            f"{int((~np.isfinite(world_from_camera)).sum())} numbers are not.")
    head, tail = _template(title)
    with open_atomically(path) as page:
        page.write(head)
        count = 0
        for frame in frames:
            page.write(_data_element('class="frame"', _encode_frame(frame)))
            count += 1
        if not count:
            raise ValueError("`frames` must hold a frame or more; got none.")
        if world_from_camera is not None:
            check_shape("world_from_camera", world_from_camera, [count, 4, 4])
            world_from_camera = world_from_camera.reshape(count, 16).tolist()
        page.write(_data_element('id="facts"', {
            "unit": unit, "inverseDepthRange": [low, high], "palette": _palette(),
            "worldFromCamera": world_from_camera}))
        page.write(tail)


def _template(title) -> Tuple[bytes, bytes]:
    """What comes before the data, and what comes after."""
    folder = importlib.resources.files("tfdepth.prediction")
    page, code = (folder.joinpath(name).read_text(encoding="utf-8")
                  for name in ("viewer.html", "viewer.js"))
    head, tail = page.split("<!-- data -->\n")
    # A name of bytes that are no text has lone surrogates, which UTF-8 cannot hold.
    head = head.replace("<!-- title -->", html.escape(title)).encode("utf-8", "replace")
    return head, tail.replace("/* code */", code).encode("utf-8")


def _data_element(attribute, content) -> bytes:
    """JSON that cannot end its element, whatever names are in it."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" {attribute}>{text}</script>\n'.encode("ascii")


def _palette():
    """The colours of depth, darkest first: 256 times (red, green, blue)."""
    return colour_depth(1.0 / np.linspace(1.0, 2.0, 256)[np.newaxis], 1.0, 2.0).reshape(-1).tolist()


def _encode_frame(frame: ViewerFrame):
    """See the module's docstring."""
    image, depth, intrinsics = map(np.asarray, frame[1:])
    check_shape("image", image, ["h", "w", 3])
    size = image.shape[:2]
    check_shape("depth", depth, size)
    check_shape("intrinsics", intrinsics, [3, 3])
    if not (np.isfinite(depth) & (depth > 0)).all():
        raise ValueError(f"`depth` must be finite and > 0; that of {frame.name} is not.")
    stride = -(-max(size) // _LONGEST_GRID)
    offset = (min(stride, *size) - 1) // 2
    depth = depth[offset::stride, offset::stride].astype(np.float64)            # [R, C]
    return {"name": frame.name, "size": size,
            "intrinsics": intrinsics.astype(np.float64).reshape(9).tolist(),
            "stride": stride, "offset": offset, "grid": depth.shape,
            **_encode_depth(depth), "image": _text(_jpeg(image))}


def _encode_depth(depth):
    nearest = depth.min()
    logs = np.log(depth / nearest)
    step = max(_STEP, float(logs.max()) / 65535)
    numbers = np.rint(logs / step).astype(np.int64)
    rests = np.diff(np.diff(numbers, axis=0, prepend=0), axis=1, prepend=0).astype(np.int16)
    signed_last = ((rests << 1) ^ (rests >> 15)).astype("<u2")
    planes = signed_last.reshape(-1, 1).view(np.uint8).T                        # [2, R C]
    return {"nearest": float(nearest), "step": step,
            "depth": _text(zlib.compress(planes.tobytes()))}


def _jpeg(image) -> bytes:
    picture, content = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((_LONGEST_IMAGE, _LONGEST_IMAGE), Image.Resampling.LANCZOS)
    picture.save(content, "JPEG", quality=_JPEG_QUALITY)
    return content.getvalue()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
