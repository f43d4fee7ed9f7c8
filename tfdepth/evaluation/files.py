"""Text files of numbers, read with the user's mistakes worded."""
import pathlib
from typing import List, Tuple, Union

from tfdepth.checks import UserError

Path = Union[str, pathlib.Path]


def read_number_lines(path: Path, count: int, meaning: str) -> List[Tuple[int, List[float]]]:
    """Reads a text file that holds `count` numbers a line, separated by blanks.

    Args:
      path: the file. Empty lines and lines that start with "#" do not count.
      count: how many numbers every line must have.
      meaning: what they are, for messages: "a pose: 3x4 matrix, row by row".

    Returns:
      (line number, `count` finite numbers) of every line; line numbers count from 1.

    Raises:
      UserError: the file is missing, is not text, has no line of numbers, or a line has another
        count, a word or a number that is not finite; the message names file and line.
    """
    path = pathlib.Path(path).expanduser()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected a text file; found bytes that are not text.") from None
    except OSError as error:
        raise UserError(f"{path}: expected a readable file; found: {error.strerror}.") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        expected = f"{path}, line {number}: expected {count} numbers ({meaning})"
        if len(words) != count:
            raise UserError(f"{expected}; found {len(words)}.")
        rows.append((number, [_finite_number(word, expected) for word in words]))
    if not rows:
        raise UserError(f"{path}: expected lines of {count} numbers ({meaning}); found none.")
    return rows


def _finite_number(word: str, expected: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise UserError(f"{expected}; found {word!r}.") from None
    if not -float("inf") < value < float("inf"):
        raise UserError(f"{expected}, all finite; found {word!r}.")
    return value
