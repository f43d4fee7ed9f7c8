"""Writes .pth files in both of PyTorch's layouts, without PyTorch: stand-ins with its names.

What pickle writes of these objects is, instruction for instruction, what torch.save writes.
"""
import collections
import io
import pickle
import sys
import types
import zipfile

import numpy as np

_STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage",
             "float16": "HalfStorage", "uint8": "ByteStorage"}


def _module(name, **members):
    module = types.ModuleType(name)
    for key, member in members.items():
        setattr(module, key, member)
        member.__module__, member.__qualname__ = name, key
    return module


def _rebuild_tensor_v2(*arguments):
    raise AssertionError("a reader executed the file")


class _Storage:
    """What a tensor's numbers lie in: pickled as a persistent id."""

    def __init__(self, key, array):
        self.key, self.array = key, array


class _Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.parts = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.parts


def _pickle(value, legacy, storage_types, stream=None):
    stream = stream or io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            if not isinstance(thing, _Storage):
                return None
            kind = storage_types[_STORAGES[thing.array.dtype.name]]
            identity = ("storage", kind, thing.key, "cpu", thing.array.size)
            return (*identity, None) if legacy else identity

    Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def write_pth(path, entries, legacy=False, transposed=(), wrap=lambda state: state):
    """Writes {name: array or number}; `transposed` names arrays to store with swapped strides,
    `wrap` makes of the state_dict what is saved."""
    storage_types = {name: type(name, (), {}) for name in _STORAGES.values()}
    modules = {"torch": _module("torch", **storage_types),
               "torch._utils": _module("torch._utils", _rebuild_tensor_v2=_rebuild_tensor_v2)}
    modules["torch"]._utils = modules["torch._utils"]
    state, storages = collections.OrderedDict(), {}
    for key, (name, entry) in enumerate(entries.items()):
        if not isinstance(entry, np.ndarray):
            state[name] = entry
            continue
        flat = np.ascontiguousarray(entry.T if name in transposed else entry).reshape(-1)
        # Two numbers before the first: tensors need not begin where their storage does.
        storages[str(key)] = np.concatenate([flat[:1], flat[:1], flat])
        strides = np.cumprod((1, *(entry.shape if name in transposed else entry.shape[::-1])))[:-1]
        strides = tuple(map(int, strides if name in transposed else strides[::-1]))
        state[name] = _Tensor(_Storage(str(key), storages[str(key)]), 2, entry.shape, strides)
    state._metadata = collections.OrderedDict(version=1)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        pickled = _pickle(wrap(state), legacy, storage_types)
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})
    if legacy:
        with open(path, "wb") as file:
            for header in (0x1950a86a20f9469cfc6c, 1001, {"little_endian": True, "type_sizes": {}}):
                pickle.dump(header, file, protocol=2)
            file.write(pickled)
            pickle.dump(sorted(storages), file, protocol=2)
            for key in sorted(storages):
                file.write(len(storages[key]).to_bytes(8, "little") + storages[key].tobytes())
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")
