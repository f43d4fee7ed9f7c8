"""What a user gives to predict from: an image, a folder of images or a video, as a list of frames.

Shape letters: N images; h, w of an image.
"""
import os
from typing import NamedTuple, Optional, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, images, intrinsics_file, video
from tfdepth.data.frame_numbers import follows, is_series, number_frames

_EXPECTED = (f"an image ({', '.join(images.IMAGE_SUFFIXES)}), a folder of images or a video "
             f"({', '.join(video.SUFFIXES)})")


class Clip(NamedTuple):
    """Images that share one colour range and one divisor. A frame is a place in these tuples."""
    source: str                                    # the image, folder or video that was given
    paths: Tuple[str, ...]                         # N files; of a video in the cache
    sizes: Tuple[Tuple[int, int], ...]             # N times (h, w)
    follows: Tuple[bool, ...]                      # N: the image before is the frame before
    intrinsics: Tuple[Optional[np.ndarray], ...]   # N times [3, 3], pixels of (h, w); None unknown

    def origin(self, frame):
        """The user's file that a frame comes from."""
        is_file = os.path.isfile(self.source)
        return os.path.abspath(self.source if is_file else self.paths[frame])


def open_clip(source, camera="") -> Clip:
    """Finds the images and reads their headers.

    The camera is that of `camera`, a file or JSON text, or of intrinsics.json beside the images, or
    of <name>.json or intrinsics.json beside a video, where there is one.

    Raises:
      UserError: no such input, a folder without images or with two of one name, an image that
        cannot be read, or a camera file that cannot be right for the images.
    """
    if not source:
        raise UserError(f"--input: expected {_EXPECTED}; got an empty path.")
    source = files.expand(source)
    folder, names = os.path.split(source)[0], [os.path.basename(source)]
    cameras = [os.path.join(folder, intrinsics_file.FILE_NAME)]
    if not os.path.isfile(source):
        folder, names = source, images.image_names(source, _EXPECTED)
        cameras = [os.path.join(folder, intrinsics_file.FILE_NAME)]
        if not names:
            raise UserError(f"{source}: expected images ({', '.join(images.IMAGE_SUFFIXES)}); "
                            f"found {files.listing(files.list_folder(source, _EXPECTED))}.")
    elif source.lower().endswith(video.SUFFIXES):
        cameras.insert(0, os.path.splitext(source)[0] + ".json")
        folder = video.decode(source)
        names = images.image_names(folder)
    by_stem = {}
    for name in names:
        other = by_stem.setdefault(os.path.splitext(name)[0], name)
        if other != name:
            raise UserError(f"{folder}: expected one image of a name, as the depth maps take the "
                            f"names; found {other} and {name}.")
    paths = tuple(os.path.join(folder, name) for name in names)
    sizes = tuple(images.read_frame_size(path) for path in paths)
    if not intrinsics_file.is_json(camera):
        camera = files.expand(camera) or next(filter(os.path.exists, cameras), None)
    by_size = {size: intrinsics_file.read_intrinsics(camera, size) if camera else None
               for size in set(sizes)}
    return Clip(source, paths, sizes, _which_follow(folder, names, sizes),
                tuple(by_size[size] for size in sizes))


def with_cameras(clip, camera_of_size) -> Clip:
    """A clip whose frames of unknown cameras have that of `camera_of_size`: (height, width) ->
    [3, 3] or None."""
    found = {size: camera_of_size(size) for size in set(clip.sizes)}
    return clip._replace(intrinsics=tuple(
        found[size] if known is None else known
        for known, size in zip(clip.intrinsics, clip.sizes)))


def _which_follow(folder, names, sizes):
    """Whether the image before is the frame before: of one series of numbers, and of one size."""
    if len(names) < 2 or not is_series(names):
        return (False,) * len(names)
    ordered, numbers = number_frames(folder, names)
    if ordered != list(names):
        return (False,) * len(names)
    same_size = [True] + [later == earlier for earlier, later in zip(sizes, sizes[1:])]
    return tuple(map(all, zip(follows(numbers), same_size)))
