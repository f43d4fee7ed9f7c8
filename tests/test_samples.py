"""Neighbours in time, static frames, the split, and the table of data sets."""
import dataclasses
import time

import numpy as np
import pytest

from data_folders import REAL_KITTI, needs_real_kitti, write_camera, write_frames, write_kitti
from tfdepth.checks import UserError
from tfdepth.data import datasets, folder, motion, samples
from tfdepth.data.config import DataConfig
from tfdepth.data.drives import Drive


def _drive(name="00/image_0", numbers=range(5), positions=None):
    """A drive without files; positions along z in metres."""
    poses = None
    if positions is not None:
        poses = np.tile(np.eye(4), (len(numbers), 1, 1))
        poses[:, 2, 3] = positions
    return Drive(name, tuple(f"/{name}/{number}.png" for number in numbers), tuple(numbers),
                 (24, 40), np.eye(3), world_from_camera=poses)


def _by_loops(drives, offsets):
    """The definition, one frame at a time: {(drive, target number): source numbers}."""
    return {(drive.name, number): [number + offset for offset in offsets]
            for drive in drives for number in drive.frame_numbers
            if all(number + offset in drive.frame_numbers for offset in offsets)}


@pytest.mark.parametrize("offsets", [(-1, 1), (-2, 1, 3), (1,), (-1,)])
def test_sources_are_true_neighbours(offsets):
    random = np.random.default_rng(2)
    drives = [_drive(f"{d:02d}", np.flatnonzero(random.random(60) < 0.8).tolist())
              for d in range(3)]
    table = samples.select_samples(
        drives, DataConfig(offsets=offsets, min_image_change=0))
    flat = [(drive.name, number) for drive in drives for number in drive.frame_numbers]
    found = {flat[row[0]]: [flat[index][1] for index in row[1:]] for row in table.indices}
    assert found == _by_loops(drives, offsets) and len(found) == len(table.indices)
    assert all(flat[index][0] == drives[d].name
               for row, d in zip(table.indices, table.drive_indices) for index in row)
    assert table.indices.dtype == table.drive_indices.dtype == np.int32
    np.testing.assert_array_equal(table.drive_starts, np.cumsum([0] + [len(d) for d in drives]))
    assert table.counts == (len(flat), len(flat) - len(found), 0, len(found), 0)


def test_static_samples_by_poses():
    # the camera stands still between frames 3 and 4, and turns: that does not help
    drive = _drive(numbers=range(8), positions=[0, 1, 2, 3, 3, 4, 5, 6])
    turn = np.eye(4)
    turn[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    drive.world_from_camera[4] = drive.world_from_camera[4] @ turn
    table = samples.select_samples([drive], DataConfig())
    assert table.indices[:, 0].tolist() == [1, 2, 5, 6]
    assert table.counts == (8, 2, 2, 4, 0)
    np.testing.assert_allclose(motion.motion(drive), [1, 1, 1, 0, 1, 1, 1, np.nan])


def test_only_the_nearest_source_on_either_side_decides():
    drive = _drive(numbers=range(6), positions=[0, 1, 2, 3, 4, 2])  # 5 is back at the place of 2
    table = samples.select_samples([drive], DataConfig(offsets=(-1, 1, 3)))
    assert table.indices.tolist() == [[1, 0, 2, 4], [2, 1, 3, 5]]
    # offset 2 without offset 1: metres a frame, so half of the way between the two
    assert motion.motion(drive, 2).tolist()[:2] == [1.0, 1.0]
    table = samples.select_samples([drive], DataConfig(offsets=(2,), min_translation=0.6))
    assert table.indices[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("gap", [1, 2, 5])
def test_a_step_of_the_offsets_spans_a_gap(gap):
    random = np.random.default_rng(3)
    drive = _drive("d", np.flatnonzero(random.random(80) < 0.9).tolist())
    table = samples.select_samples(
        [drive], DataConfig(offsets=(-1, 2), frame_gap=gap, min_image_change=0))
    numbers = np.array(drive.frame_numbers)
    expected = _by_loops([drive], (-gap, 2 * gap))
    assert {("d", row[0]): row[1:] for row in numbers[table.indices].tolist()} == expected


def test_static_by_travel_over_the_gap():
    """Travel decides before poses; over a gap it is the mean of the frames between."""
    numbers = [0, 1, 2, 3, 5, 6, 7, 8]                               # 4 is missing
    travel = np.array([1.0, 0.02, 0.02, 0.5, 0.01, 0.1, 2.0, np.nan])
    drive = dataclasses.replace(_drive(numbers=numbers, positions=[0.0] * 8), travel=travel)
    for gap in (1, 2, 3):
        expected = []
        for number in numbers:
            between = [travel[numbers.index(each)] for each in range(number, number + gap)
                       if each in numbers]
            expected.append(np.mean(between) if number + gap in numbers else np.nan)
        np.testing.assert_allclose(motion.motion(drive, gap), expected, rtol=1e-12)
    table = samples.select_samples([drive], DataConfig(min_translation=0.05))
    assert np.array(numbers)[table.indices[:, 0]].tolist() == [7]    # 1, 2 and 6 have a still side
    table = samples.select_samples([drive], DataConfig(offsets=(1,), frame_gap=2,
                                                       min_translation=0.05))
    assert np.array(numbers)[table.indices[:, 0]].tolist() == [0, 3, 5, 6]
    blind = dataclasses.replace(drive, world_from_camera=None)
    np.testing.assert_array_equal(motion.motion(blind), motion.motion(drive))


@pytest.mark.parametrize("gap", [0, -1, 1.5])
def test_bad_gap(gap):
    with pytest.raises(UserError, match="frame_gap must be a whole number"):
        samples.select_samples([_drive()], DataConfig(frame_gap=gap))


def test_static_samples_by_images(tmp_path):
    write_camera(tmp_path)
    write_frames(tmp_path, ["0.png", "1.png", "2.png"], size=(96, 160), seed=1)
    write_frames(tmp_path, ["3.png", "4.png"], size=(96, 160), seed=2, moving=False)
    write_frames(tmp_path, ["5.png", "7.png"], size=(96, 160), seed=3)
    drive, = folder.load(str(tmp_path))
    changes = motion.motion(drive)
    assert changes[3] == 0 and np.isnan(changes[5]) and np.isnan(changes[6])
    assert (changes[[0, 1, 2, 4]] > 0.01).all()
    table = samples.select_samples([drive], DataConfig())
    assert table.indices.tolist() == [[1, 0, 2], [2, 1, 3]]
    assert table.counts == (7, 3, 2, 2, 0)
    (tmp_path / "0.png").unlink()  # measured once, kept
    assert motion.motion(drive) is changes


@needs_real_kitti
def test_real_frames_move():
    config = DataConfig(dataset="kitti_odometry", root=str(REAL_KITTI))
    drive, = datasets.load_drives(config)
    assert samples.select_samples([drive], config).counts == (51, 2, 0, 49, 0)
    np.testing.assert_allclose(motion.motion(drive)[:50], 1.19, atol=0.05)
    blind = dataclasses.replace(drive, world_from_camera=None)
    assert np.nanmin(motion.motion(blind)) > 0.03
    assert samples.select_samples([blind], config).counts.kept == 49


def test_nothing_left_says_why():
    for drives, config, words in (
            ([], DataConfig(), ["no drive to take samples from"]),
            ([_drive(numbers=[0, 2, 4])], DataConfig(min_image_change=0),
             ["3 frames in 1 drives (00/image_0)", "3 lack a neighbour at offsets (-1, 1)",
              "0.png, 2.png, 4.png"]),
            ([_drive(positions=[0.0] * 5)], DataConfig(),
             ["2 lack a neighbour", "3 are static", "lower min_translation (0.05 m"])):
        with pytest.raises(UserError) as caught:
            samples.select_samples(drives, config)
        for word in words:
            assert word in str(caught.value)


@pytest.mark.parametrize("offsets", [(), (0, 1), (1, -1), (1, 1), (0.5,)])
def test_bad_offsets(offsets):
    with pytest.raises(UserError, match="offsets must be ascending"):
        samples.select_samples([_drive()], DataConfig(offsets=offsets))


def test_a_million_frames_stay_arrays():
    drive = _drive(numbers=range(2))
    count = 1_000_000
    long = dataclasses.replace(drive, image_paths=("/a.png",) * count,
                               frame_numbers=tuple(range(count)))
    start = time.process_time()
    table = samples.select_samples([long], DataConfig(min_image_change=0))
    assert table.indices.shape == (count - 2, 3)
    assert time.process_time() - start < 20  # a loop over frames with look-ups takes minutes


def _names(drives):
    return [drive.name for drive in drives]


def test_split():
    drives = [_drive(name) for name in ("05/image_2", "06/image_2", "06/image_3", "walk")]
    split = datasets.split_drives(DataConfig(validation_drives=("06",), test_drives=("walk",)),
                                  drives)
    assert _names(split.train) == ["05/image_2"]
    assert _names(split.validation) == ["06/image_2", "06/image_3"]
    assert _names(split.test) == ["walk"]
    split = datasets.split_drives(DataConfig(train_drives=("06/image_3",)), drives)
    assert [_names(role) for role in split] == [["06/image_3"], [], []]
    with pytest.raises(UserError, match="test_drives: a drive must be one of 05/image_2, .*'07'"):
        datasets.split_drives(DataConfig(test_drives=("07",)), drives)
    with pytest.raises(UserError, match="train_drives and test_drives .* both hold 06/image_3"):
        datasets.split_drives(DataConfig(train_drives=("06/image_3",), test_drives=("06",)),
                              drives)
    with pytest.raises(UserError, match="tuple of names"):
        datasets.split_drives(DataConfig(train_drives="06"), drives)


def test_table_of_data_sets(tmp_path):
    write_kitti(tmp_path / "kitti")
    write_camera(write_frames(tmp_path / "walk", ["0.png", "1.png"]))
    for name, root, drive in (("kitti_odometry", "kitti", "00/image_0"),
                              ("folder", "walk", "walk")):
        config = DataConfig(dataset=name, root=str(tmp_path / root))
        assert _names(datasets.load_drives(config)) == [drive]
    with pytest.raises(UserError, match="dataset must be one of .*Did you mean 'kitti_odometry'"):
        datasets.load_drives(DataConfig(dataset="kitti_odometri"))
