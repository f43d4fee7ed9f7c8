"""A video of the frames and their depth in colours, that players of any kind show.

H.264 with half of the colours' resolution (yuv420p), so sides are even numbers.
"""
import contextlib
import os
import pathlib

import imageio_ffmpeg
import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, video
from tfdepth.files import written_atomically

_QUALITY = ["-crf", "18", "-f", "mp4", "-movflags", "+faststart"]  # all but invisible losses


def beside(image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """A frame and its depth, uint8 [h, w, 3] each: one above the other, or, of an upright frame,
    side by side; an odd side is made even by its last row or column once more."""
    both = np.concatenate([image, colours], axis=0 if image.shape[1] >= image.shape[0] else 1)
    odd = [(0, side % 2) for side in both.shape[:2]]
    return np.pad(both, [*odd, (0, 0)], mode="edge")


@contextlib.contextmanager
def open_colour_video(path: pathlib.Path, rate: float):
    """Gives a function that takes uint8 [h, w, 3], sides even, one frame after the other.

    Args: path: .mp4; appears whole, at the end, or not at all. rate: frames a second, > 0.
    Raises: UserError: the video cannot be written.
    """
    with written_atomically(path) as temporary:
        writer = None

        def write(picture):
            nonlocal writer
            with _worded(path):
                if writer is None:
                    height, width = picture.shape[:2]
                    writer = imageio_ffmpeg.write_frames(
                        os.path.abspath(temporary),  # ffmpeg takes "a:b" for a protocol
                        (width, height), fps=rate, codec="libx264", quality=None,
                        macro_block_size=1, ffmpeg_log_level="fatal", output_params=list(_QUALITY))
                    writer.send(None)
                writer.send(np.ascontiguousarray(picture))

        try:
            yield write
            with _worded(path):
                writer.close()
                video.read_header(str(temporary))  # its index comes last; a full disk leaves none
        finally:
            if writer is not None:
                writer.close()


@contextlib.contextmanager
def _worded(path):
    try:
        yield
    except (OSError, UserError) as error:
        raise UserError(f"{path}: cannot write the video; {files.one_line(error)}") from None
