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
