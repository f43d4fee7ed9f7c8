"""Cameras that nobody knows, learned with depth and motion: `--config.data.intrinsics=learned`."""
import contextlib
import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
import predict
import prepare_data
import train
from data_folders import CALIBRATION, SIZE, write_camera, write_frames, write_kitti
from helpers import interrupt_after, random_images
from toy_system import ToyConfig

from tfdepth.checks import UserError
from tfdepth.data import crops, learned_camera, pipeline, synthetic
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives, split_drives
from tfdepth.data.drives import Drive
from tfdepth.data.intrinsics_file import read_intrinsics
from tfdepth.geometry import camera, rotations, transforms
from tfdepth.geometry.synthesis import source_pixels, synthesize_target
from tfdepth.inference import load_predictor
from tfdepth.losses.in_turn import one_at_a_time
from tfdepth.networks.learned_camera import CENTRE_RANGE, FOCAL_RATE, LearnedCameras, hold_flow
from tfdepth.runs.cameras import camera_of_size, load_cameras
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig
from tfdepth.structures import Batch
from tfdepth.systems import build_system, signs
from tfdepth.systems.bts import BtsConfig
from tfdepth.systems.geonet import GeoNetConfig
from tfdepth.systems.monodepth2 import Monodepth2Config
from tfdepth.systems.sfmlearner import SfMLearnerConfig
from tfdepth.training import learned_cameras, loop
from tfdepth.weights.matching import variables_by_path

LEARNED = learned_camera.LEARNED


def set_camera(cameras, name, intrinsics):
    """Sets the variable of a camera to [3, 3] with square pixels, by the inverse of its formula."""
    height, width = learned_camera.picture_size(name)
    guess = learned_camera.first_guess((height, width))
    place = cameras.names.index(name)
    focal = np.log(intrinsics[0, 0] / guess[0, 0]) / FOCAL_RATE
    centre = (intrinsics[:2, 2] - guess[:2, 2]) / (CENTRE_RANGE * np.array([width, height]))
    cameras.trainable_variables[place].assign(np.float32([focal, *np.arctanh(centre)]))


DRAWN = (60, 100)


def texture(u, v):
    """A smooth picture [..., 3] at pixels u, v."""
    waves = [(0.31, 0.17, 0.0), (0.13, -0.37, 1.0), (-0.23, 0.29, 2.0)]
    return np.stack([0.5 + 0.4 * np.sin(a * u + b * v + c) for a, b, c in waves], axis=-1)


def turning_pair(true, degrees, depth):
    """Target and source [1, H, W, 3] of a camera that only turns, drawn without our geometry: the
    source is a texture, the target looks it up along its rays; and source_from_target."""
    a, b, c = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    motion = np.eye(4)
    motion[:3, :3] = about_z @ about_y @ about_x
    motion[:3, 3] = 0.1, -0.05, 0.2
    v, u = np.mgrid[:DRAWN[0], :DRAWN[1]].astype(np.float64)
    rays = np.stack([(u - true[0, 2]) / true[0, 0], (v - true[1, 2]) / true[1, 1],
                     np.ones_like(u)], -1)
    points = (rays * depth[..., None]) @ motion[:3, :3].T + motion[:3, 3]
    seen = [points[..., k] / points[..., 2] * true[k, k] + true[k, 2] for k in range(2)]
    return texture(*seen), texture(u, v), motion


def test_gradient_descent_on_the_photometric_error_finds_the_true_camera():
    """With true depth and motion: the network's pixels are twice as high as wide, so that its focal
    lengths differ; the principal point is off the middle."""
    source_size = (120, 100)                        # of the camera; DRAWN halves its rows
    true_source = np.array([[74.0, 0, 55.0], [0, 74.0, 55.5], [0, 0, 1]])
    scale = lambda matrix: camera.resize_intrinsics(
        tf.constant(matrix, tf.float64), (0.5, 1.0)).numpy()
    true = scale(true_source)
    assert abs(true[0, 0] / true[1, 1] - 2.0) < 1e-9
    v, u = np.mgrid[:DRAWN[0], :DRAWN[1]]
    depth = 4.0 + 0.02 * u + np.sin(0.2 * v)
    name = learned_camera.camera_name(source_size)
    pairs = [turning_pair(true, degrees, depth) for degrees in
             ((0.5, 3.0, -1.0), (-2.5, -2.0, 1.5), (2.0, 2.5, 2.0))]
    targets, sources, motions = (np.float32(np.stack(each)) for each in zip(*pairs))
    count = len(pairs)
    sources, motions = sources[:, np.newaxis], motions[:, np.newaxis]
    guess = np.float32(np.tile(scale(learned_camera.first_guess(source_size)), (count, 1, 1)))
    batch = Batch(targets, sources, targets, sources, tf.constant(guess),
                  camera=tf.fill([count], learned_camera.camera_number(name)),
                  mirrored=tf.fill([count], False))
    depths = np.float32(np.tile(depth[..., np.newaxis], (count, 1, 1, 1)))
    cameras = LearnedCameras([name])
    optimizer = tf.keras.optimizers.legacy.Adam(
        tf.keras.optimizers.schedules.PolynomialDecay(1e-2, 400, 1e-4))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            views = synthesize_target(batch.sources, depths, cameras.correct(batch).intrinsics,
                                      motions)
            valid = tf.cast(views.valid, tf.float32)
            error = tf.reduce_sum(valid * tf.abs(views.images - targets[:, np.newaxis]))
            error /= tf.reduce_sum(valid)
        optimizer.minimize(error, cameras.trainable_variables, tape=tape)
        return error

    first = float(step())
    for _ in range(400):
        last = float(step())
    found = cameras.intrinsics()[name]
    assert last < 0.2 * first
    assert abs(learned_camera.first_guess(source_size)[0, 0] / 74.0 - 1.0) > 0.1  # a wrong guess
    np.testing.assert_allclose(np.diag(found), [74.0, 74.0, 1.0], rtol=0.01)
    np.testing.assert_allclose(found[:2, 2], [55.0, 55.5], atol=0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """KITTI's layout: two sequences of two cameras that turn by two degrees a frame."""
    root = tmp_path_factory.mktemp("kitti")
    for sequence, calibration in (("00", CALIBRATION), ("01", "P0: 35 0 19 0 0 32 12 0 0 0 1 0")):
        write_kitti(root, sequence, count=7, calibration=calibration)
        turn(root / "poses" / f"{sequence}.txt", 2.0)
    return root


def turn(path, degrees, about_z=False):
    """Poses of a camera that turns by so much a frame, about y or z."""
    rows = []
    for k in range(7):
        c, s = np.cos(np.radians(degrees * k)), np.sin(np.radians(degrees * k))
        rotation = [[c, -s, 0], [s, c, 0], [0, 0, 1]] if about_z else [[c, 0, s], [0, 1, 0],
                                                                       [-s, 0, c]]
        rows.append(np.column_stack([rotation, [0, 0, k]]).ravel())
    np.savetxt(path, rows)


def config_of(root, **data):
    return ExperimentConfig(
        ToyConfig(), DataConfig("kitti_odometry", str(root), size=(32, 64), intrinsics=LEARNED,
                                scale_crop=1.2, flip=True, **data),
        OptimizerConfig(learning_rate=1e-2),
        TrainConfig(batch_size=4, steps=4, log_every=1, save_every=2))


def lines_of(run):
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def cameras_of_drives(drives):
    return LearnedCameras(sorted({drive.camera for drive in drives}))


@pytest.mark.parametrize("augmentation", [
    {}, dict(flip=True), dict(scale_crop=1.3), dict(random_crop=(24, 32)), dict(max_rotation=3.0),
    dict(flip=True, scale_crop=1.2, random_crop=(24, 40), color_jitter="monodepth2",
         max_rotation=1.0)], ids=lambda changes: "+".join(changes) or "none")
def test_augmentation_moves_learned_cameras_as_declared_ones(root, augmentation):
    """At the variables that mean the declared camera, batches are those of the declared one."""
    true = np.array([[33.0, 0, 20.5], [0, 33.0, 10.5], [0, 0, 1]])
    text = json.dumps({"units": "pixels", "fx": 33.0, "fy": 33.0, "cx": 20.5, "cy": 10.5,
                       "width": SIZE[1], "height": SIZE[0]})
    config = DataConfig("kitti_odometry", str(root), size=(32, 64), **augmentation)
    declared, learned = (
        pipeline.open_source(load_drives(each), each) for each in
        (dataclasses.replace(config, intrinsics=value) for value in (text, LEARNED)))
    cameras = cameras_of_drives(learned.drives)
    for name in cameras.names:
        set_camera(cameras, name, true)
    for batches in (lambda source: pipeline.training_batches(source, 4, seed=3).take(4),
                    lambda source: pipeline.evaluation_batches(source, 4)):
        mirrored = []
        for expected, found in zip(batches(declared), batches(learned)):
            assert expected.camera is None and expected.mirrored is None
            mirrored += list(found.mirrored.numpy())
            np.testing.assert_array_equal(found.target_input, expected.target_input)
            assert np.abs(found.intrinsics - expected.intrinsics).max() > 1.0  # a first guess
            np.testing.assert_allclose(cameras.correct(found).intrinsics, expected.intrinsics,
                                       rtol=1e-5, atol=1e-5 * 64)
        assert any(mirrored) == ("flip" in augmentation and len(mirrored) == 16)


def test_the_first_guess_moves_with_kittis_crop():
    """K of a cut picture = that of the cut guess @ correction."""
    size, name = (370, 1226), learned_camera.camera_name((370, 1226))
    true = np.array([[707.0, 0, 601.9], [0, 707.0, 183.1], [0, 0, 1]])
    cameras = LearnedCameras([name])
    set_camera(cameras, name, true)
    drive = Drive("00", (), (), size, learned_camera.first_guess(size), camera=name)
    cut = crops.kb_part(drive).intrinsics @ cameras.corrections()[0].numpy()
    np.testing.assert_allclose(
        cut, crops.kb_part(dataclasses.replace(drive, intrinsics=true)).intrinsics, rtol=1e-5)


def test_cameras_are_told_apart_by_what_is_declared(root, tmp_path):
    config = DataConfig("kitti_odometry", str(root), intrinsics=LEARNED)
    first, second = load_drives(config)
    assert first.camera != second.camera and first.camera.startswith("40x24-")
    np.testing.assert_array_equal(first.intrinsics, second.intrinsics)         # the same guess
    np.testing.assert_allclose(np.diag(first.intrinsics), [34.641, 34.641, 1], rtol=1e-5)
    assert first.camera == load_drives(config)[0].camera

    # A folder needs no camera file, and may have some.
    for name, size in (("a", SIZE), ("b", SIZE), ("c", (48, 40))):
        write_frames(tmp_path / "trip" / name, ["1.png", "2.png", "3.png"], size)
    config = DataConfig("folder", str(tmp_path / "trip"), intrinsics=LEARNED)
    assert [drive.camera for drive in load_drives(config)] == ["40x24", "40x24", "40x48"]
    write_camera(tmp_path / "trip" / "b")
    assert load_drives(config)[1].camera.startswith("40x24-")
    with pytest.raises(UserError, match=r"expected a camera file .*intrinsics=learned does with"):
        load_drives(dataclasses.replace(config, intrinsics=""))


@pytest.mark.usefixtures("toy")
def test_two_cameras_have_separate_gradients(root):
    config = config_of(root).data
    source = pipeline.open_source(load_drives(config), config)
    system = build_system(ToyConfig(), config.offsets)
    names = sorted({drive.camera for drive in source.drives})
    system.learn_cameras(names)
    system.create_variables(config.size)
    first = learned_camera.camera_number(names[0])
    for batch in pipeline.evaluation_batches(source, 1):
        variables = system.cameras.trainable_variables
        with tf.GradientTape() as tape:
            seen = system.with_cameras(batch)
            loss = system.loss_terms(seen, system.forward(seen, training=True))["photometric"]
        norms = [float(tf.norm(gradient)) for gradient in tape.gradient(loss, variables)]
        other = int(int(batch.camera[0]) == first)
        assert norms[other] == 0.0 and norms[1 - other] > 0.0
    assert {name for name in variables_by_path(system) if name.startswith("cameras/")} == {
        f"cameras/{name}" for name in names}


def test_a_changing_focal_length_takes_turns_and_moves_with_it():
    """The gradient through `hold_flow`, against differences along f -> s f, turns and moves / s."""
    turn_by, move = np.float32([0.03, -0.05, 0.04]), np.float32([0.3, -0.2, 0.5])
    weights = np.random.default_rng(0).normal(size=[1, 1, 4, 4]).astype(np.float32)

    def motion_of(scale):
        return transforms.from_rotation_translation(
            rotations.from_axis_angle(tf.constant(turn_by / [scale, scale, 1.0], tf.float64)),
            tf.constant(move / [scale, scale, 1.0], tf.float64))[tf.newaxis, tf.newaxis]

    camera_matrix = np.array([[[70.0, 0, 50], [0, 35.0, 30], [0, 0, 1]]])
    scale = tf.Variable(1.0, dtype=tf.float64)
    with tf.GradientTape() as tape:
        factors = tf.stack([[scale, 1.0, 1.0], [1.0, scale, 1.0], [1.0, 1.0, 1.0]])
        held = hold_flow(motion_of(1.0), camera_matrix * factors)
        total = tf.reduce_sum(weights * held)
    np.testing.assert_array_equal(held, motion_of(1.0))
    step = 1e-5
    expected = np.sum(weights * (motion_of(1 + step) - motion_of(1 - step))) / (2 * step)
    np.testing.assert_allclose(tape.gradient(total, scale), expected, rtol=0.01)


@pytest.mark.parametrize("system", [
    SfMLearnerConfig(), GeoNetConfig(), Monodepth2Config(full_resolution=False)],
    ids=lambda config: type(config).__name__)
def test_every_system_that_learns_from_motion_has_gradients(system):
    """Also where the levels of the losses are differentiated one after another."""
    name = learned_camera.camera_name((64, 96))
    images = random_images(1), random_images(1, 2, seed=1)
    batch = Batch(*map(tf.constant, (*images, *images)), tf.constant(np.float32(
        [learned_camera.first_guess((64, 96))])),
        camera=tf.constant([learned_camera.camera_number(name)]), mirrored=tf.constant([False]))
    built = build_system(system, (-1, 1))
    built.learn_cameras([name])
    built.create_variables((64, 96))
    found = []
    for context in (contextlib.nullcontext(), one_at_a_time()):
        with context, tf.GradientTape() as tape:
            seen = built.with_cameras(batch)
            total = built.total_loss(built.loss_terms(seen, built.forward(seen, training=False)))
        found.append(tape.gradient(total, built.cameras.trainable_variables)[0].numpy())
    assert np.all(found[0] != 0.0)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)


@pytest.mark.usefixtures("toy")
def test_an_interrupted_run_learns_the_same_cameras(root, tmp_path, monkeypatch):
    config = config_of(root)
    monkeypatch.setattr(learned_cameras, "SMALLEST_FOCAL_SHIFT", 0.0)  # motion of a few steps
    whole = loop.train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, tmp_path / "parts")
    parts = loop.train(config, tmp_path / "parts")
    expected, found = load_cameras(whole), load_cameras(parts)
    assert len(expected) == 2 and set(found) == set(expected)
    for name, matrix in expected.items():
        np.testing.assert_array_equal(found[name], matrix)
        assert abs(matrix[0, 0] - 34.641) > 0.01 and matrix[0, 0] == matrix[1, 1]  # it has learned
        assert lines_of(parts)[-1][f"camera/{name}/focal_length"] > 0.0
        # The camera file says the same, of the best checkpoint.
        np.testing.assert_allclose(
            read_intrinsics(str(whole.camera_file(name)), SIZE), matrix, rtol=1e-9)
    assert camera_of_size(whole, SIZE) is None                             # which of the two?
    # Scored on the same data it has its own cameras; other data's it does not know.
    predictor = load_predictor(whole.path)
    assert predictor.system.cameras.names == tuple(sorted(expected))
    drives = load_drives(predictor.config.data)
    predictor.system.check_cameras(drives)
    with pytest.raises(UserError, match=r"cameras that the run learned, 40x24-.*; found another"):
        predictor.system.check_cameras([dataclasses.replace(drives[0], camera="41x24")])


@pytest.mark.usefixtures("toy")
def test_a_run_and_its_predictions_with_one_camera(root, tmp_path, capsys):
    """A complete run writes its camera, and predictions have it where they have no other."""
    walk = write_frames(tmp_path / "walk", [f"{k}.png" for k in range(5)])
    config = config_of(walk)
    config.data.dataset = "folder"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned_cameras, "SMALLEST_FOCAL_SHIFT", 0.0)  # noise does not turn
        run = loop.train(config, tmp_path / "run")
    file, = run.camera_files()
    assert file == run.path / "intrinsics.json" and "focal length" in capsys.readouterr().out
    learned = load_cameras(run)["40x24"]
    for arguments, size in (([], SIZE), ([f"--intrinsics={walk}/intrinsics.json"], SIZE)):
        write_camera(walk)
        source = tmp_path / "walk2"
        write_frames(source, ["7.png", "8.png"])
        assert predict.main([f"--model={run.path}", f"--input={source}", *arguments,
                             f"--output={tmp_path / 'out'}"]) == 0
        assert ("the camera is the one that" in capsys.readouterr().out) == (not arguments)
        found = json.loads((tmp_path / "out" / "depth" / "7.json").read_text())["intrinsics"]
        declared = read_intrinsics(str(walk / "intrinsics.json"), SIZE)
        np.testing.assert_allclose(found, declared if arguments else learned, rtol=1e-6)
    np.testing.assert_allclose(                            # of twice the size, the same shape
        np.diag(camera_of_size(run, (48, 80)))[:2], 2 * np.diag(learned)[:2], rtol=1e-6)
    assert camera_of_size(run, (40, 24)) is None

    # The same run, had its predicted motion to turn more: no file, and a sentence.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned_cameras, "SMALLEST_FOCAL_SHIFT", 1e3)
        with pytest.raises(UserError, match=r"the run is complete, but writes no camera file.*"
                                            r"intrinsics=learned: expected a camera that turns"):
            loop.train(config, run.path)
    assert not run.camera_files()


def test_a_camera_that_does_not_turn_is_refused_where_poses_are_known(tmp_path, capsys):
    for sequence in ("00", "01"):
        write_kitti(tmp_path, sequence, count=7)
    turn(tmp_path / "poses" / "00.txt", 2.0)
    flags = ["--config=configs/sfmlearner.py:quick", "--config.data.dataset=kitti_odometry",
             f"--config.data.root={tmp_path}", "--config.data.size=32,64",
             f"--workdir={tmp_path / 'run'}", "--config.data.intrinsics=learned"]
    for degrees, about_z in ((0.0, False), (3.0, True)):   # nor does a turn about its axis help
        turn(tmp_path / "poses" / "01.txt", degrees, about_z)
        assert train.main([*flags, "--config.data.train_drives=01"]) == 2
        message = capsys.readouterr().err
        assert "--config.data.intrinsics=learned: expected a camera that turns" in message
        assert "found 0.000 pixels in 01/image_0" in message and message.count("\n") == 1


def test_a_camera_without_a_training_drive_is_refused(root):
    config = config_of(root, validation_drives=("01",)).data
    system = build_system(SfMLearnerConfig(), config.offsets)
    with pytest.raises(UserError, match="expected a training drive of every camera; 01/image_0 "):
        learned_cameras.learn_cameras(system, split_drives(config, load_drives(config)), config)


def test_systems_that_motion_teaches_nothing_are_refused(root, capsys):
    with pytest.raises(UserError, match="intrinsics=learned: expected a system that learns from "
                                        "the motion of a camera; Bts learns"):
        build_system(BtsConfig(), ()).learn_cameras(["40x24"])
    with pytest.raises(UserError, match="Monodepth2 learns from measured depth or from stereo"):
        build_system(Monodepth2Config(), (), stereo=True).learn_cameras(["40x24"])
    with pytest.raises(UserError, match="prepared folders hold resized ones"):
        load_drives(DataConfig("prepared", str(root), intrinsics=LEARNED))
    assert prepare_data.main(["kitti_odometry", f"--root={root}", "--size=32,64",
                              "--intrinsics=learned", f"--output={root / 'out'}"]) == 2
    assert "shards hold the camera; expected a file, got learned" in capsys.readouterr().err


def test_the_shift_of_a_wrong_focal_length_against_projection():
    """Pixels of a turned camera, whose focal length is 5 % off and whose angle makes up for it in
    the middle, against the true ones: the largest difference at a corner."""
    size = (60, 100)
    for about_x, about_y in ((0.0, 0.02), (0.015, 0.0), (0.01, -0.02)):
        true = np.float32([[70.0, 0, 49.5], [0, 70.0, 29.5], [0, 0, 1]])
        wrong = np.diag([1.05, 1.05, 1.0]).astype(np.float32) @ true
        wrong[:2, 2] = true[:2, 2]
        pixels = []
        for matrix, factor in ((true, 1.0), (wrong, 1.0 / 1.05)):
            motion = transforms.from_rotation_translation(
                rotations.from_axis_angle(tf.constant([[factor * about_x, factor * about_y, 0.0]])),
                tf.zeros([1, 3]))[:, tf.newaxis]
            u, v, _ = source_pixels(tf.ones([1, *size, 1]), matrix[np.newaxis], motion)
            pixels.append(np.stack([u[0, 0], v[0, 0]]))
            if factor == 1.0:
                predicted = float(signs.focal_shift(motion, matrix[np.newaxis], size)[0, 0])
        shift = np.linalg.norm(pixels[0] - pixels[1], axis=0)
        np.testing.assert_allclose(predicted, shift.max(), rtol=0.15)


@pytest.mark.slow
def test_learns_the_camera_of_the_synthetic_drives(tmp_path):
    """From a guess that is half too long to within 5 % of the true focal lengths, of a camera that
    is held by hand: turns along the way, as on a car, tell it hardly (README)."""
    workdir = tmp_path / "run"
    assert train.main([f"--workdir={workdir}", "--config.data.dataset=synthetic_handheld",
                       "--config.data.intrinsics=learned", "--config.data.test_drives=",
                       "--config.system.loss_weights.explainability=0",
                       "--config.optimizer.decay_epochs=(15.0,)", "--config.train.steps=3000",
                       "--config.train.save_every=1000",
                       "--config.train.precision=mixed_bfloat16"]) == 0
    size = synthetic.SIZE
    true = synthetic.camera_intrinsics(size)
    assert learned_camera.first_guess(size)[0, 0] > 1.4 * true[0, 0]
    found = read_intrinsics(str(workdir / "intrinsics.json"), size)
    print(found)
    np.testing.assert_allclose(np.diag(found), np.diag(true), rtol=0.05)
    np.testing.assert_allclose(found[:2, 2], true[:2, 2], atol=5.0)
