"""Rigid transforms, quaternions and trajectory files."""
import numpy as np
import pytest
from helpers import DATA, needs_shared, parity
from scipy.spatial.transform import Rotation

from tfdepth.checks import UserError
from tfdepth.data.files import read_poses
from tfdepth.evaluation import trajectories as tr
from tfdepth.files import write_atomically


def random_poses(seed, count):
    random = np.random.default_rng(seed)
    return tr.rigid_transforms(Rotation.random(count, random_state=seed).as_matrix(),
                               random.normal(0, 50, [count, 3]))


def test_rigid_transforms():
    rotation = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    world_from_camera = tr.rigid_transforms(rotation, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(world_from_camera @ [5, 0, 0, 1], [1, 7, 3, 1], atol=1e-12)
    assert tr.rigid_transforms(rotation, np.ones([7, 2, 3])).shape == (7, 2, 4, 4)
    with pytest.raises(ValueError, match="`rotations` must have shape"):
        tr.rigid_transforms(np.ones([3, 4]), np.ones(3))


def test_rebase_steps_and_chain():
    world_from_camera = random_poses(1, 6)
    first_from_camera = tr.rebase(world_from_camera)
    np.testing.assert_allclose(first_from_camera[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(world_from_camera[0] @ first_from_camera, world_from_camera,
                               atol=1e-10)
    steps = tr.relative_motions(world_from_camera)
    # a point of camera 4 lands at the same place of the world through camera 3
    point_later = np.array([1.0, -2.0, 5.0, 1.0])
    np.testing.assert_allclose(world_from_camera[3] @ (steps[3] @ point_later),
                               world_from_camera[4] @ point_later, atol=1e-10)
    np.testing.assert_allclose(tr.chain(steps), first_from_camera, atol=1e-10)
    np.testing.assert_array_equal(tr.chain(np.zeros([0, 4, 4])), [np.eye(4)])
    many = np.stack([world_from_camera, 2 * world_from_camera])
    np.testing.assert_allclose(tr.rebase(many)[0], first_from_camera, atol=1e-12)


@needs_shared
def test_published_quaternions():
    arrays = parity("evaluation", "pose_snippets.npz")
    matrices, euler, mat2euler = arrays["euler2mat"], arrays["euler_zyx"], arrays["mat2euler"]
    wxyz, quat2mat = arrays["rot2quat_wxyz"], arrays["quat2mat"]
    found = tr.quaternions_from_rotations(matrices)
    same_sign = found * np.sign(np.sum(found * wxyz[:, [1, 2, 3, 0]], axis=1, keepdims=True))
    np.testing.assert_allclose(same_sign, wxyz[:, [1, 2, 3, 0]], atol=1e-9)
    np.testing.assert_allclose(tr.rotations_from_quaternions(wxyz[:, [1, 2, 3, 0]]), quat2mat,
                               atol=1e-9)
    # what "XYZ" of SciPy means, which the tests of odometry rely on: R = Rx Ry Rz
    rotations = Rotation.from_euler("XYZ", euler[:, ::-1])
    np.testing.assert_allclose(rotations.as_matrix(), matrices, atol=1e-12)
    np.testing.assert_allclose(rotations.as_euler("XYZ")[:, ::-1], mat2euler, atol=1e-9)


def test_quaternions():
    rotations = random_poses(2, 12)[:, :3, :3].reshape(3, 4, 3, 3)
    quaternions = tr.quaternions_from_rotations(rotations)
    assert quaternions.shape == (3, 4, 4) and (quaternions[..., 3] >= 0).all()
    np.testing.assert_allclose(tr.rotations_from_quaternions(-3 * quaternions), rotations,
                               atol=1e-12)
    quarter = tr.quaternions_from_rotations(np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))
    np.testing.assert_allclose(quarter, [np.sqrt(0.5), 0, 0, np.sqrt(0.5)])  # about x: (x y z w)


def test_kitti_round_trip(tmp_path):
    poses = random_poses(3, 5)
    tr.write_kitti_poses(tmp_path / "poses" / "09.txt", poses)
    lines = (tmp_path / "poses" / "09.txt").read_text().splitlines()
    assert len(lines) == 5 and len(lines[0].split()) == 12
    np.testing.assert_allclose([float(word) for word in lines[2].split()],
                               poses[2, :3].ravel(), rtol=1e-9)
    np.testing.assert_allclose(read_poses(tmp_path / "poses" / "09.txt"), poses,
                               atol=1e-7)


@needs_shared
def test_real_kitti_poses():
    poses = read_poses(DATA / "kitti_odometry" / "poses" / "06.txt")
    assert poses.shape == (51, 4, 4)
    forward = tr.relative_motions(poses)[:, 2, 3]
    assert 1.0 < forward.mean() < 1.4


def test_tum_round_trip(tmp_path):
    poses, times = random_poses(4, 4), 1305031102.175304 + 0.1 * np.arange(4)
    tr.write_tum(tmp_path / "a.txt", times, poses)
    text = (tmp_path / "a.txt").read_text()
    assert text.startswith("1305031102.175304 ")
    (tmp_path / "b.txt").write_text("# timestamp tx ty tz qx qy qz qw\n\n" + text)
    for name in ("a.txt", "b.txt"):
        found = tr.read_tum(tmp_path / name)
        np.testing.assert_allclose(found.timestamps, times, atol=1e-6)
        np.testing.assert_allclose(found.world_from_camera, poses, atol=5e-6)


def test_format_tum():
    pose = tr.rigid_transforms(Rotation.from_euler("z", -90, degrees=True).as_matrix(),
                               np.array([-1e-9, 2.5, -3.0]))
    assert tr.format_tum(np.array([0.1]), pose[np.newaxis]) == (
        "0.100000 0.000000 2.500000 -3.000000 0.000000 0.000000 -0.707107 0.707107\n")
    with pytest.raises(ValueError, match=r"`timestamps` must have shape \[1\]"):
        tr.format_tum(np.zeros(2), pose[np.newaxis])


IDENTITY = "1 0 0 0 0 1 0 0 0 0 1 0"


@pytest.mark.parametrize("text, message", [
    (f"{IDENTITY}\n1 2 3\n", ", line 2: expected 12 numbers; found 3."),
    (f"{IDENTITY}\n{IDENTITY[:-1]}inf\n", ", line 2: expected 12 finite numbers; found 'inf'."),
    (f"{IDENTITY[:-1]}nan\n", "finite numbers; found 'nan'."),
    (f"{IDENTITY[:-1]}zero\n", "found 'zero'."),
    ("2 0 0 0 0 1 0 0 0 0 1 0\n", ", line 1: expected the rows of [R | t] with R a rotation"),
    ("-1 0 0 0 0 1 0 0 0 0 1 0\n", "with R a rotation"),
    ("1e200 1e200 0 0 -1e200 1e200 0 0 0 0 1 0\n", "with R a rotation"),
    ("", "expected poses, 12 numbers a row; the file is empty.")])
def test_malformed_kitti_poses(tmp_path, text, message):
    path = tmp_path / "poses.txt"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_poses(path)
    assert str(error.value).startswith(str(path)) and message in str(error.value)


@pytest.mark.parametrize("text, message", [
    ("0 0 0 0 0 0 0 1\n1 0 0 0 0 0 0\n", "line 2: expected 8 numbers; found 7."),
    ("# only words\n", "expected a trajectory, timestamp tx ty tz qx qy qz qw a line; found only "),
    ("0 0 0 0 0 0 0 0\n", "line 1: expected a rotation: a quaternion (qx qy qz qw) of length 1; "
                          "found length 0."),
    ("0 0 0 0 0 0 0 1\n0 0 0 0 0 0 0 1\n", "line 2: expected a timestamp after 0.000000; found "
                                           "0.000000.")])
def test_malformed_tum(tmp_path, text, message):
    path = tmp_path / "tum.txt"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        tr.read_tum(path)
    assert str(error.value).startswith(str(path)) and message in str(error.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(UserError, match="none.txt: no such file; expected a trajectory"):
        tr.read_tum(tmp_path / "none.txt")
    (tmp_path / "binary").write_bytes(b"\x89PNG\xff\x00")
    with pytest.raises(UserError, match="binary: expected poses.*not text"):
        read_poses(tmp_path / "binary")


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def fail(*_):
        raise OSError("disk")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        with pytest.raises(OSError, match="disk"):
            write_atomically(path, "new")
    assert path.read_text() == "old" and [found.name for found in tmp_path.iterdir()] == ["a.txt"]
    write_atomically(path, "new")
    assert path.read_text() == "new"
