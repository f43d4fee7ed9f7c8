"""From file names to time: which frames of a folder are neighbours.

Names that share everything but a whole number at their end (walk_0007.png) are numbered by it, so
that a deleted frame is a hole in time and nobody becomes its neighbour by accident:
- some neighbours differ by 1: the number is the frame number;
- all differences are multiples of the smallest (0, 5, 10, 20): divided by it, from the first
  frame on (0, 1, 2, 4);
- otherwise (time stamps): each difference is divided by the median one and rounded, at least 1.
Other names (no number at the end, or 12-00-59.png, 12-01-00.png) are put in natural order and
numbered by their position; then a missing frame cannot be seen.
"""
import os
import re
from typing import Dict, List, NamedTuple, Sequence, Tuple

from tfdepth.checks import UserError
from tfdepth.data import files, images

_LARGEST = 2**31 - 1       # so that numbers fit int32


def number_frames(folder: str, names: Sequence[str]) -> Tuple[List[str], Tuple[int, ...]]:
    """Puts image files in time order and numbers them.

    Args:
      folder: for messages.
      names: at least two different file names.

    Returns:
      The names in time order and their frame numbers, ascending; numbers differ by 1 exactly
      for neighbours in time.

    Raises:
      UserError: two names have the same number, or two series of numbers share the folder.
    """
    series: Dict[str, Dict[int, str]] = {}  # what stands before the number -> number -> name
    for name in names:
        before, digits = re.fullmatch(r"(.*?)([0-9]*)", os.path.splitext(name)[0], re.S).groups()
        if not digits:
            return _by_position(names)
        frames = series.setdefault(before, {})
        if int(digits) in frames:
            raise UserError(f"{folder}: expected one image a frame; "
                            f"found {frames[int(digits)]} and {name}.")
        frames[int(digits)] = name
    if len(series) == 1:
        frames = next(iter(series.values()))
        numbers = sorted(frames)
        return [frames[number] for number in numbers], _close_up(numbers)
    if len({re.sub("[0-9]+", "0", before) for before in series}) == 1:
        return _by_position(names)  # a clock time: all but its last part stands in front
    first, second = sorted(series, key=files.natural_key)[:2]
    if set(series[first]) & set(series[second]):
        raise UserError(f"{folder}: expected the frames of one camera; found the series "
                        f"{first!r} and {second!r} with the same numbers. "
                        "Give each camera a folder of its own.")
    return _by_position(names)


class NumberedFrames(NamedTuple):
    """The images of one camera."""
    numbers: Tuple[int, ...]   # ascending
    paths: Tuple[str, ...]


def numbered_frames(folder: str, first: str) -> NumberedFrames:
    """The images of a folder in which each is named by its frame number, as in KITTI.

    Args: folder: of one camera. first: how the first one is named, for messages: "000000.png".
    Raises: UserError: no images or one only, a name that is no number, or two of one number.
    """
    names = images.image_names(folder, f"a folder of images {first}")
    if not names:
        raise UserError(f"{folder}: expected images named by their frame number, as {first}; "
                        "found none.")
    by_number: Dict[int, str] = {}
    for name in names:
        stem = os.path.splitext(name)[0]
        if not (stem.isascii() and stem.isdigit() and int(stem) <= _LARGEST):
            raise UserError(f"{os.path.join(folder, name)}: expected an image named by its frame "
                            f"number, as {first}; rename or remove it.")
        if int(stem) in by_number:
            raise UserError(f"{folder}: expected one image a frame; "
                            f"found {by_number[int(stem)]} and {name}.")
        by_number[int(stem)] = name
    if len(by_number) == 1:
        raise UserError(f"{folder}: expected a drive of several frames; found one ({names[0]}).")
    numbers = tuple(sorted(by_number))
    return NumberedFrames(numbers, tuple(os.path.join(folder, by_number[n]) for n in numbers))


def is_series(names: Sequence[str]) -> bool:
    """Whether all file names share everything but a number at their end, no two the same one."""
    parts = [re.fullmatch(r"(.*?)([0-9]+)", os.path.splitext(name)[0], re.S) for name in names]
    return (all(parts) and len({part.group(1) for part in parts}) == 1
            and len({int(part.group(2)) for part in parts}) == len(names))


def follows(frame_numbers: Sequence[int]) -> List[bool]:
    """Whether the entry before is the frame before, for each of N ascending numbers."""
    return [False] + [later == earlier + 1
                      for earlier, later in zip(frame_numbers, frame_numbers[1:])]


def _by_position(names: Sequence[str]) -> Tuple[List[str], Tuple[int, ...]]:
    return sorted(names, key=files.natural_key), tuple(range(len(names)))


def _close_up(numbers: Sequence[int]) -> Tuple[int, ...]:
    """Frame numbers from ascending numbers of any stride; the rules of this module."""
    steps = [after - before for before, after in zip(numbers, numbers[1:])]
    smallest = min(steps)
    if smallest == 1 and numbers[-1] <= _LARGEST:
        return tuple(numbers)
    if all(step % smallest == 0 for step in steps):
        steps = [step // smallest for step in steps]
    else:
        median = sorted(steps)[len(steps) // 2]
        steps = [max(1, (2 * step + median) // (2 * median)) for step in steps]
    longest = _LARGEST // len(numbers)  # longer holes are cut to this; they are holes all the same
    result = [0]
    for step in steps:
        result.append(result[-1] + min(step, longest))
    return tuple(result)
