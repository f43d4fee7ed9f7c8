"""KITTI odometry: real frames, small generated sequences, and everything that can be wrong."""
import re

import numpy as np
import pytest

from data_folders import (CALIBRATION, REAL_KITTI, SIZE, needs_real_kitti, write_frames,
                          write_kitti, write_poses)
from tfdepth.checks import UserError
from tfdepth.data import images, kitti_odometry


def _refused(root, **arguments):
    """The message of the UserError that loading must raise."""
    with pytest.raises(UserError) as caught:
        kitti_odometry.load(str(root), **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@needs_real_kitti
def test_real_frames():
    drive, = kitti_odometry.load(str(REAL_KITTI))
    assert drive.name == "06/image_0" and drive.size == (370, 1226) and len(drive) == 51
    assert drive.frame_numbers == tuple(range(51))
    np.testing.assert_allclose(drive.intrinsics,
                               [[707.0912, 0, 601.8873], [0, 707.0912, 183.1104], [0, 0, 1]])
    rows = np.loadtxt(REAL_KITTI / "poses" / "06.txt").reshape(-1, 3, 4)
    np.testing.assert_allclose(drive.world_from_camera[:, :3], rows)
    assert drive.depth_paths is None and drive.moving_paths is None
    image = images.read_image(drive.image_paths[0])
    assert image.shape == (370, 1226, 3) and 50 < image.mean() < 150
    assert images.check_same_size(drive.image_paths) == (370, 1226)


def test_numbers_come_from_names_and_poses_follow_them(tmp_path):
    write_kitti(tmp_path, numbers=[1, 2, 4, 7])
    drive, = kitti_odometry.load(str(tmp_path))
    assert drive.frame_numbers == (1, 2, 4, 7)
    np.testing.assert_allclose(drive.world_from_camera[:, 2, 3], [1, 2, 4, 7])
    np.testing.assert_allclose(drive.world_from_camera[:, 3], [[0, 0, 0, 1]] * 4)
    assert [path[-10:] for path in drive.image_paths] == [
        "000001.png", "000002.png", "000004.png", "000007.png"]


def test_first_camera_present_and_offset_of_the_right_one(tmp_path):
    # P1 is 0.5 m to the right of camera 0 and 0.02 m in front of it
    k = np.array([[30, 0, 19], [0, 32, 12], [0, 0, 1.0]])
    p1 = np.column_stack([k, k @ [-0.5, 0, -0.02]])
    write_kitti(tmp_path, camera="image_1", calibration=CALIBRATION + "\nP1: "
                + " ".join(map(str, p1.ravel())))
    assert kitti_odometry.load(str(tmp_path))[0].name == "00/image_1"
    right, = kitti_odometry.load(str(tmp_path), cameras=["image_1"])
    write_frames(tmp_path / "sequences" / "00" / "image_0", ["000000.png", "000001.png"])
    left, = kitti_odometry.load(str(tmp_path))
    assert left.name == "00/image_0"
    # the same place in the right camera and in the left one: centre of the right camera
    np.testing.assert_allclose(
        right.world_from_camera[1] @ [0, 0, 0, 1],
        left.world_from_camera[1] @ [0.5, 0, 0.02, 1], atol=1e-12)
    np.testing.assert_allclose(right.intrinsics, k)


def test_depth_and_moving_folders(tmp_path):
    write_kitti(tmp_path, count=3, camera="image_2", poses=False,
                calibration=CALIBRATION.replace("P0", "P2"))
    names = [f"{number:06d}.png" for number in range(3)]
    for kind in ("depth_2", "moving_2"):
        write_frames(tmp_path / "sequences" / "00" / kind, names, grey=True)
    drive, = kitti_odometry.load(str(tmp_path))
    assert drive.world_from_camera is None
    for paths, kind in ((drive.depth_paths, "depth_2"), (drive.moving_paths, "moving_2")):
        assert [path.split("/")[-2:] for path in paths] == [[kind, name] for name in names]
    (tmp_path / "sequences" / "00" / "depth_2" / names[1]).unlink()
    assert re.search(r"depth_2: expected a PNG for each of the 3 frames; 1 are missing: 000001",
                     _refused(tmp_path))


def test_sequences_are_chosen_and_those_without_images_left_out_aloud(tmp_path, caplog):
    for name in ("03", "05", "11"):
        write_kitti(tmp_path, name)
    (tmp_path / "sequences" / "12").mkdir()
    drives = kitti_odometry.load(str(tmp_path))
    assert [drive.name for drive in drives] == ["03/image_0", "05/image_0", "11/image_0"]
    assert "1 of 4 sequences" in caplog.text and "12" in caplog.text
    assert kitti_odometry.skipped_sequences(str(tmp_path)) == ("12",)
    drives = kitti_odometry.load(str(tmp_path), sequences=("05",))
    assert [drive.name for drive in drives] == ["05/image_0"]
    assert "must be one of 03, 05, 11, 12; got '5'" in _refused(tmp_path, sequences=("5",))
    assert "12: expected image_2 or" in _refused(tmp_path, sequences=("12",))


def test_no_such_folder_and_nothing_in_it(tmp_path):
    message = _refused(tmp_path / "absent" / "deep")
    assert "no such folder" in message and f"exists is {tmp_path}." in message
    assert "found no folder sequences, but nothing" in _refused(tmp_path)
    assert "--config.data.root: expected" in _refused("")
    (tmp_path / "file").write_text("x")
    assert "found a file" in _refused(tmp_path / "file")
    (tmp_path / "sequences" / "00").mkdir(parents=True)
    assert "found no such image folder in 1 sequences (00)" in _refused(tmp_path)


def test_a_camera_that_is_not_there(tmp_path):
    write_kitti(tmp_path)
    message = _refused(tmp_path, cameras=["image_3"])
    assert "expected image_3" in message and "image_0" in message
    assert "Did you mean" in _refused(tmp_path, cameras=["image2"])


def test_bad_image_folders(tmp_path):
    folder = write_kitti(tmp_path) / "sequences" / "00" / "image_0"
    (folder / "copy of 1.png").write_bytes(b"")
    assert "copy of 1.png: expected an image named by its frame number" in _refused(tmp_path)
    (folder / "copy of 1.png").rename(folder / "1.jpg")
    assert "found 1.jpg and 000001.png" in _refused(tmp_path)
    (folder / "1.jpg").unlink()
    (folder / "notes.txt").write_text("other files do not matter")
    assert len(kitti_odometry.load(str(tmp_path))[0]) == 5
    (folder / "000003.png").write_text("not an image")
    assert "000003.png" in _refused(tmp_path) and "text" in _refused(tmp_path)
    write_frames(folder, ["000003.png"], size=(20, 40))
    message = _refused(tmp_path)
    assert "000003.png: expected 40 x 24" in message and "found 40 x 20" in message
    for path in sorted(folder.glob("*.png"))[1:]:
        path.unlink()
    assert "several frames; found one" in _refused(tmp_path)
    (folder / "000000.png").unlink()
    assert f"{folder}: expected images named by their frame number" in _refused(tmp_path)


@pytest.mark.parametrize("text, words", [
    (CALIBRATION.replace("P0", "P1"), ['a row "P0: 12 numbers" for image_0', "found P1"]),
    (CALIBRATION.replace("32", "abc"), ["line 1, P0", "expected 12 numbers", "'abc'"]),
    (CALIBRATION + " 7", ["line 1, P0", "expected 12 numbers; found 13"]),
    (CALIBRATION.replace("30", "nan"), ["finite", "'nan'"]),
    (CALIBRATION.replace("30", "0"), ["P0: expected positive focal lengths; found fx 0, fy 32"]),
    (CALIBRATION.replace("32", "-32"), ["positive focal lengths", "fy -32"]),
    (CALIBRATION.replace("1 0", "2 0"), ["rectified projection"]),
    (CALIBRATION.replace("30 0 19", "30 1 19"), ["rectified projection", "found 30 1 19"]),
    (CALIBRATION.replace("30 0 19 0", "30 0 19 900"), ["within 10 m of camera 0"]),
    ("P0: 0.5 0 0.5 0 0 0.5 0.5 0 0 0 1 0",
     ["field of view of 17", "at most 170", "fractions of the image size"]),
    ("P0: 30000 0 19 0 0 32000 12 0 0 0 1 0", ["field of view of 0.1 x 0.0", "at least 5"]),
    (CALIBRATION.replace("19", "60"), ["principal point inside the 40 x 24 image", "(60, 12)"]),
    ("", ["calib.txt", "empty"])])
def test_bad_calibrations(tmp_path, text, words):
    write_kitti(tmp_path, calibration=text)
    message = _refused(tmp_path)
    for word in ("calib.txt", *words):
        assert word in message


def test_missing_calibration(tmp_path):
    (write_kitti(tmp_path) / "sequences" / "00" / "calib.txt").unlink()
    assert "calib.txt: no such file" in _refused(tmp_path)


def test_bad_poses(tmp_path):
    path = write_kitti(tmp_path) / "poses" / "00.txt"
    write_poses(path, [(0, 0, k) for k in range(4)])
    assert "up to number 4, so 5 rows; found 4" in _refused(tmp_path)
    good = path.read_text().splitlines()
    path.write_text("\n".join(good[:2] + ["1 2 3"] + good[3:] + good[3:]))
    assert f"{path}, line 3: expected 12 numbers; found 3" in _refused(tmp_path)
    path.write_text("\n".join(good[:2] + [good[2].replace("e", "x")] + good[3:] + good[3:]))
    assert "line 3: expected 12 numbers; found '" in _refused(tmp_path)
    numbers = good[2].split()
    columns = [numbers[index] for index in (0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11)]
    path.write_text("\n".join(good[:2] + [" ".join(columns)] + good[3:] + good[3:]))
    assert "line 3: expected the rows of [R | t]" in _refused(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "not text" in _refused(tmp_path)


def test_the_size_is_height_first(tmp_path):
    assert kitti_odometry.load(str(write_kitti(tmp_path)))[0].size == SIZE
