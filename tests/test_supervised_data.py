"""Measured depth beside pictures: the same transform for both, KITTI and NYU runs, bad input."""
import dataclasses
import itertools
import json

import check_data
import evaluate
import numpy as np
import predict
import prepare_data
import pytest
import tensorflow as tf
import train
from PIL import Image

from helpers import interrupt_after
from kitti_raw_folder import FULL_SIZE, depth_folder, write_kitti_raw
from supervised_system import Metres, MetresConfig
from tfdepth.checks import UserError
from tfdepth.data import augmentation, crops, depth_check, pipeline
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives
from tfdepth.data.drives import Drive
from tfdepth.inference import load_predictor
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig, check_config
from tfdepth.training import loop
from tfdepth.training.optimizers import build_optimizer
from tfdepth.training.step import make_train_step

# The second is in the Eigen test set.
TRAIN, TEST = "2011_09_26_drive_0001", "2011_09_26_drive_0048"
CONFIG = """
from supervised_system import MetresConfig
from tfdepth.data.config import DataConfig
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig
def get_config():
    return ExperimentConfig(MetresConfig(), DataConfig(offsets=(), flip=True, max_rotation=1.0),
                            OptimizerConfig(learning_rate=1e-2),
                            TrainConfig(batch_size=2, steps=3, save_every=1, log_every=1))
"""
KITTI = ("--config.data.dataset=kitti_raw", "--config.data.size=352,1216", "--config.data.crop=kb",
         "--config.data.random_crop=352,704", "--config.data.color_jitter=bts_kitti")
NYU = ("--config.data.dataset=nyu", "--config.data.size=480,640", "--config.data.crop=nyu",
       "--config.data.random_crop=416,544", "--config.data.color_jitter=bts_nyu",
       "--config.data.test_drives=test")


@pytest.fixture(autouse=True)
def _system(monkeypatch):
    from tfdepth import systems
    monkeypatch.setitem(systems.SYSTEMS, MetresConfig, Metres)


def places(size):
    """A picture whose pixels say where they are, see `place_of`, and the depth of a slanted plane.

    Returns: uint8 [H, W, 3], uint16 [H, W] in 1/256 m: on a plane 1 / depth is linear."""
    v, u = np.mgrid[:size[0], :size[1]]
    blocks = 10 + 40 * (u // 256) + 20 * (v // 256)                   # never 0, that of black
    picture = np.stack([u % 256, v % 256, blocks], -1).astype(np.uint8)
    return picture, np.rint(256 / (0.02 + 1e-4 * u + 2e-4 * v)).astype(np.uint16)


def place_of(image):
    """(u, v, known) [h, w] of an image [h, w, 3] of interpolated pixels of `places`; known where
    they do not straddle a multiple of 256 or the edge of the picture."""
    steps = image * 255.0
    block = np.round((steps[..., 2] - 10) / 20)
    known = np.abs(steps[..., 2] - 10 - 20 * block) < 1e-3
    return steps[..., 0] + 256 * (block // 2), steps[..., 1] + 256 * (block % 2), known


def write_places(folder, image_name, depth_path, size, divisor):
    picture, depth = places(size)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / image_name)
    depth_path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(depth / 256 * divisor).astype(np.uint16)).save(depth_path)


@pytest.fixture(scope="module")
def kitti(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    write_kitti_raw(root, (TRAIN,), frames=12, size=FULL_SIZE, cameras=("image_02",))
    write_kitti_raw(root, (TEST,), frames=27, size=FULL_SIZE, cameras=("image_02",))
    folder = root / "2011_09_26" / f"{TRAIN}_sync" / "image_02" / "data"
    for number in (5, 6):
        write_places(folder, f"{number:010d}.png",
                     depth_folder(root, TRAIN, "image_02") / f"{number:010d}.png", FULL_SIZE, 256)
    return root


def write_nyu(root, depth=None):
    """Scenes in BTS' folders, pictures as PNG bytes under their names; `depth` [480, 640], mm."""
    for place, numbers in (("sync/kitchen_0001", range(4)), ("official_splits/test/den", (7, 9))):
        folder = root / place
        folder.mkdir(parents=True)
        for number in numbers:
            picture, plane = places((480, 640))
            Image.fromarray(picture).save(folder / f"rgb_{number:05d}.jpg", format="PNG")
            Image.fromarray(np.rint(plane / 256 * 1000 / 8).astype(np.uint16)
                            if depth is None else depth).save(
                                folder / f"sync_depth_{number:05d}.png")
    return root


@pytest.fixture(scope="module")
def nyu(tmp_path_factory):
    return write_nyu(tmp_path_factory.mktemp("nyu"))


def source_of(root, dataset, **fields):
    config = DataConfig(dataset=dataset, root=str(root), offsets=(), **fields)
    drives = [drive for drive in load_drives(config) if not drive.name.startswith((TEST, "test"))]
    return pipeline.open_source(drives, config, supervised=True)


def samples_of(source, batch_size, steps, seed=3):
    for batch in itertools.islice(pipeline.training_batches(source, batch_size, seed), steps):
        for k in range(batch_size):
            yield type(batch)(*(None if field is None else field[k].numpy() for field in batch))


CASES = {
    "kb": ("kitti_raw", dict(size=(352, 1216), crop="kb", random_crop=(352, 704)), 2.0),
    "kb, no turn": ("kitti_raw", dict(size=(352, 1216), crop="kb", random_crop=(320, 704)), 0.0),
    "whole": ("kitti_raw", dict(size=FULL_SIZE), 10.0),
    "nyu": ("nyu", dict(size=(480, 640), crop="nyu", random_crop=(416, 544)), 2.5),
}


@pytest.mark.parametrize("case", CASES)
def test_depth_moves_with_its_picture(case, kitti, nyu):
    dataset, fields, largest = CASES[case]
    root, scale = (kitti, 1) if dataset == "kitti_raw" else (nyu, 8)
    source = source_of(root, dataset, flip=True, max_rotation=largest, **fields)
    size = fields.get("random_crop") or fields["size"]
    whole = FULL_SIZE if dataset == "kitti_raw" else (480, 640)
    plane = places(whole)[1] / 256
    steps = np.rint(plane * 1000 / 8) / 1000 if scale == 8 else plane      # as stored
    top, left = source.drives[0].corner
    mirrored, corners, angles = set(), set(), set()
    for sample in samples_of(source, 2, 4):
        assert sample.target.shape == (*size, 3) and sample.target_depth.shape == (*size, 1)
        assert sample.sources.shape == (0, *size, 3)
        u, v, known = place_of(sample.target)
        depth = sample.target_depth[..., 0]
        assert known.mean() > 0.7
        # Nearest: the measurement of the very pixel that the place rounds to, but for ties.
        column, row = np.rint(u).astype(int), np.rint(v).astype(int)
        known &= (np.abs(u - column) < 0.49) & (np.abs(v - row) < 0.49)
        np.testing.assert_allclose(depth[known], steps[row[known], column[known]], rtol=1e-6)
        # So it is the plane's depth there, within half a pixel of its slope and the rounding.
        true = 1 / (0.02 + 1e-4 * u + 2e-4 * v) / scale
        limit = true**2 * scale * 0.5 * (1e-4 + 2e-4) * 1.02 + 1 / 256 / scale + 1e-3
        assert (np.abs(depth - true) <= limit)[known].all()
        assert (np.abs(np.roll(depth, 9, 1) - true) > limit)[known].mean() > 0.5  # it would tell
        # The camera: the same rays, or turned by one angle.
        camera = source.drives[0].intrinsics - [[0, 0, -left], [0, 0, -top], [0, 0, 0]]
        j, i = np.mgrid[:size[0], :size[1]]
        new = np.stack([i - sample.intrinsics[0, 2], j - sample.intrinsics[1, 2]], -1)[known]
        old = np.stack([u - camera[0, 2], v - camera[1, 2]], -1)[known]
        np.testing.assert_allclose(np.diag(sample.intrinsics), np.diag(camera), rtol=1e-6)
        turned = np.linalg.lstsq(np.c_[old, np.ones(len(old))], new, rcond=None)[0][:2].T
        mirrored.add(turned[0, 0] < 0)
        turned[0] *= np.sign(turned[0, 0])
        angles.add(round(float(np.degrees(np.arctan2(turned[1, 0], turned[0, 0]))), 2))
        np.testing.assert_allclose(turned @ turned.T, np.eye(2), atol=1e-4)
        if not largest:
            np.testing.assert_allclose(np.abs(new), np.abs(old), atol=1e-2)
        corners.add((round(float(u[known].min())), round(float(v[known].min()))))
    assert mirrored == {True, False} and (len(corners) > 2 or case == "whole")
    assert max(map(abs, angles)) <= largest and len(angles) > 3 if largest else angles == {0.0}


def test_what_lies_outside_a_turned_picture_is_black_and_not_measured(kitti):
    source = source_of(kitti, "kitti_raw", size=FULL_SIZE, max_rotation=10.0)
    sample = next(samples_of(source, 1, 1))
    outside = (sample.target_depth == 0).mean()
    assert 0.02 < outside < 0.3                                       # all of the plane is measured
    assert not sample.target[0, 0].any() or not sample.target[0, -1].any()


def test_zoom_and_another_size(kitti):
    """Depth is taken from its own pixels, through resize and zoom at once."""
    source = source_of(kitti, "kitti_raw", size=(128, 416), scale_crop=1.3, flip=True,
                       random_crop=(96, 320))
    j, i = np.mgrid[:96, :320]
    for sample in samples_of(source, 2, 2):
        camera = source.drives[0].intrinsics
        rays = np.linalg.inv(sample.intrinsics) @ np.stack([i, j, np.ones_like(i)]).reshape(3, -1)
        u, v, _ = (camera @ rays).reshape(3, 96, 320)
        depth = sample.target_depth[..., 0]
        mirrored = camera[0, 2] * 2 - u                               # of a mirrored camera
        errors = [np.abs(depth * (0.02 + 1e-4 * each + 2e-4 * v) - 1).max()
                  for each in (u, mirrored)]
        limit = 0.5 * 3e-4 / 0.02 + 1e-3                              # half a pixel of the file
        assert min(errors) < limit < max(errors)
    resized = next(iter(pipeline.evaluation_batches(
        source._replace(config=dataclasses.replace(source.config, size=(128, 416))), 1)))
    plain = dataclasses.replace(source.config, scale_crop=1.0, flip=False, random_crop=())
    order = {}
    for sample in samples_of(source._replace(config=plain), 2, 1):
        order[sample.target_depth.tobytes()] = sample
    assert resized.target_depth[0].numpy().tobytes() in order         # both readers, one nearest


@pytest.mark.parametrize("size, corner", [
    ((375, 1242), (23, 13)), ((370, 1226), (18, 5)), ((376, 1241), (24, 12))])
def test_kb_part(size, corner):
    camera = np.array([[720.0, 0, 600], [0, 710, 170], [0, 0, 1]])
    lidar = camera @ np.array([[0.0, -1, 0, 0.1], [0, 0, -1, -0.2], [1, 0, 0, -0.3]])
    drive = Drive("a", ("a.png",), (0,), size, camera, image_from_lidar=lidar)
    part = crops.kb_part(drive)
    assert (part.corner, part.size, part.file_size) == (corner, (352, 1216), size)
    np.testing.assert_allclose(part.intrinsics[:2, 2], [600 - corner[1], 170 - corner[0]])
    point = np.array([9.0, 1.0, -0.5, 1.0])
    before, after = lidar @ point, part.image_from_lidar @ point
    np.testing.assert_allclose(after[:2] / after[2], before[:2] / before[2] - corner[::-1])
    again = crops.kb_part(dataclasses.replace(drive, size=(360, 1220), corner=(2, 4),
                                              file_size=size))
    assert again.corner == (10, 6) and again.file_size == size
    with pytest.raises(UserError, match=r"--config.data.crop: a: .*got 1242 x 351"):
        crops.kb_part(dataclasses.replace(drive, size=(351, 1242)))


def test_training_window():
    assert crops.training_window(DataConfig(size=(480, 640), crop="nyu")) == (45, 43, 427, 565)
    assert crops.training_window(DataConfig(size=(240, 320), crop="nyu")) == (22, 21, 214, 283)
    assert crops.training_size(DataConfig(size=(64, 96))) == (64, 96)


@pytest.mark.parametrize("name", list(augmentation.COLOR_JITTERS))
def test_colours(name):
    jitter = augmentation.COLOR_JITTERS[name]
    images = tf.constant(np.random.default_rng(2).uniform(0.2, 0.5, (2, 3, 4, 3)), tf.float32)
    images = tf.concat([images[:1], images[:1]], 0)
    draws = [jitter.change(images, [7, k]).numpy() for k in range(200)]
    changed = [draw for draw in draws if not np.array_equal(draw, images)]
    assert 70 < len(changed) < 130
    assert all(np.array_equal(draw[0], draw[1]) for draw in draws)      # one draw a sample
    np.testing.assert_array_equal(jitter.change(images, [7, 3]), draws[3])
    if name == "monodepth2":
        return
    limits = {"geonet": ((0.8, 1.2), (0.5, 2.0)), "bts_kitti": ((0.9, 1.1), (0.9, 1.1)),
              "bts_nyu": ((0.9, 1.1), (0.75, 1.25))}[name]
    fits = []
    for draw in changed:  # log image' = gamma log image + log(brightness * colour), by channel
        inside = (draw < 1).all(axis=(0, 1, 2))
        lines = [np.polyfit(np.log(images[..., c]).ravel(), np.log(draw[..., c]).ravel(), 1)
                 for c in range(3) if inside[c]]
        fits += lines
        if len(lines) == 3:
            np.testing.assert_allclose([line[0] for line in lines], lines[0][0], rtol=1e-3)
            assert np.ptp([line[1] for line in lines]) > 1e-4           # channels of their own
    gammas, factors = np.array(fits)[:, 0], np.exp(np.array(fits)[:, 1])
    low, high = limits[0]                                               # also of the colour
    assert low - 1e-3 < gammas.min() < low + 0.03 and high - 0.03 < gammas.max() < high + 1e-3
    assert limits[1][0] * low < factors.min() < limits[1][0] * 1.05
    assert limits[1][1] * 0.9 < factors.max() < limits[1][1] * high * 1.001


@pytest.mark.parametrize("name, losses_see", [("geonet", True), ("bts_nyu", False)])
def test_whether_losses_see_the_colours(name, losses_see, nyu):
    source = source_of(nyu, "nyu", size=(48, 64), color_jitter=name)
    plain = source_of(nyu, "nyu", size=(48, 64))
    equal, changed = [], []
    for sample, before in zip(samples_of(source, 2, 4), samples_of(plain, 2, 4)):
        equal.append(np.array_equal(sample.target, sample.target_input))
        changed.append(not np.array_equal(sample.target, before.target))
        np.testing.assert_array_equal(sample.target_depth, before.target_depth)
    assert all(equal) == losses_see and any(changed) == losses_see


def write_config(folder):
    path = folder / "supervised.py"
    path.write_text(CONFIG)
    return f"--config={path}"


def train_main(tmp_path, root, workdir, *flags):
    return train.main([write_config(tmp_path), f"--config.data.root={root}",
                       f"--workdir={tmp_path / workdir}", *flags])


def refused(capsys, code):
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1, error
    return error


def test_a_run_on_kitti(kitti, tmp_path, capsys):
    flags = (*KITTI, f"--config.data.train_drives={TRAIN}", f"--config.data.test_drives={TEST}")
    assert train_main(tmp_path, kitti, "run", *flags) == 0
    output = capsys.readouterr().out
    assert "1 training drives, 12 frames: 2 samples; 0 static" in output
    assert "10 without a depth map" in output and "per-pixel training mean" in output
    assert "bts: KITTI's improved" in output and "odometry" not in output
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())["protocols"]
    assert list(found) == ["bts"] and found["bts"]["Metres"]["images"] == 12
    assert (tmp_path / "run" / "pictures" / "depth-bts.png").stat().st_size > 5000
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text()
             .splitlines()]
    assert [line["without_depth"] for line in lines] == [0, 0, 0]

    # The network saw the KB crop and its camera, once; by hand:
    predictor = load_predictor(tmp_path / "run")
    name = "0000000007.png"
    folder = kitti / "2011_09_26" / f"{TEST}_sync" / "image_02" / "data"
    image = np.asarray(Image.open(folder / name))[23:, 13:1229] / np.float32(255)
    camera = load_drives(DataConfig(dataset="kitti_raw", root=str(kitti)))[1].intrinsics
    logarithm = tf.nn.conv2d(image[np.newaxis], predictor.system.logarithm.kernel, 1, "SAME")
    depth = np.exp(logarithm[0, ..., 0] + predictor.system.logarithm.bias) * camera[0, 0] / 720
    truth = np.asarray(Image.open(
        depth_folder(kitti, TEST, "image_02") / name))[23:, 13:1229] / 256.0
    rows, columns = np.mgrid[23:375, 13:1229]
    counts = ((truth > 1e-3) & (truth < 80) & (rows >= 153) & (rows < 371) & (columns >= 44)
              & (columns < 1197))
    by_hand = (np.abs(depth - truth) / np.maximum(truth, 1e-9))[counts].mean()
    from tfdepth.evaluation.depth_metrics import PROTOCOLS, evaluate_depth
    from tfdepth.evaluation.depth_report import depths_of_run
    from tfdepth.evaluation.scored_frames import find_frames
    frame = next(frame for frame in find_frames("improved", str(kitti), [TEST])
                 if frame.name.endswith(" 7"))
    depths = depths_of_run(predictor, [frame], PROTOCOLS["bts"])
    scored = evaluate_depth([(frame.name, next(depths), frame.truth())], PROTOCOLS["bts"])
    np.testing.assert_allclose(scored.metrics.abs_rel, by_hand, rtol=1e-4)

    # Protocols with another crop see the same network input; those of motion say what is missing.
    for protocol in ("eigen_stereo", "depth_metres"):
        assert evaluate.main([f"--workdir={tmp_path / 'run'}", f"--protocol={protocol}",
                              f"--output={tmp_path / protocol}"]) == 0
    table = json.loads((tmp_path / "depth_metres" / "evaluation.json").read_text())["protocols"]
    assert set(table["depth_metres"]) == {"per-pixel training mean", "Metres"}
    capsys.readouterr()
    for protocol, words in (("view_synthesis", "learnt from several views"),
                            ("odometry_kitti", "predicts no motion")):
        assert words in refused(capsys, evaluate.main(
            [f"--workdir={tmp_path / 'run'}", f"--protocol={protocol}"]))

    # Predictions are in metres, and need the camera.
    predict_flags = [f"--model={tmp_path / 'run'}", f"--input={folder / name}"]
    message = refused(capsys, predict.main([*predict_flags, f"--output={tmp_path / 'out'}"]))
    assert name in message and "--intrinsics" in message and "Metres scales depth" in message
    assert not list((tmp_path / "out").rglob("*.png"))
    camera = '{"units": "normalized", "fx": 0.58, "fy": 1.92, "cx": 0.5, "cy": 0.5}'
    for number, fx in enumerate(("0.58", "1.16")):
        (tmp_path / "camera.json").write_text(camera.replace("0.58", fx))
        assert predict.main([*predict_flags, f"--output={tmp_path / str(number)}", "--format=npy",
                             f"--intrinsics={tmp_path / 'camera.json'}"]) == 0
    facts = json.loads((tmp_path / "0" / "depth" / "0000000007.json").read_text())
    assert facts["scale"] == "metric" and "measured depth" in facts["scale_reason"]
    depths = [np.load(tmp_path / str(k) / "depth" / "0000000007.npy") for k in range(2)]
    np.testing.assert_allclose(depths[1], 2 * depths[0], rtol=1e-5)


def checkpoint_of(workdir, step):
    reader = tf.train.load_checkpoint(
        str(workdir / "checkpoints" / f"step-{step:08d}" / "state"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if "CHECKPOINTABLE" not in name and not name.startswith("save_counter")}


def test_a_run_on_nyu_and_its_resume(nyu, tmp_path, capsys, monkeypatch):
    assert train_main(tmp_path, nyu, "whole", *NYU) == 0
    output = capsys.readouterr().out
    assert "1 training drives, 4 frames: 4 samples" in output
    found = json.loads((tmp_path / "whole" / "evaluation.json").read_text())["protocols"]["nyu"]
    assert found["Metres"]["images"] == 2 and "silog" in found["Metres"]
    assert found["per-pixel training mean"]["abs_rel"] < 1e-3     # all frames show one plane
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        assert train_main(tmp_path, nyu, "parts", *NYU) == 130
    assert train_main(tmp_path, nyu, "parts", *NYU) == 0
    expected, parts = (checkpoint_of(tmp_path / name, 3) for name in ("whole", "parts"))
    assert set(expected) == set(parts)
    for name, value in expected.items():
        np.testing.assert_array_equal(parts[name], value, err_msg=name)


def test_validation_is_in_metres(nyu, tmp_path):
    run = loop.train(ExperimentConfig(
        MetresConfig(), DataConfig(dataset="nyu", root=str(nyu), offsets=(), size=(48, 64),
                                   random_crop=(32, 40), validation_drives=("test",)),
        OptimizerConfig(), TrainConfig(batch_size=2, steps=1,
                                       best_metric="validation/abs_rel")), tmp_path / "run")
    line = json.loads(run.metrics.read_text().splitlines()[-1])
    predictor = load_predictor(run.path)
    image = np.asarray(Image.open(nyu / "official_splits/test/den/rgb_00007.jpg"))
    drive = load_drives(DataConfig(dataset="nyu", root=str(nyu)))[0]
    depth = predictor.depth_of_image(image, intrinsics=drive.intrinsics)
    rows, columns = (np.arange(size) * 10 + 5 for size in (48, 64))
    truth = np.rint(places((480, 640))[1] / 256 * 125)[np.ix_(rows, columns)] / 1000
    np.testing.assert_allclose(line["validation/abs_rel"], (np.abs(depth - truth) / truth).mean(),
                               rtol=1e-4)


def test_frames_without_depth_are_counted_and_all_is_an_error(kitti, tmp_path, capsys):
    source = source_of(kitti, "kitti_raw", size=(32, 96))
    assert source.table.counts == (12, 0, 0, 2, 10)
    drives = [dataclasses.replace(drive, depth_paths=None) for drive in source.drives]
    with pytest.raises(UserError, match="no sample left of 12 .* 12 have no depth map.*depth_root"):
        pipeline.open_source(drives, source.config, supervised=True)
    bare = write_kitti_raw(tmp_path / "bare", (TRAIN,), cameras=("image_02",), depth=None)
    assert "--config.data.depth_root" in refused(capsys, train_main(
        tmp_path, bare, "bare_run", "--config.data.dataset=kitti_raw", "--config.data.size=32,96"))


def test_single_frames_need_a_supervised_system(toy):
    del toy
    from toy_system import ToyConfig
    alone = DataConfig(offsets=())
    check_config(ExperimentConfig(MetresConfig(), alone))
    with pytest.raises(UserError, match=r"data.offsets must be .*\(\) needs data.stereo"):
        check_config(ExperimentConfig(ToyConfig(), alone))
    for fields, words in ((dict(crop="garg"), "data.crop must be one of"),
                          (dict(color_jitter="hue"), "color_jitter must be one of"),
                          (dict(max_rotation=-1.0), "max_rotation must be from 0 to 45"),
                          (dict(max_rotation=1.0, stereo=True), "0 with data.stereo"),
                          (dict(random_crop=(128, 417)), "random_crop must be .height"),
                          (dict(random_crop=(420, 568), size=(480, 640), crop="nyu"), "leaves"),
                          (dict(random_crop=(32,)), "random_crop must be")):
        with pytest.raises(UserError, match=words):
            check_config(ExperimentConfig(MetresConfig(), dataclasses.replace(alone, **fields)))


def test_depth_of_another_size(nyu, tmp_path, capsys):
    root = write_nyu(tmp_path / "nyu")
    path = root / "sync" / "kitchen_0001" / "sync_depth_00002.png"
    Image.fromarray(np.full((240, 320), 2000, np.uint16)).save(path)
    flags = ("--config.data.dataset=nyu", "--config.data.size=48,64")
    message = refused(capsys, train_main(tmp_path, root, "middle", *flags))
    assert f"{path}: expected 640 x 480 pixels" in message and "found 320 x 240" in message
    drive = dataclasses.replace(load_drives(DataConfig(dataset="nyu", root=str(root)))[1],
                                depth_paths=("", str(path), "", ""))
    with pytest.raises(UserError, match="sync_depth_00002.png: expected 640 x 480 .*320 x 240"):
        depth_check.check_depth([drive])
    check_data.main(["nyu", f"--root={root}"])
    assert "expected 640 x 480 pixels" in capsys.readouterr().out


@pytest.mark.parametrize("dataset", ["nyu", "kitti_raw"])
def test_a_wrong_divisor_is_implausible(dataset, nyu, kitti, tmp_path, capsys):
    """Maps of one data set, written with the divisor of the other."""
    depth_check.check_depth(load_drives(DataConfig(dataset="nyu", root=str(nyu))))
    depth_check.check_depth(load_drives(DataConfig(dataset="kitti_raw", root=str(kitti))))
    if dataset == "nyu":  # rooms, metres x 256
        root = write_nyu(tmp_path / "nyu", np.full((480, 640), 640, np.uint16))
        expected, size = ("depth x 1000", "0.8 to 6 m", "found 0.64 m"), "48,64"
    else:                 # streets, in millimetres
        root = write_kitti_raw(tmp_path / "raw", (TRAIN,), cameras=("image_02",))
        for path in depth_folder(root, TRAIN, "image_02").glob("*.png"):
            Image.fromarray(np.full((24, 80), 15_000, np.uint16)).save(path)
        expected, size = ("depth x 256", "5 to 40 m", "found 58.6 m"), "32,96"
    message = refused(capsys, train_main(tmp_path, root, "run", f"--config.data.dataset={dataset}",
                                         f"--config.data.size={size}"))
    assert all(each in message for each in expected) and ".png" in message
    assert check_data.main([dataset, f"--root={root}"]) == 1
    assert expected[2] in capsys.readouterr().out
    assert expected[2] in refused(capsys, prepare_data.main(
        [dataset, f"--root={root}", f"--output={tmp_path / 'shards'}", f"--size={size}"]))
    assert not (tmp_path / "shards").exists()


def test_an_empty_map_is_counted_named_and_harmless(tmp_path, capsys):
    root = write_nyu(tmp_path / "nyu")
    path = root / "sync" / "kitchen_0001" / "sync_depth_00002.png"
    Image.fromarray(np.zeros((480, 640), np.uint16)).save(path)
    assert train_main(tmp_path, root, "run", "--config.data.dataset=nyu",
                      "--config.data.size=48,64", "--config.train.batch_size=1",
                      "--config.train.steps=8", "--config.data.train_drives=sync") == 0
    captured = capsys.readouterr()
    assert captured.err.count("sync/kitchen_0001 frame 2 has no measured depth") == 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text()
             .splitlines()]
    empty = [line for line in lines if line["without_depth"]]
    assert len(lines) == 8 and len(empty) == 2                        # once in each of two epochs
    assert all(line["depth"] == 0 and line["gradient_norm"] == 0 for line in empty)
    assert all(np.isfinite(line["depth"]) and line["bad_steps"] == 0 for line in lines)


def test_empty_maps_of_replicas_are_in_the_order_of_the_batch(nyu, two_replicas):
    source = source_of(nyu, "nyu", size=(48, 64))
    with two_replicas.scope():
        system = Metres(MetresConfig(), ())
        system.create_variables((48, 64))
        optimizer = build_optimizer(OptimizerConfig(), 1, system.trainable_variables)
    batches = pipeline.training_batches(source, 4, 3).map(lambda batch: batch._replace(
        target_depth=batch.target_depth * tf.reshape([1.0, 0.0, 1.0, 1.0], [4, 1, 1, 1])))
    batches = iter(two_replicas.experimental_distribute_dataset(batches))
    config = ExperimentConfig(MetresConfig(), train=TrainConfig(batch_size=4))
    result = make_train_step(two_replicas, system, optimizer, config)(next(batches))
    assert result.unmeasured.numpy().tolist() == [False, True, False, False]
    assert np.isfinite(float(result.terms["depth"]))


def test_prepared_folders(kitti, tmp_path, capsys):
    """Shards of KB crops give the batches of the files; other crops are refused."""
    assert prepare_data.main(["kitti_raw", f"--root={kitti}", f"--output={tmp_path / 'kb'}",
                              "--size=352,1216", "--format=png", "--kb_crop",
                              "--processes=1"]) == 0
    fields = dict(size=(352, 1216), crop="kb", random_crop=(320, 704), max_rotation=1.0, flip=True)
    for found, expected in zip(samples_of(source_of(tmp_path / "kb", "prepared", **fields), 2, 2),
                               samples_of(source_of(kitti, "kitti_raw", **fields), 2, 2)):
        for one, two in zip(found, expected):
            np.testing.assert_array_equal(one, two)
    capsys.readouterr()
    assert "data.crop: expected 'kb'" in refused(capsys, train_main(
        tmp_path, tmp_path / "kb", "run", "--config.data.dataset=prepared",
        "--config.data.size=352,1216"))
