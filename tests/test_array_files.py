"""Files of named arrays: read whole, or refused; never executed."""
import os
import pickle
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from tfdepth.checks import UserError
from tfdepth.weights.array_files import read_arrays
from torch_pickles import write_pth

RANDOM = np.random.default_rng(3)
ARRAYS = {"encoder.conv1.weight": RANDOM.normal(size=(4, 3, 2, 5)).astype(np.float32),
          "fc.weight": RANDOM.normal(size=(3, 4)), "count": np.array(7, np.int64),
          "half": RANDOM.normal(size=6).astype(np.float16), "empty": np.zeros((0, 3), np.float32)}
FACTS = {"height": 192, "width": 640, "use_stereo": False}


def check(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert np.shape(found[name]) == np.shape(value)


@pytest.mark.parametrize("legacy", [False, True])
def test_pth(tmp_path, legacy):
    arrays = {name: value for name, value in ARRAYS.items() if name != "empty"}
    write_pth(tmp_path / "model.pth", {**arrays, **FACTS}, legacy, transposed=("fc.weight",))
    check(read_arrays(tmp_path / "model.pth"), {**arrays, **FACTS})


def test_npz_and_safetensors(tmp_path):
    np.savez(tmp_path / "model.npz", **ARRAYS)
    check(read_arrays(tmp_path / "model.npz"), ARRAYS)
    save_file(ARRAYS, tmp_path / "model.safetensors")
    check(read_arrays(tmp_path / "model.safetensors"), ARRAYS)


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_is_executed(tmp_path):
    proof = tmp_path / "executed"
    pickled = pickle.dumps({"weight": Attack(proof)}, protocol=2)
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    (tmp_path / "legacy.pth").write_bytes(
        pickle.dumps(0x1950a86a20f9469cfc6c, 2) + pickle.dumps(1001, 2)
        + pickle.dumps({"little_endian": True}, 2) + pickled)
    (tmp_path / "plain.pth").write_bytes(pickled)
    for name in ("zip.pth", "legacy.pth", "plain.pth"):
        with pytest.raises(UserError, match=r"found a call of (posix|nt)\.system. Nothing of it"):
            read_arrays(tmp_path / name)
    np.savez(tmp_path / "objects.npz", weight=np.array([Attack(proof)], object))
    with pytest.raises(UserError, match="damaged or of another kind"):
        read_arrays(tmp_path / "objects.npz")
    assert not proof.exists()


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "model.npz", "model.safetensors"])
def test_damaged_files_are_refused(tmp_path, name):
    """Cut at many places, and with bytes changed: a UserError, or arrays of the right shapes."""
    path = tmp_path / name
    arrays = {name: value for name, value in ARRAYS.items() if name != "empty"}
    if name == "model.npz":
        np.savez(path, **arrays)
    elif name == "model.safetensors":
        save_file(arrays, path)
    else:
        write_pth(path, arrays, legacy=name == "legacy.pth")
    content = path.read_bytes()
    refused = 0
    for trial in range(120):
        changed = bytearray(content)
        if trial % 2:
            changed = changed[:RANDOM.integers(0, len(content))]
        else:
            changed[RANDOM.integers(0, len(content))] ^= 1 << RANDOM.integers(0, 8)
        path.write_bytes(bytes(changed))
        try:
            read_arrays(path)
        except UserError as error:
            refused += 1
            assert name in str(error)
    assert refused >= 60  # every cut one


def test_other_files(tmp_path):
    for name, words in (("missing.pth", "expected weights; No such file"),
                        ("model.h5", r"expected weights as .*; found \.h5")):
        with pytest.raises(UserError, match=words):
            read_arrays(tmp_path / name)
    np.save(tmp_path / "one.npy", np.zeros(3))
    os.rename(tmp_path / "one.npy", tmp_path / "one.npz")
    with pytest.raises(UserError, match="a single array without a name"):
        read_arrays(tmp_path / "one.npz")
