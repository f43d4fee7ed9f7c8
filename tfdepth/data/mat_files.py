"""MATLAB 5 files: the arrays of numbers in them, and nothing else."""
import struct
import zlib
from typing import Iterator, NamedTuple, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files

_MAX_BYTES = 1 << 24        # of a file, and of a variable after decompression
_KINDS = {-1: "complex", 1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "double",
          7: "single", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32",
          14: "int64", 15: "uint64", 16: "function", 17: "opaque"}
_NUMERIC, _CODE = range(6, 16), (3, 16, 17)
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
            13: "u8"}       # how the values of an array are stored, whatever its kind


def read_mat_array(path: str, name: str) -> np.ndarray:
    """One numeric array of a MATLAB 5 file (also one that MATLAB 7 compressed).

    The format is read here, the parts of it that hold numbers: SciPy's reader, fed with damaged
    bytes, ends the process. Nothing but headers is looked at in other variables.

    Args:
      path: the file.
      name: of the variable.

    Returns:
      float64, axes in MATLAB's order.

    Raises:
      UserError: the file is missing, damaged, no MATLAB 5 file or above 16 MiB, holds an object or
        a function, or has no real numeric array of that name.

    Source: MathWorks, MAT-File Format, the chapter on level 5.
    """
    expected = f"a MATLAB 5 file with the numeric array {name}"
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {expected}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected {expected}; {files.one_line(error)}.") from None
    order = {b"\0\1IM": "<", b"\1\0MI": ">"}.get(data[124:128])  # version 1.0 and byte order
    if len(data) > _MAX_BYTES or order is None:
        raise UserError(f"{path}: expected {expected}; found another kind of file, or one of more "
                        f"than {_MAX_BYTES} bytes.")
    try:
        variables = list(_variables(data, order))
        chosen = [variable for variable in variables if variable.name == name]
        if len(chosen) == 1 and not any(variable.kind in _CODE for variable in variables):
            if chosen[0].kind in _NUMERIC:
                return _values(chosen[0], order)
    except (struct.error, zlib.error, ValueError, KeyError) as error:
        raise UserError(f"{path}: expected {expected}; the file is truncated or damaged "
                        f"({files.one_line(error)}).") from None
    found = [f"{variable.name!r} ({_KINDS.get(variable.kind, 'unknown')})"
             for variable in variables]
    raise UserError(f"{path}: expected {expected}, and no object or function; "
                    f"found {files.listing(found)}.")


class _Variable(NamedTuple):
    name: str
    kind: int          # a key of _KINDS
    shape: Tuple[int, ...]
    content: bytes     # elements: the values, or what else this kind holds


def _variables(data: bytes, order: str) -> Iterator[_Variable]:
    """The variables of a file; `order` is < or >, as of struct."""
    start = 128
    while start < len(data):
        kind, content, start = _element(data, start, order)
        if kind == 15:                                                       # compressed
            inflate = zlib.decompressobj()
            kind, content, _ = _element(inflate.decompress(content, _MAX_BYTES), 0, order)
            if not inflate.eof:  # then the checksum was right, too
                raise ValueError("a compressed variable has no end, or is too large")
        if kind != 14:                                                       # a matrix
            raise ValueError(f"found a variable of type {kind}")
        _, flags, after = _element(content, 0, order)
        flags, = struct.unpack_from(order + "I", flags)
        if flags & 0xff in _CODE:  # may have no shape
            yield _Variable("", flags & 0xff, (), b"")
            continue
        _, sizes, after = _element(content, after, order)
        _, name, after = _element(content, after, order)
        shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
        yield _Variable(name.decode("latin-1"), -1 if flags & 0x800 else flags & 0xff, shape,
                        content[after:])


def _element(data: bytes, start: int, order: str) -> Tuple[int, bytes, int]:
    """(type, content, where the next one starts) of the element at `start`."""
    kind, size = struct.unpack_from(order + "II", data, start)
    first, padding = start + 8, 0 if kind == 15 else -size % 8
    if kind >> 16:  # a small one: type and size share four bytes, the content fills the other four
        kind, size, first, padding = kind & 0xffff, kind >> 16, start + 4, 4 - (kind >> 16)
    if padding < 0 or first + size > len(data):
        raise ValueError(f"an element of {size} bytes does not fit")
    return kind, data[first:first + size], first + size + padding


def _values(variable: _Variable, order: str) -> np.ndarray:
    kind, content, _ = _element(variable.content, 0, order)
    if kind not in _NUMBERS:
        raise ValueError(f"found numbers of type {kind}")
    values = np.frombuffer(content, order + _NUMBERS[kind]).astype(np.float64)
    if not values.size or min(variable.shape) < 1:
        raise ValueError("an array is empty")
    return values.reshape(variable.shape, order="F")
