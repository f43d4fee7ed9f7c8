"""tools/predict.py --calibrate: each method against known scales, mistakes, and what it changes."""
import json
import os
import shutil
import types

import imageio
import numpy as np
import predict
import pytest
import tensorflow as tf
from PIL import Image

from data_folders import REAL_KITTI, needs_real_kitti, write_camera, write_frames
from helpers import DATA, needs_shared
from kitti_raw_folder import FULL_SIZE, SPEED, STEP, write_kitti_raw, write_timestamps
from test_export import make_run
from test_ground import CAMERA, kitti_scene, street
from test_ground import SIZE as STREET_SIZE
from toy_system import Toy, ToyConfig
from tfdepth.data.config import DataConfig
from tfdepth.evaluation.resizing import RESIZINGS
from tfdepth.geometry.camera import resize_intrinsics
from tfdepth.inference import load_predictor
from tfdepth.prediction import calibration, factors, observing
from tfdepth.runs.scale import read_scale

FACTOR = 7.3   # metres = this x the unit of the models here
SIZE = (32, 64)


@pytest.fixture(name="run")
def _run(toy, tmp_path):
    """A run folder of a small model with random weights."""
    return make_run(tmp_path, ToyConfig(), SIZE)


class Stub:
    """A predictor of given depths, one a file, and of given steps forward."""
    step, offsets = 7, (-1, 1)

    def __init__(self, depths=None, steps=None, frame_gap=1, predicts_motion=True):
        self.frame_gap = frame_gap
        self.depths, self.steps = depths, steps
        self.size = (4, 6) if depths is None else depths[0].shape
        self.system = types.SimpleNamespace(resized="depth", predicts_motion=predicts_motion)
        self.config = types.SimpleNamespace(data=DataConfig())

    def depths_of_frames(self, frames):
        frames = list(frames)
        assert len(frames) == len(self.depths)
        return ((frame, None, depth) for frame, depth in zip(frames, self.depths))

    def resized_camera(self, intrinsics, size):
        scale = [self.size[0] / size[0], self.size[1] / size[1]]
        return resize_intrinsics(tf.constant(intrinsics, tf.float32), scale)

    def resized(self, image):
        """`_numbered` has made every pixel the number of the frame."""
        return image

    def motions_of_neighbours(self, neighbours):
        """Steps [world_from_camera] are by the file's number, so holes and gaps are seen."""
        pose = lambda images: self.steps[int(images[0, 0, 0])]
        return {index: np.stack([np.linalg.inv(pose(source)) @ pose(target) for source in sources])
                for index, target, sources in zip(neighbours.indices.tolist(), neighbours.targets,
                                                  neighbours.sources)}


def _numbered(frames, what, count):
    del what, count
    return (frame._replace(image=np.full_like(frame.image, frame.number)) for frame in frames)


def _main(model, source, method, *flags):
    return predict.main(["--model", str(model), "--input", str(source), "--calibrate", method,
                         *flags])


def _calibrate(model, source, method, stub, monkeypatch, *flags):
    monkeypatch.setattr(calibration, "load_predictor", lambda *arguments, **keys: stub)
    monkeypatch.setattr(observing, "progress", _numbered)
    assert _main(model, source, method, *flags) == 0
    return read_scale(model)


def _straight(positions):
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    poses[:, :3, 3] = positions
    return poses


def test_camera_height_in_turned_pictures_with_boxes(run, tmp_path, monkeypatch, capsys):
    depths = [street(1.4, pitch, roll, 0.3, 0.02, seed=k) / FACTOR for k, (pitch, roll) in
              enumerate([(0, 0), (6, 4), (12, -8), (-3, 5), (3, -2)])]
    depths.append(np.full(STREET_SIZE, 5.0))  # a wall: one of six is left out
    frames = write_frames(tmp_path / "clip", [f"{k}.png" for k in range(6)],
                          size=(2 * STREET_SIZE[0], 2 * STREET_SIZE[1]))
    twice = 2 * (CAMERA[:2, 2] + 0.5) - 0.5  # u' = (u + 0.5) s - 0.5
    write_camera(frames, units="pixels", width=192, height=96, fx=140, fy=110, cx=twice[0],
                 cy=twice[1])
    scale = _calibrate(run, frames, "camera_height=1.4", Stub(depths), monkeypatch)
    assert abs(scale.factor / FACTOR - 1) < 0.01
    assert scale.count == 5 and 0 < scale.spread < 0.02 and scale.step == 7
    assert "camera height of 1.4 m over the ground (5 images, spread" in scale.origin
    assert scale.source == str(frames) and scale.method == "camera_height=1.4"
    said = capsys.readouterr().out
    assert scale.origin in said and "scale.json" in said and f"{scale.factor:.6g}" in said


@needs_shared
def test_camera_height_over_real_roads(run, tmp_path, monkeypatch):
    depth, camera = kitti_scene("000001", (46, 152))
    frames = write_frames(tmp_path / "clip", ["000001.png"], size=(46, 152))
    write_camera(frames, units="pixels", width=152, height=46, fx=camera[0, 0], fy=camera[1, 1],
                 cx=camera[0, 2], cy=camera[1, 2])
    scale = _calibrate(run, frames, "camera_height=1.65", Stub([depth / FACTOR]), monkeypatch)
    assert abs(scale.factor / FACTOR - 1) < 0.03 and scale.spread is None
    assert "1 image, spread not known" in scale.origin


@needs_real_kitti
@pytest.mark.parametrize("form", ["kitti", "tum"])
def test_speed_by_real_poses(run, form, tmp_path, monkeypatch):
    rows = np.loadtxt(REAL_KITTI / "poses" / "06.txt").reshape(-1, 3, 4)
    steps = np.tile(np.eye(4), (len(rows), 1, 1))
    steps[:, :3] = rows
    steps[:, :3, 3] /= FACTOR
    path = REAL_KITTI / "poses" / "06.txt"
    if form == "tum":  # every second pose, with its time; the rotation does not matter
        path = tmp_path / "gps.txt"
        path.write_text("# t x y z q\n" + "".join(
            f"{0.1 * k:.2f} {' '.join(map(str, rows[k][:, 3]))} 0 0 0 1\n"
            for k in range(0, 51, 2)))
    stub = Stub(steps=steps, frame_gap=2 if form == "tum" else 1)
    flags = ("--frames_per_second=10",) if form == "tum" else ()
    scale = _calibrate(run, REAL_KITTI / "sequences" / "06" / "image_0", f"speed={path}", stub,
                       monkeypatch, *flags)
    assert abs(scale.factor / FACTOR - 1) < 1e-4 and scale.spread < 1e-4
    assert scale.count == (25 if form == "tum" else 50)


def test_poses_of_a_part_of_a_drive_go_by_the_number(run, tmp_path, monkeypatch):
    """Images 10 to 29 of 40 poses, with a hole, and a stop, from which nothing is measured."""
    lengths = np.where(np.arange(39) % 2, 1.0, 2.0)
    lengths[14:18] = 0.001
    positions = np.concatenate([[0], np.cumsum(lengths)])[:, np.newaxis] * [0, 0, 1]
    (tmp_path / "poses.txt").write_text("".join(
        f"1 0 0 0 0 1 0 0 0 0 1 {z}\n" for z in positions[:, 2]))
    names = [f"{k:06d}.png" for k in range(10, 30) if k != 25]
    frames = write_frames(tmp_path / "clip", names)
    stub = Stub(steps=_straight(positions / FACTOR))
    scale = _calibrate(run, frames, f"speed={tmp_path / 'poses.txt'}", stub, monkeypatch)
    assert abs(scale.factor / FACTOR - 1) < 1e-9 and scale.count == 14 + 3 - 4


def test_speed_by_gps_records(run, tmp_path, monkeypatch):
    """KITTI raw's records say SPEED each; frames are STEP seconds apart."""
    root = write_kitti_raw(tmp_path, drives=("2011_09_26_drive_0001",), frames=12, depth=None)
    drive = root / "2011_09_26" / "2011_09_26_drive_0001_sync"
    stub = Stub(steps=_straight(np.arange(12)[:, np.newaxis] * [0, 0, SPEED * STEP / FACTOR]))
    source = drive / "image_02" / "data"
    for method in ("speed", f"speed={drive / 'oxts' / 'data'}"):
        scale = _calibrate(run, source, method, stub, monkeypatch)
        assert abs(scale.factor / FACTOR - 1) < 1e-6 and scale.count == 11
    (drive / "oxts" / "data" / "0000000003.txt").unlink()
    assert _calibrate(run, source, "speed", stub, monkeypatch).count == 9


@needs_shared
def test_speed_by_the_real_record(run, tmp_path, monkeypatch):
    root = write_kitti_raw(tmp_path, drives=("2011_09_26_drive_0001",), frames=8, depth=None)
    drive = root / "2011_09_26" / "2011_09_26_drive_0001_sync"
    real, = (DATA / "kitti_raw" / "2011_09_26").glob("*_sync/oxts/data/*.txt")
    for path in (drive / "oxts" / "data").iterdir():
        path.write_text(real.read_text())
    write_timestamps(drive / "image_02" / "timestamps.txt", 8, step=0.2)
    fields = np.array(real.read_text().split(), float)
    speed = np.sqrt(np.sum(fields[8:11]**2))
    np.testing.assert_allclose(speed, np.hypot(fields[6], fields[7]), rtol=1e-3)  # north, east
    stub = Stub(steps=_straight(np.arange(8)[:, np.newaxis] * [0.2 * speed / FACTOR, 0, 0]))
    scale = _calibrate(run, drive / "image_02" / "data", "speed", stub, monkeypatch)
    assert abs(scale.factor / FACTOR - 1) < 1e-6


def test_speed_by_a_table_and_a_number(run, tmp_path, monkeypatch):
    """A car that speeds up evenly: the way is the integral, of a table without the first second."""
    times = np.arange(30) / 10
    way = 2 * times + 1.5 * times**2                                  # speed 2 + 3 t
    stub = Stub(steps=_straight(way[:, np.newaxis] * [0, 0, 1 / FACTOR]))
    frames = write_frames(tmp_path / "clip", [f"{k}.png" for k in range(30)])
    table = tmp_path / "speed.csv"
    table.write_text("# s, m/s\n" + "".join(f"{t},{2 + 3 * t}\n" for t in (1.0, 1.77, 4.0)))
    scale = _calibrate(run, frames, f"speed={table}", stub, monkeypatch, "--frames_per_second=10")
    assert abs(scale.factor / FACTOR - 1) < 1e-9 and scale.count == 19 and scale.spread < 1e-9
    steady = Stub(steps=_straight(np.arange(30)[:, np.newaxis] * [0, 0, 0.83 / FACTOR]))
    scale = _calibrate(run, frames, "speed=8.3", steady, monkeypatch, "--frames_per_second=10")
    assert abs(scale.factor / FACTOR - 1) < 1e-9 and "a speed of 8.3 m/s" in scale.origin


def test_holes_in_time_count(run, tmp_path, monkeypatch, capsys):
    """Frames 0 to 7 and 50 to 59 of a car that speeds up; frames that an import left out."""
    way = (np.arange(60) / 10)**2 / 2                                 # speed t
    stub = Stub(steps=_straight(way[:, np.newaxis] * [0, 0, 1 / FACTOR]))
    names = [f"{k:02}.png" for k in (*range(8), *range(50, 60))]
    frames = write_frames(tmp_path / "clip", names)
    (tmp_path / "speed.txt").write_text("0 0\n9 9\n")
    method = f"speed={tmp_path / 'speed.txt'}"
    scale = _calibrate(run, frames, method, stub, monkeypatch, "--frames_per_second=10")
    assert abs(scale.factor / FACTOR - 1) < 1e-9 and scale.spread < 1e-9
    (frames / "import.json").write_text('{"near_duplicates": 0}')
    _calibrate(run, frames, method, stub, monkeypatch, "--frames_per_second=10")
    (frames / "import.json").write_text('{"near_duplicates": 3}')
    for each in (method, "speed=8"):
        assert _main(run, frames, each, "--frames_per_second=10") == 2
        assert "prepare_data left out 3 that hardly differ" in capsys.readouterr().err


def test_a_pipe_can_be_read_once(run, tmp_path, capsys):
    os.mkfifo(tmp_path / "live")  # nobody writes: opening it would hang
    assert _main(run, tmp_path / "live", "speed=8", "--output", str(tmp_path / "out")) == 2
    assert "--calibrate and --output: expected one of them" in capsys.readouterr().err


def test_motion_that_is_no_number_is_told(run, tmp_path, monkeypatch, capsys):
    frames = write_frames(tmp_path / "clip", [f"{k}.png" for k in range(8)])
    stub = Stub(steps=np.full([8, 4, 4], np.nan))
    stub.motions_of_neighbours = lambda neighbours: {
        index: np.full([2, 4, 4], np.nan) for index in neighbours.indices.tolist()}
    monkeypatch.setattr(calibration, "load_predictor", lambda *arguments, **keys: stub)
    assert _main(run, frames, "speed=8", "--frames_per_second=10") == 2
    assert "finite motion" in capsys.readouterr().err


def test_the_rate_of_a_video(run, tmp_path, monkeypatch):
    imageio.mimsave(tmp_path / "ride.mp4", np.random.default_rng(0).integers(
        0, 256, (8, 32, 48, 3), np.uint8), fps=5, macro_block_size=1)
    stub = Stub(steps=_straight(np.arange(8)[:, np.newaxis] * [0, 0, 0.2 * 8.0 / FACTOR]))
    scale = _calibrate(run, tmp_path / "ride.mp4", "speed=8", stub, monkeypatch)
    assert abs(scale.factor / FACTOR - 1) < 1e-3


@needs_shared
def test_lidar_by_a_real_scan(run, tmp_path, monkeypatch):
    """A drive in KITTI raw's layout with a real scan and the real calibration of that date."""
    root = write_kitti_raw(tmp_path, drives=("2011_09_26_drive_0001",), frames=3, depth=None,
                           size=FULL_SIZE)
    drive = root / "2011_09_26" / "2011_09_26_drive_0001_sync"
    scan = DATA / "kitti_object" / "training" / "velodyne" / "000001.bin"
    for k in (0, 2):
        shutil.copy(scan, drive / "velodyne_points" / "data" / f"{k:010d}.bin")
    (drive / "velodyne_points" / "data" / f"{1:010d}.bin").unlink()
    rows = {}
    for name in ("calib_cam_to_cam.txt", "calib_velo_to_cam.txt"):
        for line in (root / "2011_09_26" / name).read_text().splitlines():
            key, _, values = line.partition(": ")
            rows[key] = values
    numbers = lambda key, *shape: np.array(rows[key].split(), float).reshape(shape)
    points = np.fromfile(scan, "<f4").reshape(-1, 4)[:, :3].astype(float)
    points = points[points[:, 0] > 0]
    points = (points @ numbers("R", 3, 3).T + numbers("T", 3)) @ numbers("R_rect_00", 3, 3).T
    scaled = points @ numbers("P_rect_02", 3, 4)[:, :3].T + numbers("P_rect_02", 3, 4)[:, 3]
    depth = np.full(FULL_SIZE, 50.0)
    order = np.argsort(-scaled[:, 2])  # the nearest comes last and stays
    columns, lines = np.round(scaled[order, :2] / scaled[order, 2:]).astype(int).T - 1
    seen = (lines >= 0) & (lines < FULL_SIZE[0]) & (columns >= 0) & (columns < FULL_SIZE[1])
    depth[lines[seen], columns[seen]] = scaled[order, 2][seen]
    stub = Stub([depth / FACTOR, depth / 1.0, depth / FACTOR])
    for method in ("lidar", f"lidar={drive / 'velodyne_points' / 'data'}"):
        scale = _calibrate(run, drive / "image_02" / "data", method, stub, monkeypatch)
        assert abs(scale.factor / FACTOR - 1) < 1e-5
        assert scale.count == 2 and scale.spread < 1e-5


def test_lidar_maps_and_all_that_changes(run, tmp_path, capsys):
    """The whole way of a run: relative depth, maps of 7.3 times that, and depth in metres."""
    frames = write_frames(tmp_path / "clip", ["a_1.png", "a_2.png", "a_3.png"], size=(40, 80))
    before, after, maps = tmp_path / "before", tmp_path / "after", tmp_path / "maps"
    maps.mkdir()
    arguments = ["--model", str(run), "--input", str(frames), "--format=npy"]
    assert predict.main([*arguments, "--output", str(before)]) == 0
    assert "relative" in capsys.readouterr().out
    random = np.random.default_rng(3)
    depths = {name: np.load(before / "depth" / f"{name}.npy") for name in ("a_1", "a_2", "a_3")}
    for name in ("a_1", "a_3"):  # frame 2 has no map; a third of the pixels is measured
        steps = np.where(random.random((40, 80)) < 0.3, 256 * FACTOR * depths[name], 0)
        Image.fromarray(np.rint(steps).astype(np.uint16)).save(maps / f"{name}.png")
    assert predict.main([*arguments, "--output", str(after), "--calibrate", f"lidar={maps}"]) == 0
    said = capsys.readouterr().out
    scale = read_scale(run)
    assert abs(scale.factor / FACTOR - 1) < 0.002 and scale.count == 2 and scale.spread < 0.01
    assert "calibrated by measured depth (LiDAR) (2 images" in said and "metric: metres" in said
    for name, depth in depths.items():
        facts = json.loads((after / "depth" / f"{name}.json").read_text())
        assert facts["scale"] == "metric" and scale.origin in facts["scale_reason"]
        assert facts["scale_factor"] == scale.factor and "that camera" in facts["scale_reason"]
        np.testing.assert_allclose(np.load(after / "depth" / f"{name}.npy"), scale.factor * depth,
                                   rtol=1e-5)
    # Motion speaks in the same unit; what is asked not to, does not.
    metric, plain = load_predictor(run), load_predictor(run, calibrated=False)
    paths = sorted(map(str, frames.glob("*.png")))
    (motion,), (own,) = (list(each.motions_of_files(paths).values()) for each in (metric, plain))
    np.testing.assert_allclose(motion[:, :3, 3], scale.factor * own[:, :3, 3], rtol=1e-4)
    np.testing.assert_allclose(motion[:, :, :3], own[:, :, :3], atol=1e-6)
    assert plain.scale is None and metric.scale == scale


def test_distances(run, tmp_path, monkeypatch, capsys):
    frames = write_frames(tmp_path / "clip", ["a.png", "b.jpg"], size=(40, 80))
    predictor = load_predictor(run)
    found = {}
    for path in sorted(frames.iterdir()):
        pixels = np.array(Image.open(path))
        found[path.name] = RESIZINGS["depth"](predictor.depth_of_image(pixels), (40, 80))
    one = FACTOR * found["a.png"][7, 61]  # row 7, column 61
    assert _main(run, frames / "a.png", f"distance=61,7,{one}") == 0
    scale = read_scale(run)
    assert abs(scale.factor / FACTOR - 1) < 1e-3 and scale.count == 1 and scale.spread is None
    said = capsys.readouterr().out
    assert "optical axis (1 point, spread not known)" in said and "warning" not in said
    monkeypatch.setattr("tfdepth.prediction.calibration.FLAT", 9.0)
    two = 1.1 * FACTOR * found["a.png"][39, 0]
    assert _main(run, frames / "a.png", f"distance=61,7,{one};0,39,{two}") == 0
    assert "warning: depth varies by" in capsys.readouterr().out
    scale = read_scale(run)
    assert abs(scale.factor / (1.05 * FACTOR) - 1) < 1e-3 and abs(scale.spread - 0.0476) < 1e-3
    table = tmp_path / "points.csv"
    table.write_text(f"# tape\na.png,61,7,{one}\nb,61, 7,{FACTOR * found['b.jpg'][7, 61]}\n")
    assert _main(run, frames, f"distance={table}") == 0
    assert abs(read_scale(run).factor / FACTOR - 1) < 1e-3 and read_scale(run).count == 2


def test_stereo_baseline(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Toy, "learns_from_stereo", True)
    run = make_run(tmp_path, ToyConfig(), SIZE, stereo=True, stereo_baseline=0.1)
    arguments = ["--model", str(run), "--calibrate", "stereo_baseline=0.54"]
    assert predict.main(arguments) == 0  # without --input
    scale = read_scale(run)
    assert abs(scale.factor - 5.4) < 1e-12 and scale.spread is None and scale.source == ""
    facts = load_predictor(run).describe_scale()
    assert facts["scale"] == "metric" and "0.54 m for 0.1 units (exact)" in facts["scale_reason"]
    config = run / "config.json"
    config.write_text(config.read_text().replace('baseline": 0.1', 'baseline": 0.0'))
    assert predict.main(arguments) == 2 and "needs none" in capsys.readouterr().err


def test_a_further_trained_model_is_relative_again(run, tmp_path, capsys):
    frames = write_frames(tmp_path / "clip", ["a.png"], size=(40, 80))
    assert _main(run, frames, "distance=3,4,5.5") == 0
    shutil.copytree(run / "checkpoints" / "step-00000007", run / "checkpoints" / "step-00000009")
    capsys.readouterr()
    assert predict.main(["--model", str(run), "--input", str(frames), "--output",
                         str(tmp_path / "out")]) == 0
    warning = capsys.readouterr().err
    assert "warning" in warning and "step 7" in warning and "step 9" in warning
    assert "Calibrate anew: tools/predict.py --calibrate distance=3,4,5.5" in warning
    facts = json.loads((tmp_path / "out" / "depth" / "a.json").read_text())
    assert facts["scale"] == "relative" and "scale_factor" not in facts
    assert _main(run, frames, "distance=3,4,5.5") == 0 and read_scale(run).step == 9


def test_other_weights_of_the_same_step(run, tmp_path, capsys):
    """What importing another model into the folder does."""
    frames = write_frames(tmp_path / "clip", ["a.png"], size=(40, 80))
    assert _main(run, frames, "distance=3,4,5.5") == 0
    predictor = load_predictor(run)
    assert predictor.scale and not capsys.readouterr().err
    variable = predictor.system.trainable_variables[0]
    variable.assign(variable + 0.01)
    tf.train.Checkpoint(system=predictor.system).write(
        str(run / "checkpoints" / "step-00000007" / "state"))
    assert load_predictor(run).scale is None and "other weights" in capsys.readouterr().err


@pytest.mark.parametrize("change", [
    {"factor": -1.0}, {"factor": "7"}, {"factor": True}, {"factor": 0}, {"spread": -0.1},
    {"step": 7.0}, {"origin": None}, {"more": 1}, None])
def test_a_damaged_scale_is_told(change, run, tmp_path, capsys):
    frames = write_frames(tmp_path / "clip", ["a.png"], size=(40, 80))
    assert _main(run, frames, "distance=3,4,5.5") == 0
    text = (run / "scale.json").read_text()
    (run / "scale.json").write_text(
        text[:40] if change is None else json.dumps({**json.loads(text), **change}))
    capsys.readouterr()
    assert predict.main(["--model", str(run), "--input", str(frames), "--output",
                         str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "scale.json: expected" in message and "Calibrate anew" in message
    assert message.count("\n") == 1 and not (tmp_path / "out").exists()


def test_not_a_number_in_a_scale(run):
    """JSON of Python knows NaN and Infinity; a factor may be neither."""
    (run / "scale.json").write_text(json.dumps({
        "factor": float("inf"), "origin": "", "method": "", "source": "", "count": 1,
        "spread": None, "step": 7, "weights": ""}))
    with pytest.raises(ValueError, match="positive finite factor"):
        load_predictor(run)


def _mistakes(folder):
    """{name: (input, method, flags, words of the message)}; makes the files."""
    frames = write_frames(folder / "frames", ["a_1.png", "a_2.png"], size=(40, 80))
    camera = write_frames(folder / "camera", ["a_1.png"], size=(40, 80))
    write_camera(camera)
    stills = write_frames(folder / "stills", ["beach.png", "car.png"], size=(40, 80))
    clip = write_frames(folder / "clip", [f"{k}.png" for k in range(8)], size=(40, 80))
    maps = write_frames(folder / "maps", [])
    Image.fromarray(np.full((30, 80), 2560, np.uint16)).save(maps / "a_1.png")
    other = write_frames(folder / "other", [])
    Image.fromarray(np.full((40, 80), 2560, np.uint16)).save(other / "b_1.png")
    wild = write_frames(folder / "wild", [])
    Image.fromarray(np.random.default_rng(0).integers(300, 60000, (40, 80)).astype(np.uint16)
                    ).save(wild / "a_1.png")
    scans = write_frames(folder / "scans", [])
    (scans / "a_1.bin").write_bytes(bytes(16))
    files = {"points.csv": "c.png,1,1,3\n", "still.txt": "0 0\n9 0\n", "back.txt": "0 1\n0 2\n",
             "negative.txt": "0 1\n9 -1\n", "late.txt": "1700000000 3\n1700000009 3\n",
             "words.txt": "time speed\n", "five.txt": "1 2 3 4 5\n",
             "poses.txt": "1 0 0 0 0 1 0 0 0 0 1 0\n" * 3,
             "tum.txt": "0 0 0 0 0 0 0 1\n1 0 0 1 0 0 0 1\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
    speed = lambda name: f"speed={folder / name}"
    rate = ("--frames_per_second=10",)
    return {
        "method": (frames, "camera_hight=1", (), ("--calibrate must be one of", "camera_height")),
        "no metres": (camera, "camera_height", (), ("camera_height=METRES", "got none")),
        "bad metres": (camera, "camera_height=-1.6", (), ("a number above 0; got -1.6",)),
        "words": (camera, "camera_height=1.6m", (), ("a number above 0; got 1.6m",)),
        "no input": ("", "camera_height=1.65", (), ("--input: expected", "empty path")),
        "no camera": (frames, "camera_height=1.65", (), ("expected the camera", "--intrinsics")),
        "no ground": (camera, "camera_height=1.65", (), ("found it in 0 of 1 images",
                                                               "train longer")),
        "mono": ("", "stereo_baseline=0.54", (), ("trained on stereo pairs", "offsets (-1, 1)")),
        "no points": (camera, "distance", (), ("distance=X,Y,METRES", "found none")),
        "two numbers": (camera, "distance=3,4", (), ("expected X,Y,METRES", "found 2")),
        "no file": (camera, "distance=p.csv", (), ("distance=p.csv", "a file of lines")),
        "outside": (camera, "distance=80,4,3", (), ("pixel of the 80 x 40 image", "found 80,4")),
        "behind": (camera, "distance=3,4,-3", (), ("optical axis, above 0; found -3",)),
        "several": (frames, "distance=3,4,3", (), ("expected one image", "found 2 images")),
        "no such": (frames, f"distance={folder / 'points.csv'}", (), ("points.csv, line 1", "'c'")),
        "disagree": (camera, "distance=3,4,1;5,6,100", (), ("2 points", "Choose other points")),
        "stills": (stills, "speed=8", (), ("numbered without gaps", "none in 2 images")),
        "no rate": (clip, "speed=8", (), ("expected --frames_per_second",)),
        "bad rate": (clip, "speed=8", ("--frames_per_second=-1",), ("--frames_per_second: exp",)),
        "no speed": (clip, "speed=-8", rate, ("metres a second above 0; got -8",)),
        "not KITTI": (clip, "speed", (), ("KITTI raw's layout", "speed=FILE")),
        "absent": (clip, speed("absent.txt"), rate, ("absent.txt", "no such file")),
        "standing": (clip, speed("still.txt"), rate, ("0 of 7", "does not stand")),
        "back": (clip, speed("back.txt"), rate, ("ascend", "line 2")),
        "negative": (clip, speed("negative.txt"), rate, ("negative.txt, line 2", "found -1")),
        "late": (clip, speed("late.txt"), rate, ("since the first image, 0 to 0.7", "1700000000")),
        "header": (clip, speed("words.txt"), rate, ("words.txt, line 1", "'time'")),
        "five": (clip, speed("five.txt"), (), ("five.txt, line 1", "found 5 words")),
        "poses end": (clip, speed("poses.txt"), (), ("7 (5 of unknown", "found 0 of")),
        "TUM": (clip, speed("tum.txt"), (), ("2 poses of 8 images", "--frames_per_second")),
        "no lidar": (frames, "lidar", (), ("lidar=FOLDER", "KITTI raw's layout")),
        "lidar absent": (frames, f"lidar={folder / 'none'}", (), ("none: no such folder",)),
        "no maps": (frames, f"lidar={folder / 'empty'}", (), ("expected depth maps (.png)",)),
        "map size": (frames, f"lidar={maps}", (), ("maps/a_1.png", "found 80 x 30")),
        "map names": (frames, f"lidar={other}", (), ("a_1, a_2", "found 0 of these names")),
        "8 bits": (frames, f"lidar={frames}", (), ("a_1.png", "16-bit grey PNG")),
        "wild": (frames, f"lidar={wild}", (), ("median deviation within 25%", "over 1 image.")),
        "scans": (frames, f"lidar={scans}", (), ("KITTI raw's calibration", "calib_*.txt")),
    }


NAMES = [
    "method", "no metres", "bad metres", "words", "no input", "no camera", "no ground", "mono",
    "no points", "two numbers", "no file", "outside", "behind", "several", "no such", "disagree",
    "stills", "no rate", "bad rate", "no speed", "not KITTI", "absent", "standing", "back",
    "negative", "late", "header", "five", "poses end", "TUM", "no lidar", "lidar absent", "no maps",
    "map size", "map names", "8 bits", "wild", "scans"]


@pytest.mark.parametrize("name", NAMES)
def test_mistakes(name, run, tmp_path, capsys):
    mistakes = _mistakes(tmp_path)
    (tmp_path / "empty").mkdir()
    assert set(mistakes) == set(NAMES)
    source, method, flags, words = mistakes[name]
    assert _main(run, source, method, *flags, "--output", str(tmp_path / "out")) == 2
    message = capsys.readouterr().err
    assert message.startswith("predict.py: ") and message.count("\n") == 1, message
    for word in words:
        assert word in message, message
    assert not (run / "scale.json").exists() and not (tmp_path / "out").exists()


def test_what_cannot_be_measured_keeps_the_scale_before(run, tmp_path, capsys):
    frames = write_frames(tmp_path / "clip", ["a.png"], size=(40, 80))
    assert _main(run, frames, "distance=3,4,5.5") == 0
    before = (run / "scale.json").read_text()
    assert _main(run, frames, "distance=3,4,1;5,6,100") == 2
    assert (run / "scale.json").read_text() == before
    assert "Nothing was stored" in capsys.readouterr().err


def test_a_model_without_motion_has_no_speed(run, tmp_path, monkeypatch, capsys):
    frames = write_frames(tmp_path / "clip", [f"{k}.png" for k in range(8)])
    stub = Stub(predicts_motion=False)
    monkeypatch.setattr(calibration, "load_predictor", lambda *arguments, **keys: stub)
    monkeypatch.setattr(observing, "progress", _numbered)
    assert _main(run, frames, "speed=8", "--frames_per_second=10") == 2
    assert "predicts no motion" in capsys.readouterr().err
    stub = Stub(steps=_straight(np.zeros([8, 3])))  # one that never moves
    assert _main(run, frames, "speed=8", "--frames_per_second=10") == 2
    assert "found inf% over 7 steps" in capsys.readouterr().err


def test_of_frames_takes_the_larger_spread():
    frame = lambda factor, spread: factors.Measured(factor, 100, spread)
    assert factors.of_frames([frame(2.0, 0.1), frame(3.0, 0.2), frame(4.0, 0.3)]) == (3.0, 3, 1 / 3)
    assert factors.of_frames([frame(2.9, 0.1), frame(3.0, 0.2), frame(3.1, 0.3)]) == (3.0, 3, 0.2)
    assert factors.of_frames([frame(2.9, 0.1)]) == (2.9, 1, 0.1)
    few = np.zeros([5, 5])
    few.flat[:factors.MIN_PIXELS - 1] = 3.0
    assert factors.of_depth_map(np.ones([5, 5]), few) is None
