"""What several test modules share."""
import importlib.util
import pathlib

import numpy as np
import pytest

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"
PARITY = SHARED / "parity"
DATA = SHARED / "data"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the folder ../shared")


def parity(*parts):
    """An .npz of ../shared/parity as a dict."""
    with np.load(PARITY.joinpath(*parts)) as arrays:
        return {name: arrays[name] for name in arrays.files}


def reference_weights(spec, seed=0):
    """{published name: array} of a parity spec file."""
    path = PARITY / "reference_weights.py"
    spec_of_module = importlib.util.spec_from_file_location("reference_weights", path)
    module = importlib.util.module_from_spec(spec_of_module)
    spec_of_module.loader.exec_module(module)
    return module.reference_weights(PARITY / spec, seed)


def damaged(data, count, seed, head=512):
    """Truncated copies of some bytes, and copies with flipped bits, most of them near the start."""
    random = np.random.default_rng(seed)
    for k in range(count):
        if k % 3 == 0:
            yield data[:int(random.integers(len(data)) if k % 2 else random.integers(head))]
            continue
        copy = bytearray(data)
        limit = len(data) if k % 3 == 1 else min(head, len(data))
        for position in random.integers(0, limit, random.integers(1, 9)):
            copy[position] ^= 1 << int(random.integers(8))
        yield bytes(copy)
