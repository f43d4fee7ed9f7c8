"""What several test modules share."""
import importlib.util
import json
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


def tolerances(folder, file):
    """How far runs of a reference differ, by the keys of one of its files."""
    return json.loads((PARITY / folder / "tolerances.json").read_text())[file]


def assert_forward(tolerance, found, expected, name):
    """|found - expected| within the limit that the reference's README states."""
    limit = 10 * max(tolerance["f64"], tolerance["alt"]) + 1e-6 * tolerance["max_abs"]
    difference = np.abs(np.asarray(found).reshape(expected.shape) - expected).max()
    assert difference <= limit, f"{name}: {difference} > {limit}"


def random_images(*shape, size=(64, 96), seed=0):
    """float32 noise [*shape, *size, 3] in [0, 1]."""
    return np.random.default_rng(seed).random((*shape, *size, 3), np.float32)


def random_batch():
    """A Batch of two samples with two sources, 64 x 96."""
    import tensorflow as tf
    from tfdepth.structures import Batch
    target, sources = random_images(2), random_images(2, 2, seed=1)
    camera = np.broadcast_to(np.float32([[60, 0, 44], [0, 70, 33], [0, 0, 1]]), [2, 3, 3])
    return Batch(*map(tf.constant, (target, sources, target, sources, camera)))


def interrupt_after(steps, monkeypatch):
    """Makes the loop raise KeyboardInterrupt once it has done so many steps."""
    from tfdepth.training import loop
    real, count = loop.make_train_step, []

    def dying(*arguments):
        step = real(*arguments)

        def run_or_die(batch):
            count.append(0)
            if len(count) > steps:
                raise KeyboardInterrupt
            return step(batch)
        return run_or_die
    monkeypatch.setattr(loop, "make_train_step", dying)


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
