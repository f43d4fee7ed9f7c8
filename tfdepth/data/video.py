"""Video files: their frames one by one, or decoded once into a cache of PNG frames.

The cache is $XDG_CACHE_HOME/tfdepth (or ~/.cache/tfdepth); a video has a folder there named by its
absolute path, size and time of change. Frames are numbered in the video's own rate; where the file
says that frames last longer (phones), ffmpeg repeats them, and the motion filter drops those.
"""
import hashlib
import logging
import os
import shutil
import tempfile
from typing import Iterator, NamedTuple, Tuple

import imageio_ffmpeg
import numpy as np
from PIL import Image
from tqdm import tqdm

from tfdepth.checks import UserError
from tfdepth.data import files
from tfdepth.files import cache_path

_LOG = logging.getLogger(__name__)
SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif")
_BROKEN = (OSError, RuntimeError, ValueError, KeyError, IndexError, StopIteration)


class Header(NamedTuple):
    """What a video file says of itself."""
    size: Tuple[int, int]  # (height, width) of its frames, pixels, upright
    rate: float            # frames a second, on average; 0 = not said


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
    stream = imageio_ffmpeg.read_frames(path)
    try:
        facts = next(stream)
        return Header(facts["size"][::-1], float(facts["fps"]))
    except _BROKEN as error:
        raise _unreadable(path, 0, error) from None
    finally:
        stream.close()


def read_frames(path: str, rate: float = 0) -> Iterator[np.ndarray]:
    """Yields the frames, uint8 [H, W, 3]; a file that ends early is reported in the log.

    Args:
      path: the video file.
      rate: frames a second, by the times that the file gives its frames; where it has more they
        are left out, where it has fewer they are repeated. 0 = as many as the file has.

    Raises:
      UserError: the file is no video that ffmpeg can read, or is damaged on the way.
    """
    count = 0
    thinned = ["-vf", f"fps={rate!r}:round=up"] if rate else []  # the frame shown then
    stream = imageio_ffmpeg.read_frames(path, pix_fmt="rgb24", output_params=thinned)
    try:
        facts = next(stream)
        width, height = facts["size"]
        for frame in stream:
            yield np.frombuffer(frame, np.uint8).reshape(height, width, 3)
            count += 1
        promised = int(facts["duration"] * (rate or facts["fps"]))
    except _BROKEN as error:
        raise _unreadable(path, count, error) from None
    finally:
        stream.close()
    if count < 0.9 * promised:
        _LOG.warning("%s: damaged or cut off; the file promises %d frames and gave %d.", path,
                     promised, count)


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
