"""Writes small folders in the layout of KITTI raw, without tfdepth."""
import pathlib

import numpy as np
from PIL import Image

from helpers import DATA

DRIVES = ("2011_09_26_drive_0001", "2011_09_26_drive_0009", "2011_09_28_drive_0002")
FULL_SIZE = (375, 1242)  # of the calibration below
SPEED, STEP = 9.0, 0.103  # metres a second, seconds a frame
RADIUS = 40.0             # metres, of the circle that every drive follows
_EARTH = 6378137.0        # metres
_REAL = DATA / "kitti_raw" / "2011_09_26"
_FILES = ("calib_cam_to_cam.txt", "calib_velo_to_cam.txt", "calib_imu_to_velo.txt")


def write_kitti_raw(root, drives=DRIVES, frames=12, size=(24, 80),
                    cameras=("image_02", "image_03"), depth="monodepth2"):
    """Writes drives of `frames` images a camera, with calibration, oxts, velodyne_points, time
    stamps and depth maps for all but the first and last five frames; returns the root.

    The calibration is the real one of 2011_09_26, scaled to `size`, where the shared data are
    there, else a generated one of the same form. `depth`: the layout of the depth maps, one of
    the rows of DEPTH_FOLDERS, or None.
    """
    root = pathlib.Path(root)
    for d, drive in enumerate(drives):
        date = drive[:10]
        write_calibration(root / date, size)
        folder = root / date / f"{drive}_sync"
        for camera in cameras:
            write_images(folder / camera / "data", range(frames), size, seed=d,
                         shift=2 * int(camera[-1]))
            write_timestamps(folder / camera / "timestamps.txt", frames)
        for number in range(frames):
            write_scan(folder / "velodyne_points" / "data" / f"{number:010d}.bin", seed=number)
            write_record(folder / "oxts" / "data" / f"{number:010d}.txt",
                         **circle(number * STEP * SPEED / RADIUS))
        write_timestamps(folder / "oxts" / "timestamps.txt", frames)
        if depth:
            for camera in ("image_02", "image_03"):
                for number in range(5, frames - 5):
                    write_depth_map(depth_folder(root, drive, camera, depth)
                                    / f"{number:010d}.png", size, seed=number)
    return root


DEPTH_FOLDERS = {"monodepth2": "{date}/{drive}_sync", "bts": "{drive}_sync",
                 "train": "train/{drive}_sync", "val": "val/{drive}_sync"}


def depth_folder(root, drive, camera, layout="monodepth2"):
    """Where a layout has the depth maps of a drive."""
    place = DEPTH_FOLDERS[layout].format(date=drive[:10], drive=drive)
    return pathlib.Path(root) / place / "proj_depth" / "groundtruth" / camera


def write_calibration(folder, size):
    """The three files of a date, for images of `size` (height, width)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        text = (_REAL / name).read_text() if _REAL.is_dir() else _generated(name)
        (folder / name).write_text(text if size == FULL_SIZE else _scaled(text, size))


def write_images(folder, numbers, size, seed=0, shift=0, suffix=".png"):
    """A smooth random picture that moves by 3 pixels a frame."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (size[0] // 4, size[1] // 2, 3), np.uint8)
    wide = np.asarray(Image.fromarray(coarse).resize((3 * size[1], size[0]), Image.BILINEAR))
    for number in numbers:
        pixels = np.roll(wide, shift - 3 * number, axis=1)[:, :size[1]]
        Image.fromarray(pixels).save(folder / f"{number:010d}{suffix}")


def write_timestamps(path, count, step=STEP):
    """`count` lines, `step` seconds apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = np.datetime64("2011-09-26T13:02:25.961661696", "ns")
    times = start + (np.arange(count) * step * 1e9).astype("timedelta64[ns]")
    path.write_text("".join(f"{str(time).replace('T', ' ')}\n" for time in times))


def write_scan(path, count=400, seed=0):
    """Points ahead of the car and behind it: x forward, y left, z up, reflectance, float32."""
    random = np.random.default_rng(seed)
    points = random.uniform((-20, -10, -1.6, 0), (60, 10, 1.0, 1), (count, 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    points.astype(np.float32).tofile(path)


def write_depth_map(path, size, seed=0):
    """A sparse map, metres x 256."""
    random = np.random.default_rng(seed)
    depth = random.uniform(5, 60, size) * (random.random(size) < 0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(depth * 256).astype(np.uint16)).save(path)


def circle(angle, latitude=49.0, longitude=8.4, roll=0.0, pitch=0.0):
    """A record's fields on a circle to the left that starts eastwards at this place."""
    east, north = RADIUS * np.sin(angle), RADIUS * (1 - np.cos(angle))       # metres
    start = np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))
    scale = _EARTH * np.cos(np.radians(latitude))
    mercator = start + north / scale
    return {"latitude": np.degrees(2 * np.arctan(np.exp(mercator)) - np.pi / 2),
            "longitude": longitude + np.degrees(east / scale), "altitude": 112.0,
            "roll": roll, "pitch": pitch, "yaw": angle}


def write_record(path, latitude, longitude, altitude, roll=0.0, pitch=0.0, yaw=0.0,
                 velocity=(SPEED, 0.0, 0.0)):
    """One record of 30 numbers; `velocity` forward, left, up in metres a second."""
    numbers = np.zeros(30)
    numbers[:6] = latitude, longitude, altitude, roll, pitch, yaw
    numbers[6:8] = velocity[0] * np.sin(yaw), velocity[0] * np.cos(yaw)
    numbers[8:11] = velocity
    numbers[23:25] = 0.05, 0.03
    words = [f"{value:.15g}" for value in numbers[:25]] + ["4", "11", "6", "6", "6"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join(words))


def _scaled(text, size):
    """The calibration of FULL_SIZE for images of another size."""
    scale_y, scale_x = size[0] / FULL_SIZE[0], size[1] / FULL_SIZE[1]
    new_from_old = np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2],
                             [0, 0, 1]])  # the centre of the top-left pixel is (0, 0)
    lines = []
    for line in text.splitlines():
        key, _, values = line.partition(":")
        if key.startswith("S_rect"):
            line = f"{key}: {size[1]:e} {size[0]:e}"
        elif key.startswith("P_rect"):
            projection = new_from_old @ np.array(values.split(), float).reshape(3, 4)
            line = f"{key}: " + " ".join(f"{value:.9e}" for value in projection.ravel())
        lines.append(line)
    return "\n".join(lines) + "\n"


def _generated(name):
    """Calibration of the same form: a rig near KITTI's."""
    row = lambda key, *values: f"{key}: " + " ".join(f"{v:.9e}" for v in np.ravel(values))
    lines = ["calib_time: 01-Jan-2012 12:00:00"]
    if name == _FILES[1]:
        axes = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]  # x forward, y left, z up -> x right, y down
        lines += [row("R", axes @ _turn(0.02, -0.01, 0.015)), row("T", -0.004, -0.08, -0.27),
                  row("delta_f", 0, 0)]
    elif name == _FILES[2]:
        lines += [row("R", _turn(0.015, 0.002, -0.001)), row("T", -0.81, 0.32, -0.8)]
    else:
        lines += ["corner_dist: 9.950000e-02", row("R_rect_00", _turn(0.004, -0.007, -0.01))]
        intrinsics = np.array([[720.0, 0, 610], [0, 720, 172], [0, 0, 1]])
        for k, x in enumerate((0.0, 0.537, -0.06, 0.473)):
            offset = [[-x], [0.0003 * k], [0.002 * (k > 1)]]
            projection = intrinsics @ np.hstack([np.eye(3), offset])
            lines += [row(f"S_0{k}", 1392, 512), row(f"S_rect_0{k}", *FULL_SIZE[::-1]),
                      row(f"P_rect_0{k}", projection)]
    return "\n".join(lines) + "\n"


def _turn(x, y, z):
    """Rz Ry Rx, radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        one = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        one[first, first] = one[second, second] = np.cos(angle)
        one[second, first], one[first, second] = np.sin(angle), -np.sin(angle)
        matrix = one @ matrix
    return matrix
