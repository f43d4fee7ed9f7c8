"""Folders, text files and pose files: every failure is a UserError of one line.

Shape letters in this module: N frames.
"""
import math
import os
import re
from typing import List, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError

_MAX_TEXT_BYTES = 1 << 28  # a pose file of a million frames has 2e8


def one_line(error: BaseException) -> str:
    """The first line of what a library said, for use inside our own sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


def listing(names: Sequence[str], limit: int = 5) -> str:
    """Some names for a message: "a, b, c and 7 more", or "nothing"."""
    names = list(names)
    shown = ", ".join(map(str, names[:limit])) or "nothing"
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def natural_key(name: str) -> Tuple:
    """Sort key under which frame9 comes before frame10, whatever the case of the letters."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple((int(part), "") if k % 2 else (-1, part) for k, part in enumerate(parts)) + (
        (-1, name),)


def expand(path: str) -> str:
    """`path` with ~ expanded and without a trailing slash; "" stays ""."""
    return os.path.normpath(os.path.expanduser(path)) if path else ""


def list_folder(path: str, what: str) -> List[str]:
    """The names in a folder in natural order, hidden ones left out.

    Args:
      path: the folder.
      what: what the folder should be, for the message.

    Raises:
      UserError: there is no such folder, or it may not be read.
    """
    if not path:
        raise UserError(f"--root, or --config.data.root: expected {what}; found none.")
    try:
        return sorted((name for name in os.listdir(path) if not name.startswith(".")),
                      key=natural_key)
    except FileNotFoundError:
        near = os.path.dirname(os.path.abspath(path))
        while not os.path.isdir(near):
            near = os.path.dirname(near)
        raise UserError(f"{path}: no such folder; expected {what}. "
                        f"The nearest folder that exists is {near}.") from None
    except NotADirectoryError:
        raise UserError(f"{path}: expected {what}; found a file.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected {what}; {one_line(error)}.") from None


def read_text(path: str, what: str) -> str:
    """The text of a small file, UTF-8.

    Raises:
      UserError: the file is missing, empty, may not be read, or is not text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_TEXT_BYTES + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {what}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected {what}; found bytes that are not text.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected {what}; {one_line(error)}.") from None
    if len(data) > _MAX_TEXT_BYTES:
        raise UserError(f"{path}: expected {what}; found more than {_MAX_TEXT_BYTES} bytes.")
    if not text.strip():
        raise UserError(f"{path}: expected {what}; the file is empty.")
    return text


def parse_numbers(text: str, count: int, where: str) -> np.ndarray:
    """The `count` finite numbers of one line, float64 [count]; `where` starts the message.

    Raises:
      UserError: another count, something that is no number, or a number that is not finite.
    """
    words = text.split()
    if len(words) != count:
        raise UserError(f"{where}: expected {count} numbers; found {len(words)}.")
    numbers = np.empty(count, np.float64)
    for k, word in enumerate(words):
        try:
            numbers[k] = float(word)
        except ValueError:
            raise UserError(f"{where}: expected {count} numbers; found {word[:40]!r}.") from None
        if not math.isfinite(numbers[k]):
            raise UserError(f"{where}: expected {count} finite numbers; found {word[:40]!r}.")
    return numbers


def read_poses(path: str) -> np.ndarray:
    """Camera poses in KITTI's form: 12 numbers a row, the rows of a 3x4 matrix.

    Args:
      path: the text file.

    Returns:
      [N, 4, 4] float64, world_from_camera, metres.

    Raises:
      UserError: the file cannot be read, a row does not hold 12 finite numbers, or its 3x3 part
        is no rotation (within 0.01).
    """
    lines = read_text(path, "poses, 12 numbers a row").rstrip().splitlines()
    poses = np.tile(np.eye(4), (len(lines), 1, 1))                           # [N, 4, 4]
    for k, line in enumerate(lines):
        poses[k, :3] = parse_numbers(line, 12, f"{path}, line {k + 1}").reshape(3, 4)
    rotations = poses[:, :3, :3]                                             # [N, 3, 3]
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        wrong = ~(errors < 0.01) | ~(np.linalg.det(rotations) > 0)
    if wrong.any():
        raise UserError(f"{path}, line {int(np.argmax(wrong)) + 1}: expected the rows of [R | t] "
                        "with R a rotation; found a 3x3 part that is none.")
    if not (np.abs(poses[:, :3, 3]) < 1e9).all():
        raise UserError(f"{path}: expected positions in metres; found one beyond 1e9 m.")
    return poses
