"""tools/export.py --format tflite, tflite_int8, onnx: files that say what the network says."""
import json
import sys
import types

import export
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_folders import write_camera
from tfdepth.data.config import DataConfig
from tfdepth.export.sampling import made_up_images
from tfdepth.export.tflite import training_frames
from tfdepth.inference import load_predictor
from tfdepth.runs.checkpoints import Checkpoints
from tfdepth.runs.config import ExperimentConfig
from tfdepth.runs.folder import open_run
from tfdepth.systems import build_system
from tfdepth.systems.monodepth2 import Monodepth2Config

SIZE = (64, 96)
FRAMES = 12


@pytest.fixture(name="frames", scope="module")
def _frames(tmp_path_factory):
    """A folder with a clip of 12 frames."""
    folder = tmp_path_factory.mktemp("frames")
    write_camera(folder)
    for k, image in enumerate(made_up_images(FRAMES, 80, 120)):
        Image.fromarray(image).save(folder / f"{k:03d}.png")
    return folder


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory, frames):
    """A run folder of a model with random weights, "trained" on these frames."""
    tf.keras.utils.set_random_seed(5)
    config = ExperimentConfig(Monodepth2Config(), DataConfig(
        dataset="folder", root=str(frames), size=SIZE))
    system = build_system(config.system, config.data.offsets)
    system.create_variables(SIZE)
    run = open_run(tmp_path_factory.mktemp("md2") / "run", config)
    Checkpoints(run.checkpoints, keep=1, system=system).save(step=7)
    return run.path


def exported(run, output, file_format):
    """The facts about an export by the command."""
    assert export.main(["--workdir", str(run), "--output", str(output),
                        "--format", file_format]) == 0
    facts = json.loads((output / "export.json").read_text())
    assert facts["latency_seconds"] > 0 and facts["format"] == file_format
    return facts


@pytest.fixture(name="images", scope="module")
def _images():
    return (made_up_images(3, *SIZE, seed=3) / 255.0).astype(np.float32)


@pytest.fixture(name="expected", scope="module")
def _expected(run, images):
    return load_predictor(run).system.predict_depth(tf.constant(images), None).depth.numpy()


def ask_tflite(path, images):
    """Depth of images, one by one, by an interpreter of its own."""
    interpreter = tf.lite.Interpreter(str(path))
    assert interpreter.get_input_details()[0]["dtype"] == np.float32
    runner = interpreter.get_signature_runner("serving_default")
    return interpreter, np.concatenate([runner(images=image[np.newaxis])["depth"]
                                        for image in images])


def test_tflite(run, images, expected, tmp_path):
    facts = exported(run, tmp_path / "phone", "tflite")
    _, found = ask_tflite(tmp_path / "phone" / "model.tflite", images)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert facts["parity"]["max_relative_error"] < 1e-3
    assert facts["inputs"] == {"images": "float32 [1, 64, 96, 3] in [0, 1]"}


def test_int8_is_calibrated_with_training_frames(run, images, expected, tmp_path):
    facts = exported(run, tmp_path / "phone", "tflite_int8")
    interpreter, found = ask_tflite(tmp_path / "phone" / "model.tflite", images)
    types = [tensor["dtype"] for tensor in interpreter.get_tensor_details()]
    assert types.count(np.int8) > len(types) / 2
    assert (np.abs(found - expected) / expected).mean() < 0.1
    assert 0 < facts["parity"]["abs_rel"] < 0.1
    assert facts["calibrated_with"] == 8 and facts["bytes"] < 20e6  # of 10 with both neighbours


@pytest.mark.parametrize("previous", [False, True])
def test_calibration_sees_the_frame_before_and_the_camera(previous, frames):
    system = types.SimpleNamespace(needs_previous=previous, needs_intrinsics=not previous,
                                   learns_from_depth=False)
    data = DataConfig(dataset="folder", root=str(frames), size=SIZE)
    found = training_frames(types.SimpleNamespace(
        system=system, offsets=data.offsets, config=types.SimpleNamespace(data=data)))
    assert len(found) == FRAMES - 2
    if previous:
        assert set(found[0]) == {"images", "previous"}
        for before, after in zip(found, found[1:]):
            np.testing.assert_array_equal(after["previous"], before["images"])
    else:
        assert set(found[0]) == {"images", "intrinsics"}
        focal_length = 0.5 * SIZE[1] / np.tan(np.radians(35))  # write_camera's 70 degrees
        np.testing.assert_allclose(found[3]["intrinsics"][0, 0, 0], focal_length, rtol=1e-5)


def test_int8_without_the_data(run, tmp_path, capsys):
    path = tmp_path / "run"
    path.mkdir()
    (path / "checkpoints").symlink_to(run / "checkpoints")
    fields = json.loads((run / "config.json").read_text())
    fields["data"]["root"] = str(tmp_path / "gone")
    (path / "config.json").write_text(json.dumps(fields))
    assert export.main(["--workdir", str(path), "--output", str(tmp_path / "phone"),
                        "--format", "tflite_int8"]) == 2
    message = capsys.readouterr().err
    assert "calibrated with frames" in message and f"{tmp_path}/gone" in message
    assert not (tmp_path / "phone").exists()


def test_onnx(run, images, expected, tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    facts = exported(run, tmp_path / "onnx", "onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"),
                                           providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["images"]
    for count in (3, 1):  # any batch size
        depth, disparity = session.run(["depth", "disparity"], {"images": images[:count]})
        np.testing.assert_allclose(depth, expected[:count], rtol=1e-4)
        np.testing.assert_allclose(depth * disparity, 1.0, rtol=1e-6)
    assert facts["parity"]["max_relative_error"] < 1e-3


def test_onnx_without_its_packages(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export.main(["--workdir", str(run), "--output", str(tmp_path / "onnx"),
                        "--format", "onnx"]) == 2
    assert "pip install 'tfdepth[convert]'" in capsys.readouterr().err
