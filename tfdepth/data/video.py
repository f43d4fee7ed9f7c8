"""Videos: their frames one by one, or decoded once into a cache of PNG frames.

Raw camera streams are read as well, of a file or of a named pipe that a camera's program writes to.
They say nothing of time, so every frame is taken once, and the rate is unknown.

The cache is $XDG_CACHE_HOME/tfdepth (or ~/.cache/tfdepth); a video has a folder there named by its
absolute path, size and time of change. Frames are numbered in the video's own rate; where the file
says that frames last longer (phones), ffmpeg repeats them, and the motion filter drops those.
"""
import contextlib
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import threading
from typing import Iterator, NamedTuple, Tuple

import imageio_ffmpeg
import numpy as np
from PIL import Image
from tqdm import tqdm

from tfdepth.checks import UserError
from tfdepth.data import files
from tfdepth.files import cache_path

_LOG = logging.getLogger(__name__)
STREAM_SUFFIXES = (".mjpeg", ".mjpg", ".h264", ".264", ".hevc", ".265")  # frames without times
SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif", ".ts", ".m2ts", *STREAM_SUFFIXES)
_PIPE_BYTES = 1 << 16      # that are handed on at once
_BROKEN = (OSError, RuntimeError, ValueError, KeyError, IndexError, StopIteration)


class Header(NamedTuple):
    """What a video file says of itself."""
    size: Tuple[int, int]  # (height, width) of its frames, pixels, upright
    rate: float            # frames a second, on average; 0 = not said
    count: int             # frames, as it promises; 0 = not said


class Video(NamedTuple):
    """A video that has been opened."""
    header: Header
    frames: Iterator[np.ndarray]  # uint8 [H, W, 3]


def cache_folder() -> str:
    """Where decoded videos and other remakeable data are kept; made if it is not there.

    Raises:
      UserError: it cannot be made.
    """
    folder = cache_path()
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot make the cache folder; {files.one_line(error)}. "
                        "Set XDG_CACHE_HOME to another place.") from None
    return folder


def decode(path: str) -> str:
    """Decodes a video unless that has been done; a progress bar shows on a terminal.

    Args:
      path: the video file.

    Returns:
      A folder of frames 000000.png, 000001.png ...; it appears whole or not at all.

    Raises:
      UserError: the file is no video that ffmpeg can read, is damaged on the way, holds a single
        frame, or the cache cannot be written.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: expected a video; {files.one_line(error)}.") from None
    key = f"{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"
    cache = cache_folder()
    folder = os.path.join(cache, f"video-{hashlib.sha256(key.encode()).hexdigest()[:16]}")
    if os.path.isdir(folder):
        return folder
    try:
        temporary = tempfile.mkdtemp(prefix="video-", suffix=".tmp", dir=cache)
    except OSError as error:
        raise UserError(f"{cache}: cannot write the frames of {path}; "
                        f"{files.one_line(error)}.") from None
    try:
        count = _write_frames(path, temporary)
        if count < 2:
            raise UserError(f"{path}: expected a video of several frames; found {count}.")
        _move_into_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write_frames(path: str, folder: str) -> int:
    """Writes the frames as PNG and returns their number."""
    count = 0
    with tqdm(desc=f"decoding {os.path.basename(path)}", unit=" frames", disable=None) as bar:
        for frame in read_frames(path):
            try:
                Image.fromarray(frame).save(os.path.join(folder, f"{count:06d}.png"),
                                            compress_level=1)  # fast
            except OSError as error:
                raise UserError(f"{folder}: cannot write the frames of {path}; "
                                f"{files.one_line(error)}.") from None
            count += 1
            bar.update()
    return count


def read_header(path: str) -> Header:
    """Size and rate of a video.

    Raises:
      UserError: the file is no video that ffmpeg can read.
    """
    with open_video(path) as opened:
        return opened.header


def read_frames(path: str, rate: float = 0) -> Iterator[np.ndarray]:
    """Yields the frames, uint8 [H, W, 3]; as `open_video`."""
    with open_video(path, rate) as opened:
        yield from opened.frames


@contextlib.contextmanager
def open_video(path: str, rate: float = 0) -> Iterator[Video]:
    """Opens a video, to be read once; one that ends early is reported in the log.

    Args:
      path: the video file, or a named pipe; then it waits until somebody writes to it.
      rate: frames a second, by the times that the file gives its frames; where it has more they
        are left out, where it has fewer they are repeated. 0 = as many as the file has.

    Raises:
      UserError: the file is no video that ffmpeg can read, or, while frames are read, is damaged on
        the way.
    """
    untimed = is_pipe(path) or path.lower().endswith(STREAM_SUFFIXES)
    output = ["-vf", f"fps={rate!r}:round=up"] if rate else []  # the frame shown then
    if untimed and not rate:
        output = ["-fps_mode", "passthrough"]
    with _ready_to_read(path) as readable:
        stream = imageio_ffmpeg.read_frames(  # ffmpeg takes "a:b" for a protocol
            os.path.abspath(readable), pix_fmt="rgb24", output_params=output)
        try:
            try:
                facts = next(stream)
                count = int(facts.get("duration", 0) * (rate or facts["fps"]))
                header = Header(  # of streams, ffmpeg supposes 25 frames a second
                    facts["size"][::-1], 0.0 if untimed else float(facts["fps"]), count)
            except _BROKEN as error:
                raise _unreadable(path, 0, error) from None
            yield Video(header, _frames(path, stream, header))
        finally:
            stream.close()


def is_pipe(path: str) -> bool:
    """Whether there is a named pipe at a path."""
    return os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)


def _frames(path, stream, header: Header):
    count = 0
    try:
        for frame in stream:
            yield np.frombuffer(frame, np.uint8).reshape(*header.size, 3)
            count += 1
    except _BROKEN as error:
        raise _unreadable(path, count, error) from None
    if count < 0.9 * header.count:
        _LOG.warning("%s: damaged or cut off; the file promises %d frames and gave %d.", path,
                     header.count, count)


@contextlib.contextmanager
def _ready_to_read(path):
    """What ffmpeg is to open: it waits 10 seconds for the first frame, no longer, and who opens a
    pipe after its writer left waits for ever. So of a pipe, our own one, once something came."""
    if not is_pipe(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tfdepth-") as folder:
        handed_on = os.path.join(folder, "pipe")
        os.mkfifo(handed_on)
        with open(path, "rb", buffering=0) as source:
            first = source.read(_PIPE_BYTES)

            def hand_on():
                with contextlib.suppress(OSError, ValueError):  # nobody reads on
                    with open(handed_on, "wb", buffering=0) as sink:
                        data = first
                        while data:
                            while data:
                                data = data[sink.write(data):]
                            data = source.read(_PIPE_BYTES)

            threading.Thread(target=hand_on, daemon=True).start()
            yield handed_on


def _unreadable(path: str, count: int, error: Exception) -> UserError:
    return UserError(f"{path}: expected a video; ffmpeg could not read it after {count} frames "
                     f"({files.one_line(error)}).")


def _move_into_place(temporary: str, folder: str):
    """Renames the finished folder; another process may have been faster, which is as good."""
    try:
        os.replace(temporary, folder)
    except OSError as error:
        if not os.path.isdir(folder):
            raise UserError(f"{folder}: cannot be written; {files.one_line(error)}.") from None
