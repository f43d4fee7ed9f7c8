"""The other camera of a stereo pair as a source: calibration, flips, batches, systems."""
import numpy as np
import pytest
import tensorflow as tf
import train
from PIL import Image

from data_folders import write_frames, write_kitti
from helpers import DATA, needs_shared
from tfdepth.checks import UserError
from tfdepth.data import augmentation, synthetic
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives
from tfdepth.data.pipeline import evaluation_batches, open_source, training_batches
from tfdepth.geometry import transforms
from tfdepth.geometry.synthesis import synthesize_target

# fx 30, baseline 0.5 m between the cameras, and camera 2 is 0.06 m right of camera 0.
CALIBRATION = "P2: 30 0 19 -1.8 0 32 12 0 0 0 1 0\nP3: 30 0 19 -16.8 0 32 12 0 0 0 1 0"
SIZE = (24, 40)


@pytest.fixture(name="root")
def _root(tmp_path):
    write_kitti(tmp_path, count=5, camera="image_2", calibration=CALIBRATION)
    write_frames(tmp_path / "sequences" / "00" / "image_3", [f"{k:06d}.png" for k in range(5)],
                 seed=9)
    return tmp_path


def config_of(root, **changes):
    return DataConfig("kitti_odometry", str(root), cameras=("image_2", "image_3"), size=SIZE,
                      **{"stereo": True, **changes})


def test_true_baseline_and_the_published_unit(root):
    for baseline, expected in ((0.0, 0.5), (0.1, 0.1)):
        config = config_of(root, stereo_baseline=baseline)
        left, right = load_drives(config)
        assert (left.name, right.name) == ("00/image_2", "00/image_3")
        np.testing.assert_allclose(left.stereo_from_camera[:3, 3], [-0.5, 0, 0], atol=1e-12)
        np.testing.assert_allclose(right.stereo_from_camera[:3, 3], [0.5, 0, 0], atol=1e-12)
        assert left.stereo_paths == right.image_paths
        batches = list(evaluation_batches(open_source([left, right], config), 6))
        motion = np.concatenate([batch.stereo_from_target for batch in batches])
        assert motion.shape == (6, 4, 4)  # 3 frames with both neighbours a camera
        np.testing.assert_allclose(motion[:, 0, 3], np.repeat([-expected, expected], 3), rtol=1e-6)
        np.testing.assert_allclose(motion[:, :3, :3], np.broadcast_to(np.eye(3), [6, 3, 3]))


def test_frames_of_a_sample(root):
    """Target, its neighbours of the same camera, then the other camera at the same time."""
    config = config_of(root)
    left, right = load_drives(config)
    read = lambda path: np.array(Image.open(path).convert("RGB"), np.float32) / 255
    for batch_drive, other in ((left, right), (right, left)):
        batch = next(iter(evaluation_batches(open_source([batch_drive], config), 1)))
        np.testing.assert_allclose(batch.target[0], read(batch_drive.image_paths[1]), atol=1e-6)
        expected = [batch_drive.image_paths[0], batch_drive.image_paths[2], other.image_paths[1]]
        np.testing.assert_allclose(batch.sources[0], [read(path) for path in expected], atol=1e-6)
    only = config_of(root, offsets=())
    batch = next(iter(evaluation_batches(open_source([left, right], only), 10)))
    assert batch.sources.shape == (10, 1, *SIZE, 3)
    np.testing.assert_allclose(batch.sources[7, 0], read(left.image_paths[2]), atol=1e-6)


def test_flip_keeps_the_geometry():
    """A mirrored sample is as consistent as the sample: warping it gives the mirrored warp."""
    random = np.random.default_rng(0)
    frames = tf.constant(random.random((3, 12, 20, 3)), tf.float32)
    depth = tf.constant(random.uniform(2, 9, (1, 12, 20, 1)), tf.float32)
    intrinsics = tf.constant([[15.0, 0, 8.2], [0, 17, 6.1], [0, 0, 1]])
    motion = transforms.from_translation_euler(tf.constant([0.3, 0.05, 0.2, 0.02, -0.03, 0.05]))

    def warp(frames, depth, intrinsics, motion):
        return synthesize_target(frames[tf.newaxis, 1:2], depth, intrinsics[tf.newaxis],
                                 motion[tf.newaxis, tf.newaxis]).images[0, 0].numpy()

    straight = warp(frames, depth, intrinsics, motion)
    mirrored = augmentation.flip(frames, intrinsics, motion, tf.constant(True))
    found = warp(mirrored[0], depth[:, :, ::-1], *mirrored[1:])
    np.testing.assert_allclose(found[:, ::-1], straight, atol=2e-4)
    assert np.abs(straight - frames[0].numpy()).mean() > 0.1
    same = augmentation.flip(frames, intrinsics, motion, tf.constant(False))
    for ours, given in zip(same, (frames, intrinsics, motion)):
        np.testing.assert_array_equal(ours, given)
    assert augmentation.flip(frames, intrinsics, None, tf.constant(True))[2] is None


def test_training_batches_flip_images_camera_and_baseline_together(root):
    config = config_of(root, flip=True, stereo_baseline=0.1)
    source = open_source(load_drives(config), config)
    plain = {}
    for batch in evaluation_batches(source, 1):
        plain[batch.target.numpy().tobytes()] = batch
    flipped = 0
    for batch in training_batches(source, 1, seed=4).take(12):
        batch = batch._asdict()
        if batch["target"].numpy().tobytes() in plain:
            expected = plain[batch["target"].numpy().tobytes()]
            np.testing.assert_array_equal(batch["stereo_from_target"], expected.stereo_from_target)
            continue
        flipped += 1
        expected = plain[np.ascontiguousarray(batch["target"].numpy()[:, :, ::-1]).tobytes()]
        np.testing.assert_array_equal(batch["sources"][:, :, :, ::-1], expected.sources)
        assert batch["stereo_from_target"][0, 0, 3] == -expected.stereo_from_target[0, 0, 3]
        np.testing.assert_allclose(batch["intrinsics"][0, 0, 2],
                                   SIZE[1] - 1 - expected.intrinsics[0, 0, 2], atol=1e-5)
    assert 2 <= flipped <= 10


def test_known_depth_explains_the_other_camera(tmp_path):
    """The synthetic pair: depth and baseline make one picture of the other, mirrored or not."""
    root = synthetic.ensure_synthetic(
        str(tmp_path / "pair"), (64, 208), drives=(synthetic.DriveSpec("00", 5, False),),
        frame_count=3)
    for flip in (False, True):
        config = DataConfig("kitti_odometry", root, cameras=("image_2",), size=(64, 208),
                            offsets=(), stereo=True)
        drives = load_drives(config)
        batch = next(iter(evaluation_batches(open_source(drives, config), 3, with_depth=True)))
        frames = tf.concat([batch.target[:1], batch.sources[0]], axis=0)
        depth = batch.target_depth[:1]
        frames, intrinsics, motion = augmentation.flip(
            frames, batch.intrinsics[0], batch.stereo_from_target[0], tf.constant(flip))
        depth = depth[:, :, ::-1] if flip else depth
        views = synthesize_target(frames[tf.newaxis, 1:], tf.where(depth > 0, depth, 1e4),
                                  intrinsics[tf.newaxis], motion[tf.newaxis, tf.newaxis])
        seen = views.valid[0, 0, ..., 0].numpy()
        warped = np.abs(views.images[0, 0] - frames[0])[seen].mean()
        unwarped = np.abs(frames[1] - frames[0])[seen].mean()
        assert warped < 0.45 * unwarped, (flip, warped, unwarped)


@needs_shared
def test_side_of_a_real_pair():
    """A sweep of planes explains the left picture by the right one, and not by a camera at left."""
    def read(name):
        with Image.open(DATA / "kitti_stereo" / f"{name}.png") as image:
            small = image.convert("RGB").resize((416, 128), Image.Resampling.BOX)
        return np.array(small, np.float32)[np.newaxis] / 255

    left, right = read("left"), read("right")
    scale = 416 / 1241
    intrinsics = tf.constant([[[718.856 * scale, 0, 607.1928 * scale - 0.5 + 0.5 * scale],
                               [0, 718.856 * 128 / 376, 63.0], [0, 0, 1]]])
    best = {}
    for side in (-1.0, 1.0):
        motion = np.eye(4, dtype=np.float32)
        motion[0, 3] = side * 0.5372
        errors = []
        for depth in 1.0 / np.linspace(1 / 5, 1 / 80, 24):
            views = synthesize_target(tf.constant(right[:, np.newaxis]),
                                      tf.fill([1, 128, 416, 1], np.float32(depth)), intrinsics,
                                      tf.constant(motion[np.newaxis, np.newaxis]))
            error = np.where(views.valid[0, 0], np.abs(views.images[0, 0] - left[0]), 1.0)
            errors.append(error.mean(-1))
        best[side] = np.min(errors, axis=0).mean()
    assert best[-1.0] < 0.6 * best[1.0], best


def test_mistakes(root, tmp_path, capsys):
    def refused(*flags):
        assert train.main([f"--workdir={tmp_path / 'run'}", "--config=configs/monodepth2.py:quick",
                           f"--config.data.root={root}", *flags]) == 2
        assert not (tmp_path / "run").exists()
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message

    kitti = "--config.data.dataset=kitti_odometry"
    for size in ("64,200", "32,64"):  # at 32 the decoder has nothing to mirror
        assert "positive multiples of 32, at least 64; got" in refused(
            kitti, f"--config.data.size={size}")
    assert "() needs data.stereo" in refused(kitti, "--config.data.offsets=()")
    assert "a folder or video has one camera" in refused("--config.data.stereo")
    assert "learns from one camera" in refused(
        kitti, "--config.data.stereo", "--config=configs/sfmlearner.py:quick")
    (root / "sequences" / "00" / "image_3" / "000002.png").unlink()
    assert "--config.data.stereo: expected a picture in" in refused(kitti, "--config.data.stereo")
    for path in (root / "sequences" / "00" / "image_3").iterdir():
        path.unlink()
    (root / "sequences" / "00" / "image_3").rmdir()
    assert "the other camera of image_2; found no such folder" in refused(
        kitti, "--config.data.stereo")


def test_unrectified_pair(root):
    calib = root / "sequences" / "00" / "calib.txt"
    calib.write_text(CALIBRATION.replace("P3: 30", "P3: 31"))
    with pytest.raises(UserError, match="expected a rectified stereo pair"):
        load_drives(config_of(root))


def test_camera_of_the_config_replaces_the_calibrated_one(root):
    text = '{"units": "normalized", "fx": 0.58, "fy": 1.92, "cx": 0.5, "cy": 0.5}'
    drive = load_drives(config_of(root, intrinsics=text))[0]
    np.testing.assert_allclose(drive.intrinsics, [[23.2, 0, 19.5], [0, 46.08, 11.5], [0, 0, 1]])
