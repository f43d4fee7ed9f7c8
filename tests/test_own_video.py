"""The README's section on one's own video, run as it is printed."""
import os
import pathlib
import re
import subprocess
import sys

import imageio
import numpy as np
import pytest
from PIL import Image

from helpers import DATA, needs_shared

ROOT = pathlib.Path(__file__).resolve().parents[1]


def printed_commands():
    """The section's first block of commands."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Your own video\n")[1]
    return re.search(r"(?:^    .*\n)+", section, re.MULTILINE)[0]


@pytest.mark.slow
@needs_shared
def test_from_a_file_to_depth_a_path_and_a_viewer(tmp_path):
    """51 real frames as ride.mp4; some ten minutes."""
    for name in ("tools", "configs", "tfdepth"):
        (tmp_path / name).symlink_to(ROOT / name)
    frames = sorted((DATA / "kitti_odometry").glob("sequences/06/image_0/*.png"))
    with imageio.get_writer(tmp_path / "ride.mp4", fps=10, macro_block_size=2) as writer:
        for frame in frames:
            writer.append_data(np.asarray(Image.open(frame).convert("RGB")))
    commands = printed_commands()
    assert commands.count("python tools/") == 4 and "ride.mp4" in commands
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-e", "-c", commands], cwd=tmp_path, check=True,
                   env={**os.environ, "PATH": path, "PYTHONPATH": str(tmp_path)})
    out = tmp_path / "ride_depth"
    assert len(list((out / "depth").glob("*.png"))) == len(list((out / "points").glob("*.ply"))) > 40
    poses = (out / "trajectory" / "kitti.txt").read_text().splitlines()
    assert len(poses) == len(list((out / "depth").glob("*.png")))
    assert float(poses[-1].split()[11]) > 0.0                     # it has driven forward
    assert (out / "colour.mp4").stat().st_size > 1e5
    assert (out / "viewer.html").stat().st_size < 30e6
