"""What is predicted from: videos, streams and pipes, one frame after the other."""
import os
import pathlib
import subprocess
import threading

import imageio_ffmpeg
import numpy as np
import pytest

from data_folders import write_camera, write_frames
from test_exif import write_photo
from tfdepth.checks import UserError
from tfdepth.data.neighbours import NeighbourWindow
from tfdepth.prediction.clips import open_clip
from tfdepth.prediction.colour_video import beside, open_colour_video

SIZE, COUNT = (48, 96), 20


def brightness_video(path, count=COUNT, rate=12, size=SIZE):
    """A video whose frame k is grey of 10 + 10 k, at the left only, so that order can be seen."""
    with open_colour_video(path, rate) as write:
        for k in range(count):
            picture = np.zeros((*size, 3), np.uint8)
            picture[:, :size[1] // 2] = 10 + 10 * (k % 24)
            write(picture)
    return path


def convert(source, target, *options):
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-i", str(source),
                    *options, str(target)], check=True)
    return target


@pytest.fixture(name="video", scope="module")
def _video(tmp_path_factory):
    return brightness_video(tmp_path_factory.mktemp("clip") / "ride.mp4")


def _check_frames(frames, count=COUNT, tolerance=4):
    frames = list(frames)
    assert [frame.name for frame in frames] == [f"{k:06d}" for k in range(count)]
    assert [frame.follows for frame in frames] == [k > 0 for k in range(count)]
    for k, frame in enumerate(frames):
        assert frame.image.shape == (*SIZE, 3) and frame.number == k
        assert abs(frame.image[:, :40].mean() - (10 + 10 * k)) < tolerance
        assert frame.image[:, 56:].mean() < tolerance


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "m2ts", "h264", "264", "mjpeg", "mjpg"])
def test_every_frame_once(suffix, video, tmp_path):
    path = video if suffix == "mp4" else convert(video, tmp_path / f"ride.{suffix}")
    with open_clip(str(path)) as clip:
        assert clip.is_video and clip.camera is None and clip.sizes == (SIZE,)
        raw = suffix in ("h264", "264", "mjpeg", "mjpg")
        assert (clip.count, clip.rate) == ((0, 0) if raw else (COUNT, 12))
        _check_frames(clip.frames)


@pytest.mark.parametrize("suffix", ["ts", "h264", "mjpeg"])
@pytest.mark.parametrize("slow", [False, True])
def test_a_pipe(suffix, slow, video, tmp_path):
    """A writer that leaves at once, and one that hands over a piece at a time."""
    data = convert(video, tmp_path / f"ride.{suffix}").read_bytes()
    pipe = tmp_path / "live"
    os.mkfifo(pipe)

    def write():
        with open(pipe, "wb", buffering=0) as sink:
            step = len(data) // 7 if slow else len(data)
            for start in range(0, len(data), step):
                sink.write(data[start:start + step])
                threading.Event().wait(0.05 * slow)

    writer = threading.Thread(target=write)
    writer.start()
    with open_clip(str(pipe)) as clip:
        assert (clip.count, clip.rate) == (0, 0)
        _check_frames(clip.frames)
    writer.join()


def test_colons_in_paths(video, tmp_path, monkeypatch):
    """ffmpeg takes what stands before one for a protocol."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("ride:1.mp4").write_bytes(video.read_bytes())
    with open_clip("ride:1.mp4") as clip:
        _check_frames(clip.frames)
    brightness_video(pathlib.Path("ride:2.mp4"))
    assert sorted(os.listdir()) == ["ride:1.mp4", "ride:2.mp4"]


def test_a_pipe_without_a_video(tmp_path):
    pipe = tmp_path / "live"
    os.mkfifo(pipe)
    for content in (b"", b"no video at all"):
        writer = threading.Thread(target=lambda data=content: pipe.write_bytes(data))
        writer.start()
        with pytest.raises(UserError, match="live: expected a video; ffmpeg could not read it"):
            with open_clip(str(pipe)):
                pass
        writer.join()


def test_the_camera_of_a_video(video):
    camera = write_camera(video.parent)
    try:
        with open_clip(str(video)) as clip:
            assert clip.camera == str(camera)
            assert next(clip.frames).intrinsics[0, 2] == 47.5
        own = video.with_suffix(".json")
        own.write_text('{"units": "degrees", "horizontal_fov": 90}')
        with open_clip(str(video)) as clip:
            assert next(clip.frames).intrinsics[0, 0] == pytest.approx(48)
        own.write_text('{"views": 12}')  # something else, as players keep
        with open_clip(str(video)) as clip:
            assert clip.camera == str(camera)
        own.unlink()
    finally:
        camera.unlink()


def test_folders_keep_time(tmp_path):
    folder = write_frames(tmp_path / "walk", ["f_03.png", "f_04.png", "f_07.png"])
    with open_clip(str(folder)) as clip:
        assert [(frame.name, frame.number, frame.follows) for frame in clip.frames] == [
            ("f_03", 3, False), ("f_04", 4, True), ("f_07", 7, False)]


def test_a_photo_on_its_side_is_told(tmp_path):
    write_photo(tmp_path / "up.jpg", {})
    write_photo(tmp_path / "side.jpg", {}, orientation=6)
    with open_clip(str(tmp_path)) as clip:
        warning, = clip.warnings
        assert "side.jpg: EXIF says" in warning and "1 of 2" in warning
        assert {frame.image.shape for frame in clip.frames} == {(*clip.sizes[0], 3)}


@pytest.mark.parametrize("size", [(5, 9), (9, 5), (6, 8)])
def test_colour_videos_of_any_size(size, tmp_path):
    random = np.random.default_rng(1)
    image, colours = random.integers(0, 256, (2, *size, 3), np.uint8)
    both = beside(image, colours)
    assert both.shape[0] % 2 == both.shape[1] % 2 == 0
    np.testing.assert_array_equal(both[:size[0], :size[1]], image)
    where = np.s_[size[0]:2 * size[0], :size[1]] if size[1] >= size[0] else (
        np.s_[:size[0], size[1]:2 * size[1]])
    np.testing.assert_array_equal(both[where], colours)
    path = tmp_path / "c.mp4"
    with open_colour_video(path, 30000 / 1001) as write:
        for _ in range(3):
            write(both)
    with open_clip(str(path)) as clip:
        assert clip.rate == 29.97 and clip.sizes == (both.shape[:2],)
        assert len(list(clip.frames)) == 3
    about = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], check=False,
                           capture_output=True, text=True).stderr
    assert "h264" in about and "yuv420p" in about
    assert [each.name for each in tmp_path.iterdir()] == ["c.mp4"]


@pytest.mark.parametrize("offsets", [(-1, 1), (-2, 1), (1,), (-1,), ()])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_neighbours_of_parts(offsets, batch_size):
    follows = [False, True, True, True, False, False, True, True, True, True, False, True, True]
    part = np.cumsum(~np.array(follows))
    expected = [k for k in range(len(follows)) if all(
        0 <= k + offset < len(follows) and part[k + offset] == part[k] for offset in offsets)]
    window, found = NeighbourWindow(offsets, batch_size), []
    for k, is_next in enumerate(follows):
        found += list(window.add(np.full([1, 2, 3], k), is_next))
        assert len(window._frames) <= batch_size + 3
    found += list(window.rest())
    indices = [int(index) for each in found for index in each.indices]
    assert indices == expected
    for each in found:
        for index, target, sources in zip(*each):
            assert (target == index).all() and sources.shape == (len(offsets), 1, 2, 3)
            assert [int(source[0, 0, 0]) - index for source in sources] == list(offsets)
