"""Folders of frames, videos, the camera file, frame numbers; and files damaged at random."""
import os

import imageio.v3 as iio
import numpy as np
import pytest

from data_folders import SIZE, write_camera, write_frames, write_kitti, write_poses
from tfdepth.checks import UserError
from tfdepth.data import folder, frame_numbers, images, intrinsics_file, kitti_odometry, video


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The tests' own cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tfdepth"


def _refused(*arguments, read=folder.load):
    """The message of the UserError that `read` must raise."""
    with pytest.raises(UserError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _write_video(path, count=6, size=(48, 64)):
    """Frame k is grey of brightness 40 k."""
    frames = np.stack([np.full((*size, 3), 40 * k, np.uint8) for k in range(count)])
    if path.suffix == ".gif":
        iio.imwrite(path, frames, plugin="pillow", duration=100)
    else:
        iio.imwrite(path, frames, plugin="FFMPEG", fps=10, macro_block_size=1)
    return path


def test_one_folder_is_one_drive(tmp_path):
    walk = write_frames(tmp_path / "walk", ["f9.png", "f10.JPG", "f11.jpeg", "f13.png"])
    write_camera(walk)
    (walk / "notes.txt").write_text("does not matter")
    write_poses(walk / "poses.txt", [(k, 0, 0) for k in range(4)])
    drive, = folder.load(str(walk) + "/")
    assert drive.name == "walk" and drive.size == SIZE
    assert [os.path.basename(path) for path in drive.image_paths] == [
        "f9.png", "f10.JPG", "f11.jpeg", "f13.png"]
    assert drive.frame_numbers == (9, 10, 11, 13)
    np.testing.assert_allclose(drive.world_from_camera[:, 0, 3], range(4))
    focal_length = 20 / np.tan(np.radians(35))
    np.testing.assert_allclose(
        drive.intrinsics, [[focal_length, 0, 19.5], [0, focal_length, 11.5], [0, 0, 1]])


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_camera(write_frames(tmp_path / "walk", ["0.png", "1.png"]))
    assert len(folder.load("~/walk")[0]) == 2


def test_folders_are_drives_with_their_own_or_the_common_camera(tmp_path):
    for name in ("day10", "day2"):
        write_frames(tmp_path / name, ["0.png", "1.png"])
    (tmp_path / "empty").mkdir()
    write_camera(tmp_path)
    write_camera(tmp_path / "day10", units="degrees", horizontal_fov=100)
    first, second = folder.load(str(tmp_path))
    assert (first.name, second.name) == ("day2", "day10")
    assert first.intrinsics[0, 0] > second.intrinsics[0, 0]
    other = tmp_path / "empty" / "other.json"
    write_camera(tmp_path / "empty", units="degrees", horizontal_fov=50).rename(other)
    for drive in folder.load(str(tmp_path), str(other)):
        np.testing.assert_allclose(drive.intrinsics[0, 0], 20 / np.tan(np.radians(25)))


def test_folders_beside_images_are_left_out_aloud(tmp_path, caplog):
    write_camera(write_frames(tmp_path, ["0.png", "1.png"]))
    write_frames(tmp_path / "depth", ["0.png", "1.png"])
    assert len(folder.load(str(tmp_path))) == 1
    assert "left out: depth" in caplog.text


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_is_decoded_once(tmp_path, suffix, cache, monkeypatch):
    path = _write_video(tmp_path / f"clip{suffix}")
    assert "expected a camera file" in _refused(str(path))
    write_camera(tmp_path).rename(tmp_path / "clip.json")
    drive, = folder.load(str(path))
    assert drive.name == "clip" and drive.size == (48, 64)
    assert drive.frame_numbers == tuple(range(6))
    for k, image in enumerate(drive.image_paths):
        assert abs(images.read_image(image).mean() - 40 * k) < 6
    made, = os.listdir(cache)
    with monkeypatch.context() as no_decoder:
        no_decoder.setattr(video, "_write_frames", None)
        assert folder.load(str(tmp_path))[0].image_paths == drive.image_paths
    os.utime(path, (1, 1))  # another file now
    assert folder.load(str(path))[0].image_paths != drive.image_paths
    assert len(os.listdir(cache)) == 2 and made in os.listdir(cache)


def test_bad_videos(tmp_path, cache):
    write_camera(tmp_path)
    data = _write_video(tmp_path / "good.mp4").read_bytes()
    for name, content in (("half.mp4", data[:len(data) // 2]), ("text.mp4", b"text"),
                          ("empty.avi", b"")):
        (tmp_path / name).write_bytes(content)
        message = _refused(str(tmp_path / name))
        assert name in message and "expected a video; ffmpeg could not read it" in message
    _write_video(tmp_path / "one.mp4", count=1)
    assert "several frames; found 1" in _refused(str(tmp_path / "one.mp4"))
    assert not os.listdir(cache)


def test_nothing_to_read(tmp_path):
    assert "no such folder" in _refused(str(tmp_path / "absent"))
    message = _refused(str(tmp_path))
    assert "expected images (.png" in message and "found nothing" in message
    (tmp_path / "notes.txt").write_text("x")
    assert "found notes.txt" in _refused(str(tmp_path))
    assert "found another file" in _refused(str(tmp_path / "notes.txt"))
    assert "--config.data.root: expected" in _refused("")


def test_bad_frames(tmp_path):
    write_camera(write_frames(tmp_path, ["0.png"]))
    assert "found one (0.png)" in _refused(str(tmp_path))
    write_frames(tmp_path, ["1.png", "2.png"])
    data = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(data[:30])
    assert "1.png" in _refused(str(tmp_path)) and "truncated" in _refused(str(tmp_path))
    (tmp_path / "1.png").write_text("text")
    assert "found text ('text')" in _refused(str(tmp_path))
    write_frames(tmp_path, ["1.png"], size=(24, 44))
    assert "1.png: expected 40 x 24" in _refused(str(tmp_path))
    write_frames(tmp_path, ["1.png", "01.jpg"])
    assert "one image a frame" in _refused(str(tmp_path))


def test_poses_for_other_frames(tmp_path):
    write_camera(write_frames(tmp_path, ["0.png", "1.png"]))
    write_poses(tmp_path / "poses.txt", [(0, 0, 0)] * 3)
    assert "a row for each of the 2 images; found 3" in _refused(str(tmp_path))


@pytest.mark.parametrize("names, numbers", [
    (["a1", "a2", "a4"], (1, 2, 4)),                               # a hole stays a hole
    (["0", "5", "10", "20"], (0, 1, 2, 4)),                        # stride 5
    (["100", "110", "130"], (0, 1, 3)),
    (["a", "b", "c"], (0, 1, 2)),                                  # no numbers
    (["f9b", "f10b", "f10c"], (0, 1, 2)),
    (["12-00-59", "12-01-00", "12-01-01"], (0, 1, 2)),             # clock times
    (["1305.9", "1306.1", "1306.12"], (0, 1, 2)),
    ([str(10**18 + t) for t in (0, 33_334, 66_660, 133_345)], (0, 1, 2, 4)),  # time stamps
    (["9" * 40, "9" * 39 + "8", "5"], None)])
def test_frame_numbers(names, numbers):
    order, found = frame_numbers.number_frames("folder", [f"{name}.png" for name in names[::-1]])
    if numbers is None:  # far apart, and still int32
        assert found[0] == 0 and found[1] > 1000 and found[2] == found[1] + 1 < 2**31
    else:
        assert found == numbers and order == [f"{name}.png" for name in names]


def test_two_cameras_in_one_folder():
    names = ["left_1.png", "left_2.png", "right_1.png", "right_2.png"]
    assert "'left_' and 'right_'" in _refused("folder", names, read=frame_numbers.number_frames)


PIXELS = {"units": "pixels", "fx": 60, "fy": 62, "cx": 41, "cy": 22, "width": 80, "height": 48}


def test_camera_units_agree(tmp_path):
    """The same camera in pixels of another size, in fractions and as an angle."""
    scaled = intrinsics_file.read_intrinsics(str(write_camera(tmp_path, **PIXELS)), SIZE)
    np.testing.assert_allclose(
        scaled, [[30, 0, 41.5 / 2 - 0.5], [0, 31, 22.5 / 2 - 0.5], [0, 0, 1]])
    fractions = intrinsics_file.read_intrinsics(str(write_camera(
        tmp_path, units="normalized", fx=60 / 80, fy=62 / 48, cx=41.5 / 80, cy=22.5 / 48)), SIZE)
    np.testing.assert_allclose(fractions, scaled)
    angle = intrinsics_file.read_intrinsics(str(write_camera(
        tmp_path, units="degrees", horizontal_fov=90, width=1000, height=600)), SIZE)
    np.testing.assert_allclose(angle, [[20, 0, 19.5], [0, 20, 11.5], [0, 0, 1]])
    np.testing.assert_allclose(intrinsics_file.field_of_view(angle, SIZE)[0], 90)


@pytest.mark.parametrize("change, words", [
    ({"units": None}, ["units must be one of pixels, normalized, degrees", "None"]),
    ({"units": "pixel"}, ["Did you mean 'pixels'?"]),
    ({"fy": None}, ["fy must be a positive number", "None"]),
    ({"fx": -3}, ["fx must be a positive number", "-3"]),
    ({"fx": float("nan")}, ["fx must be a positive number"]),
    ({"fx": 10**400}, ["fx must be a positive number"]),
    ({"fx": True}, ["fx must be a positive number", "True"]),
    ({"k1": 0.1}, ["must be one of fx, fy", "'k1'"]),
    ({"width": 81, "height": 40}, ["camera for 81 x 40", "frames are 40 x 24", "cropped"]),
    ({"width": 48, "height": 80}, ["turned by 90 degrees"]),
    ({"fx": 0.7, "fy": 1.3, "cx": 0.5, "cy": 0.5},
     ["field of view of 178", "at most 170", "fractions of the image size"]),
    ({"units": "normalized"}, ["field of view of 1.", "at least 5", "Are these pixels"]),
    ({"cx": 95}, ["principal point inside the 40 x 24 image"])])
def test_bad_cameras(tmp_path, change, words):
    path = write_camera(tmp_path, **{**PIXELS, **change})
    message = _refused(str(path), SIZE, read=intrinsics_file.read_intrinsics)
    for word in (str(path), *words):
        assert word in message


def test_distortion_is_read_for_undistortion_and_refused_for_frames(tmp_path):
    for model, coefficients in (("brown", [-0.3, 0.1, 0.001, -0.002]), ("brown", [0, 0, 0, 0, 1]),
                                ("fisheye", [0.1, 0, 0, 0])):
        path = str(write_camera(tmp_path, **PIXELS, distortion={
            "model": model, "coefficients": coefficients}))
        camera, distortion = intrinsics_file.read_camera(path, SIZE)
        assert distortion == (model, tuple(coefficients))
        message = _refused(path, SIZE, read=intrinsics_file.read_intrinsics)
        assert f"found lens distortion ({model}). Run tools/prepare_data.py video" in message
        plain = str(write_camera(tmp_path, **PIXELS))
        np.testing.assert_array_equal(camera, intrinsics_file.read_intrinsics(plain, SIZE))
    none = {"model": "brown", "coefficients": [0, 0.0, 0, 0, 0]}
    intrinsics_file.read_intrinsics(str(write_camera(tmp_path, **PIXELS, distortion=none)), SIZE)
    fractions = {"units": "normalized", "fx": 0.7, "fy": 1.2, "cx": 0.5, "cy": 0.5}
    fractions["distortion"] = {"model": "brown", "coefficients": [1, 0, 0, 0]}
    camera = intrinsics_file.read_camera(str(write_camera(tmp_path, **fractions)), SIZE)
    assert camera[1] == ("brown", (1, 0, 0, 0))


@pytest.mark.parametrize("distortion, words", [
    (0.1, ["expected \"distortion\"", "found 0.1"]),
    ({"model": "brown"}, ["expected \"distortion\""]),
    ({"model": "brow", "coefficients": [0] * 4}, ["Did you mean 'brown'?"]),
    ({"model": 3, "coefficients": [0] * 4}, ["brown, fisheye", "3"]),
    ({"model": "brown", "coefficients": [0] * 3}, ["brown", "k1, k2, p1, p2[, k3]"]),
    ({"model": "fisheye", "coefficients": [0] * 5}, ["fisheye", "k1, k2, k3, k4"]),
    ({"model": "fisheye", "coefficients": "0000"}, ["list of finite numbers"]),
    ({"model": "fisheye", "coefficients": [0, 0, 0, "0"]}, ["list of finite numbers"]),
    ({"model": "fisheye", "coefficients": [0, 0, 0, float("nan")]}, ["list of finite numbers"])])
def test_bad_distortion(tmp_path, distortion, words):
    path = str(write_camera(tmp_path, **PIXELS, distortion=distortion))
    message = _refused(path, SIZE, read=intrinsics_file.read_camera)
    for word in (path, *words):
        assert word in message


@pytest.mark.parametrize("text, words", [
    ("", ["empty"]), ("{", ["expected JSON"]), ("[" * 100_000, ["expected JSON"]),
    ("[1, {}]", ["found no units"]), ('{"fx": 1}', ["found no units"]),
    ("707 0 602 0 707 183 0 0 1", ["9 numbers without units", "intrinsics.json"]),
    ('{"units": "pixels", "fx": 3}', ["missing: fy, cx, cy, width, height"]),
    ('{"units": "degrees", "horizontal_fov": 181}', ["between 0 and 180"]),
    ('{"units": "degrees", "horizontal_fov": 60, "width": 3}', ["both width and height"]),
    ('{"units": "degrees", "horizontal_fov": 60, "distortion": {}}', ["got 'distortion'"])])
def test_bad_camera_files(tmp_path, text, words):
    path = tmp_path / "camera.json"
    path.write_text(text)
    message = _refused(str(path), SIZE, read=intrinsics_file.read_intrinsics)
    for word in words:
        assert word in message


def test_a_plain_matrix_is_not_guessed(tmp_path):
    write_frames(tmp_path, ["0.png", "1.png"])
    message = _refused(str(tmp_path))
    assert "expected a camera file" in message and "horizontal_fov" in message
    (tmp_path / "cam.txt").write_text("30 0 20\n0 30 12\n0 0 1\n")
    assert "cam.txt does not declare its units" in _refused(str(tmp_path))
    assert "without units" in _refused(str(tmp_path), str(tmp_path / "cam.txt"))
    assert "no such file" in _refused(str(tmp_path), str(tmp_path / "absent.json"))


def _damage(random, data):
    """Cuts, flips bits, overwrites, repeats or empties."""
    data, kind = bytearray(data), random.integers(5)
    place = int(random.integers(len(data)))
    if kind == 0:
        return bytes(data[:place])
    if kind == 1:
        for index in random.integers(len(data), size=random.integers(1, 6)):
            data[index] ^= 1 << int(random.integers(8))
    elif kind == 2:
        data[place:place + 4] = random.bytes(4)
    elif kind == 3:
        data[place:place] = data[place // 2:place]
    else:
        data[place:place + 1] = random.choice([b"", b"-", b"e", b"9" * 30, b"\n", b"\0", b"nan "])
    return bytes(data)


def test_damaged_files_end_in_success_or_user_error(tmp_path):
    kitti = write_kitti(tmp_path / "kitti", count=3)
    walk = write_frames(tmp_path / "walk", ["0.png", "1.jpg", "2.png"])
    write_camera(walk, **PIXELS)
    write_poses(walk / "poses.txt", [(k, 0, 0) for k in range(3)])
    images.write_depth(str(tmp_path / "depth.png"), np.linspace(1, 9, 12).reshape(3, 4))
    sequence = kitti / "sequences" / "00"

    def read_kitti():
        for path in kitti_odometry.load(str(kitti))[0].image_paths:
            images.verify_image(path)
            images.read_image(path)

    def read_walk():
        for path in folder.load(str(walk))[0].image_paths:
            images.read_image(path)

    victims = [(sequence / "image_0" / "000001.png", read_kitti),
               (sequence / "calib.txt", read_kitti),
               (kitti / "poses" / "00.txt", read_kitti), (walk / "1.jpg", read_walk),
               (walk / "intrinsics.json", read_walk), (walk / "poses.txt", read_walk),
               (tmp_path / "depth.png", lambda: images.read_depth(str(tmp_path / "depth.png")))]
    random, refused = np.random.default_rng(11), 0
    for k in range(280):
        path, read = victims[k % len(victims)]
        good = path.read_bytes()
        path.write_bytes(_damage(random, good))
        try:
            read()
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error), error
        path.write_bytes(good)
    assert refused > 100
    read_kitti()
    read_walk()
