"""Points of a depth map, against rays cut with planes and a small PLY reader of their own."""
import numpy as np
import pytest

from tfdepth.prediction.pointcloud import EDGE, PointCloud, edges, point_cloud, write_ply

SIZE = (21, 34)
CAMERA = np.array([[40.0, 0, 15.2], [0, 31.0, 12.6], [0, 0, 1]])


def read_ply(path):
    """(comments, [N, 6]) of a binary PLY of floats and bytes, by its header's own words."""
    data = path.read_bytes()
    header, _, body = data.partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    count, = (int(line.split()[2]) for line in lines if line.startswith("element vertex"))
    kinds = {"float": "<f4", "uchar": "|u1"}
    fields = [(line.split()[2], kinds[line.split()[1]]) for line in lines
              if line.startswith("property")]
    assert [name for name, _ in fields] == ["x", "y", "z", "red", "green", "blue"]
    size = sum(int(kind[-1]) for _, kind in fields)
    assert len(body) == count * size
    rows = np.empty((count, 6))
    for k in range(count):
        start = k * size
        for column, (_, kind) in enumerate(fields):
            width = int(kind[-1])
            rows[k, column] = np.frombuffer(body[start:start + width], kind)[0]
            start += width
    return [line for line in lines if line.startswith("comment")], rows


def _plane(normal, distance, size, camera):
    """Depth of the plane normal . X = distance: where a pixel's ray meets it, one by one."""
    depth = np.empty(size)
    for row in range(size[0]):
        for column in range(size[1]):
            ray = np.array([(column - camera[0, 2]) / camera[0, 0],
                            (row - camera[1, 2]) / camera[1, 1], 1.0])
            depth[row, column] = distance / (normal @ ray)
    return depth


def test_a_slanted_plane_is_whole_and_flat(tmp_path):
    normal, distance = np.array([0.3, -0.2, 0.9]), 4.0
    depth = _plane(normal, distance, SIZE, CAMERA)
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    path = tmp_path / "plane.ply"
    write_ply(path, point_cloud(image, depth, CAMERA, depth), "metres")
    comments, rows = read_ply(path)
    assert "metres" in comments[0] and len(rows) == SIZE[0] * SIZE[1]
    np.testing.assert_allclose(rows[:, :3] @ normal, distance, rtol=1e-5)
    np.testing.assert_array_equal(rows[:, 3:], image.reshape(-1, 3))
    back = rows[:, :3] @ CAMERA.T
    rows_of, columns_of = np.mgrid[:SIZE[0], :SIZE[1]].reshape(2, -1)
    np.testing.assert_allclose(back[:, 0] / back[:, 2], columns_of, atol=1e-4)
    np.testing.assert_allclose(back[:, 1] / back[:, 2], rows_of, atol=1e-4)


def test_nothing_hangs_between_two_walls():
    """A near wall before a far one, four times the network's size: a resized depth has slopes."""
    network = np.where(np.arange(12) < 5, 2.0, 6.0) * np.ones([9, 1])
    network[:4, 9:] = 2.5                                              # with corners
    size = (36, 48)
    columns = np.clip((np.arange(48) + 0.5) / 4 - 0.5, 0, 11)
    rows = np.clip((np.arange(36) + 0.5) / 4 - 0.5, 0, 8)
    depth = np.empty(size)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            top, left = min(int(row), 7), min(int(column), 10)
            a, b = row - top, column - left
            depth[i, j] = ((1 - a) * (1 - b) * network[top, left] + (1 - a) * b *
                           network[top, left + 1] + a * (1 - b) * network[top + 1, left]
                           + a * b * network[top + 1, left + 1])
    assert ((depth > 2.6) & (depth < 5.9)).sum() > 100
    image = np.zeros((*size, 3), np.uint8)
    cloud = point_cloud(image, depth, CAMERA, network)
    z = cloud.points[:, 2]
    assert all(np.isclose(z, each, rtol=1e-6).any() for each in (2.0, 2.5, 6.0))
    assert (np.isclose(z, 2.0) | np.isclose(z, 2.5) | np.isclose(z, 6.0)).all()
    assert 0.5 * depth.size < len(z) < depth.size


def test_edges_are_on_both_sides_and_relative():
    depth = np.full([5, 8], 10.0)
    depth[:, 4:] = 10.0 * (1 + 1.01 * EDGE)
    expected = np.zeros([5, 8], bool)
    expected[:, 3:5] = True
    for scale in (1.0, 1e-3):
        np.testing.assert_array_equal(edges(scale * depth), expected)
    depth[:, 4:] = 10.0 * (1 + 0.99 * EDGE)
    assert not edges(depth).any()


def test_all_points_may_be_edges(tmp_path):
    path = tmp_path / "none.ply"
    write_ply(path, PointCloud(np.zeros([0, 3], np.float32), np.zeros([0, 3], np.uint8)), "metres")
    assert read_ply(path)[1].shape == (0, 6)
    with pytest.raises(ValueError, match="image"):
        point_cloud(np.zeros([3, 4, 3], np.uint8), np.ones([4, 4]), CAMERA, np.ones([4, 4]))
