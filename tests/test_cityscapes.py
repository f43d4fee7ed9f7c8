"""Cityscapes: snippets out of frame numbers, the cut above the bonnet, stereo, damaged files."""
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers import damaged
from tfdepth.checks import UserError
from tfdepth.data import cityscapes
from tfdepth.geometry import camera

# a camera file as the data set has them
CAMERA = {"extrinsic": {"baseline": 0.209313, "pitch": 0.038, "roll": 0.0, "x": 1.7, "y": 0.1,
                        "yaw": -0.0195, "z": 1.22},
          "intrinsic": {"fx": 2262.52, "fy": 2265.3017905988554, "u0": 1096.98, "v0": 513.137}}


def _picture(size=(1024, 2048)):
    file = io.BytesIO()
    Image.new("L", size[::-1], 90).save(file, "PNG", compress_level=1)
    return file.getvalue()


PICTURE = _picture()


def _write(root, snippets, sides=("left",), cameras=True):
    """snippets: {(split, city, sequence): frame numbers}; a camera file at the 20th frame."""
    for (split, city, sequence), numbers in snippets.items():
        for side in sides:
            folder = root / f"{side}Img8bit_sequence" / split / city
            folder.mkdir(parents=True, exist_ok=True)
            for number in numbers:
                name = f"{city}_{sequence:06d}_{number:06d}_{side}Img8bit.png"
                (folder / name).write_bytes(PICTURE)
        if cameras:
            _write_camera(root, split, city, sequence, list(numbers)[min(19, len(numbers) - 1)])
    return root


def _write_camera(root, split, city, sequence, number, content=None):
    folder = root / "camera" / split / city
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{city}_{sequence:06d}_{number:06d}_camera.json"
    path.write_text(json.dumps(CAMERA) if content is None else content)
    return path


def _refused(root, **arguments):
    with pytest.raises(UserError) as caught:
        cityscapes.load(str(root), **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_drive_for_each_run_of_frames(tmp_path):
    # one sequence with three runs, the second cut by a hole
    _write(tmp_path, {("train", "aachen", 0): range(30), ("train", "aachen", 1): range(30),
                      ("train", "hamburg", 0): [*range(42, 72), *range(629, 640), 642, 643],
                      ("val", "lindau", 3): range(4)})
    drives = cityscapes.load(str(tmp_path))
    assert [(drive.name, len(drive)) for drive in drives] == [
        ("train/aachen/000000_000000/left", 30), ("train/aachen/000001_000000/left", 30),
        ("train/hamburg/000000_000042/left", 30), ("train/hamburg/000000_000629/left", 11),
        ("train/hamburg/000000_000642/left", 2), ("val/lindau/000003_000000/left", 4)]
    drive = drives[3]
    assert drive.frame_numbers == tuple(range(629, 640))
    assert drive.image_paths[1] == str(
        tmp_path / "leftImg8bit_sequence/train/hamburg/hamburg_000000_000630_leftImg8bit.png")
    assert drive.stereo_paths is None and drive.depth_paths is None
    names = [drive.name for drive in cityscapes.load(str(tmp_path), cities=("lindau", "aachen"))]
    assert names == ["train/aachen/000000_000000/left", "train/aachen/000001_000000/left",
                     "val/lindau/000003_000000/left"]
    assert "Did you mean 'aachen'" in _refused(tmp_path, cities=("achen",))


def test_the_camera_file_nearest_to_the_run(tmp_path):
    _write(tmp_path, {("train", "bochum", 0): [*range(30), *range(60, 90)]}, cameras=False)
    for number, u0 in ((0, 1000.0), (19, 1010.0), (79, 1020.0), (500, 1030.0)):
        other = {**CAMERA, "intrinsic": {**CAMERA["intrinsic"], "u0": u0}}
        _write_camera(tmp_path, "train", "bochum", 0, number, json.dumps(other))
    _write_camera(tmp_path, "train", "bochum", 1, 15)
    first, second = cityscapes.load(str(tmp_path))
    assert first.intrinsics[0, 2] == 1010 and second.intrinsics[0, 2] == 1020


def test_the_camera_against_the_published_numbers(tmp_path):
    drive, = cityscapes.load(str(_write(tmp_path, {("train", "ulm", 0): range(3)})))
    assert (drive.file_size, drive.size, drive.corner) == ((1024, 2048), (768, 2048), (0, 0))
    fx, fy, u0, v0 = (CAMERA["intrinsic"][name] for name in ("fx", "fy", "u0", "v0"))

    def at(height, width, **options):
        scale_yx = (height / drive.size[0], width / drive.size[1])
        return camera.resize_intrinsics(
            tf.constant(drive.intrinsics), scale_yx, **options).numpy()

    # published: the file to 416 x 171, its upper 128 rows; ours: its upper 768 rows to 416 x 128
    published = np.array([[fx * 416 / 2048, 0, u0 * 416 / 2048],
                          [0, fy * 171 / 1024, v0 * 171 / 1024], [0, 0, 1]])
    ours = at(128, 416, keep_pixel_centres=False)
    np.testing.assert_allclose(ours[0], published[0], rtol=1e-12)
    np.testing.assert_allclose(ours[1], published[1] * (1024 / 171) / 6, rtol=1e-12)
    assert np.abs(ours[1] / np.where(published[1], published[1], 1) - [0, 1, 1]).max() < 0.0020
    # at 640 x 192, 192 rows of 640 x 256: the same
    np.testing.assert_allclose(at(192, 640, keep_pixel_centres=False),
                               [[fx * 640 / 2048, 0, u0 * 640 / 2048],
                                [0, fy * 256 / 1024, v0 * 256 / 1024], [0, 0, 1]], rtol=1e-12)
    # a place of the file stays the same place: pixel edges of file and of the small picture
    for x, y in ((0.3, 0.2), (-0.1, -0.15)):
        u, v = fx * x + u0, fy * y + v0
        small = at(128, 416) @ [x, y, 1]
        np.testing.assert_allclose((small[0] + 0.5) / 416, (u + 0.5) / 2048, rtol=1e-12)
        np.testing.assert_allclose((small[1] + 0.5) / 128, (v + 0.5) / 768, rtol=1e-12)


def test_stereo(tmp_path):
    _write(tmp_path, {("train", "ulm", 2): range(5, 9)}, sides=("left", "right"))
    left, right = cityscapes.load(str(tmp_path), cameras=("left", "right"), stereo=True)
    assert (left.name, right.name) == ("train/ulm/000002_000005/left",
                                       "train/ulm/000002_000005/right")
    assert left.stereo_paths == right.image_paths and right.stereo_paths == left.image_paths
    assert "rightImg8bit_sequence/train/ulm/ulm_000002_000006_right" in left.stereo_paths[1]
    # what the left camera sees stands fx b / Z pixels further left in the right picture
    point = np.array([1.5, -0.4, 8, 1])
    project = lambda drive, seen: (drive.intrinsics @ seen[:3])[:2] / seen[2]
    in_left = project(left, point)
    in_right = project(left, left.stereo_from_camera @ point)
    np.testing.assert_allclose(in_left - in_right, [2262.52 * 0.209313 / 8, 0], atol=1e-9)
    np.testing.assert_allclose(right.stereo_from_camera @ left.stereo_from_camera, np.eye(4))
    other = tmp_path / "rightImg8bit_sequence/train/ulm/ulm_000002_000007_rightImg8bit.png"
    other.write_bytes(_picture((1000, 2000)))
    assert len(cityscapes.load(str(tmp_path), stereo=True)) == 1  # only the first is opened
    other.unlink()
    message = _refused(tmp_path, stereo=True)
    assert "picture of the right camera for each of the 4 frames" in message
    assert "1 are missing, the first is the partner of" in message and "_000007_left" in message
    left, = cityscapes.load(str(tmp_path))
    assert left.stereo_paths is None


def test_single_frames_are_refused(tmp_path):
    _write(tmp_path, {("train", "ulm", 0): [19]})
    assert "found 1 frames and no two that are neighbours in time" in _refused(tmp_path)
    (tmp_path / "leftImg8bit_sequence").rename(tmp_path / "leftImg8bit")
    message = _refused(tmp_path)
    assert "leftImg8bit holds single frames, sequences are needed" in message
    assert "expected a folder leftImg8bit_sequence; found camera, leftImg8bit" in message


def test_what_is_wrong_with_folders(tmp_path):
    assert "no such folder" in _refused(tmp_path / "absent")
    assert "found nothing" in _refused(tmp_path)
    (tmp_path / "leftImg8bit_sequence" / "train").mkdir(parents=True)
    assert "found no city folder" in _refused(tmp_path)
    _write(tmp_path, {("train", "ulm", 0): range(3)})
    assert "Did you mean 'left'" in _refused(tmp_path, cameras=("lefd",))
    assert "expected a folder rightImg8bit_sequence" in _refused(tmp_path, cameras=("right",))
    folder = tmp_path / "leftImg8bit_sequence" / "train" / "ulm"
    stray = folder / "ulm_0_leftImg8bit.png"
    stray.write_bytes(PICTURE)
    assert "expected a name as ulm_000000_000000_leftImg8bit.png" in _refused(tmp_path)
    stray.rename(folder / "notes.txt")
    assert len(cityscapes.load(str(tmp_path))) == 1
    first = folder / "ulm_000000_000000_leftImg8bit.png"
    first.write_bytes(_picture((512, 1024)))
    assert f"{first}: expected 2048 x 1024 pixels" in _refused(tmp_path)
    first.write_bytes(PICTURE)
    (tmp_path / "camera" / "train" / "ulm" / "ulm_000000_000002_camera.json").rename(
        tmp_path / "camera" / "train" / "ulm" / "ulm_000001_000002_camera.json")
    assert f"{first}: expected a camera file of its sequence" in _refused(tmp_path)


@pytest.mark.parametrize("content, words", [
    ("", "the file is empty"), ("{", "in JSON"), ("[" * 100_000, "in JSON"),
    ("[]", "found no number intrinsic fx"), ('{"intrinsic": 3}', "found no number intrinsic fx"),
    (json.dumps(CAMERA).replace("fy", "fz"), "found no number intrinsic fy, but 'None'"),
    (json.dumps(CAMERA).replace("1096.98", "NaN"), "no number intrinsic u0, but 'nan'"),
    (json.dumps(CAMERA).replace("1096.98", '"1096"'), "no number intrinsic u0, but '1096'"),
    (json.dumps(CAMERA).replace("1096.98", "1" + "0" * 400), "no number intrinsic u0"),
    (json.dumps(CAMERA).replace("2262.52", "-2262.52"), "positive focal lengths"),
    (json.dumps(CAMERA).replace("513.137", "800"), "principal point inside the 2048 x 768"),
    (json.dumps(CAMERA).replace("2262.52", "1.1"), "field of view"),
    (json.dumps(CAMERA).replace("0.209313", "-0.2"), "baseline between 0 and 10 m; found -0.2")])
def test_bad_camera_files(tmp_path, content, words):
    _write(tmp_path, {("train", "ulm", 0): range(3)})
    path = _write_camera(tmp_path, "train", "ulm", 0, 2, content)
    message = _refused(tmp_path)
    assert message.startswith(str(path)) and words in message


def test_only_the_first_picture_is_opened(tmp_path):
    _write(tmp_path, {("train", "ulm", 0): range(2)})
    folder = tmp_path / "leftImg8bit_sequence" / "train" / "ulm"
    for number in range(2, 300):  # empty: were they opened, they would be refused
        (folder / f"ulm_000000_{number:06d}_leftImg8bit.png").touch()
    assert len(cityscapes.load(str(tmp_path))[0]) == 300


@pytest.mark.parametrize("kind", ["camera", "picture"])
def test_damaged_files(tmp_path, kind):
    _write(tmp_path, {("train", "ulm", 0): range(3)})
    path = (tmp_path / "camera/train/ulm/ulm_000000_000002_camera.json" if kind == "camera" else
            tmp_path / "leftImg8bit_sequence/train/ulm/ulm_000000_000000_leftImg8bit.png")
    refused = 0
    for data in damaged(path.read_bytes(), 60, seed=2, head=40 if kind == "picture" else 256):
        path.write_bytes(data)
        try:
            drive, = cityscapes.load(str(tmp_path))
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert np.isfinite(drive.intrinsics).all() and drive.size == (768, 2048)
    assert refused >= 25
