"""GPS/IMU records: an analytic drive, every axis, the real record, and what can be wrong."""
import numpy as np
import pytest

from helpers import DATA, needs_shared
from kitti_raw_folder import RADIUS, circle, write_record
from tfdepth.checks import UserError
from tfdepth.data import oxts


def _records(*fields):
    """[N, 30] with latitude, longitude, altitude, roll, pitch, yaw."""
    records = np.zeros((len(fields), 30))
    records[:, :6] = fields
    return records


def test_a_circle_comes_back(tmp_path):
    angles = np.linspace(0, 1.7, 9)
    for number, angle in enumerate(angles):
        write_record(tmp_path / f"{number:010d}.txt", **circle(angle, latitude=48.7))
    records = oxts.read_records(str(tmp_path), range(len(angles)))
    assert records.shape == (9, 30)
    poses = oxts.world_from_imu(records)
    np.testing.assert_allclose(poses[:, 0, 3], RADIUS * np.sin(angles), atol=1e-6)  # forward
    np.testing.assert_allclose(poses[:, 1, 3], RADIUS * (1 - np.cos(angles)), atol=1e-6)  # left
    np.testing.assert_allclose(poses[:, 2, 3], 0, atol=1e-9)
    np.testing.assert_allclose(poses[:, :2, 0], np.stack([np.cos(angles), np.sin(angles)], 1),
                               atol=1e-12)
    np.testing.assert_allclose(oxts.speeds(records), 9.0)


def test_a_metre_to_the_north_is_a_metre():
    # the earth's radius times the angle: nothing of Mercator's projection in it
    degrees = np.degrees(1 / 6378137.0)
    poses = oxts.world_from_imu(_records((60.0, 8.4, 100, 0, 0, np.pi / 2),
                                         (60.0 + degrees, 8.4, 100, 0, 0, np.pi / 2),
                                         (60.0, 8.4 + degrees, 100, 0, 0, np.pi / 2)))
    np.testing.assert_allclose(poses[1, :3, 3], [1, 0, 0], atol=1e-6)       # it looks northwards
    np.testing.assert_allclose(poses[2, :3, 3], [0, -0.5, 0], atol=1e-6)    # cos 60 degrees


def _about(axis, angle):
    """A rotation matrix from its definition: what becomes of each unit vector."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix


def test_rotation_about_all_axes_relative_to_the_first_record():
    turned = [(0.2, -0.3, 0.7), (-0.4, 0.25, 2.9)]                          # roll, pitch, yaw
    poses = oxts.world_from_imu(_records(*[(49, 8.4, 100 + 3 * k, *angles)
                                           for k, angles in enumerate(turned)]))
    first, second = (_about("z", yaw) @ _about("y", pitch) @ _about("x", roll)
                     for roll, pitch, yaw in turned)
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-15)
    np.testing.assert_allclose(poses[1, :3, :3], first.T @ second, atol=1e-12)
    np.testing.assert_allclose(poses[1, :3, 3], first.T @ [0, 0, 3], atol=1e-9)
    assert poses[1, 3].tolist() == [0, 0, 0, 1]


def test_frames_without_a_record(tmp_path):
    for number in (3, 5):
        write_record(tmp_path / f"{number:010d}.txt", **circle(0.1 * number),
                     velocity=(3.0, 4.0, 12.0))
    records = oxts.read_records(str(tmp_path), (2, 3, 4, 5))
    assert np.isnan(records[[0, 2]]).all() and np.isfinite(records[[1, 3]]).all()
    np.testing.assert_array_equal(oxts.speeds(records), [np.nan, 13, np.nan, 13])
    poses = oxts.world_from_imu(records)
    assert np.isnan(poses[[0, 2]]).all()
    np.testing.assert_allclose(poses[1], np.eye(4), atol=1e-15)         # the first known one
    distance = np.linalg.norm(poses[3, :3, 3])
    np.testing.assert_allclose(distance, 2 * RADIUS * np.sin(0.1), rtol=1e-6)
    absent = oxts.read_records(str(tmp_path / "absent"), range(4))
    assert absent.shape == (4, 30) and np.isnan(oxts.world_from_imu(absent)).all()


@pytest.mark.parametrize("text, message", [
    ("1 2 3", "expected 30 numbers; found 3"),
    ("49 8.4 " + "nan " * 28, "expected 30 finite numbers; found 'nan'"),
    ("49 8.4 x" + " 0" * 27, "found 'x'"),
    ("90 8.4" + " 0" * 28, "latitude and longitude in degrees; found 90 8.4"),
    ("49 -181" + " 0" * 28, "found 49 -181"),
    ("", "the file is empty"),
])
def test_damaged_records(tmp_path, text, message):
    write_record(tmp_path / "0000000000.txt", **circle(0))
    (tmp_path / "0000000001.txt").write_text(text)
    assert len(oxts.read_records(str(tmp_path), [0])) == 1
    with pytest.raises(UserError, match="0000000001.txt: ") as caught:
        oxts.read_records(str(tmp_path), [0, 1])
    assert message in str(caught.value) and "\n" not in str(caught.value)


@needs_shared
def test_real_record():
    folder = DATA / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_0001_sync" / "oxts"
    names = [line.split(":")[0] for line in (folder / "dataformat.txt").read_text().splitlines()]
    assert len(names) == oxts.NUM_FIELDS and names[:6] == ["lat", "lon", "alt", "roll", "pitch",
                                                            "yaw"]
    assert names[8:11] == ["vf", "vl", "vu"]
    record, = oxts.read_records(str(folder / "data"), [0])
    assert 48.9 < record[0] < 49.1 and 8.3 < record[1] < 8.5
    # the speed over ground, from the velocities to the north and to the east
    np.testing.assert_allclose(oxts.speeds(record[np.newaxis]),
                               np.hypot(record[6], record[7]), rtol=1e-3)
    # the yaw of which these two speak, with the car driving forwards
    poses = oxts.world_from_imu(np.stack([record, record + 1e-6 * np.eye(30)[0]]))
    step = poses[1, :3, 3]                                                  # to the north
    np.testing.assert_allclose(np.arctan2(step[1], step[0]),
                               np.arctan2(record[7], record[6]), atol=0.02)
