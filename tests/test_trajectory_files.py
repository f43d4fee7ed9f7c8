"""Anyone's trajectory file: every form, missing frames, and what is refused."""
import numpy as np
import pytest
from helpers import DATA, needs_shared, parity
from scipy.spatial.transform import Rotation

from tfdepth.checks import UserError
from tfdepth.data.files import read_poses
from tfdepth.evaluation.odometry import cut_snippets
from tfdepth.evaluation.path_errors import PATH_PROTOCOLS, path_errors
from tfdepth.evaluation.snippet_files import write_snippets
from tfdepth.evaluation.trajectories import (rebase, rigid_transforms, write_kitti_poses,
                                             write_tum)
from tfdepth.evaluation.trajectory_files import match_frames, read_times, read_trajectory

IDENTITY = "1 0 0 0 0 1 0 0 0 0 1 0"
STILL = "0 0 0 0 0 0 1"


def random_poses(seed, count):
    random = np.random.default_rng(seed)
    return rigid_transforms(Rotation.random(count, random_state=seed).as_matrix(),
                            random.normal(0, 20, [count, 3]))


def numbered(frames, poses):
    return "".join(f"{frame} " + " ".join(f"{value:.12g}" for value in pose[:3].ravel()) + "\n"
                   for frame, pose in zip(frames, poses))


def test_every_form(tmp_path):
    poses = random_poses(1, 6)
    write_kitti_poses(tmp_path / "kitti.txt", poses)
    (tmp_path / "numbered.txt").write_text("# frame, pose\n" + numbered([2, 3, 5, 8, 9, 40], poses))
    write_tum(tmp_path / "tum.txt", 0.1 * np.array([2, 3, 5, 8, 9, 40]), poses)
    write_tum(tmp_path / "measured.txt", [0.104, 0.2, 0.417, 0.62, 0.7, 0.9], poses)
    times = [0.0, 0.10, 0.2073, 0.31, 0.41, 0.52, 0.62, 0.705, 0.8, 0.9]
    holes = [2, 3, 5, 8, 9, 40]
    for name, given, frames in (("kitti", None, range(6)), ("numbered", None, holes),
                                ("tum", None, holes), ("measured", times, [1, 2, 4, 6, 7, 9])):
        found = read_trajectory(tmp_path / f"{name}.txt", given and np.array(given))
        np.testing.assert_array_equal(found.frame_numbers, list(frames), err_msg=name)
        np.testing.assert_allclose(found.world_from_camera, poses, atol=1e-4, err_msg=name)


def test_folder_of_snippets(tmp_path):
    poses = random_poses(2, 9)
    cut = cut_snippets(poses, 5)
    write_snippets(tmp_path, cut.starts + 7, cut.first_from_camera, 0.1 * np.arange(20))
    found = read_trajectory(tmp_path)
    np.testing.assert_array_equal(found.frame_numbers, np.arange(7, 16))
    np.testing.assert_allclose(found.world_from_camera, rebase(poses), atol=2e-3)
    (tmp_path / "000009.txt").unlink()
    with pytest.raises(UserError, match="start one frame apart, to join them; found 000010.txt "
                                        "after 000008.txt"):
        read_trajectory(tmp_path)


@needs_shared
def test_published_result_through_a_file(tmp_path):
    """From a file with missing frames to the published errors."""
    arrays = parity("evaluation", "odometry.npz")
    truth, result = (rigid_transforms(arrays[f"{kind}_seq10"][..., :3],
                                      arrays[f"{kind}_seq10"][..., 3]) for kind in ("gt", "result"))
    frames = arrays["result_seq10_index"]
    (tmp_path / "10.txt").write_text(numbered(frames, result))
    found = read_trajectory(tmp_path / "10.txt")
    rows = match_frames(tmp_path / "10.txt", found.frame_numbers, np.arange(len(truth)))
    np.testing.assert_array_equal(rows, frames)
    errors = path_errors(found.world_from_camera, truth, PATH_PROTOCOLS["odometry_kitti"], rows)
    expected = path_errors(result, truth, PATH_PROTOCOLS["odometry_kitti"], frames)
    np.testing.assert_allclose(errors.translation_percent, expected.translation_percent, rtol=1e-6)


@needs_shared
def test_real_kitti_file():
    path = DATA / "kitti_odometry" / "poses" / "06.txt"
    found = read_trajectory(path)
    np.testing.assert_array_equal(found.frame_numbers, np.arange(51))
    np.testing.assert_array_equal(found.world_from_camera, read_poses(path))


def test_match_frames():
    np.testing.assert_array_equal(match_frames("a.txt", [4, 7, 9], [2, 4, 5, 7, 9]), [1, 3, 4])
    with pytest.raises(UserError, match=r"^a.txt: expected poses of the 3 true frames \(2 to 5\); "
                                        r"found 2 of other frames: 3, 6\.$"):
        match_frames("a.txt", [2, 3, 4, 6], [2, 4, 5])


@pytest.mark.parametrize("text, message", [
    (f"{IDENTITY}\n1 2 3\n", ", line 2: expected 12 numbers; found 3."),
    (f"{IDENTITY}\n0 {STILL}\n", ", line 2: expected 12 numbers; found 8."),
    (f"0 {STILL}\n0 {IDENTITY}\n", ", line 2: expected 8 numbers; found 13."),
    (f"\n0 {IDENTITY}\n{IDENTITY}\n", ", line 3: expected 13 numbers; found 12."),
    ("# a\n1 2 3\n", ", line 2: expected a trajectory: 12 numbers a line (KITTI), 13 (frame"),
    ("# a\n", "found only comments."),
    (f"0 {IDENTITY}\n0 {IDENTITY}\n", ", line 2: expected a frame number after 0; found 0."),
    (f"0 {IDENTITY}\n-1 {IDENTITY}\n", ", line 2: expected a frame number, then 12 numbers; found "
                                       "'-1' in its place."),
    (f"0.5 {IDENTITY}\n", "found '0.5' in its place."),
    (f"1e30 {IDENTITY}\n", "found '1e30' in its place."),
    (f"0 {IDENTITY}\n1 2{IDENTITY[1:]}\n", ", line 2: expected a frame number and the rows of "),
    (f"0 -{IDENTITY}\n", "with R a rotation; found a 3x3 part that is none."),
    (f"0 {IDENTITY[:-1]}nan\n", ", line 1: expected 13 finite numbers; found 'nan'."),
    (f"0.1 {STILL}\n0.25 {STILL}\n", "expected times of frames at 10 Hz from 0, within 0.01 s; "
                                     "found 1 of 2 others, the first is 0.250000."),
    (f"-0.1 {STILL}\n", "the first is -0.100000."),
    (f"0.1 {STILL}\n0.105 {STILL}\n", "expected one pose a frame; found two of frame 1.")])
def test_malformed(tmp_path, text, message):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_trajectory(path)
    assert str(error.value).startswith(str(path)) and message in str(error.value)


def test_times(tmp_path):
    (tmp_path / "times.txt").write_text("0.000000e+00\n1.036e-01\n2.07e-01\n")
    times = read_times(tmp_path / "times.txt")
    np.testing.assert_allclose(times, [0, 0.1036, 0.207])
    (tmp_path / "tum.txt").write_text(f"0 {STILL}\n0.2 {STILL}\n")
    np.testing.assert_array_equal(
        read_trajectory(tmp_path / "tum.txt", times).frame_numbers, [0, 2])
    (tmp_path / "tum.txt").write_text(f"0.05 {STILL}\n0.21 {STILL}\n1 {STILL}\n")
    with pytest.raises(UserError, match="tum.txt: expected times of the 3 frames, within 0.01 s; "
                                        "found 2 of 3 others, the first is 0.050000"):
        read_trajectory(tmp_path / "tum.txt", times)
    (tmp_path / "times.txt").write_text("0\n0.1\n0.1\n")
    with pytest.raises(UserError, match="times.txt, line 3: expected a time after 0.1; found 0.1"):
        read_times(tmp_path / "times.txt")
    (tmp_path / "times.txt").write_text("0\n0.1 0.2\n")
    with pytest.raises(UserError, match="times.txt, line 2: expected 1 numbers; found 2"):
        read_times(tmp_path / "times.txt")


def test_unreadable(tmp_path):
    with pytest.raises(UserError, match="none.txt: no such file; expected a trajectory"):
        read_trajectory(tmp_path / "none.txt")
    with pytest.raises(UserError, match="expected snippets in files as 000000.txt; found none"):
        read_trajectory(tmp_path)
    (tmp_path / "pickle.txt").write_bytes(b"\x80\x04\x95")
    with pytest.raises(UserError, match="pickle.txt: expected a trajectory.*not text"):
        read_trajectory(tmp_path / "pickle.txt")
