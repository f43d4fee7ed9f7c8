"""The focal length that a camera or phone wrote into a picture's EXIF notes.

Sources: EXIF 2.32 (CIPA DC-008), tags FocalLengthIn35mmFilm, FocalLength, FocalPlaneXResolution.
"""
import math
import warnings
from typing import Dict, NamedTuple, Tuple

from PIL import Image

from tfdepth.checks import UserError
from tfdepth.data import files, images

_ORIENTATION = 0x0112
_PHOTO_TAGS = 0x8769         # where the block of the tags below stands
_FOCAL_LENGTH = 0x920A       # mm
_FOCAL_LENGTH_35 = 0xA405    # mm, of a 24 mm x 36 mm camera of the same angle of view; 0 unknown
_WIDTH, _HEIGHT = 0xA002, 0xA003  # pixels, as the camera wrote the picture
_PLANE_X_RESOLUTION = 0xA20E      # pixels a unit
_PLANE_UNIT = 0xA210
_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # of a unit; 2, an inch, where none is said
_FILM_DIAGONAL = math.hypot(24, 36)
_MEND = "Give the camera with --horizontal_fov or --intrinsics."


class FocalLength(NamedTuple):
    """A focal length and where it comes from."""
    pixels: float            # of the picture as it is stored
    tag: str                 # the name of the EXIF tag that was used
    size: Tuple[int, int]    # (height, width) of the picture


def read_focal_length(path: str) -> FocalLength:
    """The focal length of a picture in pixels, by its EXIF notes.

    FocalLengthIn35mmFilm is used where it is known, as the ratio of diagonals (the angle of view
    of a lens is told corner to corner); else FocalLength times FocalPlaneXResolution. Both are
    those of the lens at the time and are right to a few per cent; calibrate for more.

    Args:
      path: PNG or JPEG. It may have been resized since, not cropped or turned.

    Raises:
      UserError: no image, no or damaged notes, no usable focal length in them, or a picture of
        another shape than the camera took.
    """
    (height, width), tags = _read_notes(path)
    old_width, old_height = _number(tags, _WIDTH), _number(tags, _HEIGHT)
    if old_width and old_height and abs(old_height * width / old_width - height) > 1.5:
        raise UserError(f"{path}: EXIF tells of a picture of {old_width:g} x {old_height:g}; found "
                        f"{width} x {height}, which was cropped or turned since. {_MEND}")
    equivalent, focal_length = _number(tags, _FOCAL_LENGTH_35), _number(tags, _FOCAL_LENGTH)
    if equivalent:
        return FocalLength(equivalent * math.hypot(width, height) / _FILM_DIAGONAL,
                           "FocalLengthIn35mmFilm", (height, width))
    resolution = _number(tags, _PLANE_X_RESOLUTION)
    unit = _MILLIMETRES.get(tags.get(_PLANE_UNIT, 2))
    if focal_length and resolution and unit:
        return FocalLength(focal_length * resolution / unit * width / (old_width or width),
                           "FocalLength and FocalPlaneXResolution", (height, width))
    found = (f"found FocalLength {focal_length:g} mm, and not how large the pixels are"
             if focal_length else "found none")
    raise UserError(f"{path}: expected a focal length in EXIF (FocalLengthIn35mmFilm, or "
                    f"FocalLength with FocalPlaneXResolution); {found}. {_MEND}")


def is_turned(path: str) -> bool:
    """Whether EXIF says that the stored pixels must be turned or mirrored to be looked at.

    Raises:
      UserError: no image, or damaged notes.
    """
    return _read_notes(path)[1].get(_ORIENTATION, 1) in range(2, 9)


def _read_notes(path: str) -> Tuple[Tuple[int, int], Dict[int, object]]:
    """(height, width), and the tags of the picture and of its photo block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow tells of faults in tags that do not matter here
        size = images.read_size(path)
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                notes = image.getexif()
                return size, {**notes, **notes.get_ifd(_PHOTO_TAGS)}
        except Exception as error:  # the set is open: OSError, SyntaxError, ValueError, ...
            raise UserError(f"{path}: expected EXIF notes that can be read; "
                            f"{files.one_line(error)}. {_MEND}") from None


def _number(tags: Dict[int, object], tag: int) -> float:
    """The value of a tag; 0 where it is missing, no number, not positive or not finite."""
    try:
        value = float(tags.get(tag, 0))
    except (TypeError, ValueError, ArithmeticError):
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0
