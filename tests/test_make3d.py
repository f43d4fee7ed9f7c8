"""Make3D: pairs of photographs and laser grids, the published middle, and damaged files."""
import struct

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from helpers import damaged
from tfdepth.checks import UserError
from tfdepth.data import make3d, mat_files

# tells rows, columns and entries apart: no two values are the same
GRID = (np.arange(4) * 20 + np.arange(55)[:, np.newaxis, np.newaxis] * 0.3
        + np.arange(305)[:, np.newaxis] * 0.0009 + 0.5)


def _write_set(root, names=("math11-p-10t000", "op1-p-313t000")):
    for folder in ("Test134", "Gridlaserdata"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (17, 23)).save(root / "Test134" / f"img-{name}.jpg")
        savemat(root / "Gridlaserdata" / f"depth_sph_corr-{name}.mat", {"Position3DGrid": GRID},
                do_compression=True)
    return root


def _refused(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*map(str, arguments))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _element(order, kind, data):
    return struct.pack(order + "II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def _matlab_bytes(name, array):
    """A MATLAB 5 file by its specification: the first index runs fastest."""
    element = lambda kind, data: _element("<", kind, data)
    matrix = (element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<3i", *array.shape))
              + element(1, name.encode()) + element(9, array.transpose(2, 1, 0).tobytes()))
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + element(14, matrix)


def test_pairs_by_name(tmp_path, caplog):
    first, second = make3d.test_frames(str(_write_set(tmp_path)))
    assert first == ("math11-p-10t000",
                     str(tmp_path / "Test134" / "img-math11-p-10t000.jpg"),
                     str(tmp_path / "Gridlaserdata" / "depth_sph_corr-math11-p-10t000.mat"))
    assert second.name == "op1-p-313t000" and second.mat_path.endswith("-op1-p-313t000.mat")
    assert "has 134 pairs; found 2" in caplog.text


def test_missing_partners_are_named(tmp_path):
    _write_set(tmp_path, ("a", "b", "c"))
    (tmp_path / "Test134" / "img-b.jpg").unlink()
    (tmp_path / "Gridlaserdata" / "depth_sph_corr-c.mat").unlink()
    assert ("2 files have no partner: img-c.jpg, depth_sph_corr-b.mat"
            in _refused(make3d.test_frames, tmp_path))
    (tmp_path / "Test134" / "photo.jpg").write_bytes(b"")
    assert "expected files img-NAME.jpg; found photo.jpg" in _refused(make3d.test_frames, tmp_path)
    assert "expected Test134/img-NAME.jpg" in _refused(make3d.test_frames, tmp_path / "Test134")
    assert "no such folder" in _refused(make3d.test_frames, tmp_path / "absent")


@pytest.mark.parametrize("compress", [False, True])
def test_depth_is_the_fourth_value(tmp_path, compress):
    savemat(tmp_path / "x.mat", {"other": {"a": 1}, "Position3DGrid": GRID},
            do_compression=compress)
    (tmp_path / "y.mat").write_bytes(_matlab_bytes("Position3DGrid", GRID))
    for name in ("x.mat", "y.mat"):
        depth = make3d.read_laser_depth(str(tmp_path / name))
        assert depth.shape == (55, 305) and depth.dtype == np.float32
        np.testing.assert_allclose(depth, GRID[:, :, 3], rtol=1e-6)
        np.testing.assert_allclose(depth[17, 300], 60.5 + 17 * 0.3 + 300 * 0.0009, rtol=1e-6)


def test_what_is_no_measurement_is_0(tmp_path):
    grid = GRID.copy()
    grid[3, 4:7, 3] = np.nan, np.inf, -2
    savemat(tmp_path / "x.mat", {"Position3DGrid": grid})
    depth = make3d.read_laser_depth(str(tmp_path / "x.mat"))
    assert (np.argwhere(depth == 0) == [[3, 4], [3, 5], [3, 6]]).all()


def test_the_published_middle():
    assert make3d.image_rows() == slice(710, 1562) and make3d.laser_rows() == slice(17, 38)
    assert make3d.image_rows((2272, 1704)) == slice(710, 1562)
    assert make3d.image_rows((1600, 1200)) == slice(500, 1100)
    assert make3d.laser_rows((1136, 852)) == slice(17, 38)  # the same shape
    assert make3d.image_rows((50, 100)) == slice(0, 50)
    assert make3d.laser_rows((50, 100)) == slice(0, 55)     # all of both
    with pytest.raises(ValueError, match="twice as wide"):
        make3d.image_rows((49, 100))


def test_the_middles_see_the_same_directions():
    # as parts of the height; a row of the grid is 1/55 of it
    for size in ((2272, 1704), (1600, 1200), (800, 1000), (500, 900)):
        image, laser = make3d.image_rows(size), make3d.laser_rows(size)
        assert abs(image.start / size[0] - laser.start / 55) < 1 / 55
        assert abs(image.stop / size[0] - laser.stop / 55) < 1 / 55


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
def test_all_kinds_of_numbers(tmp_path, kind, compress):
    arrays = {"a": np.array([[0, 1, 2]]), "b": np.array([[1]]), "text": "x", "s": {"t": [1, 2]},
              "abcdefghi": np.arange(42).reshape(2, 3, 7), "c": np.array([[120.0], [-120.0]])}
    arrays = {name: array.astype(kind) if isinstance(array, np.ndarray) else array
              for name, array in arrays.items() if name != "c" or kind[0] in "fi"}
    savemat(tmp_path / "x.mat", arrays, do_compression=compress)
    for name, array in arrays.items():
        if isinstance(array, np.ndarray):
            read = mat_files.read_mat_array(str(tmp_path / "x.mat"), name)
            np.testing.assert_array_equal(read, array.astype(float))
    assert "(struct)" in _refused(mat_files.read_mat_array, tmp_path / "x.mat", "s")


def test_big_endian_and_small_numbers(tmp_path):
    """A file of the other byte order, and one whose array MATLAB stored as smaller numbers."""
    small = lambda kind, data: struct.pack(">HH", len(data), kind) + data.ljust(4, b"\0")
    element = lambda kind, data: _element(">", kind, data)
    matrix = (element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">2i", 2, 3))
              + small(1, b"ab") + element(4, struct.pack(">6H", 1, 2, 3, 4, 5, 60000)))
    (tmp_path / "x.mat").write_bytes(
        b"MATLAB 5.0".ljust(124) + b"\1\0MI" + element(14, matrix))
    np.testing.assert_array_equal(mat_files.read_mat_array(str(tmp_path / "x.mat"), "ab"),
                                  [[1, 3, 5], [2, 4, 60000]])


@pytest.mark.parametrize("content, words", [
    ({"Position3DGrid": GRID[:54]}, "expected Position3DGrid 55 x 305 x 4; found 54 x 305 x 4"),
    ({"Position3DGrid": GRID.transpose(1, 0, 2)}, "found 305 x 55 x 4"),
    ({"Grid": GRID}, "found 'Grid' (double)"),
    ({"Position3DGrid": {"a": 1}}, "found 'Position3DGrid' (struct)"),
    ({"Position3DGrid": np.array([[1, "a"]], object)}, "(cell)"),
    ({"Position3DGrid": "text"}, "(char)"),
    ({"Position3DGrid": GRID * 1j}, "found 'Position3DGrid' (complex)"),
    ({"Position3DGrid": np.zeros((0, 4))}, "an array is empty"),
    ({"Position3DGrid": GRID * 1000}, "in metres, at most 1000; found a largest one of 7"),
    ({"Position3DGrid": -GRID}, "found a largest one of 0")])
def test_bad_grids(tmp_path, content, words):
    savemat(tmp_path / "x.mat", content)
    message = _refused(make3d.read_laser_depth, tmp_path / "x.mat")
    assert "x.mat: expected" in message and words in message


@pytest.mark.parametrize("code, name", [(3, "object"), (16, "function"), (17, "opaque")])
def test_objects_are_refused(tmp_path, code, name):
    savemat(tmp_path / "x.mat", {"Position3DGrid": GRID})
    data = (tmp_path / "x.mat").read_bytes()
    savemat(tmp_path / "y.mat", {"evil": {"a": 1.0}})
    extra = bytearray((tmp_path / "y.mat").read_bytes()[128:])
    assert extra[16] == 2                                   # the class of a struct
    extra[16] = code
    (tmp_path / "x.mat").write_bytes(data + extra)
    message = _refused(make3d.read_laser_depth, tmp_path / "x.mat")
    assert "no object or function" in message and f"({name})" in message


def test_no_mat_file(tmp_path):
    assert "no such file" in _refused(make3d.read_laser_depth, tmp_path / "absent.mat")
    path = tmp_path / "x.mat"
    for data in (b"", b"depth", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400)):
        path.write_bytes(data)
        assert f"{path}: expected a MATLAB 5 file" in _refused(make3d.read_laser_depth, path)


def test_cut_where_it_would_not_show(tmp_path):
    path = tmp_path / "x.mat"
    savemat(path, {"Position3DGrid": GRID}, do_compression=True)
    data = bytearray(path.read_bytes())
    data[132:136] = struct.pack("<I", len(data) - 136 - 4)  # all values, but no checksum
    path.write_bytes(data[:-4])
    assert "a compressed variable has no end" in _refused(make3d.read_laser_depth, path)
    path.write_bytes(_matlab_bytes("Position3DGrid", GRID)[:-1])
    assert "bytes does not fit" in _refused(make3d.read_laser_depth, path)
    matrix = (_element("<", 6, struct.pack("<II", 6, 0))
              + _element("<", 5, struct.pack("<2i", 1, 3))
              + struct.pack("<HH4s", 1, 2, b"ab") + struct.pack("<HH6s", 2, 6, bytes(6)))
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\0\1IM" + _element("<", 14, matrix))
    assert "an element of 6 bytes does not fit" in _refused(mat_files.read_mat_array, path, "ab")


@pytest.mark.parametrize("compress", [False, True])
def test_damaged_grids(tmp_path, compress):
    path = tmp_path / "x.mat"
    savemat(path, {"Position3DGrid": GRID}, do_compression=compress)
    refused = 0
    for data in damaged(path.read_bytes(), 60, seed=1, head=200):
        path.write_bytes(data)
        try:
            depth = make3d.read_laser_depth(str(path))
        except UserError as error:
            assert str(error).startswith(f"{path}: expected") and "\n" not in str(error)
            refused += 1
        else:
            assert depth.shape == (55, 305) and np.isfinite(depth).all() and depth.min() >= 0
    assert refused >= 25
