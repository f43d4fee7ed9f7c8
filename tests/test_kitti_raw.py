"""KITTI raw: calibration, poses, layouts, and everything that can be wrong."""
import logging
import re
import shutil

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import kitti_raw_folder
from helpers import DATA, needs_shared
from kitti_raw_folder import (DRIVES, RADIUS, SPEED, STEP, depth_folder, write_calibration,
                              write_images, write_kitti_raw, write_timestamps)
from tfdepth.checks import UserError
from tfdepth.data import images, kitti_calibration, kitti_raw
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives

ONE = DRIVES[:1]


def _refused(root, **arguments):
    """The message of the UserError that loading must raise."""
    with pytest.raises(UserError) as caught:
        kitti_raw.load(str(root), **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _folder(root, drive=ONE[0]):
    return root / drive[:10] / f"{drive}_sync"


def _row(path, key):
    """The numbers of a calibration row, read without tfdepth."""
    return np.array(re.search(rf"^{key}: (.*)$", path.read_text(), re.M).group(1).split(), float)


# Calibration ------------------------------------------------------------------------------------

def _replace_row(path, key, values):
    text, count = re.subn(rf"^{key}:.*$", f"{key}: " + " ".join(f"{v:.9e}" for v in values),
                          path.read_text(), flags=re.M)
    assert count == 1
    path.write_text(text)


def _through_the_rig(folder, camera, point, from_imu):
    """Pixel and depth of a point of the LiDAR or the IMU, step by step as the devkit says."""
    if from_imu:
        path = folder / "calib_imu_to_velo.txt"
        point = _row(path, "R").reshape(3, 3).dot(point) + _row(path, "T")
    path = folder / "calib_velo_to_cam.txt"
    point = _row(path, "R").reshape(3, 3).dot(point) + _row(path, "T")
    path = folder / "calib_cam_to_cam.txt"
    point = _row(path, "R_rect_00").reshape(3, 3).dot(point)
    projection = _row(path, f"P_rect_{camera[-2:]}")
    u, v, depth = (sum(projection[4 * row + k] * (*point, 1.0)[k] for k in range(4))
                   for row in range(3))
    return u / depth, v / depth, depth


@pytest.mark.parametrize("camera", kitti_raw.CAMERAS)
@pytest.mark.parametrize("folder", ["turned", pytest.param("real", marks=needs_shared)])
def test_chain_of_transforms(tmp_path, folder, camera):
    if folder == "real":
        folder = DATA / "kitti_raw" / "2011_09_26"
    else:  # rotations about all axes: a transpose or another order shows
        folder = tmp_path
        write_calibration(folder, (75, 248))
        for seed, (name, key) in enumerate([("velo_to_cam", "R"), ("imu_to_velo", "R"),
                                            ("cam_to_cam", "R_rect_00")]):
            _replace_row(folder / f"calib_{name}.txt", key,
                         Rotation.random(random_state=seed).as_matrix().ravel())
    own = kitti_calibration.read_camera(str(folder), camera)
    rectified_from_lidar = kitti_calibration.rectified_from_lidar(str(folder))
    camera_from_imu = (own.camera_from_rectified
                       @ kitti_calibration.rectified_from_imu(str(folder)))
    for point in np.random.default_rng(0).uniform(5, 50, (5, 3)):
        u, v, depth = _through_the_rig(folder, camera, point, from_imu=False)
        np.testing.assert_allclose(own.projection @ rectified_from_lidar @ [*point, 1],
                                   [u * depth, v * depth, depth], rtol=1e-9)
        u, v, depth = _through_the_rig(folder, camera, point, from_imu=True)
        np.testing.assert_allclose(own.intrinsics @ (camera_from_imu @ [*point, 1])[:3],
                                   [u * depth, v * depth, depth], rtol=1e-9)


@needs_shared
def test_real_camera():
    camera = kitti_calibration.read_camera(str(DATA / "kitti_raw" / "2011_09_26"), "image_02")
    assert camera.size == (375, 1242)
    np.testing.assert_allclose(camera.intrinsics, [[721.5377, 0, 609.5593], [0, 721.5377, 172.854],
                                                   [0, 0, 1]])
    np.testing.assert_allclose(camera.position, [-0.05985, 0.00036, -0.00275], atol=1e-5)
    right = kitti_calibration.read_camera(str(DATA / "kitti_raw" / "2011_09_26"), "image_03")
    np.testing.assert_allclose((right.position - camera.position)[0], 0.5327, atol=1e-4)


@pytest.mark.parametrize("name, key", [
    ("cam_to_cam", "S_rect_02"), ("cam_to_cam", "R_rect_00"), ("cam_to_cam", "P_rect_02"),
    ("velo_to_cam", "R"), ("velo_to_cam", "T"), ("imu_to_velo", "R"), ("imu_to_velo", "T")])
def test_each_missing_or_damaged_row_is_named(tmp_path, name, key):
    write_kitti_raw(tmp_path, ONE, frames=2, depth=None)
    path = tmp_path / "2011_09_26" / f"calib_{name}.txt"
    good = path.read_text()
    path.write_text(re.sub(rf"^{key}:.*\n", "", good, flags=re.M))
    message = _refused(tmp_path)
    assert f"calib_{name}.txt: expected a row \"{key}: " in message
    for values in (r"\1 7", r"\1x", "nan" + 8 * " 1"):
        path.write_text(re.sub(rf"^{key}: (.*)$", rf"{key}: {values}", good, flags=re.M))
        assert f"calib_{name}.txt, {key}: expected " in _refused(tmp_path)
    if key != "T":
        size = {"S_rect_02": 2, "P_rect_02": 12}.get(key, 9)
        _replace_row(path, key, [0.5] * size)
        assert f"calib_{name}.txt, {key}: expected " in _refused(tmp_path)
    path.unlink()
    assert f"calib_{name}.txt: no such file" in _refused(tmp_path)


# Frames, poses and companions -------------------------------------------------------------------

def test_drives_and_their_frames(tmp_path):
    write_kitti_raw(tmp_path)
    drives = kitti_raw.load(str(tmp_path))
    assert [drive.name for drive in drives] == [f"{name}/image_02" for name in DRIVES]
    for drive in drives:
        assert drive.frame_numbers == tuple(range(12)) and drive.size == (24, 80)
        assert images.check_same_size(drive.image_paths) == (24, 80)
        assert drive.intrinsics[0, 0] != drive.intrinsics[1, 1]
        assert drive.image_paths[3].endswith("_sync/image_02/data/0000000003.png")
        assert drive.lidar_paths[11].endswith("_sync/velodyne_points/data/0000000011.bin")
        assert drive.image_from_lidar.shape == (3, 4) and drive.stereo_paths is None
        assert [path[-14:] for path in drive.depth_paths] == (
            [""] * 5 + ["0000000005.png", "0000000006.png"] + [""] * 5)
    both = kitti_raw.load(str(tmp_path), cameras=("image_02", "image_03"), drives=DRIVES[1:2])
    assert [drive.name for drive in both] == [f"{DRIVES[1]}/image_02", f"{DRIVES[1]}/image_03"]
    assert both[0].depth_paths[5] != both[1].depth_paths[5]


def test_a_scan_lands_where_the_calibration_says(tmp_path):
    write_kitti_raw(tmp_path, ONE, frames=2)
    drive, = kitti_raw.load(str(tmp_path), cameras=("image_03",))
    points = np.fromfile(drive.lidar_paths[1], np.float32).reshape(-1, 4)
    for x, y, z, _ in points[:5].astype(float):
        u, v, depth = _through_the_rig(tmp_path / "2011_09_26", "image_03", (x, y, z), False)
        np.testing.assert_allclose(drive.image_from_lidar @ [x, y, z, 1],
                                   [u * depth, v * depth, depth], rtol=1e-6, atol=1e-6)


def test_cameras_on_a_circle(tmp_path):
    write_kitti_raw(tmp_path, ONE)
    left, right = kitti_raw.load(str(tmp_path), cameras=("image_02", "image_03"))
    date = tmp_path / "2011_09_26"
    rows = [(date / f"calib_{name}.txt", "R", "T") for name in ("imu_to_velo", "velo_to_cam")]
    rectified_from_imu = np.eye(4)
    for path, rotation, translation in rows:
        step = np.eye(4)
        step[:3] = np.column_stack([_row(path, rotation).reshape(3, 3), _row(path, translation)])
        rectified_from_imu = step @ rectified_from_imu
    turn = np.eye(4)
    turn[:3, :3] = _row(date / "calib_cam_to_cam.txt", "R_rect_00").reshape(3, 3)
    rectified_from_imu = turn @ rectified_from_imu
    for n in range(12):
        angle = n * STEP * SPEED / RADIUS
        start_from_imu = np.array([
            [np.cos(angle), -np.sin(angle), 0, RADIUS * np.sin(angle)],
            [np.sin(angle), np.cos(angle), 0, RADIUS * (1 - np.cos(angle))],
            [0, 0, 1, 0], [0, 0, 0, 1]])
        world_from_rectified = (rectified_from_imu @ start_from_imu
                                @ np.linalg.inv(rectified_from_imu))
        for drive, key in ((left, "P_rect_02"), (right, "P_rect_03")):
            projection = _row(date / "calib_cam_to_cam.txt", key).reshape(3, 4)
            position = -np.linalg.inv(projection[:, :3]) @ projection[:, 3]
            expected = world_from_rectified.copy()
            expected[:3, 3] = (world_from_rectified @ [*position, 1])[:3]
            np.testing.assert_allclose(drive.world_from_camera[n], expected, atol=1e-5)
    # forwards is z of the camera, and the circle bends to the left
    assert left.world_from_camera[11, 2, 3] > 9 and left.world_from_camera[11, 0, 3] < -1
    # the speed over the time to the next frame; the last frame has no next time stamp
    np.testing.assert_allclose(left.travel, [SPEED * STEP] * 11 + [SPEED * 0.1], rtol=1e-6)
    steps = np.linalg.norm(np.diff(left.world_from_camera[:, :3, 3], axis=0), axis=1)
    np.testing.assert_allclose(steps, left.travel[:11], rtol=0.02)


def test_time_stamps_that_do_not_help(tmp_path, caplog):
    write_kitti_raw(tmp_path, ONE, frames=5, cameras=("image_00",))
    path = _folder(tmp_path) / "image_00" / "timestamps.txt"
    travel = lambda: kitti_raw.load(str(tmp_path))[0].travel
    lines = path.read_text().splitlines()
    lines[2] = lines[1]  # stands still, then a double step
    path.write_text("\n".join(lines))
    np.testing.assert_allclose(travel(), SPEED * np.array([STEP, 0.1, 2 * STEP, STEP, 0.1]),
                               rtol=1e-6)
    write_timestamps(path, 5, step=50.0)
    np.testing.assert_allclose(travel(), SPEED * 0.1)
    write_timestamps(path, 3)
    np.testing.assert_allclose(travel(), SPEED * np.array([STEP, STEP, 0.1, 0.1, 0.1]), rtol=1e-6)
    assert not caplog.text
    for text in ("yesterday\ntoday\n", ""):
        caplog.clear()
        path.write_text(text)
        np.testing.assert_allclose(travel(), SPEED * 0.1)
        assert "timestamps.txt: not used, frames count as 0.1 s apart" in caplog.text
    path.unlink()
    np.testing.assert_allclose(travel(), SPEED * 0.1)


def test_holes_of_every_kind(tmp_path, caplog):
    write_kitti_raw(tmp_path, ONE, frames=14)
    folder = _folder(tmp_path)
    for number in (4, 5, 9):
        (folder / "image_02" / "data" / f"{number:010d}.png").unlink()
    for number in (1, 4, 6):
        (folder / "velodyne_points" / "data" / f"{number:010d}.bin").unlink()
    caplog.set_level(logging.INFO)
    drive, = kitti_raw.load(str(tmp_path))
    assert drive.frame_numbers == (0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13)
    number_of = lambda path: int(path.split("/")[-1][:10]) if path else None
    assert list(map(number_of, drive.lidar_paths)) == [0, None, 2, 3, None, 7, 8, 10, 11, 12, 13]
    assert list(map(number_of, drive.depth_paths)) == [None] * 4 + [6, 7, 8] + [None] * 4
    assert "velodyne_points/data: 2 of 11 frames have no file" in caplog.text
    left = drive.world_from_camera
    assert len(left) == 11 and np.linalg.norm(left[4, :3, 3] - left[3, :3, 3]) > 2.5  # 3 to 6
    caplog.clear()
    caplog.set_level(logging.WARNING)
    (folder / "oxts" / "data" / "0000000007.txt").unlink()
    drive, = kitti_raw.load(str(tmp_path))
    assert drive.world_from_camera is None
    assert np.flatnonzero(np.isnan(drive.travel)).tolist() == [5]
    assert "1 of 11 frames have no GPS/IMU record, so there are no poses" in caplog.text
    for name in ("oxts", "velodyne_points", "proj_depth"):
        shutil.rmtree(folder / name)
    caplog.clear()
    for name in ("calib_velo_to_cam.txt", "calib_imu_to_velo.txt"):  # nobody asks for them now
        (tmp_path / "2011_09_26" / name).unlink()
    drive, = kitti_raw.load(str(tmp_path))
    for field in ("world_from_camera", "travel", "lidar_paths", "image_from_lidar", "depth_paths"):
        assert getattr(drive, field) is None, field
    assert not caplog.text


def test_cameras_with_different_holes(tmp_path):
    write_kitti_raw(tmp_path, ONE, frames=8)
    whole = kitti_raw.load(str(tmp_path), cameras=("image_02", "image_03"))
    folder = _folder(tmp_path)
    (folder / "image_02" / "data" / "0000000001.png").unlink()
    (folder / "image_03" / "data" / "0000000004.png").unlink()
    (folder / "oxts" / "data" / "0000000004.txt").unlink()
    path = folder / "image_03" / "timestamps.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], lines[6], *lines[6:]]))  # frame 5 came late
    left, right = kitti_raw.load(str(tmp_path), cameras=("image_02", "image_03"))
    assert left.world_from_camera is None and np.isnan(left.travel[3])
    kept = [0, 1, 2, 3, 5, 6, 7]
    np.testing.assert_array_equal(right.world_from_camera, whole[1].world_from_camera[kept])
    np.testing.assert_allclose(right.travel, SPEED * np.array([STEP] * 4 + [0.1, STEP, 0.1]),
                               rtol=1e-6)


@pytest.mark.parametrize("layout", kitti_raw_folder.DEPTH_FOLDERS)
def test_layouts_of_annotated_depth(tmp_path, layout):
    raw, beside = tmp_path / "raw", tmp_path / "annotated"
    write_kitti_raw(raw, DRIVES[1:], depth=None)
    write_kitti_raw(tmp_path / "other", DRIVES[1:2], depth=layout)
    source = depth_folder(tmp_path / "other", DRIVES[1], "image_02", layout).parents[2]
    target = depth_folder(beside, DRIVES[1], "image_02", layout).parents[2]
    shutil.copytree(source / "proj_depth", target / "proj_depth")
    first, second = kitti_raw.load(str(raw), depth_root=str(beside))
    assert first.depth_paths[5] == str(target / "proj_depth" / "groundtruth" / "image_02"
                                       / "0000000005.png")
    assert images.read_depth(first.depth_paths[6]).shape == first.size
    assert second.depth_paths is None
    message = _refused(raw, depth_root=str(beside), drives=DRIVES[2:])
    assert "annotated: expected {drive}_sync/proj_depth/" in message and DRIVES[2] in message
    assert "no such folder" in _refused(raw, depth_root=str(tmp_path / "absent"))
    assert kitti_raw.load(str(raw), drives=DRIVES[2:])[0].depth_paths is None


def test_the_other_camera(tmp_path):
    write_kitti_raw(tmp_path, ONE, frames=4, cameras=kitti_raw.CAMERAS)
    for camera, other in (("image_02", "image_03"), ("image_03", "image_02"),
                          ("image_00", "image_01"), ("image_01", "image_00")):
        drive, = kitti_raw.load(str(tmp_path), cameras=(camera,), stereo=True)
        assert [path.split("/")[-3:] for path in drive.stereo_paths] == [
            [other, "data", f"{n:010d}.png"] for n in range(4)]
        point = np.array([2.0, -1.0, 9.0, 1.0])  # in the rectified frame of camera 0
        path = tmp_path / "2011_09_26" / "calib_cam_to_cam.txt"
        own, expected = (_row(path, f"P_rect_{name[-2:]}").reshape(3, 4) @ point
                         for name in (camera, other))
        in_camera = np.linalg.inv(drive.intrinsics) @ own
        found = drive.intrinsics @ (drive.stereo_from_camera @ [*in_camera, 1])[:3]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    (_folder(tmp_path) / "image_03" / "data" / "0000000002.png").unlink()
    assert "4 frames of image_02; 1 are missing: 2" in _refused(tmp_path, stereo=True)
    shutil.rmtree(_folder(tmp_path) / "image_03")
    assert "the other camera of image_02; found no such folder" in _refused(tmp_path, stereo=True)
    path = tmp_path / "2011_09_26" / "calib_cam_to_cam.txt"
    projection = _row(path, "P_rect_01")
    projection[0] *= 1.01
    _replace_row(path, "P_rect_01", projection)
    message = _refused(tmp_path, cameras=("image_00",), stereo=True)
    assert "one size and one camera matrix; they differ" in message


def test_first_camera_present_and_jpeg(tmp_path):
    write_kitti_raw(tmp_path, ONE, frames=3, cameras=("image_00", "image_01"), depth=None)
    assert kitti_raw.load(str(tmp_path))[0].name == f"{ONE[0]}/image_00"
    folder = _folder(tmp_path) / "image_02" / "data"
    write_images(folder, range(3), (24, 80), suffix=".jpg")
    drive, = kitti_raw.load(str(tmp_path))
    assert drive.name == f"{ONE[0]}/image_02" and drive.image_paths[0].endswith("0000000000.jpg")
    write_images(folder, [1], (24, 80))
    assert "one image a frame; found 0000000001.jpg and 0000000001.png" in _refused(tmp_path)


# What can be wrong ------------------------------------------------------------------------------

def test_drives_are_chosen_and_those_without_images_left_out_aloud(tmp_path, caplog):
    write_kitti_raw(tmp_path, frames=2, depth=None)
    shutil.rmtree(_folder(tmp_path, DRIVES[1]) / "image_03")
    drives = kitti_raw.load(str(tmp_path), cameras=("image_03",))
    assert [drive.name for drive in drives] == [f"{DRIVES[0]}/image_03", f"{DRIVES[2]}/image_03"]
    assert "1 of 3 drives have no image_03 and are left out" in caplog.text
    assert kitti_raw.skipped_drives(str(tmp_path), ("image_03",)) == DRIVES[1:2]
    message = _refused(tmp_path, cameras=("image_03",), drives=DRIVES[1:2])
    assert f"{DRIVES[1]}_sync: expected image_03; found image_02." in message
    assert "Did you mean '2011_09_26_drive_0009'?" in _refused(
        tmp_path, drives=("2011_09_26_drive_9",))
    assert "cameras: a name must be one of" in _refused(tmp_path, cameras=("image_2",))
    message = _refused(tmp_path, cameras=("image_01",))
    assert "expected image_01 as 2011_09_26/" in message and "image_02, image_03" in message


def test_no_such_folder_and_nothing_in_it(tmp_path):
    assert "no such folder" in _refused(tmp_path / "absent")
    assert "--config.data.root: expected" in _refused("")
    assert "found no such image folder in 0 dates with 0 drives (nothing)" in _refused(tmp_path)
    (_folder(tmp_path) / "image_02").mkdir(parents=True)
    message = _refused(tmp_path)
    assert "1 dates with 1 drives" in message and "image_03}/data/0000000000.png" in message
    (_folder(tmp_path) / "image_02" / "data").mkdir()
    assert "expected images named by their frame number" in _refused(tmp_path)


def test_bad_image_folders(tmp_path):
    write_kitti_raw(tmp_path, ONE, frames=4, depth=None)
    folder = _folder(tmp_path) / "image_02" / "data"
    copy = folder / "copy of 1.png"
    copy.write_bytes(b"")
    assert "copy of 1.png: expected an image named by its frame number" in _refused(tmp_path)
    copy.rename(folder / "9999999999.png")  # would not fit the numbers
    assert "9999999999.png: expected an image named by" in _refused(tmp_path)
    (folder / "9999999999.png").unlink()
    write_images(folder, [3], (24, 81))
    message = _refused(tmp_path)
    assert "0000000003.png: expected 80 x 24 pixels" in message
    assert "S_rect_02 of its date; found 81 x 24" in message
    for number in (1, 2, 3):
        (folder / f"{number:010d}.png").unlink()
    assert "several frames; found one (0000000000.png)" in _refused(tmp_path)


def test_listing_opens_two_images_a_camera(tmp_path, monkeypatch):
    write_kitti_raw(tmp_path)
    opened = []
    read = images.read_frame_size
    monkeypatch.setattr(images, "read_frame_size", lambda path: opened.append(path) or read(path))
    monkeypatch.setattr(images, "check_same_size", None)
    monkeypatch.setattr(images, "read_image", None)
    kitti_raw.load(str(tmp_path), cameras=("image_02", "image_03"))
    assert len(opened) == 2 * 2 * len(DRIVES)


def test_drives_without_annotated_depth_are_named(tmp_path, caplog):
    """As a training set with depth: a drive without a map is left out, and said to be."""
    write_kitti_raw(tmp_path, drives=DRIVES[:1])
    write_kitti_raw(tmp_path, drives=DRIVES[1:2], depth=None)
    config = DataConfig(dataset="kitti_depth", root=str(tmp_path), cameras=("image_02",))
    assert [drive.name for drive in load_drives(config)] == [f"{DRIVES[0]}/image_02"]
    assert f"no annotated depth and are left out: {DRIVES[1]}/image_02" in caplog.text
    shutil.rmtree(tmp_path / DRIVES[0][:10] / f"{DRIVES[0]}_sync" / "proj_depth")
    with pytest.raises(UserError, match="expected annotated depth"):
        load_drives(config)
