"""Reads tensors from PyTorch's .pth files without PyTorch, and without executing what they hold.

Such files are pickles, programs that may call anything. Here their instructions are only decoded
(`pickletools.genops`) and followed by a machine that knows plain values and tensors; whatever
else a file asks for is refused.

Two layouts: a zip archive (since PyTorch 1.6) with data.pkl and one file a storage, and the older
stream of pickles followed by all storages.
"""
import io
import pickletools
import zipfile
from typing import Dict, NamedTuple

import numpy as np

from tfdepth.checks import UserError

_TYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8",
          "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
          "BoolStorage": "?"}
_LEGACY_MAGIC = 0x1950a86a20f9469cfc6c


class _Name(NamedTuple):
    """A function or class that the file names; never imported."""
    module: str
    name: str


class _Storage(NamedTuple):
    type: str
    key: str
    offset: int = 0


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


def read_torch(path) -> Dict[str, np.ndarray]:
    """The tensors of a saved state_dict; numbers beside them become arrays without axes.

    Raises: UserError: if the file holds other things than these, or asks for a function that
      tensors do not need. Where it is damaged, whatever reading foreign bytes may raise.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        read = _read_zip if zipfile.is_zipfile(io.BytesIO(content)) else _read_legacy
        return _arrays_of(path, *read(content))
    except _Refused as refused:
        raise UserError(f"{path}: expected tensors alone; found {refused}. Nothing of it was "
                        "executed.") from None


def _arrays_of(path, value, read_storage):
    """{name: array} of a state_dict, or of a dict that holds one beside other things."""
    for key in ("state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a saved state_dict; found {type(value).__name__}.")
    arrays = {}
    for name, entry in value.items():
        if isinstance(entry, _Tensor):
            arrays[name] = _array(entry, read_storage(entry.storage))
        elif isinstance(entry, (bool, int, float)):
            arrays[name] = np.array(entry)
        else:
            raise UserError(f"{path}: expected tensors and numbers; {name!r} is "
                            f"{type(entry).__name__}.")
    return arrays


class _Refused(Exception):
    """The file wants something that tensors do not need."""


def _read_zip(content):
    """(value, function: storage -> its numbers) of the newer layout."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    main = next(name for name in archive.namelist() if name.split("/")[-1] == "data.pkl")
    folder = main[:-len("data.pkl")]
    if archive.NameToInfo.get(folder + "byteorder") and (
            archive.read(folder + "byteorder").strip() != b"little"):
        raise ValueError("numbers are big-endian")
    value = _follow(io.BytesIO(archive.read(main)))
    return value, lambda storage: np.frombuffer(
        archive.read(f"{folder}data/{storage.key}"), _type(storage))


def _read_legacy(content):
    """The same of the older layout."""
    stream = io.BytesIO(content)
    if _follow(stream) != _LEGACY_MAGIC:
        raise ValueError("no PyTorch file")
    _follow(stream)                              # version of the layout
    if not _follow(stream).get("little_endian", True):
        raise ValueError("numbers are big-endian")
    storages = {}
    value = _follow(stream, storages)
    numbers = {}
    for key in _follow(stream):
        kind = np.dtype(_type(storages[key]))
        count = int.from_bytes(stream.read(8), "little")
        numbers[key] = np.frombuffer(stream.read(count * kind.itemsize), kind)
    return value, lambda storage: numbers[storage.key]


def _type(storage):
    if storage.type not in _TYPES:
        raise _Refused(f"numbers of the type {storage.type}")
    return _TYPES[storage.type]


def _array(tensor, numbers):
    """The numbers of a tensor, checked against the ends of their storage."""
    first = tensor.storage.offset + tensor.offset
    if len(tensor.shape) != len(tensor.strides) or first < 0 or min(
            (*tensor.shape, *tensor.strides, 0)) < 0:
        raise ValueError("a tensor of impossible shape")
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, numbers.dtype)
    last = first + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides))
    if last >= len(numbers) or np.prod(tensor.shape, dtype=float) > len(numbers):
        raise ValueError("a tensor that is larger than its storage")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[first:], tensor.shape, strides).copy()


def _call(function, arguments):
    """What the few functions that tensors need would return."""
    if function == _Name("collections", "OrderedDict"):
        return dict(*arguments)
    if function in (_Name("torch._utils", "_rebuild_tensor_v2"),
                    _Name("torch._utils", "_rebuild_tensor")):
        storage, offset, shape, strides = arguments[:4]
        if not isinstance(storage, _Storage):
            raise ValueError("a tensor without a storage")
        return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
    if function == _Name("torch._utils", "_rebuild_parameter"):
        return arguments[0]
    if function == _Name("torch", "Size"):
        return tuple(*arguments)
    name = ".".join(function) if isinstance(function, _Name) else type(function).__name__
    raise _Refused(f"a call of {name}")


def _storage(identity, storages):
    """The storage that a persistent id names: ("storage", type, key, device, count[, view])."""
    kind, type_, key, _, _, *view = identity
    if kind != "storage" or not isinstance(type_, _Name) or not isinstance(key, str):
        raise ValueError("a reference to no storage")
    offset = int(view[0][1]) if view and view[0] else 0
    storage = _Storage(type_.name, key, offset)
    if storages is not None:
        storages[key] = storage
    return storage


def _follow(stream, storages=None):
    """Follows one pickle, up to its end; `storages` collects those that it refers to by key."""
    stack, memo, marks = [], {}, []

    def since_mark():
        place = marks.pop()
        values = stack[place:]
        del stack[place:]
        return values

    def pop(count):
        if len(stack) < count + (marks[-1] if marks else 0):
            raise ValueError("a broken pickle")
        values = stack[-count:]
        del stack[-count:]
        return values

    constants = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
    tuples = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
    literals = ("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT",
                "FLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING",
                "SHORT_BINSTRING", "STRING")
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name in literals:
            stack.append(argument)
        elif name in constants:
            stack.append(constants[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in tuples:
            stack.append(tuple(pop(tuples[name])))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(argument)])
        elif name == "GLOBAL":
            stack.append(_Name(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_Name(*pop(2)))
        elif name == "BINPERSID":
            stack.append(_storage(*pop(1), storages))
        elif name == "REDUCE":
            stack.append(_call(*pop(2)))
        elif name in ("SETITEM", "SETITEMS"):
            values = pop(2) if name == "SETITEM" else since_mark()
            stack[-1].update(zip(values[::2], values[1::2]))
        elif name in ("APPEND", "APPENDS"):
            values = pop(1) if name == "APPEND" else since_mark()
            stack[-1].extend(values)
        elif name == "BUILD":  # of a state_dict: its _metadata, versions of the modules
            pop(1)
            if not isinstance(stack[-1], dict):
                raise _Refused("the state of an object")
        else:
            raise _Refused(f"the pickle instruction {name}")
    raise ValueError("a pickle without an end")
