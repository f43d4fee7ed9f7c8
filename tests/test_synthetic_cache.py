"""The synthetic set is made once, the same everywhere, and mends itself."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tfdepth.checks import UserError
from tfdepth.data import synthetic
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives
from tfdepth.data.synthetic import DriveSpec

TINY = {"size": (16, 48), "drives": (DriveSpec("00", 5, True),), "frame_count": 2}


def folder_bytes(folder):
    return {path.relative_to(folder): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_seed_same_bytes(tmp_path):
    for place, seed in (("a", 5), ("b", 5), ("c", 6)):
        synthetic.render_drive(str(tmp_path / place), DriveSpec("03", seed, True), (16, 48), 2)
    first, again, other = (folder_bytes(tmp_path / place) for place in "abc")
    assert first == again
    differ = {path.parts[-2] for path in first if first[path] != other[path]}
    assert {"image_2", "image_3", "depth_2", "depth_3", "poses"} <= differ
    synthetic.render_drive(str(tmp_path / "d"), DriveSpec("03", 5, True, True), (16, 48), 2)
    by_hand = folder_bytes(tmp_path / "d")
    assert by_hand.keys() == first.keys()
    assert {path.parts[-2] for path in first if first[path] != by_hand[path]} >= {"image_2", "poses"}


def test_what_the_data_sets_are_made_of(tmp_path, monkeypatch):
    """Drives on a car are described as they were before there were others: sets stay valid."""
    asked = []

    def make(making, specification, progress):
        asked.append(specification["drives"])
        raise OSError("enough")

    monkeypatch.setattr(synthetic, "_make", make)
    for name in ("synthetic", "synthetic_movers", "synthetic_handheld"):
        with pytest.raises(UserError, match="enough"):
            load_drives(DataConfig(name, str(tmp_path / "set")))
    on_car, with_movers, by_hand = asked
    assert on_car[1:3] == [["01", 1001, False], ["02", 1002, True]]
    assert with_movers[1] == ["01", 1001, True] and by_hand[2] == ["02", 1002, False, True]


def test_the_cache_is_made_once_and_mended(tmp_path, capfd):
    root, calls = tmp_path / "set", []
    (tmp_path / "set.making-killed").mkdir()  # as a run that was killed leaves it
    (tmp_path / "set.making-killed" / "poses").mkdir()
    make = lambda: synthetic.ensure_synthetic(
        str(root), progress=lambda *done: calls.append(done), **TINY)
    assert make() == str(root)
    assert calls == [(1, 2), (2, 2)] and capfd.readouterr().err == ""
    good = folder_bytes(root)
    ages = {path: (root / path).stat().st_mtime_ns for path in good}
    assert make() == str(root) and len(calls) == 2
    assert ages == {path: (root / path).stat().st_mtime_ns for path in good}

    picture = root / "sequences" / "00" / "image_2" / "000001.png"
    content = bytearray(picture.read_bytes())
    content[len(content) // 2] ^= 1
    picture.write_bytes(content)
    make()
    assert len(calls) == 4 and folder_bytes(root) == good
    assert "000001.png was altered" in capfd.readouterr().err
    (root / "poses" / "00.txt").unlink()
    make()
    assert len(calls) == 6 and folder_bytes(root) == good
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and os.path.join("poses", "00.txt") + " is missing" in error
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["specification"]["version"] -= 1
    (root / "manifest.json").write_text(json.dumps(manifest))
    make()
    assert len(calls) == 8 and folder_bytes(root) == good
    assert sorted(os.listdir(tmp_path)) == ["set", "set.making-killed"]
    os.utime(tmp_path / "set.making-killed", (0, 0))
    (root / "poses" / "00.txt").unlink()
    make()
    assert folder_bytes(root) == good and os.listdir(tmp_path) == ["set"]


def test_a_broken_manifest_is_mended_in_the_cache_only(tmp_path, monkeypatch):
    """In a folder that the user named, nothing shows any more that the files are ours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cached = pathlib.Path(synthetic.ensure_synthetic(**TINY))
    good = folder_bytes(cached)
    (cached / "manifest.json").write_text("{")
    assert synthetic.ensure_synthetic(**TINY) == str(cached) and folder_bytes(cached) == good
    named = tmp_path / "named"
    shutil.copytree(cached, named)
    (named / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="has no manifest.json of one"):
        synthetic.ensure_synthetic(str(named), **TINY)
    assert folder_bytes(named).keys() == good.keys()


def test_what_is_not_ours_is_left_alone(tmp_path):
    holiday = tmp_path / "holiday.jpg"
    holiday.write_bytes(b"sun")
    with pytest.raises(UserError, match="holds holiday.jpg"):
        synthetic.ensure_synthetic(str(tmp_path), **TINY)
    with pytest.raises(UserError, match="is a file"):
        synthetic.ensure_synthetic(str(holiday), **TINY)
    with pytest.raises(UserError, match="cannot write"):
        synthetic.ensure_synthetic(str(holiday / "below"), **TINY)
    with pytest.raises(UserError, match="size must be"):
        synthetic.ensure_synthetic(str(tmp_path / "new"), **{**TINY, "size": (0, 48)})
    assert folder_bytes(tmp_path) == {pathlib.Path("holiday.jpg"): b"sun"}
    synthetic.ensure_synthetic(str(tmp_path / "set"), **TINY)
    with pytest.raises(UserError, match="another size"):
        synthetic.ensure_synthetic(str(tmp_path / "set"), **{**TINY, "size": (16, 50)})


def test_another_process_may_be_quicker(tmp_path, monkeypatch):
    root = tmp_path / "set"
    rename = os.rename

    def rename_too_late(old, new):
        shutil.copytree(old, new)
        rename(old, new)

    monkeypatch.setattr(os, "rename", rename_too_late)
    assert synthetic.ensure_synthetic(str(root), **TINY) == str(root)
    assert os.listdir(tmp_path) == ["set"]


def test_two_scripts_without_a_main_guard_at_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from tfdepth.data import synthetic\n"
                      "drives = (synthetic.DriveSpec('00', 5, True),)\n"
                      "print(synthetic.ensure_synthetic(size=(16, 48), drives=drives, "
                      "frame_count=2))\n"
                      "import sys; assert 'tensorflow' not in sys.modules\n")
    project = pathlib.Path(synthetic.__file__).parents[2]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"),
                   "PYTHONPATH": str(project)}
    runs = [subprocess.Popen([sys.executable, str(script)], env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    answers = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    assert answers[0] == answers[1] and answers[0][1] == ""
    made = list((tmp_path / "cache" / "tfdepth").iterdir())
    assert [str(path) for path in made] == [answers[0][0].strip()]
    assert made[0].name.startswith("synthetic-")
    assert len(folder_bytes(made[0])) == 2 * 3 * 2 + 4


def test_a_kitti_folder_is_never_replaced(tmp_path):
    """KITTI has the same two folders as a synthetic set; a forgotten flag must not cost it."""
    frame = tmp_path / "kitti" / "sequences" / "06" / "image_0" / "000000.png"
    frame.parent.mkdir(parents=True)
    frame.write_bytes(b"a frame")
    (tmp_path / "kitti" / "poses").mkdir()
    with pytest.raises(UserError, match="of one. Is it another data set.*evaluate.py: --dataset"):
        synthetic.ensure_synthetic(str(tmp_path / "kitti"))
    assert frame.read_bytes() == b"a frame"
