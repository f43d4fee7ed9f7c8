"""NYU Depth v2: BTS's folders, the labelled file, real RGB-D frames in both, damaged files."""
import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from helpers import DATA, damaged, needs_shared
from tfdepth.checks import UserError
from tfdepth.data import images, nyu


def _write_scene(folder, frames, depths=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number in frames:
        Image.new("RGB", (640, 480)).save(folder / f"rgb_{number:05d}.jpg")
    for number in frames if depths is None else depths:
        Image.fromarray(np.full((480, 640), 1000 + number, np.uint16)).save(
            folder / f"sync_depth_{number:05d}.png")
    return folder


def _write_labelled(path, pictures, depths, **options):
    """As MATLAB stores pictures [480, 640, 3, N] and depths [480, 640, N]: axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("images", data=np.stack(pictures, -1).T, **options)
        file.create_dataset("depths", data=np.stack(depths, -1).T, **options)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    return path


def _patterns(count):
    """Pictures and depths in which every row, column, channel and frame differs."""
    row, column = np.mgrid[:480, :640]
    pictures = [np.stack([row % 251, column % 241, row // 2 + k], -1).astype(np.uint8)
                for k in range(count)]
    return pictures, [(1 + row / 100 + column / 1000 + 0.1 * k).astype(np.float32)
                      for k in range(count)]


def _real_frame(k):
    """Picture and depth in millimetres of the shared hand-held recording."""
    return (np.asarray(Image.open(DATA / "rgbd_room" / "color" / f"{k}.png").convert("RGB")),
            np.asarray(Image.open(DATA / "rgbd_room" / "depth" / f"{k}.pgm")).astype(np.uint16))


def _refused(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_scenes_and_numbers(tmp_path):
    _write_scene(tmp_path / "sync" / "kitchen_0028b", [0, 1, 2, 5])
    _write_scene(tmp_path / "sync" / "bath_0001", [3, 4])
    _write_scene(tmp_path / "official_splits" / "test" / "kitchen", [44, 45])
    _write_scene(tmp_path / "official_splits" / "train" / "kitchen", [46])
    bath, kitchen, test = nyu.load(str(tmp_path))
    assert [drive.name for drive in (bath, kitchen, test)] == [
        "sync/bath_0001", "sync/kitchen_0028b", "test/kitchen"]
    assert kitchen.frame_numbers == (0, 1, 2, 5) and bath.frame_numbers == (3, 4)
    assert np.diff(test.frame_numbers).min() > 1000  # stills have no neighbours
    assert test.image_paths[1] == str(tmp_path / "official_splits/test/kitchen/rgb_00045.jpg")
    assert test.depth_paths[1] == str(tmp_path / "official_splits/test/kitchen/"
                                                 "sync_depth_00045.png")
    assert kitchen.size == (480, 640) and kitchen.file_size is None
    depth = images.read_depth(kitchen.depth_paths[3], kitchen.depth_divisor)
    np.testing.assert_allclose(depth, 1.005)


def test_rays_are_those_of_the_toolbox():
    inverse = np.linalg.inv(nyu.intrinsics())
    for row, column in ((0, 0), (479, 3), (100, 639)):
        x = ((column + 1) - 325.5824) / 518.8579   # MATLAB: the first column is 1
        y = ((row + 1) - 253.7362) / 519.4696
        np.testing.assert_allclose(inverse @ [column, row, 1], [x, y, 1], rtol=1e-12)


@needs_shared
def test_real_frames_in_both_forms(tmp_path):
    picture, depth = _real_frame(1)
    assert depth.max() > 1000 and picture.shape == (480, 640, 3)
    folder = tmp_path / "official_splits" / "test" / "room"
    folder.mkdir(parents=True)
    Image.fromarray(picture).save(folder / "rgb_00000.jpg", quality=95)
    Image.fromarray(depth).save(folder / "sync_depth_00000.png")
    drive, = nyu.load(str(tmp_path))
    read = images.read_depth(drive.depth_paths[0], drive.depth_divisor)
    np.testing.assert_array_equal(np.rint(1000 * read), depth)
    assert np.abs(images.read_image(drive.image_paths[0]) - picture.astype(float)).mean() < 3
    labelled = nyu.LabelledFile(str(_write_labelled(
        tmp_path / "nyu.mat", [picture], [(depth / 1000).astype(np.float32)])))
    np.testing.assert_array_equal(labelled.image(0), picture)
    np.testing.assert_allclose(labelled.depth(0), read)


def test_missing_partners_are_named(tmp_path):
    scene = _write_scene(tmp_path / "sync" / "den", range(4), [1, 2, 7])
    assert (f"{scene}: expected pairs rgb_00000.jpg and sync_depth_00000.png; found 4 frames, 3 "
            "depth maps, without partner: rgb_00000.jpg, rgb_00003.jpg, sync_depth_00007.png."
            == _refused(nyu.load, str(tmp_path)))


def test_what_is_wrong_with_folders(tmp_path):
    assert "no such folder" in _refused(nyu.load, str(tmp_path / "absent"))
    assert "expected sync/SCENE/rgb_00000.jpg or" in _refused(nyu.load, str(tmp_path))
    (tmp_path / "sync").mkdir()
    assert "expected a folder for each scene" in _refused(nyu.load, str(tmp_path))
    scene = tmp_path / "sync" / "den"
    scene.mkdir()
    assert "found 0 frames, 0 depth maps" in _refused(nyu.load, str(tmp_path))
    _write_scene(scene, [0, 1])
    Image.new("RGB", (320, 240)).save(scene / "rgb_00000.jpg")
    assert "rgb_00000.jpg: expected 640 x 480 pixels; found 320 x 240" in _refused(
        nyu.load, str(tmp_path))
    Image.new("RGB", (320, 240)).save(scene / "rgb_1.jpg")
    assert "rgb_1.jpg: expected a name as rgb_00000.jpg or" in _refused(nyu.load, str(tmp_path))


def test_labelled_frames(tmp_path):
    pictures, depths = _patterns(3)
    path = _write_labelled(tmp_path / "nyu.mat", pictures, depths, chunks=True, compression="gzip",
                           compression_opts=1)
    labelled = nyu.LabelledFile(str(path))
    assert len(labelled) == 3 and labelled.test_indices() is None
    for k in range(3):
        assert labelled.image(k).dtype == np.uint8 and labelled.depth(k).dtype == np.float32
        np.testing.assert_array_equal(labelled.image(k), pictures[k])
        np.testing.assert_array_equal(labelled.depth(k), depths[k])
    assert labelled.image(1)[400, 7].tolist() == [400 % 251, 7, 201]
    for k in (-1, 3):
        with pytest.raises(IndexError):
            labelled.image(k)
    savemat(tmp_path / "splits.mat", {"testNdxs": [[1], [3]], "trainNdxs": [[2]]})
    assert labelled.test_indices().tolist() == [0, 2]
    for wrong in ([[0]], [[4]], [[1.5]], [[2], [2]], [[np.nan]]):
        savemat(tmp_path / "splits.mat", {"testNdxs": wrong})
        message = _refused(labelled.test_indices)
        assert message.startswith(str(tmp_path / "splits.mat")) and "from 1 to 3" in message


def test_a_bad_depth_in_the_labelled_file(tmp_path):
    pictures, depths = _patterns(2)
    depths[1][5, 9] = np.nan
    labelled = nyu.LabelledFile(str(_write_labelled(tmp_path / "nyu.mat", pictures, depths)))
    np.testing.assert_array_equal(labelled.depth(0), depths[0])
    assert "expected depths in metres; found nan to nan in frame 1" in _refused(labelled.depth, 1)


def test_what_is_no_labelled_file(tmp_path):
    path = tmp_path / "nyu.mat"
    assert f"{path}: no such file" in _refused(nyu.LabelledFile, str(path))
    path.write_text("text")
    assert "no HDF5" in _refused(nyu.LabelledFile, str(path))
    pictures, depths = _patterns(1)
    for arrays, found in (
            ({"depths": np.stack(depths).transpose(0, 2, 1)}, "found depths."),
            ({"images": np.zeros((1, 480, 640, 3), np.uint8), "depths": np.zeros((1, 640, 480))},
             "found images uint8 [1, 480, 640, 3]"),
            ({"images": np.zeros((1, 3, 640, 480)), "depths": np.zeros((1, 640, 480))},
             "found images float64"),
            ({"images": np.zeros((2, 3, 640, 480), np.uint8), "depths": np.zeros((1, 640, 480))},
             "depths float64 [1, 640, 480]"),
            ({"images": np.zeros((0, 3, 640, 480), np.uint8), "depths": np.zeros((0, 640, 480))},
             "found images uint8 [0,")):
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
        message = _refused(nyu.LabelledFile, str(path))
        assert message.startswith(f"{path}: expected") and found in message


@pytest.mark.parametrize("way", ["link", "external", "virtual"])
def test_arrays_in_other_files_are_not_read(tmp_path, way):
    pictures, depths = _patterns(1)
    other = _write_labelled(tmp_path / "other.mat", pictures, depths)
    path = tmp_path / "nyu.mat"
    with h5py.File(path, "w") as file:
        file.create_dataset("depths", data=np.stack(depths, -1).T)
        if way == "link":
            file["images"] = h5py.ExternalLink(str(other), "images")
        elif way == "external":
            file.create_dataset("images", (1, 3, 640, 480), np.uint8,
                                external=[(str(other), 0, 640 * 480 * 3)])
        else:
            layout = h5py.VirtualLayout((1, 3, 640, 480), np.uint8)
            layout[:] = h5py.VirtualSource(str(other), "images", (1, 3, 640, 480))
            file.create_virtual_dataset("images", layout)
    assert "both in the file itself" in _refused(nyu.LabelledFile, str(path))


def test_damaged_labelled_files(tmp_path):
    pictures, depths = _patterns(1)
    path = _write_labelled(tmp_path / "nyu.mat", pictures, depths, chunks=True,
                           compression="gzip", compression_opts=1)
    refused = 0
    for data in damaged(path.read_bytes(), 60, seed=3, head=6000):
        path.write_bytes(data)
        try:
            labelled = nyu.LabelledFile(str(path))
            picture, depth = labelled.image(0), labelled.depth(0)
        except UserError as error:
            assert str(error).startswith(f"{path}: expected") and "\n" not in str(error)
            refused += 1
        else:
            assert picture.shape == (480, 640, 3) and depth.shape == (480, 640)
    assert refused >= 25


def test_damaged_splits_and_pictures(tmp_path):
    pictures, depths = _patterns(1)
    labelled = nyu.LabelledFile(str(_write_labelled(tmp_path / "nyu.mat", pictures, depths)))
    _write_scene(tmp_path / "sync" / "den", [0, 1])
    savemat(tmp_path / "splits.mat", {"testNdxs": [[1]]})

    def read_splits():
        assert labelled.test_indices().tolist() == [0]

    def read_scene():
        drive, = nyu.load(str(tmp_path))
        images.read_image(drive.image_paths[0])
        images.read_depth(drive.depth_paths[0], drive.depth_divisor)

    for path, read in ((tmp_path / "splits.mat", read_splits),
                       (tmp_path / "sync/den/rgb_00000.jpg", read_scene),
                       (tmp_path / "sync/den/sync_depth_00000.png", read_scene)):
        good, refused = path.read_bytes(), 0
        for data in damaged(good, 30, seed=4, head=200):
            path.write_bytes(data)
            try:
                read()
            except UserError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                refused += 1
        assert refused >= 8
        path.write_bytes(good)
