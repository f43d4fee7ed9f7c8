"""Batches: order, resume, augmentation, cameras, unreadable files."""
import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from data_folders import SIZE, write_frames, write_kitti
from PIL import Image

from tfdepth.checks import UserError
from tfdepth.data import pipeline, unreadable
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives
from tfdepth.data.images import read_image


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti")
    write_kitti(root, "00", count=7)
    write_kitti(root, "03", count=6, calibration="P0: 31 0 18 0 0 29 11 0 0 0 1 0")
    write_frames(root / "sequences" / "03" / "image_0", [f"{k:06d}.png" for k in range(6)],
                 grey=True, seed=1)  # other pictures than those of 00
    return root


def source_of(root, **changes):
    config = dataclasses.replace(
        DataConfig("kitti_odometry", str(root), size=(16, 32)), **changes)
    return pipeline.open_source(load_drives(config), config)


def take(dataset, count):
    return [type(batch)(*(None if field is None else field.numpy() for field in batch))
            for batch in itertools.islice(dataset, count)]


def flat(batches):
    """The samples of batches, one batch after the other."""
    return [type(batch)(*(field[k] if field is not None else None for field in batch))
            for batch in batches for k in range(len(batch.target))]


def test_every_epoch_is_another_permutation(root):
    source = source_of(root)
    assert source.num_samples == 9                     # 5 + 4
    samples = flat(take(pipeline.training_batches(source, 2, seed=7), 9))
    inorder = flat(take(pipeline.evaluation_batches(source, 4), 3))
    number = {sample.target.tobytes(): k for k, sample in enumerate(inorder)}
    order = [number[sample.target.tobytes()] for sample in samples]  # epochs straddle batches
    assert sorted(order[:9]) == sorted(order[9:]) == list(range(9))
    assert order[:9] != order[9:] and order[:9] != list(range(9))
    again = flat(take(pipeline.training_batches(source, 3, seed=7), 6))
    assert [number[sample.target.tobytes()] for sample in again] == order  # whatever the batch
    other = flat(take(pipeline.training_batches(source, 2, seed=8), 9))
    assert [number[sample.target.tobytes()] for sample in other] != order


AUGMENTED = dict(scale_crop=1.15, flip=True, color_jitter="monodepth2")


@pytest.mark.parametrize("megabytes", [0, 10])
def test_resumes_where_it_was(root, megabytes):
    source = source_of(root, **AUGMENTED)
    whole = take(pipeline.training_batches(source, 2, 7), 6)
    rest = take(pipeline.training_batches(source, 2, 7, start=3, cache_megabytes=megabytes), 3)
    for expected, found in zip(whole[3:], rest):
        for one, two in zip(expected[:5], found):
            np.testing.assert_array_equal(one, two)


def test_sample_names_are_those_of_the_batch(root):
    source = source_of(root)
    batches = take(pipeline.training_batches(source, 3, seed=2), 4)
    images = {drive.name: drive.image_paths for drive in source.drives}
    for step, batch in enumerate(batches):
        names, paths, depth_files = pipeline.sample_files(source, 3, 2, step)
        assert not depth_files
        for name, target in zip(names, batch.target):
            drive, frame = name.split(" frame ")
            expected = pipeline.resize_image(read_image(images[drive][int(frame)]), (16, 32))
            np.testing.assert_array_equal(np.round(target * 255), expected)
            assert images[drive][int(frame)] in paths


@pytest.mark.parametrize("size", [(192, 640), (130, 417), (375, 500), (400, 1300), (3, 7)])
def test_resized_pictures_are_tensorflows(size):
    """But for their rounding, which float32's rounding of rows decides near the middle."""
    pictures = np.random.default_rng(1).integers(0, 256, (2, 375, 1242, 3), np.uint8)
    expected = tf.image.resize(pictures, size, antialias=True).numpy()
    found = pipeline.resize_image(pictures, size).numpy()
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() < 0.505
    np.testing.assert_array_equal(pipeline.resize_image(pictures[1], size), found[1])


def test_a_resize_to_the_same_size_changes_nothing():
    picture = np.random.default_rng(1).integers(0, 256, (375, 1242, 3), np.uint8)
    resize = tf.function(lambda picture: pipeline.resize_image(picture, (375, 1242)),
                         input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    np.testing.assert_array_equal(resize(picture), picture)


def test_nobody_waits_for_a_tuner(root):
    """See `map_in_parallel`; the end of an iterator would take up to a minute, now and then."""
    source = source_of(root)
    paths = source.drives[0].image_paths
    for batches in (pipeline.training_batches(source, 5, 1),
                    pipeline.training_batches(source, 5, 1, slices=[(0, 2), (2, 5)]),
                    pipeline.evaluation_batches(source, 4).batches,
                    pipeline.frame_batches(paths, (16, 32), 2)):
        assert batches.options().autotune.enabled is False


def test_camera_follows_the_resize(root):
    source = source_of(root)
    batch = take(pipeline.evaluation_batches(source, 9), 1)[0]
    scale_y, scale_x = 16 / SIZE[0], 32 / SIZE[1]
    # the centre of the old top-left pixel is (0.5, 0.5) from the image's corner
    first = [[30 * scale_x, 0, 19.5 * scale_x - 0.5], [0, 32 * scale_y, 12.5 * scale_y - 0.5],
             [0, 0, 1]]
    np.testing.assert_allclose(batch.intrinsics[0], first, rtol=1e-6)
    assert batch.intrinsics[8][0, 0] == pytest.approx(31 * scale_x)
    assert batch.sources.shape == (9, 2, 16, 32, 3)
    np.testing.assert_array_equal(batch.sources[1, 0], batch.target[0])  # in time order
    np.testing.assert_array_equal(batch.sources[0, 1], batch.target[1])


def test_augmentation_is_drawn_once_a_sample(root):
    """Identical frames stay identical, whatever is drawn; different samples get other draws."""
    still = source_of(root, **AUGMENTED)
    rows = np.repeat(still.table.indices[:, :1], 3, axis=1)            # the target three times
    still = still._replace(table=still.table._replace(indices=rows))
    cameras, changed = set(), 0
    for sample in flat(take(pipeline.training_batches(still, 3, 1), 6)):
        for name, inputs in (("sources", "target"), ("source_inputs", "target_input")):
            for frame in getattr(sample, name):
                np.testing.assert_array_equal(frame, getattr(sample, inputs))
        cameras.add(sample.intrinsics.tobytes())
        changed += not np.array_equal(sample.target, sample.target_input)
        assert sample.target.min() >= 0 and sample.target_input.max() <= 1
    assert len(cameras) == 18 and 2 < changed < 16                     # jitter: half of 18


def test_flip_moves_picture_and_camera(root):
    plain = {tuple(sample.target.ravel()[:50]): sample
             for sample in flat(take(pipeline.training_batches(source_of(root), 3, 1), 3))}
    mirrored = 0
    for sample in flat(take(pipeline.training_batches(source_of(root, flip=True), 3, 1), 3)):
        if tuple(sample.target.ravel()[:50]) in plain:
            continue
        mirrored += 1
        before = plain[tuple(sample.target[:, ::-1].ravel()[:50])]
        np.testing.assert_array_equal(sample.sources, before.sources[:, :, ::-1])
        assert sample.intrinsics[0, 2] == pytest.approx(31 - before.intrinsics[0, 2])
        assert sample.intrinsics[0, 0] == before.intrinsics[0, 0] > 0
    assert 1 <= mirrored <= 8


def test_limit_spreads_evenly(root):
    batches = flat(take(pipeline.evaluation_batches(source_of(root), 4, limit=3), 3))
    everything = flat(take(pipeline.evaluation_batches(source_of(root), 4), 3))
    assert len(batches) == 3
    for found, k in zip(batches, (0, 4, 8)):
        np.testing.assert_array_equal(found.target, everything[k].target)


@pytest.mark.parametrize("megabytes", [0, 10])
def test_unreadable_file_is_named(tmp_path, megabytes):
    root = write_kitti(tmp_path / "kitti", "00", count=5)
    source = source_of(root)
    broken = source.drives[0].image_paths[2]
    with open(broken, "r+b") as file:
        file.truncate(300)
    with pytest.raises((UserError, tf.errors.OpError)) as error:
        take(pipeline.training_batches(source, 2, 0, cache_megabytes=megabytes), 2)
    if not isinstance(error.value, UserError):         # the loop asks for the name by itself
        error = unreadable.first_unreadable(source.drives[0].image_paths)
        assert "000002.png" in str(error)
    else:
        assert "000002.png" in str(error.value)


def test_a_part_of_each_file_counts(root):
    """At the size of the part nothing is resized: batches hold the very pixels."""
    drive = load_drives(DataConfig("kitti_odometry", str(root)))[1]
    part = dataclasses.replace(drive, file_size=SIZE, size=(17, 30), corner=(3, 6),
                               intrinsics=np.array([[31.0, 0, 12], [0, 29, 8], [0, 0, 1]]))
    source = pipeline.open_source([part], DataConfig(size=(17, 30)))
    batch = take(pipeline.evaluation_batches(source, 4), 1)[0]
    pixels = read_image(drive.image_paths[1])[3:20, 6:36]
    np.testing.assert_array_equal(np.round(batch.target[0] * 255), pixels)
    np.testing.assert_array_equal(batch.intrinsics[0], part.intrinsics)
    other = pipeline.open_source([dataclasses.replace(part, file_size=(24, 41))],
                                 DataConfig(size=(17, 30)))
    with pytest.raises(UserError, match="another size"):
        take(pipeline.evaluation_batches(other, 4), 1)
    with pytest.raises(ValueError, match="do not lie in files of"):
        take(pipeline.evaluation_batches(source._replace(
            drives=(dataclasses.replace(part, corner=(8, 6)),)), 4), 1)


def test_depth_of_a_part_with_holes_and_divisor(root, tmp_path):
    drives = load_drives(DataConfig("kitti_odometry", str(root)))
    random = np.random.default_rng(4)
    measured = random.integers(300, 60000, (13, *SIZE)).astype(np.uint16)
    paths = []
    for k, steps in enumerate(measured):
        Image.fromarray(steps).save(tmp_path / f"{k}.png")
        paths.append(str(tmp_path / f"{k}.png") if k != 2 else "")
    first = dataclasses.replace(drives[0], depth_paths=tuple(paths[:7]))
    second = dataclasses.replace(drives[1], depth_paths=tuple(paths[7:]), depth_divisor=1000.0,
                                 file_size=SIZE, size=(16, 32), corner=(5, 1))
    source = pipeline.open_source([first, second], DataConfig(size=(16, 32)))
    depth = np.concatenate([batch.target_depth for batch in take(
        pipeline.evaluation_batches(source, 4, with_depth=True), 3)])[..., 0]
    assert depth.shape == (9, 16, 32) and not depth[1].any()
    for k in range(4):                                 # samples 5 ... 8: frames 1 ... 4 of 03
        np.testing.assert_allclose(depth[5 + k], measured[8 + k, 5:21, 1:33] / 1000.0, rtol=1e-6)
    # 24 x 40 to 16 x 32: the pixel that the centre of the new one falls into
    rows, columns = (np.floor((np.arange(new) + 0.5) * old / new).astype(int)
                     for new, old in ((16, 24), (32, 40)))
    np.testing.assert_allclose(depth[0], measured[1][np.ix_(rows, columns)] / 256.0, rtol=1e-6)
    (tmp_path / "3.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="3.png"):
        take(pipeline.evaluation_batches(source, 4, with_depth=True), 3)
