"""Damaged files of every kind end in a UserError that names them, or in the intact values.

Where the format holds a checksum of what is read, values must be those of the intact file, bit by
bit. Where it holds none (text, raw floats, JPEG), a changed digit cannot be seen: then what is
read must be finite and of the same shape.
"""
import dataclasses
import io
import json
import logging
from typing import Callable, NamedTuple, Tuple

import numpy as np
import pytest
from data_folders import SIZE, write_frames, write_kitti
from helpers import damaged
from kitti_raw_folder import write_kitti_raw
from PIL import Image
from scipy.io import savemat

from tfdepth.checks import UserError
from tfdepth.data import (
    check, cityscapes, folder, images, intrinsics_file, kitti_odometry, kitti_raw, lidar,
    make3d, nyu, pipeline, prepared, shards, unreadable)
from tfdepth.data.config import DataConfig
from tfdepth.data.prepare import prepare

NETWORK = (16, 32)
DAY = "raw/2011_09_26"
DRIVE = f"{DAY}/2011_09_26_drive_0001_sync"
CALIBRATION = ("P0: 31.5 0 18.25 0 0 29.125 11.75 0 0 0 1 0\n"
               "P1: 31.5 0 18.25 -16.875 0 29.125 11.75 0 0 0 1 0")


class Victim(NamedTuple):
    """A file to damage and how a user reads it."""
    path: str                 # below the root of `data`
    read: Callable            # (root, path) -> {name: what was read}
    count: int                # of damaged copies
    refused: int              # at least so many of them end in a UserError
    head: int = 512           # where half of the flipped bits are
    checksum: bool = False    # whether the intact values are the only ones
    named: Tuple[str, ...] = ()   # what a message holds; () = the path


def _values_of(drives):
    """The fields of drives as one dict."""
    return {f"{k} {field.name}": getattr(drive, field.name) for k, drive in enumerate(drives)
            for field in dataclasses.fields(drive) if getattr(drive, field.name) is not None}


def _raw(root, path):
    return _values_of(kitti_raw.load(str(root / "raw"), ("image_02",), stereo=True))


def _raw_frames(root, path):
    values = _raw(root, path)
    images.verify_image(path)
    return {**values, "pixels": images.read_image(path)}


def _odometry(root, path):
    return _values_of(kitti_odometry.load(str(root / "kitti"), ("image_0",), stereo=True))


def _scan(root, path):
    """A cut between two points cannot be seen, so there are as many points or fewer."""
    points = lidar.read_scan(path)
    assert 0 < len(points) <= 400 and points.shape[1] == 4
    drive, = kitti_raw.load(str(root / "raw"), ("image_02",))
    maps = [lidar.lidar_depth(path, drive.image_from_lidar, drive.size, value, str(root / "cache"))
            for value in lidar.VALUES]
    for depth in maps:
        assert depth.max() < 1000
    assert np.abs(points[:, :3]).max() <= 1000
    return {"depth": np.stack(maps)}


def _picture(root, path):
    images.verify_image(path)
    return {"pixels": images.read_image(path), "small": images.read_thumbnail(path, 8)}


def _jpeg(root, path):
    """A header may say another size: then all readers must agree on it."""
    images.verify_image(path)
    pixels, size = images.read_image(path), images.read_frame_size(path)
    assert pixels.shape == (*size, 3) and images.read_thumbnail(path, 8).shape[0] == 8
    return {"type": pixels.dtype}


def _depth(root, path):
    images.verify_image(path, frame=False)
    return {"depth": images.read_depth(path)}


def _walk(root, path):
    return _values_of(folder.load(str(root / "walk")))


def _camera_file(root, path):
    intrinsics, distortion = intrinsics_file.read_camera(path, SIZE)
    return {"intrinsics": intrinsics, "coefficients": np.isfinite(distortion.coefficients).all()
            if distortion else True}


def _cityscapes_camera(root, path):
    intrinsics, baseline = cityscapes.read_camera(path)
    return {"intrinsics": intrinsics, "baseline": baseline}


def _make3d(root, path):
    frame, = make3d.test_frames(str(root / "make3d"))
    return {"depth": make3d.read_laser_depth(frame.mat_path),
            "size": images.read_image(frame.image_path).shape}


def _scene(root, path):
    drive, = nyu.load(str(root / "nyu"))
    images.verify_image(drive.depth_paths[1], frame=False)
    return {**_values_of([drive]), "depth": images.read_depth(drive.depth_paths[1], 1000)}


def _prepared(root, path):
    drives = prepared.load(str(root / "prepared"), NETWORK, stereo=True)
    values = _values_of(drives)
    for drive in drives:
        for k, path in enumerate(drive.image_paths + drive.stereo_paths):
            values[f"{drive.name} picture {k}"] = np.frombuffer(shards.frame_bytes(path), np.uint8)
    return values


_SHARD, _FOLDER = "shard-00001-of-00003", ("/prepared",)
VICTIMS = {
    "raw cameras": Victim(f"{DAY}/calib_cam_to_cam.txt", _raw, 30, 8, 4000),
    "raw lidar": Victim(f"{DAY}/calib_velo_to_cam.txt", _raw, 30, 15),
    "raw imu": Victim(f"{DAY}/calib_imu_to_velo.txt", _raw, 30, 15),
    "raw oxts": Victim(f"{DRIVE}/oxts/data/0000000003.txt", _raw, 30, 15),
    "raw last frame": Victim(f"{DRIVE}/image_02/data/0000000011.png", _raw_frames, 30, 25, 60,
                             checksum=True),
    "raw other camera": Victim(f"{DRIVE}/image_03/data/0000000000.png", _raw_frames, 15, 12, 60,
                               checksum=True),
    "raw annotated depth": Victim(f"{DRIVE}/proj_depth/groundtruth/image_02/0000000005.png",
                                  _depth, 30, 25, 60, checksum=True),
    "scan": Victim(f"{DRIVE}/velodyne_points/data/0000000005.bin", _scan, 45, 14),
    "odometry calibration": Victim("kitti/sequences/00/calib.txt", _odometry, 45, 20),
    "odometry poses": Victim("kitti/poses/00.txt", _odometry, 30, 15, 2000),
    "grey": Victim("pictures/grey.png", _picture, 20, 16, 60, checksum=True),
    "palette": Victim("pictures/palette.png", _picture, 30, 25, 900, checksum=True),
    "alpha": Victim("pictures/alpha.png", _picture, 20, 16, 60, checksum=True),
    "jpeg": Victim("pictures/colour.jpg", _jpeg, 30, 8, 700),
    "progressive jpeg": Victim("pictures/progressive.jpg", _jpeg, 30, 8, 400),
    "poses of a folder": Victim("walk/poses.txt", _walk, 20, 10),
    "camera with a lens": Victim("cameras/lens.json", _camera_file, 30, 18),
    "camera in fractions": Victim("cameras/fractions.json", _camera_file, 20, 10),
    "cityscapes camera": Victim("cameras/ulm_camera.json", _cityscapes_camera, 20, 10),
    "make3d grid": Victim("make3d/Gridlaserdata/depth_sph_corr-a.mat", _make3d, 40, 30,
                          checksum=True),
    "nyu depth": Victim("nyu/sync/den/sync_depth_00001.png", _scene, 15, 12, 60, checksum=True),
    "shard": Victim(f"prepared/{_SHARD}.tfrecord", _prepared, 45, 25, 4000, checksum=True,
                    named=(*_FOLDER, _SHARD)),
    "index of a shard": Victim(f"prepared/{_SHARD}.npz", _prepared, 45, 25, checksum=True,
                               named=(*_FOLDER, _SHARD)),
    "arrays": Victim("prepared/drives.npz", _prepared, 45, 44, 1500, checksum=True),
    "manifest": Victim("prepared/manifest.json", _prepared, 60, 30, 2000, named=_FOLDER),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One small data set of every kind; tests put back what they damage."""
    root = tmp_path_factory.mktemp("data")
    write_kitti_raw(root / "raw", ["2011_09_26_drive_0001"])
    write_kitti(root / "kitti", "00", count=6, calibration=CALIBRATION)
    write_frames(root / "kitti/sequences/00/image_1", [f"{k:06d}.png" for k in range(6)], seed=1)
    random = np.random.default_rng(3)
    colours = Image.fromarray(np.kron(random.integers(0, 256, (6, 10, 3), np.uint8),
                                      np.ones((4, 4, 1), np.uint8)))
    (root / "pictures").mkdir()
    for name, picture, options in (
            ("grey.png", colours.convert("L"), {}), ("palette.png", colours.quantize(64), {}),
            ("alpha.png", colours.convert("RGBA"), {}), ("colour.jpg", colours, {}),
            ("progressive.jpg", colours.convert("L"), {"progressive": True})):
        picture.save(root / "pictures" / name, **options)
    walk = write_frames(root / "walk", ["0.png", "1.png", "2.png"])
    (walk / "poses.txt").write_text("".join(
        f"1 0 0 {k}.25 0 1 0 0.5 0 0 1 {2 * k}.75\n" for k in range(3)))
    _write_json(walk / "intrinsics.json", {"units": "degrees", "horizontal_fov": 70})
    camera = {"fx": 31.25, "fy": 29.5, "cx": 18.75, "cy": 11.5, "width": 40, "height": 24}
    _write_json(root / "cameras/lens.json", {"units": "pixels", **camera, "distortion": {
        "model": "brown", "coefficients": [-0.21, 0.043, 0.0011, -0.0007]}})
    _write_json(root / "cameras/fractions.json", {
        "units": "normalized", "fx": 0.78, "fy": 1.31, "cx": 0.49, "cy": 0.51})
    _write_json(root / "cameras/ulm_camera.json", {
        "extrinsic": {"baseline": 0.209313, "pitch": 0.038},
        "intrinsic": {"fx": 2262.52, "fy": 2265.301, "u0": 1096.98, "v0": 513.137}})
    for place in ("Test134", "Gridlaserdata"):
        (root / "make3d" / place).mkdir(parents=True)
    colours.save(root / "make3d/Test134/img-a.jpg")
    savemat(root / "make3d/Gridlaserdata/depth_sph_corr-a.mat", do_compression=True,
            mdict={"Position3DGrid": random.uniform(1, 80, (55, 305, 4)).round(1)})
    scene = write_frames(root / "nyu/sync/den", ["rgb_00000.jpg", "rgb_00001.jpg"], (480, 640))
    for k in range(2):
        steps = np.repeat(random.integers(300, 9000, (480, 1)), 640, axis=1).astype(np.uint16)
        Image.fromarray(steps).save(scene / f"sync_depth_0000{k}.png")
    prepare(kitti_odometry.load(str(root / "kitti"), ("image_0", "image_1"), stereo=True),
            root / "prepared", NETWORK, "png", processes=1, frames_per_shard=4)
    return root


def _write_json(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def damage():
    """A function: (path, copies) -> each copy, written to the path; what was there comes back."""
    before = {}

    def through(path, copies):
        before[path] = path.read_bytes()
        for copy in copies:
            path.write_bytes(copy)
            yield copy
        path.write_bytes(before[path])

    yield through
    for path, content in before.items():  # also after a failure
        path.write_bytes(content)


def _is_plausible(found, intact):
    """Whether what was read could be intact: as many values, and finite where those are."""
    for name, value in intact.items():
        one, two = np.asarray(found[name]), np.asarray(value)
        assert one.shape == two.shape and one.dtype.kind == two.dtype.kind, name
        if one.dtype.kind == "f":
            assert (np.isfinite(one) >= np.isfinite(two)).all(), name


def test_there_are_enough():
    assert sum(victim.count for victim in VICTIMS.values()) >= 500


@pytest.mark.filterwarnings("error")  # an overflow is no sound ending
@pytest.mark.parametrize("kind", VICTIMS)
def test_user_error_or_sound_values(data, damage, kind):
    victim = VICTIMS[kind]
    path, refused = data / victim.path, 0
    intact = victim.read(data, str(path))
    copies = damaged(path.read_bytes(), victim.count, list(VICTIMS).index(kind), victim.head)
    for _ in damage(path, copies):
        try:
            found = victim.read(data, str(path))
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000
            assert all(word in str(error) for word in victim.named or (str(path),)), error
            refused += 1
            continue
        assert set(found) == set(intact)
        if victim.checksum:
            for name, value in intact.items():
                np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            _is_plausible(found, intact)
    assert refused >= victim.refused


@pytest.mark.filterwarnings("ignore:parsing timezone")  # of a digit that became a Z
def test_damaged_time_stamps_are_reported(data, damage, caplog):
    """They only scale a measured speed: a file that cannot be used is named in a warning."""
    path, warned = data / DRIVE / "image_02" / "timestamps.txt", 0
    intact = _raw(data, path)
    for _ in damage(path, damaged(path.read_bytes(), 30, seed=30)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = _raw(data, path)
        travel = found.pop("0 travel")
        np.testing.assert_array_equal(
            found["0 world_from_camera"], intact["0 world_from_camera"])
        assert travel.shape == (12,) and ((travel > 0) & (travel < 9.01)).all()
        if caplog.records:
            warned += 1
            np.testing.assert_allclose(travel, 0.9)
            assert f"{path}: not used" in caplog.text
    assert warned >= 12


def test_full_check_counts_damaged_frames(data, damage):
    """Frames in the middle of a drive, which no loader opens."""
    config = DataConfig("kitti_raw", str(data / "raw"), cameras=("image_02",), size=(32, 64))
    assert check.check_data(config, full=True).ok
    for path in (f"{DRIVE}/image_02/data/0000000006.png",
                 f"{DRIVE}/proj_depth/groundtruth/image_02/0000000006.png",
                 f"{DRIVE}/velodyne_points/data/0000000006.bin"):
        path = data / path
        for copy in damage(path, damaged(path.read_bytes()[:-12], 6, seed=31, head=60)):
            report = check.check_data(config, full=True)
            if path.suffix == ".png":
                assert not report.ok
                assert " 1 of " in str(report.problems[0]) and str(path) in str(report.problems[0])
            else:
                assert report.ok or str(path) in str(report.problems[0]), len(copy)


@pytest.mark.parametrize("old, new", [
    (b'"stereo"', b'"stereg"'), (b"25.2", b"2512"),
    (b'"intrinsics": [', b'"intrinsics": [' + 10**5 * b"["), (b"25.2", 400 * b"1")])
def test_manifests_that_flips_seldom_give(data, damage, old, new):
    path = data / "prepared/manifest.json"
    content = path.read_bytes()
    assert old in content
    for _ in damage(path, [content.replace(old, new, 1)]):
        with pytest.raises(UserError) as caught:
            prepared.load(str(path.parent), NETWORK)
        assert f"{path}: expected" in str(caught.value) and "damaged" in str(caught.value)


def test_points_beyond_any_lidar(data, damage):
    path = data / DRIVE / "velodyne_points/data/0000000005.bin"
    far = np.fromfile(path, np.float32)
    far[[9, 10]] *= 2.0 ** 64  # one bit of their exponents
    for _ in damage(path, [far.tobytes()]):
        with pytest.raises(UserError, match=r"5.bin: .* found 1 of 400 .* beyond 1000 m"):
            lidar.read_scan(str(path))


def test_a_picture_that_only_tensorflow_refuses(tmp_path):
    write_frames(tmp_path, ["0.jpg", "1.jpg", "2.jpg"])
    content = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(content[:-1] + b"\xdb")  # the end mark is none
    paths = [str(tmp_path / f"{k}.jpg") for k in range(3)]
    images.verify_image(paths[1])
    with pytest.raises(UserError, match="1.jpg: expected a PNG or JPEG image; .*damaged"):
        list(unreadable.readable(pipeline.frame_batches(paths, NETWORK, 3), paths))


@pytest.mark.parametrize("path, cache_megabytes", [
    (f"{DRIVE}/image_02/data/0000000006.png", 0), (f"{DRIVE}/image_02/data/0000000006.png", 9),
    (f"{DRIVE}/image_03/data/0000000006.png", 0),
    (f"{DRIVE}/proj_depth/groundtruth/image_02/0000000006.png", 0)])
def test_batches_over_a_damaged_picture(data, damage, path, cache_megabytes):
    drives = kitti_raw.load(str(data / "raw"), ("image_02",), stereo=True)
    source = pipeline.open_source(drives, DataConfig(size=NETWORK, stereo=True))
    path = data / path
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 8]) + content[middle + 1:]
    other = io.BytesIO()
    Image.open(path).crop((0, 0, 79, 24)).save(other, "PNG")
    for _ in damage(path, (b"", content[:20], content[:middle], flipped, other.getvalue())):
        with pytest.raises(UserError) as caught:
            list(pipeline.evaluation_batches(source, 4, with_depth=True,
                                             cache_megabytes=cache_megabytes))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_batches_over_a_damaged_shard(data, damage):
    source = pipeline.open_source(prepared.load(str(data / "prepared"), NETWORK),
                                  DataConfig(size=NETWORK))
    path = data / "prepared" / f"{_SHARD}.tfrecord"
    intact = list(pipeline.evaluation_batches(source, 16))
    refused = 0
    for _ in damage(path, damaged(path.read_bytes(), 12, seed=32)):
        try:
            found = list(pipeline.evaluation_batches(source, 16))
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(found[0].sources, intact[0].sources)
    assert refused >= 6
