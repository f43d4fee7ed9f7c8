"""The data check: what it measures, and that it names every fault with its mend."""
import subprocess
import sys

import check_data as tool
import numpy as np
import pytest

from data_folders import (REAL_KITTI, needs_real_kitti, write_camera, write_frames, write_kitti,
                          write_poses)
from kitti_raw_folder import write_kitti_raw
from tfdepth.data import check, images
from tfdepth.data.config import DataConfig


def _check(root, dataset="kitti_odometry", full=True, **fields):
    return check.check_data(
        DataConfig(dataset=dataset, root=str(root), size=(32, 64), **fields), full=full)


def _one(findings, *words):
    """There must be exactly one finding, with a mend, that says `words`."""
    assert len(findings) == 1, [str(finding) for finding in findings]
    assert findings[0].mend and "\n" not in str(findings[0])
    for word in words:
        assert word in str(findings[0])


@needs_real_kitti
def test_real_frames():
    report = check.check_data(DataConfig(dataset="kitti_odometry", root=str(REAL_KITTI)))
    assert report.ok and not report.warnings
    row, = report.drives
    assert (row.frames, row.holes, row.static_share, row.files_decoded) == (51, 0, 0.0, 20)
    np.testing.assert_allclose(row.field_of_view, (81.8, 29.3), atol=0.1)
    assert report.samples == (51, 2, 0, 49, 0)
    text = report.text()
    for word in ("06/image_0", "1226 x 370", "82 x 29 deg", "poses", "49 of 51 train frames"):
        assert word in text
    assert text.endswith("verdict: ready to train")


@pytest.fixture(name="kitti")
def _kitti(tmp_path):
    """Four frames, larger than the network's pictures, with depth."""
    folder = write_kitti(tmp_path, count=4, calibration="P2: 60 0 39 0 0 60 19 0 0 0 1 0",
                         camera="image_2") / "sequences" / "00"
    write_frames(folder / "image_2", [f"{k:06d}.png" for k in range(4)], size=(40, 80))
    (folder / "depth_2").mkdir()
    for k in range(4):
        images.write_depth(str(folder / "depth_2" / f"{k:06d}.png"), np.full((40, 80), 5.0))
    return tmp_path


def test_good_data_pass_and_progress_reaches_the_end(kitti):
    calls = []
    report = check.check_data(
        DataConfig(dataset="kitti_odometry", root=str(kitti), size=(32, 64)), full=True,
        progress=lambda done, total: calls.append((done, total)))
    assert report.ok and not report.warnings, report.text()
    assert calls == [(k, 8) for k in range(1, 9)]
    assert report.drives[0].has_depth and report.drives[0].files_decoded == 8


def test_what_a_loader_refuses_is_a_problem(tmp_path):
    report = _check(tmp_path / "absent")
    _one(report.problems, "no such folder")
    assert report.text().endswith("verdict: 1 to mend before training")
    _one(_check(tmp_path, dataset="folder").problems, "expected images")
    _one(_check(tmp_path, dataset="kitty").problems, "dataset must be one of")


def test_size_of_the_network(kitti):
    report = check.check_data(
        DataConfig(dataset="kitti_odometry", root=str(kitti), size=(100, 200)))
    _one(report.problems, "(100, 200)", "multiples of 32", "set size to (96, 192)")
    _one(report.warnings, "enlarged")
    report = check.check_data(
        DataConfig(dataset="kitti_odometry", root=str(kitti), size=(32, 32)))
    assert report.ok
    _one(report.warnings, "stretched by 0.50")


def test_damaged_pixels_are_found_by_the_full_check(kitti):
    path = kitti / "sequences" / "00" / "image_2" / "000002.png"
    path.write_bytes(path.read_bytes()[:-200])
    report = _check(kitti)
    _one(report.problems, "1 of 8 decoded files are bad", str(path), "truncated", "replace")
    assert report.drives[0].bad_files and "ready" not in report.text()


def test_depth_maps_are_looked_at(kitti):
    folder = kitti / "sequences" / "00" / "depth_2"
    images.write_depth(str(folder / "000000.png"), np.zeros((40, 80)))
    _one(_check(kitti).warnings, "1 depth maps hold no measurement")
    images.write_depth(str(folder / "000000.png"), np.ones((40, 81)))
    _one(_check(kitti).problems, "depth_2/000000.png: expected 80 x 40", "found 81 x 40")
    write_frames(folder, ["000000.png"], size=(40, 80), grey=True)
    _one(_check(kitti).problems, "16-bit grey PNG")


def test_holes_are_counted(tmp_path):
    report = _check(write_kitti(tmp_path, numbers=[0, 1, 2, 3, 5, 9, 10, 11]))
    assert report.drives[0].gaps == {1: 5, 2: 1, 4: 1} and report.drives[0].holes == 2
    assert any("2 of 7 successive frames are no neighbours" in str(w) for w in report.warnings)
    assert "                    4         1   holes" in report.text()


def test_static_share_and_jumps(kitti):
    positions = [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 2), (0, 0, 2), (0, 0, 2), (0, 0, 50)]
    write_kitti(kitti, count=7, camera="image_2", calibration="P2: 60 0 39 0 0 60 19 0 0 0 1 0")
    folder = kitti / "sequences" / "00"
    write_frames(folder / "image_2", [f"{k:06d}.png" for k in range(7)], size=(40, 80))
    for path in (folder / "depth_2").iterdir():
        path.unlink()
    (folder / "depth_2").rmdir()
    write_poses(kitti / "poses" / "00.txt", positions)
    report = _check(kitti)
    assert report.drives[0].static_share == 0.5
    _one(report.warnings, "jumps 48.0 m after frame 5", "metres")
    write_poses(kitti / "poses" / "00.txt", [(0, 0, 0.001 * k) for k in range(7)])
    report = _check(kitti)
    _one(report.warnings, "100% of the neighbouring frames are static", "lower min_translation")
    _one(report.problems, "train: no sample left of 7 frames", "5 are static")


def test_a_standing_camera_in_a_folder(tmp_path):
    write_camera(write_frames(tmp_path, [f"{k}.png" for k in range(4)], (40, 80), moving=False))
    report = _check(tmp_path, dataset="folder")
    _one(report.problems, "no sample left", "min_image_change")
    _one(report.warnings, "100%", "min_image_change")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:-100])
    _one(_check(tmp_path, dataset="folder").problems, "1 of 4 decoded files are bad")


def test_roles_and_unknown_names(kitti):
    _one(_check(kitti, test_drives=("01",)).problems, "test_drives: a drive must be one of",
         "correct the names")
    report = _check(kitti, validation_drives=("00",))
    _one(report.problems, "train: no drive to take samples from")
    assert report.roles["validation"] == ("00/image_2",)


def test_left_out_sequences_are_named(kitti):
    (kitti / "sequences" / "07").mkdir()
    _one(_check(kitti).warnings, "1 drives have no images", "07")


def test_no_tensorflow_is_imported():
    code = ("import sys, tfdepth.data.check, tfdepth.data.datasets; "
            "sys.exit('tensorflow' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_kitti_raw_beside_the_published_counts(tmp_path, capsys):
    """By the roles of the Eigen split: one training, one validation and one test drive."""
    write_kitti_raw(tmp_path, drives=("2011_09_26_drive_0001", "2011_09_26_drive_0005",
                                      "2011_09_26_drive_0009"))
    scan = next(tmp_path.rglob("velodyne_points/data/*.bin"))
    flags = [f"--root={tmp_path}", "--camera=image_02,image_03"]
    assert tool.main(["kitti_raw", *flags]) == 0
    text = capsys.readouterr().out
    # 12 frames a drive and camera, without the first and the last
    assert "Eigen split: 20 training and 20 validation samples here; 39,810 and 4,424" in text
    assert "27 of these are not here" in text
    assert "test       2011_09_26_drive_0009/image_02, 2011_09_26_drive_0009/image_03" in text
    assert tool.main(["kitti_depth", *flags]) == 0
    scan.write_bytes(b"123")
    assert tool.main(["kitti_raw", *flags, "--full"]) == 1
    assert f"{scan}: expected a LiDAR scan" in capsys.readouterr().out
