"""tools/predict.py: what it writes about images, and every mistake that it must word."""
import json
import pathlib
import shutil
import types

import imageio
import numpy as np
import predict
import pytest
import tensorflow as tf
from PIL import Image

from data_folders import write_camera, write_frames
from tfdepth.checks import UserError
from tfdepth.data import images
from tfdepth.data.config import DataConfig
from tfdepth.inference import load_predictor
from tfdepth.prediction import predicting
from tfdepth.prediction.writing import png_divisor
from tfdepth.runs.checkpoints import Checkpoints
from tfdepth.runs.config import ExperimentConfig
from tfdepth.runs.folder import open_run
from tfdepth.runs.scale import describe_scale
from tfdepth.systems import build_system
from tfdepth.systems.idce_ham import IdceHamConfig
from tfdepth.systems.sfmlearner import SfMLearnerConfig

SIZE = (32, 64)


@pytest.fixture(name="model", scope="module")
def _model(tmp_path_factory):
    """A run folder with random weights; its depths span two decades."""
    tf.keras.utils.set_random_seed(5)
    config = ExperimentConfig(SfMLearnerConfig(), DataConfig(size=SIZE))
    system = build_system(config.system, (-1, 1))
    system.create_variables(SIZE)
    for variable in system.depth_net.heads[0].trainable_variables:
        variable.assign(variable * 2.0)
    run = open_run(tmp_path_factory.mktemp("model") / "run", config)
    Checkpoints(run.checkpoints, keep=1, system=system).save(step=7)
    return run.path


@pytest.fixture(name="predictor", scope="module")
def _predictor(model):
    return load_predictor(model)


def _run(model, source, output, *flags):
    return predict.main(["--model", str(model), "--input", str(source), "--output", str(output),
                         *flags])


def _read_json(output, stem):
    return json.loads((output / "depth" / f"{stem}.json").read_text())


def _network_depth(predictor, path):
    """Forward pass of the bare system, one image at a time."""
    image = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False)
    image = tf.round(tf.image.resize(image, SIZE, antialias=True))[tf.newaxis] / 255.0
    return predictor.system.predict_depth(image, image).depth.numpy()[0, ..., 0]


def _expected_depth(predictor, path):
    """The network's depth, resized by Pillow: it has half-pixel centres too."""
    depth = _network_depth(predictor, path)
    width, height = Image.open(path).size
    assert height >= SIZE[0] and width >= SIZE[1]  # else Pillow would smooth
    return np.array(Image.fromarray(depth).resize((width, height), Image.Resampling.BILINEAR))


@pytest.fixture(name="clip")
def _clip(tmp_path):
    """Frames of two shapes, one of them grey; a file that is no image, and a sub-folder."""
    folder = write_frames(tmp_path / "clip", ["frame9.jpg", "frame10.png"], size=(48, 100))
    write_frames(folder, ["frame11.PNG"], size=(90, 70), grey=True, seed=1)
    write_frames(folder / "more", ["other.png"])
    (folder / "notes.txt").write_text("text")
    return folder


def test_png_holds_the_depth_of_the_network(model, predictor, clip, tmp_path, capsys):
    output = tmp_path / "new" / "out"
    assert _run(model, clip, output) == 0
    assert {path.relative_to(output).as_posix() for path in output.rglob("*.*")} == {
        f"{place}.{suffix}" for k in (9, 10, 11) for place, suffix in (
            (f"depth/frame{k}", "png"), (f"depth/frame{k}", "json"), (f"colour/frame{k}", "png"))}
    divisors, largest = set(), 0
    for frame, name in enumerate(("frame9.jpg", "frame10.png", "frame11.PNG")):
        facts = _read_json(output, name[:-4])
        expected = _expected_depth(predictor, clip / name)
        steps = np.array(Image.open(output / "depth" / facts["file"]))
        assert list(steps.shape) == facts["source_size"] == list(expected.shape)
        # Half a step of the PNG, and the difference of float32 networks in other batches.
        np.testing.assert_allclose(steps / facts["divisor"], expected, rtol=2e-4,
                                   atol=0.5 / facts["divisor"])
        np.testing.assert_allclose(images.read_depth(str(output / "depth" / facts["file"]),
                                                     facts["divisor"]), expected, rtol=0.01)
        assert facts["source"] == str(clip / name) and facts["frame"] == frame
        assert facts["clamped_pixels"] == 0
        np.testing.assert_allclose(facts["depth_range"], [expected.min(), expected.max()],
                                   rtol=2e-4)
        divisors.add(facts["divisor"])
        largest = max(largest, steps.max())
    assert len(divisors) == 1 and 30000 < largest <= 65534
    said = capsys.readouterr().out
    assert "3 depth maps" in said and f"x {divisors.pop():g}" in said and "warning" not in said


def test_npy_and_what_its_sidecar_says(model, predictor, tmp_path):
    folder = write_frames(tmp_path, ["a.b.png"], size=(40, 80))
    write_camera(folder, units="pixels", width=80, height=40, fx=60, fy=50, cx=41, cy=19)
    output = tmp_path / "out"
    assert _run(model, folder / "a.b.png", output, "--format=npy") == 0
    depth = np.load(output / "depth" / "a.b.npy")
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, _expected_depth(predictor, folder / "a.b.png"), rtol=2e-4)
    facts = _read_json(output, "a.b")
    assert "one unknown factor" in facts.pop("scale_reason")
    assert np.ptp(facts.pop("depth_range")) > 0 and facts.pop("colour_inverse_depth_range")
    assert facts == {
        "file": "a.b.npy", "source": str(folder / "a.b.png"), "frame": 0, "kind": "depth",
        "scale": "relative", "divisor": 1.0, "clamped_pixels": 0, "source_size": [40, 80],
        "network_size": [32, 64], "resized": "depth", "checkpoint_step": 7,
        "intrinsics": [[60, 0, 41], [0, 50, 19], [0, 0, 1]], "model": str(model),
        "system": "SfMLearner", "colour_file": "../colour/a.b.png"}


def test_colours_have_one_range(model, predictor, clip, tmp_path):
    output = tmp_path / "out"
    assert _run(model, clip, output, "--format=npy") == 0
    ranges, shades = set(), []
    for stem in ("frame9", "frame10", "frame11"):
        facts = _read_json(output, stem)
        ranges.add(tuple(facts["colour_inverse_depth_range"]))
        inverse = 1 / np.load(output / "depth" / facts["file"])
        picture = np.array(Image.open(output / "depth" / facts["colour_file"])).astype(int)
        assert picture.shape == (*inverse.shape, 3)
        shades.append((inverse.ravel(), picture.sum(axis=2).ravel()))
    (low, high), = ranges
    inverse, brightness = (np.concatenate(parts) for parts in zip(*shades))
    at_network = np.concatenate([1 / _network_depth(predictor, path).ravel() for path in
                                 clip.glob("frame*")])
    np.testing.assert_allclose([low, high], np.percentile(at_network, [1, 99]), rtol=1e-3)
    # Over all frames together, brightness is one rising function of inverse depth.
    order = np.argsort(inverse)
    assert brightness[order][0] == brightness.min() and brightness[order][-1] == brightness.max()
    assert (np.diff(brightness[order]) >= -3).all()  # magma's own rounding


def test_a_second_run_replaces_and_an_output_inside_the_input_is_not_read(model, clip):
    for _ in range(2):
        assert _run(model, clip, clip) == 0
        assert sorted(path.name for path in (clip / "depth").glob("*.png")) == [
            "frame10.png", "frame11.png", "frame9.png"]
    assert images.read_size(str(clip / "frame10.png")) == (48, 100)
    assert np.array(Image.open(clip / "frame10.png")).ndim == 3  # the frame, no depth map


def test_video_and_home(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 96, 3), np.uint8)
    imageio.mimsave(tmp_path / "clip.mp4", frames, fps=10, macro_block_size=1)
    (write_camera(tmp_path)).rename(tmp_path / "clip.json")
    assert _run(model, "~/clip.mp4", "~/out") == 0
    facts = _read_json(tmp_path / "out", "000002")
    assert (facts["source"], facts["frame"]) == (str(tmp_path / "clip.mp4"), 2)
    np.testing.assert_allclose(facts["intrinsics"][0][2], 47.5)
    assert _read_json(tmp_path / "out", "000000")["source_size"] == [48, 96]


class _Stub:
    """A predictor of given depths."""
    step, size, offsets, frame_gap = 3, (4, 6), (), 1
    system = types.SimpleNamespace(resized="depth", needs_previous=False, learns_from_depth=False,
                                   offsets=(), predicts_motion=False, stereo=False)
    config = types.SimpleNamespace(data=DataConfig())

    def __init__(self, depths):
        self.depths = depths

    def describe_scale(self):
        return describe_scale(self.config.data, self.system.learns_from_depth)

    def depths_of_frames(self, frames):
        return ((frame, None, depth) for frame, depth in zip(frames, self.depths))


def test_depths_beyond_16_bits_are_counted(tmp_path, monkeypatch):
    write_frames(tmp_path / "clip", ["a.png", "b.png"], size=(4, 6))
    depths = np.full([2, 4, 6], 300.0, np.float32)
    depths[1, 2, 1:4] = 1e-3
    monkeypatch.setattr(predicting, "load_predictor", lambda model, precision: _Stub(depths))
    said = []
    predicting.predict_files("run", tmp_path / "clip", tmp_path / "out", show=said.append)
    facts = _read_json(tmp_path / "out", "b")
    assert facts["divisor"] == 128 and facts["clamped_pixels"] == 3
    assert _read_json(tmp_path / "out", "a")["clamped_pixels"] == 0
    found = np.array(Image.open(tmp_path / "out" / "depth" / "b.png"))
    assert (found[2, 1:4] == 1).all() and found[0, 0] == 300 * 128
    assert "warning: 3 pixels" in said[-1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_broken_model_writes_nothing(bad, tmp_path, monkeypatch):
    write_frames(tmp_path / "clip", ["a.png", "b.png"], size=(4, 6))
    depths = np.ones([2, 4, 6], np.float32)
    depths[1, 3, 5] = bad
    monkeypatch.setattr(predicting, "load_predictor", lambda model, precision: _Stub(depths))
    with pytest.raises(UserError, match="step 3 .*b.png"):
        predicting.predict_files("run", tmp_path / "clip", tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("largest", [1e-3, 0.1999, 1.0, 65534.0, 2**-8 * 65534, 100.0, 1e6])
def test_divisor(largest):
    divisor = png_divisor(largest)
    assert 32767 < largest * divisor <= 65534 and np.log2(divisor) % 1 == 0


def _damage(path):
    """Breaks a checksum of a PNG: Pillow does not see it, TensorFlow does."""
    data = bytearray(path.read_bytes())
    start = data.find(b"IDAT")
    data[start + 4 + int.from_bytes(data[start - 4:start], "big")] ^= 255
    path.write_bytes(data)


def _mistakes(folder):
    """{name: (input, output, flags, words of the message)}; makes the files."""
    frames = write_frames(folder / "frames", ["a.png", "b.png"])
    (folder / "empty").mkdir()
    twins = write_frames(folder / "twins", ["a.png", "a.jpg"])
    text = write_frames(folder / "text", ["a.png"])
    (text / "b.png").write_text("no image")
    truncated = write_frames(folder / "truncated", [f"{k}.png" for k in range(11)])
    (truncated / "9.png").write_bytes((truncated / "9.png").read_bytes()[:200])
    damaged = write_frames(folder / "damaged", ["a.png", "b.png"])
    _damage(damaged / "b.png")
    maps = write_frames(folder / "maps", [])
    images.write_depth(str(maps / "a.png"), np.full((4, 6), 3.0))
    camera = write_frames(folder / "camera", ["a.png"])
    write_camera(camera, units="pixels", width=99, height=20, fx=60, fy=50, cx=41, cy=10)
    loop = write_frames(folder / "loop" / "depth", ["a.jpg"])
    (folder / "file").write_text("")
    out = folder / "out"
    return {
        "absent": (folder / "absent", out, (), ("absent: no such folder", "an image (.png")),
        "empty path": ("", out, (), ("--input", "empty path")),
        "no images": (folder / "empty", out, (), (".png, .jpg, .jpeg", "found nothing")),
        "only folders": (folder, out, (), ("expected images", "camera", "damaged", "more")),
        "same stem": (twins, out, (), ("a.jpg and a.png",)),
        "no image": (text, out, (), ("text/b.png", "found text")),
        "no image file": (folder / "file", out, (), ("file: expected a PNG or JPEG",)),
        "truncated": (truncated, out, (), ("truncated/9.png", "truncated or damaged")),
        "checksum": (damaged, out, (), ("damaged/b.png", "truncated or damaged")),
        "depth maps": (maps, out, (), ("maps/a.png", "16-bit grey")),
        "camera": (camera, out, (), ("intrinsics.json", "99 x 20")),
        "output is a file": (frames, folder / "file", (), ("--output", "can be written")),
        "no output": (frames, "", (), ("--output", "empty path")),
        "output on input": (loop, folder / "loop", (), ("--output", "depth/a.jpg")),
        "format": (frames, out, ("--format=tiff",), ("--format must be one of png, npy, npz",)),
    }


@pytest.mark.parametrize("name", [
    "absent", "empty path", "no images", "only folders", "same stem", "no image", "no image file",
    "truncated", "checksum", "depth maps", "camera", "output is a file", "no output",
    "output on input", "format"])
def test_mistakes(name, model, tmp_path, capsys):
    source, output, flags, words = _mistakes(tmp_path)[name]
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert _run(model, source, output, *flags) == 2
    message = capsys.readouterr().err
    assert message.startswith("predict.py: ") and message.count("\n") == 1, message
    for word in words:
        assert word in message
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_mistakes_of_the_model(tmp_path, model, capsys):
    frames = write_frames(tmp_path / "frames", ["a.png"])
    (tmp_path / "run").mkdir()
    assert _run(tmp_path / "run", frames, tmp_path / "out") == 2
    assert "run: expected a run folder with a config.json" in capsys.readouterr().err
    (tmp_path / "run" / "config.json").write_text(pathlib.Path(model, "config.json").read_text())
    assert _run(tmp_path / "run", frames, tmp_path / "out") == 2
    assert "run: expected a checkpoint in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture(name="joint", scope="module")
def _joint(tmp_path_factory):
    """A run folder of a model that needs the frame before, trained on stereo pairs in metres."""
    tf.keras.utils.set_random_seed(6)
    config = ExperimentConfig(IdceHamConfig(), DataConfig(size=(64, 64), stereo=True))
    system = build_system(config.system, (-1, 1), stereo=True)
    system.create_variables((64, 64))
    system.depth_decoder.heads[0].kernel.assign(20.0 * system.depth_decoder.heads[0].kernel)
    run = open_run(tmp_path_factory.mktemp("joint") / "run", config)
    Checkpoints(run.checkpoints, keep=1, system=system).save(step=3)
    return run.path


def test_frame_before_is_used_where_there_is_one(joint, tmp_path, capsys):
    names = ["a_01.png", "a_02.png", "a_03.png", "a_07.png", *[f"a_{k}.png" for k in range(20, 32)]]
    folder = write_frames(tmp_path / "clip", names, size=(64, 64))
    assert _run(joint, folder, tmp_path / "out", "--format=npy") == 0
    assert "3 of 16 images have no frame before them" in capsys.readouterr().out
    system = load_predictor(joint).system
    read = lambda name: np.array(Image.open(folder / name), np.float32)[np.newaxis] / 255
    before = {"a_02.png": "a_01.png", "a_03.png": "a_02.png",
              **{f"a_{k}.png": f"a_{k - 1}.png" for k in range(21, 32)}}
    for name in names:
        facts = _read_json(tmp_path / "out", name[:-4])
        assert facts["previous_frame"] == before.get(name)
        assert ("saw the image twice" in facts.get("previous_reason", "")) == (name not in before)
        expected = system.predict_depth(read(name), read(before.get(name, name))).depth[0, ..., 0]
        found = np.load(tmp_path / "out" / "depth" / f"{name[:-4]}.npy")
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    still = system.predict_depth(read("a_02.png"), read("a_02.png")).depth[0, ..., 0]
    assert np.abs(np.load(tmp_path / "out" / "depth" / "a_02.npy") / still - 1).max() > 1e-3
    assert facts["scale"] == "metric" and facts["resized"] == "disparity"


def test_the_frame_before_is_as_far_as_in_training(joint, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(joint, run)
    config = run / "config.json"
    config.write_text(config.read_text().replace('"frame_gap": 1', '"frame_gap": 2'))
    numbers = [*range(1, 12), 20, 21, 22]
    folder = write_frames(tmp_path / "clip", [f"a_{k:02}.png" for k in numbers], size=(64, 64))
    assert _run(run, folder, tmp_path / "out", "--format=npy") == 0
    assert "4 of 14 images have no frame 2 before them" in capsys.readouterr().out
    system = load_predictor(joint).system
    read = lambda k: np.array(Image.open(folder / f"a_{k:02}.png"), np.float32)[np.newaxis] / 255
    for k in numbers:
        before = k if k in (1, 2, 20, 21) else k - 2
        facts = _read_json(tmp_path / "out", f"a_{k:02}")
        assert facts["previous_frame"] == (None if before == k else f"a_{before:02}.png")
        expected = system.predict_depth(read(k), read(before)).depth[0, ..., 0]
        found = np.load(tmp_path / "out" / "depth" / f"a_{k:02}.npy")
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_stills_are_no_clip(joint, tmp_path, capsys):
    folder = write_frames(tmp_path / "stills", ["beach.png", "car.png", "zoo.png"], size=(48, 80))
    assert _run(joint, folder, tmp_path / "out") == 0
    assert "3 of 3 images have no frame before them" in capsys.readouterr().out


def test_a_still_image_is_seen_twice(joint, tmp_path, capsys):
    folder = write_frames(tmp_path / "one", ["photo.png"], size=(48, 80))
    assert _run(joint, folder / "photo.png", tmp_path / "out") == 0
    assert "1 of 1 images have no frame before them" in capsys.readouterr().out
    assert _read_json(tmp_path / "out", "photo")["previous_frame"] is None


def test_what_is_said_of_the_scale():
    for data, scale, words in ((DataConfig(), "relative", "one camera"),
                               (DataConfig(stereo=True), "metric", "pairs of known distance"),
                               (DataConfig(stereo=True, stereo_baseline=0.1), "relative",
                                "metres = depth x their true distance / 0.1")):
        facts = describe_scale(data, learns_from_depth=False)
        assert facts["scale"] == scale and words in facts["scale_reason"]
