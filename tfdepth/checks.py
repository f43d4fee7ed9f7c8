"""Checks of what comes in from outside; the only place that words shape and range errors."""
import difflib
from typing import Iterable, Sequence, Union


class UserError(ValueError):
    """A mistake that the user can mend; tools print it as one line and exit with code 2.

    The message names the flag or file, what was expected and what was found.
    """


def check_shape(name: str, tensor, expected: Sequence[Union[int, str]], hint: str = ""):
    """Raises ValueError unless `tensor` has the `expected` static shape.

    Args:
      name: what the message calls the tensor.
      tensor: anything with a `shape` (TensorFlow or NumPy).
      expected: one entry an axis. Numbers must match; a letter stands for any size, the same
        size each time: check_shape("intrinsics", intrinsics, ["B", 3, 3]). A first entry "..."
        stands for any number of leading axes.
      hint: advice that ends the message.

    Raises:
      ValueError: names the tensor, the rule and the shape found. Sizes that are unknown while a
        graph is traced pass.
    """
    shape = tensor.shape
    if getattr(shape, "rank", 0) is None:
        return
    found = tuple(shape)
    wanted = list(expected)
    tail = found
    if wanted and wanted[0] == "...":
        wanted = wanted[1:]
        tail = found[max(0, len(found) - len(wanted)):]
    sizes = {}
    fits = len(tail) == len(wanted) and all(
        have is None or have == (want if isinstance(want, int) else sizes.setdefault(want, have))
        for want, have in zip(wanted, tail))
    if not fits:
        rule = ", ".join(map(str, expected))
        raise ValueError(f"`{name}` must have shape [{rule}]; got {list(found)}. {hint}".rstrip())


def check_choice(name: str, value: str, choices: Iterable[str]):
    """Raises UserError unless `value` is one of `choices`; proposes the nearest one."""
    choices = list(choices)
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(choice or "'' (empty)" for choice in choices)
        raise UserError(f"{name} must be one of {listed}; got {value!r}.{hint}")


def check_size(name: str, size: Sequence[int], multiple: int, smallest: int = 1):
    """Raises UserError unless `size` is (height, width), positive multiples of `multiple`, and not
    below `smallest`."""
    fits = len(size) == 2 and all(
        isinstance(side, int) and side >= smallest and side % multiple == 0 for side in size)
    if not fits:
        least = f", at least {smallest}" if smallest > 1 else ""
        raise UserError(f"{name} must be (height, width), both positive multiples of {multiple}"
                        f"{least}; got {tuple(size)}.")
