"""tools/predict.py on clips: video, points, path, pictures, viewer; memory; stopping midway."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_folders import write_camera, write_frames
from test_clips import brightness_video, convert
from test_pointcloud import read_ply
from test_predict import _model, _run  # pylint: disable=unused-import
from tfdepth.data import video
from tfdepth.data.config import DataConfig
from tfdepth.evaluation.plots import colour_depth
from tfdepth.evaluation.predicted_motion import predicted_trajectory
from tfdepth.evaluation.trajectories import read_tum
from tfdepth.data.files import read_poses
from tfdepth.inference import Predictor, load_predictor
from tfdepth.prediction import predicting
from tfdepth.prediction.smoothing import Smoothing
from tfdepth.prediction.trajectory import find_parts
from tfdepth.runs.checkpoints import Checkpoints
from tfdepth.runs.config import ExperimentConfig
from tfdepth.runs.folder import open_run
from tfdepth.systems import build_system
from tfdepth.systems.bts import BtsConfig
from tfdepth.systems.monodepth2 import Monodepth2Config
from tfdepth.systems.sfmlearner import SfMLearnerConfig
from viewer_page import Page, read_depth

SIZE = (40, 80)
NAMES = ["a_01.png", "a_02.png", "a_03.png", "a_04.png", "a_07.png", "a_09.png", "a_10.png",
         "a_11.png"]


@pytest.fixture(name="walk")
def _walk(tmp_path):
    """Frames 1 to 4, 7, and 9 to 11, with a camera."""
    folder = write_frames(tmp_path / "walk", NAMES, size=SIZE)
    write_camera(folder, units="pixels", width=80, height=40, fx=60, fy=50, cx=41, cy=19)
    return folder


def _facts(output, stem):
    return json.loads((output / "depth" / f"{stem}.json").read_text())


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_video_gives_a_video(model, tmp_path, capsys):
    source = brightness_video(tmp_path / "ride.mp4", count=6, rate=12, size=SIZE)
    output = tmp_path / "out"
    assert _run(model, source, output, "--format=npz") == 0
    assert _names(output) == ["colour.mp4", "depth"]
    header = video.read_header(str(output / "colour.mp4"))
    assert header == ((2 * SIZE[0], SIZE[1]), 12, 6)
    written = list(video.read_frames(str(output / "colour.mp4")))
    for k, (frame, picture) in enumerate(zip(video.read_frames(str(source)), written)):
        facts = _facts(output, f"{k:06d}")
        with np.load(output / "depth" / facts["file"]) as arrays:
            assert arrays.files == ["depth"]
            depth = arrays["depth"]
        assert depth.dtype == np.float32 and depth.shape == SIZE
        colours = colour_depth(depth, *facts["colour_inverse_depth_range"])
        assert np.abs(picture[:40].astype(int) - frame).mean() < 8
        assert np.abs(picture[40:].astype(int) - colours).mean() < 12
        assert facts["colour_file"] == "../colour.mp4" and facts["frame"] == k
    said = capsys.readouterr().out
    assert "6 frames in" in said and "frames/s" in said


def test_npz_holds_the_camera(model, walk, tmp_path):
    assert _run(model, walk / "a_01.png", tmp_path / "out", "--format=npz") == 0
    with np.load(tmp_path / "out" / "depth" / "a_01.npz") as arrays:
        np.testing.assert_array_equal(arrays["intrinsics"], [[60, 0, 41], [0, 50, 19], [0, 0, 1]])
        assert arrays["depth"].shape == SIZE


def test_which_inputs_give_a_video(model, walk, tmp_path, capsys):
    assert _run(model, walk, tmp_path / "a", "--video") == 0
    assert _names(tmp_path / "a") == ["colour.mp4", "depth"]
    assert video.read_header(str(tmp_path / "a" / "colour.mp4"))[1:] == (10, len(NAMES))
    clip = brightness_video(tmp_path / "ride.mp4", count=2, size=SIZE)
    assert _run(model, clip, tmp_path / "b", "--novideo") == 0
    assert _names(tmp_path / "b" / "colour") == ["000000.png", "000001.png"]
    write_frames(walk, ["a_12.png"], size=(44, 80))
    (walk / "intrinsics.json").unlink()
    assert _run(model, walk, tmp_path / "c", "--video") == 2
    assert "--video: expected images of one size" in capsys.readouterr().err


def test_smoothing_is_of_the_colours_alone(model, walk, tmp_path):
    assert _run(model, walk, tmp_path / "raw", "--format=npy") == 0
    assert _run(model, walk, tmp_path / "smooth", "--format=npy", "--smooth=0.75") == 0
    for name in NAMES:
        stem = name[:-4]
        depths = [np.load(tmp_path / each / "depth" / f"{stem}.npy") for each in ("raw", "smooth")]
        np.testing.assert_array_equal(*depths)
        pictures = [np.array(Image.open(tmp_path / each / "colour" / name)) for each in
                    ("raw", "smooth")]
        facts = _facts(tmp_path / "smooth", stem)["colour_smoothing"]
        starts = name in ("a_01.png", "a_07.png", "a_09.png")
        assert facts["share_of_frames_before"] == 0.75 and facts["starts_anew"] == starts
        assert (pictures[0] == pictures[1]).all() == starts
        assert "colour_smoothing" not in _facts(tmp_path / "raw", stem)


def test_smoothing_is_an_exponential_mean_of_inverse_depth():
    depths = np.random.default_rng(0).uniform(1, 9, (5, 3, 4))
    follows = [False, True, True, False, True]
    smoothing = Smoothing(0.6)
    shown = np.stack([smoothing.show(*each) for each in zip(depths, follows)])
    inverse = 1 / depths
    second = 0.6 * inverse[0] + 0.4 * inverse[1]
    expected = [inverse[0], second, 0.6 * second + 0.4 * inverse[2], inverse[3],
                0.6 * inverse[3] + 0.4 * inverse[4]]
    np.testing.assert_allclose(1 / shown, expected)


def test_points_have_the_depth_and_colours_of_their_pixels(model, walk, tmp_path, monkeypatch):
    monkeypatch.setattr("tfdepth.prediction.pointcloud.edges", lambda depth: depth < np.median(depth))
    assert _run(model, walk, tmp_path / "out", "--pointcloud", "--format=npy") == 0
    assert len(_names(tmp_path / "out" / "points")) == len(NAMES)
    _, rows = read_ply(tmp_path / "out" / "points" / "a_03.ply")
    depth, image = np.load(tmp_path / "out" / "depth" / "a_03.npy"), Image.open(walk / "a_03.png")
    assert 0.4 < len(rows) / depth.size < 0.6
    columns = np.rint(60 * rows[:, 0] / rows[:, 2] + 41).astype(int)
    lines = np.rint(50 * rows[:, 1] / rows[:, 2] + 19).astype(int)
    np.testing.assert_allclose(rows[:, 2], depth[lines, columns], rtol=1e-5)
    np.testing.assert_array_equal(rows[:, 3:], np.array(image)[lines, columns])
    assert _facts(tmp_path / "out", "a_03")["points_file"] == "../points/a_03.ply"


def test_parts_of_a_clip_have_paths_of_their_own(model, walk, tmp_path, capsys):
    output = tmp_path / "out"
    assert _run(model, walk, output, "--trajectory") == 0
    assert "path of 7 of 8 frames" in capsys.readouterr().out
    folder = output / "trajectory"
    facts = json.loads((folder / "trajectory.json").read_text())
    assert [(part["first_frame"], part["last_frame"], part["frames"]) for part in facts["parts"]
            ] == [("a_01", "a_04", 4), ("a_09", "a_11", 3)]
    assert facts["scale"] == "relative" and facts["frames_without"] == 1
    assert "supposed" in facts["times_are"]
    assert _names(folder) == ["kitti_1.txt", "kitti_2.txt", "path_1.png", "path_2.png",
                              "trajectory.json", "tum_1.txt", "tum_2.txt"]
    predictor = load_predictor(model)
    for part, names, first in zip(facts["parts"], (NAMES[:4], NAMES[5:]), (1, 9)):
        expected = predicted_trajectory(predictor, [str(walk / name) for name in names])
        assert np.linalg.norm(expected[-1, :3, 3]) > 2e-5  # of a model that learned nothing
        found = read_poses(str(folder / part["kitti"]))
        np.testing.assert_allclose(found, expected, atol=1e-8)
        timed = read_tum(folder / part["tum"])
        np.testing.assert_allclose(timed.timestamps, (first + np.arange(len(names))) / 10)
        np.testing.assert_allclose(timed.world_from_camera, expected, atol=1e-6)


def test_times_of_a_video_and_one_part(model, tmp_path):
    source = brightness_video(tmp_path / "ride.mp4", count=9, rate=25, size=SIZE)
    assert _run(model, source, tmp_path / "out", "--trajectory") == 0
    folder = tmp_path / "out" / "trajectory"
    assert _names(folder) == ["kitti.txt", "path.png", "trajectory.json", "tum.txt"]
    np.testing.assert_allclose(read_tum(folder / "tum.txt").timestamps, np.arange(9) / 25)
    facts = json.loads((folder / "trajectory.json").read_text())
    assert (facts["frames_per_second"], facts["times_are"]) == (25, "of the video")
    assert (len(facts["parts"]), facts["frames_without"]) == (1, 0)


def test_the_path_of_known_motions():
    motion = np.eye(4)[np.newaxis].repeat(2, 0)
    motion[:, 2, 3] = 1.0, -1.0   # a point comes nearer by one a frame
    part, = find_parts([False, True, True], {1: motion}, (-1, 1))
    np.testing.assert_allclose(part.world_from_camera[:, 2, 3], [0, 1, 2])


def test_a_path_is_of_frames_as_far_apart_as_in_training(model, walk, tmp_path, capsys):
    """Learned from every second frame, that of 1 to 4 and 7 to 11 is of 7, 9 and 11."""
    run = tmp_path / "run"
    shutil.copytree(model, run)
    config = run / "config.json"
    config.write_text(config.read_text().replace('"frame_gap": 1', '"frame_gap": 2'))
    write_frames(walk, ["a_08.png"], size=SIZE)
    output = tmp_path / "out"
    assert _run(run, walk, output, "--trajectory", "--html", "--pictures") == 0
    said = capsys.readouterr().out
    assert "path of 3 of 9 frames" in said and "those 2 apart, as the model learned" in said
    assert "no path of the camera: the model learned from frames 2 apart" in said
    facts = json.loads((output / "trajectory" / "trajectory.json").read_text())
    assert facts["frame_gap"] == 2 and facts["frames_without"] == 6
    (part,) = facts["parts"]
    assert (part["first_frame"], part["last_frame"], part["frames"]) == ("a_07", "a_11", 3)
    expected = predicted_trajectory(load_predictor(model), [
        str(walk / f"a_{k:02}.png") for k in (7, 9, 11)])
    np.testing.assert_allclose(read_poses(str(output / "trajectory" / "kitti.txt")), expected,
                               atol=1e-8)
    timed = read_tum(output / "trajectory" / "tum.txt")
    np.testing.assert_allclose(timed.timestamps, [0.7, 0.9, 1.1])
    assert {name[:4] for name in _names(output / "pictures")} == {"a_09"}
    assert "neighbour of it, -2, +2" in _facts(output, "a_02")["pictures_reason"]
    for k in (10, 11):
        (walk / f"a_{k}.png").unlink()
    assert _run(run, walk, output, "--trajectory") == 2
    assert "expected 5 frames or more that follow" in capsys.readouterr().err


def test_motion_that_is_no_number_is_told(model, walk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Predictor, "motions_of_neighbours", lambda _, neighbours: {
        index: np.full([2, 4, 4], np.nan) for index in neighbours.indices.tolist()})
    assert _run(model, walk, tmp_path / "out", "--trajectory") == 2
    message = capsys.readouterr().err
    assert "finite motion" in message and "step 7" in message and "a_02" in message
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_pictures_of_neighbours(model, walk, tmp_path, capsys):
    assert _run(model, walk, tmp_path / "out", "--pictures") == 0
    assert "of 3 of 8 images" in capsys.readouterr().out
    names = _names(tmp_path / "out" / "pictures")
    assert names == [f"a_{frame}_warped_source_{k}.png" for frame in ("02", "03", "10")
                     for k in (1, 2)]
    assert Image.open(tmp_path / "out" / "pictures" / names[0]).size == (64, 32)
    facts = _facts(tmp_path / "out", "a_02")
    assert facts["pictures"]["warped source 1"] == "../pictures/a_02_warped_source_1.png"
    facts = _facts(tmp_path / "out", "a_07")
    assert facts["pictures"] is None and "neighbour of it, -1, +1" in facts["pictures_reason"]


def _save_run(path, config, system, size):
    system.create_variables(size)
    run = open_run(path, config)
    Checkpoints(run.checkpoints, keep=1, system=system).save(step=1)
    return run.path


def test_models_of_single_images(tmp_path, walk, capsys):
    """BTS: no motion, pictures without a neighbour or a camera, depth in metres."""
    tf.keras.utils.set_random_seed(2)
    size = (32, 64)
    config = ExperimentConfig(
        BtsConfig(encoder="resnet50", decoder_width=32, reference_focal_length=0.0),
        DataConfig(size=size, offsets=()))
    run = _save_run(tmp_path / "run", config, build_system(config.system, ()), size)
    assert _run(run, walk, tmp_path / "out", "--trajectory") == 2
    assert "--trajectory: the model was trained" in capsys.readouterr().err
    (walk / "intrinsics.json").unlink()
    assert _run(run, walk / "a_01.png", tmp_path / "out", "--pictures") == 0
    assert any("depth_scale_1_8" in name for name in _names(tmp_path / "out" / "pictures"))
    assert _facts(tmp_path / "out", "a_01")["scale"] == "metric"


def test_stereo_models_have_no_pictures(tmp_path, walk, capsys):
    tf.keras.utils.set_random_seed(2)
    config = ExperimentConfig(Monodepth2Config(), DataConfig(size=(64, 64), stereo=True))
    run = _save_run(tmp_path / "run", config, build_system(config.system, (-1, 1), stereo=True),
                    (64, 64))
    assert _run(run, walk, tmp_path / "out", "--pictures") == 2
    assert "--pictures: the model compares" in capsys.readouterr().err


def test_what_can_be_seen_early_is_told_before_the_network_runs(
        model, walk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predicting, "run_networks", None)
    for name in ("a_03.png", "a_10.png"):
        (walk / name).unlink()
    assert _run(model, walk, tmp_path / "out", "--trajectory") == 2
    assert "--trajectory: expected 3 frames" in capsys.readouterr().err
    monkeypatch.setattr(predicting, "open_clip", None)
    assert _run(model, walk, "") == 2 and "--output" in capsys.readouterr().err
    assert _run(model, walk, tmp_path, "--frames_per_second=-1") == 2
    assert "--frames_per_second: expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_mistakes_of_outputs(model, walk, tmp_path, capsys):
    bare = write_frames(tmp_path / "bare", ["a.png", "b.png"], size=SIZE)
    loop = brightness_video(tmp_path / "colour.mp4", count=2, size=SIZE)
    for flags, source, output, words in (
            (("--pointcloud",), bare, "out", "--pointcloud: expected the camera of"),
            (("--html",), bare, "out", "--html: expected the camera of"),
            (("--pictures",), bare, "out", "--pictures: expected the camera of"),
            (("--trajectory",), bare, "out", "--trajectory: expected 3 frames or more"),
            (("--trajectory",), walk / "a_01.png", "out", "--trajectory: expected 3 frames"),
            (("--smooth=1",), walk, "out", "--smooth: expected the share"),
            (("--smooth=-0.1",), walk, "out", "--smooth: expected the share"),
            ((), loop, ".", "--output")):
        assert _run(model, source, tmp_path / output, *flags) == 2
        message = capsys.readouterr().err
        assert words in message and message.count("\n") == 1, message
        assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("whole", [True, False])
def test_what_the_viewer_is_given(whole, model, walk, tmp_path, monkeypatch, capsys):
    seen = []

    def write_viewer(path, title, frames, inverse_depth_range, world_from_camera=None,
                     unit="relative units"):
        seen.append((path, title, list(frames), inverse_depth_range, world_from_camera, unit))

    monkeypatch.setattr(predicting, "write_viewer", write_viewer)
    for name in NAMES[4:] if whole else ():
        (walk / name).unlink()
    assert _run(model, walk, tmp_path / "out", "--html", "--format=npy") == 0
    (path, title, frames, limits, world_from_camera, unit), = seen
    assert path == tmp_path / "out" / "viewer.html" and title == "walk"
    assert unit == "relative units"
    assert list(limits) == _facts(tmp_path / "out", "a_01")["colour_inverse_depth_range"]
    for name, image, depth, intrinsics in frames:
        np.testing.assert_array_equal(image, np.array(Image.open(walk / f"{name}.png")))
        np.testing.assert_array_equal(depth, np.load(tmp_path / "out" / "depth" / f"{name}.npy"))
        np.testing.assert_array_equal(intrinsics, [[60, 0, 41], [0, 50, 19], [0, 0, 1]])
    assert len(frames) == (4 if whole else 8)
    assert (world_from_camera is not None) == whole
    said = capsys.readouterr().out
    assert ("no path of the camera: frames are too few, or do not follow" in said) == (not whole)
    if whole:
        assert world_from_camera.shape == (4, 4, 4)


def test_the_page_holds_frames_depth_and_path(model, walk, tmp_path):
    for name in NAMES[4:]:
        (walk / name).unlink()
    assert _run(model, walk, tmp_path / "out", "--html", "--trajectory", "--format=npy") == 0
    page = Page(tmp_path / "out" / "viewer.html")
    assert [frame["name"] for frame in page.frames] == [name[:-4] for name in NAMES[:4]]
    for frame in page.frames:
        depth, rows, columns = read_depth(frame)
        expected = np.load(tmp_path / "out" / "depth" / f"{frame['name']}.npy")
        np.testing.assert_allclose(depth, expected[np.ix_(rows, columns)], rtol=1e-3)
        np.testing.assert_array_equal(frame["intrinsics"], [60, 0, 41, 0, 50, 19, 0, 0, 1])
    np.testing.assert_allclose(
        np.reshape(page.facts["worldFromCamera"], [4, 4, 4]),
        read_poses(str(tmp_path / "out" / "trajectory" / "kitti.txt")), atol=1e-5)


@pytest.mark.parametrize("stop_at", [1, 3])
def test_stopped_midway_no_half_file_stays(stop_at, model, walk, tmp_path, monkeypatch):
    """Ctrl-C while frame `stop_at` is resized: those before are whole, the others not there."""
    real, count = predicting._full_depth, []

    def dying(*arguments):
        count.append(0)
        if len(count) > stop_at:
            raise KeyboardInterrupt
        return real(*arguments)
    monkeypatch.setattr(predicting, "_full_depth", dying)
    output = tmp_path / "out"
    output.mkdir()
    (output / "colour.mp4").write_text("of an earlier run, which descriptions must not name")
    assert _run(model, walk, output, "--video", "--pointcloud") == 130
    assert _names(output) == ["depth", "points"]
    assert _names(output / "points") == [f"{name[:-4]}.ply" for name in NAMES[:stop_at]]
    assert _names(output / "depth") == sorted(
        name[:-4] + suffix for name in NAMES[:stop_at] for suffix in (".json", ".png"))


def test_sigterm_leaves_no_temporary_file(model, walk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predicting, "_full_depth",
                        lambda *_: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(9))
    assert _run(model, walk, tmp_path / "out", "--video") == 143
    assert "ended by SIGTERM; the same command starts anew" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_full_disk_is_told(model, walk, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("tfdepth.prediction.writing.write_json", full)
    assert _run(model, walk, tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "--output" in message and "No space left" in message and message.count("\n") == 1


_MEASURE = """
import resource, sys, predict
code = predict.main(sys.argv[1:])
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    size = (128, 416)
    config = ExperimentConfig(SfMLearnerConfig(), DataConfig(size=size))
    model = _save_run(tmp_path / "run", config, build_system(config.system, (-1, 1)), size)
    tools = pathlib.Path(predicting.__file__).parents[2] / "tools"
    peaks = {}
    for count in (50, 500):
        source = brightness_video(tmp_path / f"{count}.mp4", count=count, size=(120, 160))
        write_camera(tmp_path)
        run = subprocess.run(
            [sys.executable, "-c", _MEASURE, "--model", str(model), "--input", str(source),
             "--output", str(tmp_path / f"out{count}"), "--trajectory", "--pictures"],
            cwd=tools, check=True, capture_output=True, text=True)
        code, peak = map(int, run.stdout.splitlines()[-1].split())
        assert code == 0 and len(_names(tmp_path / f"out{count}" / "depth")) == 2 * count
        peaks[count] = peak / 1024
    print(peaks)  # MiB
    assert peaks[500] < peaks[50] + 30  # 450 depth maps more are 91 MiB


def test_a_stream_as_a_video(model, tmp_path):
    source = brightness_video(tmp_path / "ride.mp4", count=5, size=SIZE)
    stream = convert(source, tmp_path / "ride.h264")
    assert _run(model, stream, tmp_path / "out", "--format=npy") == 0
    assert len(_names(tmp_path / "out" / "depth")) == 10
    # Nobody knows how fast it was taken.
    assert video.read_header(str(tmp_path / "out" / "colour.mp4"))[1:] == (10, 5)
    assert _run(model, stream, tmp_path / "out", "--trajectory") == 0
    facts = json.loads((tmp_path / "out" / "trajectory" / "trajectory.json").read_text())
    assert facts["frames_per_second"] == 10 and "supposed" in facts["times_are"]
    assert _run(model, stream, tmp_path / "out", "--trajectory", "--frames_per_second=20") == 0
    times = read_tum(tmp_path / "out" / "trajectory" / "tum.txt").timestamps
    np.testing.assert_allclose(times, np.arange(5) / 20)
    facts = json.loads((tmp_path / "out" / "trajectory" / "trajectory.json").read_text())
    assert facts["times_are"] == "of --frames_per_second"
    assert video.read_header(str(tmp_path / "out" / "colour.mp4")).rate == 20
