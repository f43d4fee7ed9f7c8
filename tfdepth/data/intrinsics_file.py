"""The camera file of a user's folder: JSON with declared units; and what makes a camera plausible.

    {"units": "pixels", "width": 1226, "height": 370,
     "fx": 707.1, "fy": 707.1, "cx": 601.9, "cy": 183.1}
    {"units": "normalized", "fx": 0.58, "fy": 1.92, "cx": 0.5, "cy": 0.5}
    {"units": "degrees", "horizontal_fov": 60}

pixels: of an image of width x height, the centre of the top-left pixel is (0, 0). When the frames
  have another size the camera is scaled with them: u' = (u + 0.5) s - 0.5.
normalized: fractions of the width (fx, cx) and of the height (fy, cy); the left edge of the image
  is 0 and the right edge is 1, so cx = 0.5 is the middle.
degrees: between the left and the right edge; square pixels, principal point in the middle.
With normalized and degrees, width and height may be given too; then the shape of the frames is
checked against them.

Frames that are used must be undistorted. Frames that are not yet may have, with pixels and
normalized, the coefficients of their lens, for `tools/prepare_data.py video`, which undistorts:

     "distortion": {"model": "brown", "coefficients": [k1, k2, p1, p2, k3]}     k3 may be left out
     "distortion": {"model": "fisheye", "coefficients": [k1, k2, k3, k4]}

as OpenCV defines them (see undistortion).
"""
import json
import math
from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np

from tfdepth.checks import UserError, check_choice
from tfdepth.data import files
from tfdepth.files import write_atomically

FILE_NAME = "intrinsics.json"
FIELDS = {  # units -> (fields that must be there, fields that may be there)
    "pixels": (("fx", "fy", "cx", "cy", "width", "height"), ("distortion",)),
    "normalized": (("fx", "fy", "cx", "cy"), ("width", "height", "distortion")),
    "degrees": (("horizontal_fov",), ("width", "height")),
}
DISTORTIONS = {"brown": "k1, k2, p1, p2[, k3]", "fisheye": "k1, k2, k3, k4"}
EXAMPLE = '{"units": "degrees", "horizontal_fov": 60}'
_FIELD_OF_VIEW = (5.0, 170.0)  # degrees, plausible


class Distortion(NamedTuple):
    """What a lens does to points; see undistortion for the formulas."""
    model: str                       # a row of DISTORTIONS
    coefficients: Tuple[float, ...]  # in the order given there


def read_intrinsics(path: str, size: Tuple[int, int]) -> np.ndarray:
    """Reads a camera file for undistorted frames of one size.

    Args:
      path: a JSON file as the module describes, or its text.
      size: (height, width) of the frames, pixels.

    Returns:
      [3, 3] float64, pixels of `size`; the centre of the top-left pixel is (0, 0).

    Raises:
      UserError: the file holds distortion, or what `read_camera` raises.
    """
    intrinsics, distortion = read_camera(path, size)
    if distortion is not None:
        raise UserError(f"{path}: expected the camera of undistorted frames; found lens distortion "
                        f"({distortion.model}). Run tools/prepare_data.py video on the frames, "
                        "which undistorts them and writes the camera file that belongs to them.")
    return intrinsics


def read_camera(path: str, size: Tuple[int, int]) -> Tuple[np.ndarray, Optional[Distortion]]:
    """Reads a camera file for frames of one size, undistorted or not.

    Args:
      path, size: as for `read_intrinsics`.

    Returns:
      The matrix as of `read_intrinsics`, and the distortion, None if all its coefficients are 0.

    Raises:
      UserError: no such file, no JSON, no or unknown units, missing or unknown fields, values
        that are not positive finite numbers, an unknown model of distortion or another number of
        coefficients, width and height of another shape than the frames, or an implausible camera
        (see `check_plausible`).
    """
    units, values, distortion = _parse(path)
    height, width = size
    _check_shape_of_frames(path, values, size)
    if units == "degrees":
        intrinsics = from_field_of_view(f"{path}: horizontal_fov", values["horizontal_fov"], size)
    else:
        if units == "pixels":
            scale_x, scale_y = width / values["width"], height / values["height"]
            parts = (values["fx"] * scale_x, values["fy"] * scale_y,
                     (values["cx"] + 0.5) * scale_x - 0.5, (values["cy"] + 0.5) * scale_y - 0.5)
        else:
            parts = (values["fx"] * width, values["fy"] * height,
                     values["cx"] * width - 0.5, values["cy"] * height - 0.5)
        fx, fy, cx, cy = parts
        intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)
    check_plausible(path, intrinsics, size)
    return intrinsics, distortion


def write_intrinsics(path: str, intrinsics: np.ndarray, size: Tuple[int, int]):
    """Writes a camera file that `read_intrinsics` reads.

    Args:
      path: the JSON file.
      intrinsics: [3, 3], pixels of `size`.
      size: (height, width), pixels.

    Raises:
      OSError: as `open` does.
    """
    fields = {"units": "pixels", "width": size[1], "height": size[0],
              "fx": float(intrinsics[0, 0]), "fy": float(intrinsics[1, 1]),
              "cx": float(intrinsics[0, 2]), "cy": float(intrinsics[1, 2])}
    write_atomically(path, json.dumps(fields) + "\n")


def from_field_of_view(where: str, degrees: float, size: Tuple[int, int]) -> np.ndarray:
    """[3, 3] of the `centred` camera with this angle between its left and its right edge.

    Raises:
      UserError: `degrees` is not between 0 and 180; `where` starts the message.
    """
    if not 0 < degrees < 180:
        raise UserError(f"{where} must lie between 0 and 180 degrees; got {degrees:g}.")
    return centred(size[1] / 2 / math.tan(math.radians(degrees) / 2), size)


def centred(focal_length: float, size: Tuple[int, int]) -> np.ndarray:
    """[3, 3] of a camera with square pixels and its principal point in the middle of `size`."""
    return np.array([[focal_length, 0, (size[1] - 1) / 2],
                     [0, focal_length, (size[0] - 1) / 2], [0, 0, 1]], np.float64)


def is_json(text: str) -> bool:
    """Whether a text is what a camera file holds, not the path of one."""
    return text.lstrip().startswith("{")


def field_of_view(intrinsics: np.ndarray, size: Tuple[int, int]) -> Tuple[float, float]:
    """(horizontal, vertical) angle in degrees that an image of this size spans.

    Only the focal lengths count, as if the principal point were in the middle: with fractions
    taken for pixels both are near 0, and a view from the corner of the image would look possible.

    Args:
      intrinsics: [3, 3], pixels of `size`; focal lengths > 0.
      size: (height, width), pixels.
    """
    return (math.degrees(2 * math.atan2(size[1] / 2, float(intrinsics[0, 0]))),
            math.degrees(2 * math.atan2(size[0] / 2, float(intrinsics[1, 1]))))


def check_plausible(where: str, intrinsics: np.ndarray, size: Tuple[int, int]):
    """Raises UserError unless a camera could have taken images of this size.

    Args:
      where: file, and what in it, that the message names.
      intrinsics: [3, 3], pixels of `size`.
      size: (height, width), pixels.

    Raises:
      UserError: a focal length that is not positive and finite, a principal point outside the
        image, or a field of view outside 5 to 170 degrees; names the likely cause.
    """
    height, width = size
    fx, fy, cx, cy = (float(intrinsics[index]) for index in ((0, 0), (1, 1), (0, 2), (1, 2)))
    if not all(math.isfinite(value) for value in (fx, fy, cx, cy)) or fx <= 0 or fy <= 0:
        raise UserError(f"{where}: expected positive focal lengths and finite numbers; found "
                        f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g} pixels.")
    horizontal, vertical = field_of_view(intrinsics, size)
    lowest, highest = _FIELD_OF_VIEW
    camera = (f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g} pixels of a {width} x {height} image "
              f"give a field of view of {horizontal:.1f} x {vertical:.1f} degrees")
    if max(horizontal, vertical) > highest:
        cause = ("Are these fractions of the image size, declared or written as pixels?"
                 if max(fx, fy) < 20 else "Do they belong to a smaller image?")
        raise UserError(f"{where}: {camera}; expected at most {highest:g}. {cause}")
    if min(horizontal, vertical) < lowest:
        cause = ("Are these pixels, declared as fractions of the image size?"
                 if min(fx / width, fy / height) > 50 else "Do they belong to a larger image?")
        raise UserError(f"{where}: {camera}; expected at least {lowest:g}. {cause}")
    if not (-0.5 <= cx <= width - 0.5 and -0.5 <= cy <= height - 0.5):
        raise UserError(f"{where}: expected a principal point inside the {width} x {height} "
                        f"image; found ({cx:g}, {cy:g}). Do the numbers belong to an image of "
                        "another size, or are cx and cy swapped?")


def _parse(path: str) -> Tuple[str, Dict[str, float], Optional[Distortion]]:
    """The units and the numbers of a camera file, each known, present and positive; distortion."""
    text = path if is_json(path) else files.read_text(path, f"a camera file in JSON, as {EXAMPLE}")
    _refuse_plain_numbers(path, text)
    try:
        content = json.loads(text)
    except RecursionError:
        raise UserError(f"{path}: expected JSON, as {EXAMPLE}; found too deep nesting.") from None
    except ValueError as error:
        raise UserError(f"{path}: expected JSON, as {EXAMPLE}; {files.one_line(error)}.") from None
    if not isinstance(content, dict) or "units" not in content:
        raise UserError(f"{path}: expected an object with \"units\" ({', '.join(FIELDS)}), as "
                        f"{EXAMPLE}; found no units, and numbers without units are not guessed.")
    units = content.pop("units")
    check_choice(f"{path}: units", units if isinstance(units, str) else repr(units)[:40], FIELDS)
    needed, optional = FIELDS[units]
    missing = [name for name in needed if name not in content]
    if missing:
        raise UserError(f"{path}: units {units!r} need {', '.join(needed)}; "
                        f"missing: {', '.join(missing)}.")
    for name in content:
        check_choice(f"{path}: a field with units {units!r}", name, needed + optional)
    if len({"width", "height"} & set(content)) == 1:
        raise UserError(f"{path}: expected both width and height, or neither; found one.")
    distortion = _parse_distortion(path, content.pop("distortion", None))
    values = {}
    for name, value in content.items():
        try:
            values[name] = float(value) if type(value) in (int, float) else math.nan
        except OverflowError:
            values[name] = math.inf
        if not math.isfinite(values[name]) or values[name] <= 0:
            raise UserError(f"{path}: {name} must be a positive number; got {str(value)[:40]!r}.")
    return units, values, distortion


def _parse_distortion(path: str, content) -> Optional[Distortion]:
    """The distortion of a camera file; None without any."""
    if content is None:
        return None
    if not isinstance(content, dict) or set(content) != {"model", "coefficients"}:
        raise UserError(f'{path}: expected "distortion": {{"model": ..., "coefficients": [...]}}; '
                        f"found {str(content)[:60]}.")
    model, values = content["model"], content["coefficients"]
    check_choice(f"{path}: the model of distortion",
                 model if isinstance(model, str) else repr(model)[:40], DISTORTIONS)
    counts = (4, 5) if model == "brown" else (4,)
    numbers = isinstance(values, list) and all(
        type(value) in (int, float) and abs(value) < 1e6 for value in values)
    if not numbers or len(values) not in counts:
        raise UserError(f"{path}: the coefficients of {model} distortion must be a list of finite "
                        f"numbers {DISTORTIONS[model]}; got {str(values)[:60]}.")
    return Distortion(model, tuple(map(float, values))) if any(values) else None


def _check_shape_of_frames(path: str, values: Dict[str, float], size: Tuple[int, int]):
    """Raises UserError when width x height, if given, is no uniform scaling of `size`."""
    if "width" not in values:
        return
    width, height = values["width"], values["height"]
    scale_x, scale_y = size[1] / width, size[0] / height
    rounding = 1.0  # pixel, of the frames; sizes are whole numbers
    if abs(scale_y * width - size[1]) > rounding and abs(scale_x * height - size[0]) > rounding:
        turned = abs(width / height - size[0] / size[1]) < 0.01
        cause = ("Are the frames turned by 90 degrees?" if turned else
                 "Frames that were cropped or stretched need their own numbers.")
        raise UserError(f"{path}: holds a camera for {width:g} x {height:g} images; the frames are "
                        f"{size[1]} x {size[0]}, which is no uniform scaling of that. {cause}")


def _refuse_plain_numbers(path: str, text: str):
    """Raises UserError for the plain matrix of other projects, which does not say its units."""
    for mark in "[],;":
        text = text.replace(mark, " ")
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        return
    if not numbers:
        return
    raise UserError(f"{path}: expected a camera file in JSON with units declared; found "
                    f"{len(numbers)} numbers without units (pixels or fractions?), which are not "
                    f"guessed. Write {FILE_NAME} with one of: {'; '.join(FIELDS)}.")
