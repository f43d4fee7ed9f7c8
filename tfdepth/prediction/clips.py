"""What a user gives to predict from: an image, a folder of images, a video or a camera's stream.

Its frames come one by one, once; a stream cannot be read twice. Shape letters: h, w of a frame.
"""
import contextlib
import json
import os
from typing import Iterator, NamedTuple, Optional, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import exif, files, images, intrinsics_file, video
from tfdepth.data.frame_numbers import follows, is_series, number_frames
from tfdepth.data.pipeline import images_of_files
from tfdepth.data.video_import import rate_of_import
from tfdepth.runs.cameras import camera_of_size
from tfdepth.runs.folder import RunFolder

_EXPECTED = (f"an image ({', '.join(images.IMAGE_SUFFIXES)}), a folder of images or a video "
             f"({', '.join(video.SUFFIXES)}, or a named pipe)")


class Frame(NamedTuple):
    """One picture of a clip."""
    name: str                         # of the files that are written about it, without a suffix
    path: str                         # the user's image, or video
    label: str                        # what messages call it
    number: int                       # its place in time; that of the next frame is one more
    follows: bool                     # whether the frame before it is the one before in time
    image: np.ndarray                 # uint8 [h, w, 3], as it is stored
    intrinsics: Optional[np.ndarray]  # [3, 3], pixels of (h, w); None = unknown


class Clip(NamedTuple):
    """Pictures that share one colour range, one divisor and one unit."""
    source: str                        # the image, folder or video that was given
    paths: Tuple[str, ...]             # image files; () of a video
    sizes: Tuple[Tuple[int, int], ...]  # that there are, (h, w), each once
    camera: Optional[str]              # the file, or text, that the intrinsics are from
    count: int                         # frames; of a video, as it promises; 0 = nobody knows
    rate: float                        # frames a second; 0 = nobody knows
    frames: Iterator[Frame]            # to be gone through once
    follows: Tuple[bool, ...] = ()     # `Frame.follows` of image files
    warnings: Tuple[str, ...] = ()     # lines for the user

    @property
    def is_video(self):
        return not self.paths


@contextlib.contextmanager
def open_clip(source, camera="", model="") -> Iterator[Clip]:
    """Finds the images and reads their headers, or opens the video.

    The camera is that of `camera`, a file or JSON text, or of intrinsics.json beside the images, or
    of <name>.json (of JSON with "units") or intrinsics.json beside a video, where there is one, or
    else the one that the run folder `model` learned from images of this shape.

    Raises:
      UserError: no such input, a folder without images or with two of one name, an image that
        cannot be read, a video that cannot, or a camera file that cannot be right for the images;
        while frames are read, one that is damaged.
    """
    if not source:
        raise UserError(f"--input: expected {_EXPECTED}; got an empty path.")
    source = files.expand(source)
    if video.is_pipe(source) or (os.path.isfile(source)
                                 and source.lower().endswith(video.SUFFIXES)):
        with video.open_video(source) as opened:
            clip = _clip_of_video(source, opened, camera)
            yield _with_learned_camera(clip, model) if model and clip.camera is None else clip
    else:
        clip = _clip_of_images(source, camera)
        yield _with_learned_camera(clip, model) if model and clip.camera is None else clip


def _clip_of_video(source, opened, camera) -> Clip:
    own = f"{os.path.splitext(source)[0]}.json"
    beside = os.path.join(os.path.dirname(source), intrinsics_file.FILE_NAME)
    camera = _find_camera(camera, (own, beside) if _has_units(own) else (beside,))
    size = opened.header.size
    intrinsics = intrinsics_file.read_intrinsics(camera, size) if camera else None
    frames = (Frame(f"{number:06d}", os.path.abspath(source), f"{source}, frame {number}", number,
                    number > 0, image, intrinsics)
              for number, image in enumerate(opened.frames))
    return Clip(source, (), (size,), camera, opened.header.count, opened.header.rate, frames)


def _has_units(path) -> bool:
    """Whether a file is a camera file, and not some other JSON of a video's name."""
    try:
        with open(path, encoding="utf-8") as file:
            return "units" in dict(json.load(file))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _clip_of_images(source, camera) -> Clip:
    folder, names = os.path.split(source)[0], [os.path.basename(source)]
    if not os.path.isfile(source):
        folder, names = source, images.image_names(source, _EXPECTED)
        if not names:
            raise UserError(f"{source}: expected images ({', '.join(images.IMAGE_SUFFIXES)}); "
                            f"found {files.listing(files.list_folder(source, _EXPECTED))}.")
    by_stem = {}
    for name in names:
        other = by_stem.setdefault(os.path.splitext(name)[0], name)
        if other != name:
            raise UserError(f"{folder}: expected one image of a name, as the depth maps take the "
                            f"names; found {other} and {name}.")
    paths = tuple(os.path.join(folder, name) for name in names)
    sizes = tuple(images.read_frame_size(path) for path in paths)
    camera = _find_camera(camera, (os.path.join(folder, intrinsics_file.FILE_NAME),))
    by_size = {size: intrinsics_file.read_intrinsics(camera, size) if camera else None
               for size in dict.fromkeys(sizes)}
    numbers, neighbours = _times(folder, names, sizes)
    frames = (Frame(stem, os.path.abspath(path), path, number, is_next, image, by_size[size])
              for stem, path, number, is_next, image, size in zip(
                  by_stem, paths, numbers, neighbours, images_of_files(paths), sizes))
    return Clip(source, paths, tuple(by_size), camera, len(paths), rate_of_import(folder), frames,
                tuple(neighbours), _turned(paths))


def _with_learned_camera(clip, model) -> Clip:
    """A clip with the camera that the model's run learned, where it learned that of such images."""
    run = RunFolder(model)
    found = {size: camera_of_size(run, size) for size in clip.sizes}
    if any(intrinsics is None for intrinsics in found.values()):
        return clip
    note = f"the camera is the one that {model} learned; --intrinsics gives another"
    return clip._replace(camera=str(run.path), warnings=(*clip.warnings, note), frames=(
        frame._replace(intrinsics=found[frame.image.shape[:2]]) for frame in clip.frames))


def _find_camera(camera, beside) -> Optional[str]:
    if intrinsics_file.is_json(camera):
        return camera
    return files.expand(camera) or next(filter(os.path.exists, beside), None)


def _times(folder, names, sizes):
    """Numbers of the frames, and whether the image before is the frame before: of one series of
    numbers, and of one size."""
    apart = range(len(names)), (False,) * len(names)
    if len(names) < 2 or not is_series(names):
        return apart
    ordered, numbers = number_frames(folder, names)
    if ordered != list(names):
        return apart
    same_size = [True] + [later == earlier for earlier, later in zip(sizes, sizes[1:])]
    return numbers, tuple(map(all, zip(follows(numbers), same_size)))


def _turned(paths) -> Tuple[str, ...]:
    """A warning of pictures that are stored on their side: depth is learned of upright ones."""
    turned = []
    for path in paths:
        with contextlib.suppress(UserError):  # damaged notes: nobody can know, the pixels may do
            turned += [path] * exif.is_turned(path)
    if not turned:
        return ()
    return (f"warning: {turned[0]}: EXIF says that the picture must be turned to be looked at, as "
            f"of {len(turned)} of {len(paths)}; they are taken as they are stored",)
