"""Small data sets on disk for tests, written without tfdepth."""
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

SIZE = (24, 40)  # (height, width)
CALIBRATION = "P0: 30 0 19 0 0 32 12 0 0 0 1 0"
REAL_KITTI = (pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "kitti_odometry")

needs_real_kitti = pytest.mark.skipif(
    not REAL_KITTI.is_dir(), reason=f"the real KITTI frames are not at {REAL_KITTI}")


def write_frames(folder, names, size=SIZE, grey=False, seed=0, moving=True):
    """Writes random images; without `moving` they are all the same."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for k, name in enumerate(names):
        if moving or k == 0:
            pixels = random.integers(0, 256, size if grey else (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def write_poses(path, positions):
    """Writes a KITTI pose file of a camera that turns a little at every row."""
    rows = []
    for k, position in enumerate(positions):
        c, s = np.cos(0.01 * k), np.sin(0.01 * k)
        matrix = np.column_stack([[[c, 0, s], [0, 1, 0], [-s, 0, c]], position])
        rows.append(" ".join(f"{value:.9e}" for value in matrix.ravel()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def write_kitti(root, sequence="00", count=5, camera="image_0", numbers=None, poses=True,
                calibration=CALIBRATION):
    """Writes one sequence that drives 1 m a frame along z; returns the root."""
    numbers = range(count) if numbers is None else numbers
    folder = root / "sequences" / sequence
    write_frames(folder / camera, [f"{number:06d}.png" for number in numbers], grey=True)
    (folder / "calib.txt").write_text(calibration + "\n")
    if poses:
        write_poses(root / "poses" / f"{sequence}.txt",
                    [(0, 0, k) for k in range(max(numbers) + 1)])
    return root


def write_camera(folder, **fields):
    """Writes intrinsics.json; a plausible one without `fields`."""
    fields = fields or {"units": "degrees", "horizontal_fov": 70}
    path = pathlib.Path(folder) / "intrinsics.json"
    path.write_text(json.dumps(fields))
    return path
