"""A video or a folder of images becomes a training folder."""
import json
import os

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from data_folders import REAL_KITTI, needs_real_kitti, write_camera, write_frames, write_poses
from test_exif import write_photo
from tfdepth.checks import UserError
from tfdepth.data import folder, images, motion, near_duplicates, undistortion, video
from tfdepth.data.intrinsics_file import read_camera
from tfdepth.data.video_import import import_frames, rate_of_import

SIZE = (48, 64)
LENS = {"units": "pixels", "width": 64, "height": 48, "fx": 60, "fy": 56, "cx": 33, "cy": 22,
        "distortion": {"model": "brown", "coefficients": [0.3, 0.1, 0.004, -0.003]}}


def _picture(place):
    """A pattern that moves with `place` by half of its brightness a unit; codecs keep it well."""
    v, u = np.mgrid[:SIZE[0], :SIZE[1]]
    grey = 127 + 100 * np.sin(u / 5 + 1.5 * place) * np.cos(v / 7)
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def _write_video(path, places, rate=30):
    iio.imwrite(path, np.stack([_picture(place) for place in places]), plugin="FFMPEG", fps=rate,
                macro_block_size=1, output_params=["-crf", "10"])
    return str(path)


def _write_folder(path, places, numbers=None):
    path.mkdir()
    for number, place in zip(numbers or range(len(places)), places):
        Image.fromarray(_picture(place)).save(path / f"f{number}.png")
    return str(path)


def _with_camera(source):
    write_camera(source)
    return source


def _import(source, output, **settings):
    """(numbers of the frames, what import.json says, lines shown)."""
    lines = []
    import_frames(str(source), str(output), show=lines.append,
                  **{"horizontal_fov": 60, **settings})
    drive, = folder.load(str(output))
    names = sorted(name for name in os.listdir(output) if name[0].isdigit())
    numbers = tuple(int(os.path.splitext(name)[0]) for name in names)
    assert drive.frame_numbers == numbers  # the loader sees the same neighbours
    return numbers, json.loads((output / "import.json").read_text()), lines


def _refused(*arguments, **settings):
    with pytest.raises(UserError) as caught:
        import_frames(*map(str, arguments), show=lambda line: None,
                      **{"horizontal_fov": 60, **settings})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_video_becomes_a_folder(tmp_path):
    clip = _write_video(tmp_path / "clip.mp4", range(6))
    numbers, facts, lines = _import(clip, tmp_path / "out")
    assert numbers == tuple(range(6))
    drive, = folder.load(str(tmp_path / "out"))
    for path, pixels in zip(drive.image_paths, video.read_frames(clip)):
        np.testing.assert_array_equal(images.read_image(path), pixels)
    np.testing.assert_allclose(
        drive.intrinsics, [[32 / np.tan(np.radians(30)), 0, 31.5],
                           [0, 32 / np.tan(np.radians(30)), 23.5], [0, 0, 1]])
    assert facts["source"] == clip and facts["camera_from"] == "--horizontal_fov 60"
    assert facts["distortion"] is None and facts["source_frames_per_second"] == 30
    assert [facts[name] for name in ("frames_read", "near_duplicates", "frames_written", "holes")
            ] == [6, 0, 6, 0]
    assert "clip.mp4: 6 frames; 0 (0%)" in lines[0]
    assert "60.0 x 46.8 degrees" in lines[1] and "6 frames of 64 x 48" in lines[2]
    assert sorted(os.listdir(tmp_path)) == ["clip.mp4", "out"]
    assert os.stat(tmp_path / "out").st_mode & 0o777 == 0o777 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_frame_rate_goes_by_time(tmp_path):
    """30 frames a second, of one second; at 10, 12 and 30 of them."""
    clip = _write_video(tmp_path / "clip.mp4", np.arange(30) * 0.5)
    every = list(video.read_frames(clip))
    for rate, count in ((10, 10), (12, 12), (30, 30)):
        numbers, facts, lines = _import(clip, tmp_path / f"out{rate}", frames_per_second=rate)
        assert f"{count} frames at {rate} a second" in lines[0]
        assert numbers == tuple(range(count)) and facts["frames_per_second"] == rate
        for k, path in enumerate(folder.load(str(tmp_path / f"out{rate}"))[0].image_paths):
            pixels = images.read_image(path)
            nearest = min(range(30), key=lambda n: np.abs(every[n] - pixels.astype(int)).sum())
            assert nearest == int(k * 30 / rate + 1e-6)  # the one that is shown then
    message = _refused(clip, tmp_path / "out", frames_per_second=60)
    assert "--frames_per_second: expected at most" in message and "30 on average; got 60" in message


@pytest.mark.parametrize("places, expected", [
    ([0, 1, 2, 3, 4], (0, 1, 2, 3, 4)),
    ([0, 0, 1, 1, 2, 2, 3, 3], (0, 1, 2, 3)),                    # every frame repeated
    ([0, 1, 2, 3, 3, 4, 5, 6, 7, 7, 8], tuple(range(9))),        # 24 a second shown at 30
    ([0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4], (0, 1, 2, 3, 4)),        # 24 shown at 60
    ([0, 1, 2, *[2] * 10, 3, 4], (0, 1, 2, 13, 14)),             # a standstill
    ([0, 0, 1, 1, 2, *[2] * 11, 3, 3, 4, 4], (0, 1, 2, 8, 9)),   # a standstill, frames repeated
    (np.arange(11) / 20, (0, 1, 2, 3, 4, 5))])                   # slow motion adds up
def test_near_duplicates(tmp_path, places, expected):
    clip = _write_video(tmp_path / "clip.mp4", places)
    numbers, facts, lines = _import(clip, tmp_path / "out", min_image_change=0.02)
    assert numbers == expected
    left_out = len(places) - len(expected)
    assert facts["near_duplicates"] == left_out
    assert f"{left_out} ({left_out / len(places):.0%}) hardly differ" in lines[0]
    assert len(_import(clip, tmp_path / "all", min_image_change=0)[0]) == len(places)


@needs_real_kitti
def test_real_frames_repeated_and_at_rest_through_a_codec(tmp_path):
    """A street at twice the rate of the camera, which rests at its frame 6 for 1.5 s."""
    places = sorted((REAL_KITTI / "sequences" / "06" / "image_0").glob("*.png"))[:12]
    frames = [images.read_image(str(path))[:368:2, :1216:2] for path in places]
    shown = [frame for k, frame in enumerate(frames) for _ in range(30 if k == 6 else 2)]
    iio.imwrite(tmp_path / "clip.mp4", np.stack(shown), plugin="FFMPEG", fps=20)
    numbers, facts, _ = _import(tmp_path / "clip.mp4", tmp_path / "out")
    assert numbers == (0, 1, 2, 3, 4, 5, 6, 21, 22, 23, 24, 25)
    assert facts["holes"] == 1 and facts["near_duplicates"] == 11 + 29


def test_holes_of_the_source_stay(tmp_path):
    """Frames 3 and 4 are missing; 2 and 5 look alike, and so do 6 and 7."""
    source = _write_folder(tmp_path / "walk", [0, 1, 2, 2, 3, 3, 4], [0, 1, 2, 5, 6, 7, 8])
    write_poses(tmp_path / "walk" / "poses.txt", [(k, 2 * k, 0) for k in range(7)])
    numbers, facts, _ = _import(source, tmp_path / "out")
    assert numbers == (0, 1, 2, 5, 6, 7) and facts["holes"] == 1
    drive, = folder.load(str(tmp_path / "out"))
    np.testing.assert_allclose(drive.world_from_camera[:, 0, 3], [0, 1, 2, 3, 4, 6], atol=1e-6)
    np.testing.assert_allclose(
        drive.world_from_camera[:, :3, :3],
        folder.load(_with_camera(source))[0].world_from_camera[[0, 1, 2, 3, 4, 6], :3, :3],
        atol=1e-8)


def test_renumber_never_grows_and_never_joins_over_a_hole():
    random = np.random.default_rng(1)
    for _ in range(300):
        seen = np.flatnonzero(random.random(80) < random.uniform(0.3, 1))
        kept = seen[random.random(len(seen)) < random.uniform(0.2, 1)]
        if len(kept) < 2:
            continue
        numbers = near_duplicates.renumber(kept.tolist(), seen.tolist())
        assert numbers[0] == kept[0] and all(np.diff(numbers) > 0)
        assert (np.array(numbers) <= kept).all()
        for k in np.flatnonzero(np.diff(numbers) == 1):
            assert set(range(kept[k], kept[k + 1])) <= set(seen)
    assert near_duplicates.renumber([4], [4]) == (4,)


def test_the_measure_is_that_of_training(tmp_path):
    """A frame is left out exactly when motion calls the step to it static."""
    source = write_frames(tmp_path / "walk", [f"{k}.png" for k in range(8)], size=(80, 104))
    random = np.random.default_rng(0)
    for k in range(1, 8, 2):  # a little noise on the frame before
        pixels = images.read_image(str(source / f"{k - 1}.png")).astype(int)
        pixels += random.integers(0, 10 * k, pixels.shape)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(source / f"{k}.png")
    write_camera(source)
    changes = motion.motion(folder.load(str(source))[0])[:-1]
    frames = [(k, images.read_image(str(source / f"{k}.png"))) for k in range(8)]
    for k, change in enumerate(changes):
        for factor, expected in ((0.999, True), (1.001, False)):
            found = list(near_duplicates.find_near_duplicates(frames[k:k + 2], change * factor))
            assert found[1][2] is expected


def test_distortion_is_taken_out(tmp_path):
    source = _write_folder(tmp_path / "walk", range(3))
    write_camera(source, **LENS)
    with pytest.raises(UserError, match="prepare_data.py video"):
        folder.load(source)
    for crop, file_format in ((True, "png"), (False, "jpg")):
        output = tmp_path / file_format
        _, facts, lines = _import(source, output, horizontal_fov=0, crop=crop,
                                  file_format=file_format)
        assert facts["distortion"] == LENS["distortion"]
        assert facts["camera_from"] == os.path.join(source, "intrinsics.json")
        assert "brown distortion taken out" in lines[1]
        camera, distortion = read_camera(facts["camera_from"], SIZE)
        plan = undistortion.plan_undistortion("", camera, distortion, SIZE, crop)
        drive, = folder.load(str(output))
        assert drive.size == plan.size and (plan.size == SIZE) != crop
        np.testing.assert_allclose(drive.intrinsics, plan.intrinsics)
        found = images.read_image(drive.image_paths[1]).astype(int)
        expected = undistortion.undistort(_picture(1), plan)
        assert np.abs(found - expected)[plan.valid].mean() <= (1.5 if file_format == "jpg" else 0)
    with Image.open(drive.image_paths[0]) as image:
        assert image.format == "JPEG" and image.layer[0][1:3] == (1, 1)  # colours in full size


def test_where_the_camera_comes_from(tmp_path):
    clip = _write_video(tmp_path / "clip.mp4", range(3))
    assert "--horizontal_fov" in _refused(clip, tmp_path / "out", horizontal_fov=0)
    write_camera(tmp_path, units="degrees", horizontal_fov=50).rename(tmp_path / "clip.json")
    text = json.dumps({"units": "degrees", "horizontal_fov": 80})
    for k, (settings, angle, origin) in enumerate([
            ({}, 50, str(tmp_path / "clip.json")), ({"horizontal_fov": 90}, 90,
                                                    "--horizontal_fov 90"),
            ({"intrinsics": text}, 80, text)]):
        _, facts, _ = _import(clip, tmp_path / f"out{k}", **{"horizontal_fov": 0, **settings})
        assert facts["camera_from"] == origin
        drive, = folder.load(str(tmp_path / f"out{k}"))
        np.testing.assert_allclose(drive.intrinsics[0, 0], 32 / np.tan(np.radians(angle / 2)))
    assert "got both" in _refused(clip, tmp_path / "out", intrinsics=text)
    for angle in (-3, 200, 3):
        assert "--horizontal_fov" in _refused(clip, tmp_path / "out", horizontal_fov=angle)


def test_the_camera_from_exif(tmp_path):
    source = tmp_path / "walk"
    source.mkdir()
    random = np.random.default_rng(0)
    for k in range(3):
        path = write_photo(source / f"{k}.jpg", {0xA405: 26}, orientation=6)
        with Image.open(path) as image:
            notes = image.getexif()
        Image.fromarray(random.integers(0, 256, (30, 40, 3), np.uint8)).save(path, exif=notes)
    _, facts, lines = _import(source, tmp_path / "out", horizontal_fov=0)
    assert facts["camera_from"] == "EXIF FocalLengthIn35mmFilm"
    assert "must be turned" in lines[0]
    drive, = folder.load(str(tmp_path / "out"))
    focal_length = 26 * 50 / np.hypot(24, 36)
    np.testing.assert_allclose(
        drive.intrinsics, [[focal_length, 0, 19.5], [0, focal_length, 14.5], [0, 0, 1]])
    write_photo(source / "1.jpg", {0xA405: 52})
    message = _refused(source, tmp_path / "zoom", horizontal_fov=0)
    assert "1.jpg: expected the focal length of" in message and "zoomed" in message


def test_again_and_after_a_failure(tmp_path):
    source = _write_folder(tmp_path / "walk", range(4))
    output = tmp_path / "out"
    (tmp_path / ".out.import.tmp").mkdir()  # as a killed import leaves it
    (tmp_path / ".out.import.tmp" / "000009.png").write_bytes(b"half")
    assert _import(source, output)[0] == (0, 1, 2, 3)
    before = os.stat(output / "000000.png").st_mtime_ns
    assert _import(source, output)[2] == [f"{output}: holds this import already"]
    assert os.stat(output / "000000.png").st_mtime_ns == before
    assert "differs in format, camera_from" in _refused(source, output, file_format="jpg",
                                                        horizontal_fov=70)
    Image.fromarray(_picture(7)).save(os.path.join(source, "f3.png"))
    assert "differs in source_fingerprint" in _refused(source, output)
    (output / "import.json").write_text("[1]")
    assert "differs in source, source_fingerprint" in _refused(source, output)
    assert "found f0.png" in _refused(source, source)
    data = (tmp_path / "walk" / "f2.png").read_bytes()
    (tmp_path / "walk" / "f2.png").write_bytes(data[:-40])
    assert "truncated or damaged" in _refused(source, tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == ["out", "walk"]


def test_bad_requests(tmp_path):
    clip = _write_video(tmp_path / "clip.mp4", [1] * 5)
    output = tmp_path / "out"
    assert "expected frames of a moving camera; no two neighbours of 5" in _refused(clip, output)
    assert "--format must be one of png, jpg" in _refused(clip, output, file_format="bmp")
    for value in (-1, 1, float("nan")):
        assert "--min_image_change" in _refused(clip, output, min_image_change=value)
        assert "--frames_per_second" in _refused(clip, output,
                                                 frames_per_second=value if value != 1 else 1e9)
    source = _write_folder(tmp_path / "walk", [0])
    assert "several images; found 1" in _refused(source, output)
    Image.fromarray(_picture(1)).save(tmp_path / "walk" / "f1.png")
    assert "does not say how fast" in _refused(source, output, frames_per_second=5)
    write_poses(tmp_path / "walk" / "poses.txt", [(0, 0, 0)])
    assert "each of the 2 images; found 1" in _refused(source, output)
    (tmp_path / "text.mp4").write_text("text")
    assert "expected a video" in _refused(tmp_path / "text.mp4", output)
    (tmp_path / "text.txt").write_text("text")
    assert "found another file" in _refused(tmp_path / "text.txt", output)
    assert "no such folder" in _refused(tmp_path / "absent.mp4", output)
    assert "--output" in _refused(clip, "")
    assert not output.exists()
    assert "cannot be written" in _refused(_write_video(tmp_path / "b.mp4", range(3)),
                                           tmp_path / "text.txt" / "out")


@pytest.mark.parametrize("facts, rate", [
    ({"near_duplicates": 0, "frames_per_second": 5, "source_frames_per_second": 30}, 5),
    ({"near_duplicates": 0, "frames_per_second": 0, "source_frames_per_second": 30}, 30),
    ({"near_duplicates": 0, "frames_per_second": 0, "source_frames_per_second": None}, 0),
    ({"near_duplicates": 2, "frames_per_second": 5}, 0),          # numbers are no times then
    ({"near_duplicates": None, "frames_per_second": "fast"}, 0), ([1], 0), (None, 0)])
def test_the_rate_of_an_imported_folder(tmp_path, facts, rate):
    if facts is not None:
        (tmp_path / "import.json").write_text(json.dumps(facts))
    assert rate_of_import(str(tmp_path)) == rate
