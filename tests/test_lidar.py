"""LiDAR depth: published maps point for point, a slow projection, the cache, bad files."""
import json
import os

import numpy as np
import pytest
from helpers import DATA, PARITY, needs_shared, parity

from tfdepth.checks import UserError
from tfdepth.data import lidar

IMAGE_FROM_LIDAR = np.array([[0.3, -20, 0.5, 1.0], [0.2, 0.4, -15, 2.0], [0, 0.01, -0.02, 0.1]])
IMAGE_FROM_LIDAR[:, 0] += [9.0, 5.0, 1.0]  # unequal focal lengths, off centre, tilted


def object_frame(frame):
    """Path of the scan and image_from_lidar of a frame of KITTI's object data."""
    folder = DATA / "kitti_object" / "training"
    matrices = {}
    for line in (folder / "calib" / f"{frame}.txt").read_text().splitlines():
        name, _, values = line.partition(":")
        matrices[name] = np.array(values.split(), float)
    rotation, camera_from_lidar = np.eye(4), np.eye(4)
    rotation[:3, :3] = matrices["R0_rect"].reshape(3, 3)
    camera_from_lidar[:3] = matrices["Tr_velo_to_cam"].reshape(3, 4)
    return (str(folder / "velodyne" / f"{frame}.bin"),
            matrices["P2"].reshape(3, 4) @ rotation @ camera_from_lidar)


def random_scan(path, count=400, seed=5):
    random = np.random.default_rng(seed)
    points = random.uniform([-3, -6, -3, 0], [30, 6, 2, 1], [count, 4]).astype("<f4")
    points.tofile(path)
    return points


def smallest_depth_by_loops(points, image_from_lidar, size, value):
    """The rules, one point at a time; shares no code with tfdepth."""
    found = {}
    for point in points.astype(np.float64):
        if point[0] < 0:
            continue
        u, v, z = image_from_lidar @ [*point[:3], 1.0]
        pixel = round(v / z) - 1, round(u / z) - 1  # half to even
        if 0 <= pixel[0] < size[0] and 0 <= pixel[1] < size[1]:
            depth = point[0] if value == "forward" else z
            found[pixel] = min(depth, found.get(pixel, np.inf))
    depth = np.zeros(size)
    for pixel, nearest in found.items():
        depth[pixel] = max(nearest, 0)
    return depth


@needs_shared
@pytest.mark.parametrize("frame", ["000000", "000001"])
@pytest.mark.parametrize("value, key", [("forward", "x"), ("camera", "z")])
def test_published_maps(frame, value, key):
    expected = parity("evaluation", "depth_gt.npz")
    path, image_from_lidar = object_frame(frame)
    size = tuple(expected[f"f{frame}_shape"])
    points = lidar.read_scan(path)
    counts = json.loads((PARITY / "evaluation" / "depth_metrics.json").read_text())[frame]
    assert (len(points), np.sum(points[:, 0] >= 0)) == (counts["num_lidar_points"],
                                                        counts["num_front"])
    found = lidar.sparse_depth(points, image_from_lidar, size, value)
    assert (found.rows.dtype, found.columns.dtype, found.depth.dtype) == (
        np.uint16, np.uint16, np.float32)
    np.testing.assert_array_equal(found.rows, expected[f"f{frame}_rows"])
    np.testing.assert_array_equal(found.columns, expected[f"f{frame}_cols"])
    np.testing.assert_allclose(found.depth, expected[f"f{frame}_{key}"], rtol=1e-6)


@needs_shared
@pytest.mark.parametrize("value, key", [("forward", "x"), ("camera", "z")])
def test_special_cases(value, key):
    arrays = parity("evaluation", "depth_gt.npz")
    rotation, camera_from_lidar = np.eye(4), np.eye(4)
    rotation[:3, :3] = arrays["syn_R_rect"]
    camera_from_lidar[:3] = np.column_stack([arrays["syn_R"], arrays["syn_T"]])
    size = tuple(arrays["syn_shape"])
    sparse = lidar.sparse_depth(arrays["syn_points"],
                                arrays["syn_P"] @ rotation @ camera_from_lidar, size, value)
    found = lidar.depth_map(sparse, size)
    np.testing.assert_allclose(found, arrays[f"syn_exact_min_{key}"], rtol=1e-6)
    published = arrays[f"syn_depth_{key}"]
    np.testing.assert_allclose(found[:, 1:-1], published[:, 1:-1], rtol=1e-6)
    assert np.sum(np.abs(found - published) > 1e-3) == 8  # its defect in the outer columns


@pytest.mark.parametrize("value", lidar.VALUES)
def test_against_loops(tmp_path, value):
    points, size = random_scan(tmp_path / "0.bin"), (9, 14)
    sparse = lidar.sparse_depth(points, IMAGE_FROM_LIDAR, size, value)
    expected = smallest_depth_by_loops(points, IMAGE_FROM_LIDAR, size, value)
    assert 60 < len(sparse.depth) < np.sum(points[:, 0] >= 0) / 2  # pixels are shared
    np.testing.assert_allclose(lidar.depth_map(sparse, size), expected, rtol=1e-6)


def test_rules_by_hand():
    camera = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1.0]])  # depth 1, pixel = (-y, -z)
    camera[0, 1] = camera[1, 2] = -1
    points = np.array([
        [5, -1.5, -2.5, 0],    # rounds to (2, 2): column 1, row 1
        [4, -2.5, -1.6, 0],    # the same pixel, nearer
        [-1, -2, -2, 0],       # behind
        [7, -0.5, -3, 0],      # rounds to column 0, so -1: outside
        [0, -4, -4, 0],        # depth 0 is none
        [6, -3, -4, 0], [9, -4, -3, 0], [9, -6, -3, 0]], np.float32)
    found = lidar.sparse_depth(points, camera, (4, 5))
    np.testing.assert_array_equal(np.column_stack(found), [[1, 1, 4], [2, 3, 9], [3, 2, 6]])
    camera[2, 3] = 0
    assert len(lidar.sparse_depth(points, camera, (4, 5)).depth) == 0  # nowhere, and no warning


def test_wrong_arguments():
    points = np.ones([3, 4], np.float32)
    with pytest.raises(ValueError, match="`image_from_lidar` must have shape"):
        lidar.sparse_depth(points, np.eye(4), (4, 5))
    with pytest.raises(ValueError, match="value must be one of forward, camera; got 'x'"):
        lidar.sparse_depth(points, IMAGE_FROM_LIDAR, (4, 5), "x")
    with pytest.raises(ValueError, match="65536 pixels"):
        lidar.sparse_depth(points, IMAGE_FROM_LIDAR, (4, 70000))


@pytest.fixture
def projections(monkeypatch):
    """Counts how often a scan is projected, not taken from the cache."""
    calls, project = [], lidar.sparse_depth

    def counted(*arguments):
        calls.append(arguments)
        return project(*arguments)

    monkeypatch.setattr(lidar, "sparse_depth", counted)
    return calls


def test_the_cache_gives_the_same_bits(tmp_path, projections):
    scan, size = tmp_path / "0.bin", (9, 14)
    points = random_scan(scan)
    fresh = lidar.lidar_depth(str(scan), IMAGE_FROM_LIDAR, size, "camera", tmp_path / "cache")
    kept = lidar.lidar_depth(str(scan), IMAGE_FROM_LIDAR, size, "camera", tmp_path / "cache")
    assert len(projections) == 1 and kept.dtype == np.float32
    assert fresh.tobytes() == kept.tobytes()
    np.testing.assert_allclose(
        kept, smallest_depth_by_loops(points, IMAGE_FROM_LIDAR, size, "camera"), rtol=1e-6)
    assert len(os.listdir(tmp_path / "cache")) == 1


def test_what_changes_is_made_anew(tmp_path, projections, monkeypatch):
    scan, size, cache = tmp_path / "0.bin", (9, 14), tmp_path / "cache"
    random_scan(scan)
    first = lidar.lidar_depth(str(scan), IMAGE_FROM_LIDAR, size, "forward", cache)
    turned = IMAGE_FROM_LIDAR.copy()
    turned[0, 3] += 1e-9
    lidar.lidar_depth(str(scan), turned, size, "forward", cache)
    wide = lidar.lidar_depth(str(scan), IMAGE_FROM_LIDAR, (9, 17), "forward", cache)
    assert wide[:, 14:].any() and np.array_equal(wide[:, :14], first)
    camera = lidar.lidar_depth(str(scan), IMAGE_FROM_LIDAR, size, "camera", cache)
    assert not np.array_equal(first, camera)
    monkeypatch.setattr(lidar, "VERSION", lidar.VERSION + 1)
    lidar.lidar_depth(str(scan), IMAGE_FROM_LIDAR, size, "forward", cache)
    assert len(projections) == 5
    points = random_scan(scan, seed=6)  # as many bytes
    os.utime(scan, ns=(1, 1))
    changed = lidar.lidar_depth(str(scan), IMAGE_FROM_LIDAR, size, "forward", cache)
    np.testing.assert_allclose(
        changed, smallest_depth_by_loops(points, IMAGE_FROM_LIDAR, size, "forward"), rtol=1e-6)
    assert len(projections) == 6


def test_a_damaged_cache_file_is_made_anew(tmp_path, projections):
    scan, size, cache = tmp_path / "0.bin", (9, 14), tmp_path / "cache"
    random_scan(scan)
    good = lidar.lidar_depth(str(scan), IMAGE_FROM_LIDAR, size, "forward", cache)
    kept = next(cache.iterdir())
    content = kept.read_bytes()
    damages = [b"", b"text", content[:-1], content[:len(content) // 2]]
    for place in range(3, len(content), 37):
        damages.append(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1:])
    for damage in damages:
        kept.write_bytes(damage)
        found = lidar.lidar_depth(str(scan), IMAGE_FROM_LIDAR, size, "forward", cache)
        np.testing.assert_array_equal(found, good)
    assert len(projections) > len(damages) / 2   # bytes that mean nothing, as dates, do no harm
    kept.write_bytes(b"")
    lidar.lidar_depth(str(scan), IMAGE_FROM_LIDAR, size, "forward", cache)
    assert kept.read_bytes() == content


def test_a_cache_file_that_says_it_is_shorter_is_made_anew(tmp_path, projections):
    scan, size, large = tmp_path / "0.bin", (90, 140), np.diag([10, 10, 1]) @ IMAGE_FROM_LIDAR
    random_scan(scan, count=50000)
    good = lidar.lidar_depth(str(scan), large, size, "forward", tmp_path / "cache")
    kept, count = next((tmp_path / "cache").iterdir()), np.count_nonzero(good)
    assert count > 7000
    content = kept.read_bytes()
    kept.write_bytes(content.replace(b"(%d," % count, b"(%04d," % 1000))  # in all arrays' headers
    assert kept.read_bytes() != content
    found = lidar.lidar_depth(str(scan), large, size, "forward", tmp_path / "cache")
    np.testing.assert_array_equal(found, good)
    assert len(projections) == 2


def test_the_default_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    random_scan(tmp_path / "0.bin")
    lidar.lidar_depth(str(tmp_path / "0.bin"), IMAGE_FROM_LIDAR, (9, 14))
    assert len(list((tmp_path / "xdg" / "tfdepth" / "lidar").glob("*.npz"))) == 1


def test_a_cache_that_cannot_be_written(tmp_path):
    points = random_scan(tmp_path / "0.bin")
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match="file: cannot keep LiDAR depth here"):
        found = lidar.lidar_depth(str(tmp_path / "0.bin"), IMAGE_FROM_LIDAR, (9, 14),
                                  cache=str(tmp_path / "file"))
    np.testing.assert_allclose(
        found, smallest_depth_by_loops(points, IMAGE_FROM_LIDAR, (9, 14), "forward"), rtol=1e-6)


@pytest.mark.parametrize("content, message", [
    (None, "0.bin: no such file; expected a LiDAR scan"),
    (b"", "the file is empty"),
    (b"\0" * 40, "found 40 bytes, no multiple of 16"),
    (np.array([[1, 2, 3, 0], [1, np.nan, 3, 0], [1, 2, 3, 0]], "<f4").tobytes(),
     "found 1 of 3 points that are not finite"),
    (np.array([[1, 2, np.inf, 0]], "<f4").tobytes(), "found 1 of 1 points")])
def test_bad_scans(tmp_path, content, message):
    path = tmp_path / "0.bin"
    if content is not None:
        path.write_bytes(content)
    for read in (lidar.read_scan,
                 lambda path: lidar.lidar_depth(path, IMAGE_FROM_LIDAR, (9, 14), cache=tmp_path)):
        with pytest.raises(UserError) as error:
            read(str(path))
        assert str(path) in str(error.value) and message in str(error.value)
    with pytest.raises(UserError, match=str(tmp_path)):
        lidar.read_scan(str(tmp_path))


def test_a_scan_is_read_as_it_is(tmp_path):
    points = random_scan(tmp_path / "0.bin", count=7)
    found = lidar.read_scan(str(tmp_path / "0.bin"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, points)
