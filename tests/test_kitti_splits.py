"""Split facts against the published lists."""
import gzip

import numpy as np

from helpers import DATA, needs_shared
from tfdepth.data import kitti_splits

SPLITS = DATA / "splits"


def _lines(name):
    path = SPLITS / name
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line.split() for line in data.decode().splitlines()]


def _drive(folder):
    """"2011_09_26/2011_09_26_drive_0002_sync" -> "2011_09_26_drive_0002"."""
    return folder.split("/")[-1][:-len("_sync")]


def _published_frames():
    """Drive -> {(number, side)} of both eigen_zhou lists."""
    frames = {}
    for name in ("eigen_zhou_train_files.txt.gz", "eigen_zhou_val_files.txt"):
        for folder, number, side in _lines(name):
            frames.setdefault(_drive(folder), set()).add((int(number), side))
    return frames


def _static_frames():
    frames = {}
    for _, folder, number in _lines("static_frames.txt.gz"):
        frames.setdefault(_drive(folder), set()).add(int(number))
    return frames


def test_counts():
    assert len(kitti_splits.EIGEN_TEST_DRIVES) == len(set(kitti_splits.EIGEN_TEST_DRIVES)) == 28
    assert len(set(kitti_splits.EIGEN_TEST)) == len(kitti_splits.EIGEN_TEST) == 697
    assert len(kitti_splits.EIGEN_IMPROVED_IDS) == 652
    assert not set(kitti_splits.EIGEN_VALIDATION_DRIVES) & set(kitti_splits.EIGEN_TEST_DRIVES)
    assert kitti_splits.NAMED_DRIVES["eigen_test"] == kitti_splits.EIGEN_TEST_DRIVES
    assert kitti_splits.NAMED_DRIVES["eigen_validation"] == kitti_splits.EIGEN_VALIDATION_DRIVES


@needs_shared
def test_test_frames_in_published_order():
    published = [(_drive(folder), int(number)) for folder, number, side
                 in _lines("eigen_test_files.txt")]
    assert list(kitti_splits.EIGEN_TEST) == published
    scenes = {line[0] for line in _lines("test_scenes_eigen.txt")}
    assert set(kitti_splits.EIGEN_TEST_DRIVES) == scenes


@needs_shared
def test_frames_with_improved_ground_truth():
    ids = np.load(SPLITS / "eigen_to_benchmark_ids.npy", allow_pickle=False)
    assert list(kitti_splits.EIGEN_IMPROVED_IDS) == ids.tolist()
    published = [(_drive(folder), int(number)) for folder, number, _
                 in _lines("eigen_benchmark_test_files.txt")]
    assert [kitti_splits.EIGEN_TEST[k] for k in kitti_splits.EIGEN_IMPROVED_IDS] == published
    # another project found the same files
    found = [k for k, line in enumerate(_lines("bts_eigen_test_files_with_gt.txt"))
             if line[1] != "None"]
    assert list(kitti_splits.EIGEN_IMPROVED_IDS) == found


@needs_shared
def test_no_test_drive_is_trained_on():
    published = _published_frames()
    assert not set(published) & set(kitti_splits.EIGEN_TEST_DRIVES)
    assert set(kitti_splits.EIGEN_VALIDATION_DRIVES) <= set(published)


@needs_shared
def test_published_training_images():
    assert len(_lines("eigen_zhou_train_files.txt.gz")) == kitti_splits.EIGEN_ZHOU_TRAIN_IMAGES
    assert len(_lines("eigen_zhou_val_files.txt")) == kitti_splits.EIGEN_ZHOU_VALIDATION_IMAGES
    published, static = _published_frames(), _static_frames()
    # every image once, and what is published is a rule: both cameras, both neighbours, not static
    total = sum(map(len, published.values()))
    assert total == kitti_splits.EIGEN_ZHOU_TRAIN_IMAGES + kitti_splits.EIGEN_ZHOU_VALIDATION_IMAGES
    for drive, frames in published.items():
        still = static.get(drive, set())
        last = max({number for number, _ in frames} | still)   # the last but one of its drive
        moving = set(range(1, last + 1)) - still
        assert frames == {(number, side) for number in moving for side in "lr"}, drive


@needs_shared
def test_validation_is_a_tenth():
    counts = {drive: len(frames) // 2 for drive, frames in _published_frames().items()}
    chosen = [counts[drive] for drive in kitti_splits.EIGEN_VALIDATION_DRIVES]
    assert chosen == [152, 312, 338, 319, 1102]
    assert sum(chosen) == 2223 and sum(counts.values()) == 22117


@needs_shared
def test_sequences_of_the_odometry_benchmark():
    lengths = {sequence: last - first + 1
               for sequence, (_, first, last) in kitti_splits.ODOMETRY_FRAMES.items()}
    assert list(lengths.values()) == [4541, 1101, 4661, 801, 271, 2761, 1101, 1101, 4071, 1591,
                                      1201]
    for sequence, name in (("09", "odom_test_files_09.txt"), ("10", "odom_test_files_10.txt")):
        assert lengths[sequence] == len(_lines(name)) + 1
    published, test = _published_frames(), set(kitti_splits.EIGEN_TEST_DRIVES)
    drives = {sequence: drive for sequence, (drive, _, _) in kitti_splits.ODOMETRY_FRAMES.items()}
    trained = {sequence for sequence, drive in drives.items() if drive in published}
    tested = {sequence for sequence, drive in drives.items() if drive in test}
    assert trained == {"01", "02", "06", "08", "09", "10"} and tested == {"00", "04", "05", "07"}
    for sequence in trained:  # its frames are in the drive, as far as the lists tell
        drive, _, last = kitti_splits.ODOMETRY_FRAMES[sequence]
        numbers = {number for number, _ in published[drive]} | _static_frames().get(drive, set())
        assert last <= max(numbers) + 1, sequence
