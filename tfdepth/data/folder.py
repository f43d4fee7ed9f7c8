"""Frames of any camera: a folder of images, a folder of such folders, or video files.

    walk/             000.png 001.png ... intrinsics.json         one drive, "walk"
    trip/             intrinsics.json, day1/*.jpg, day2/*.jpg     drives "day1" and "day2"
    clip.mp4          beside clip.json (or intrinsics.json)       one drive, "clip"
    clips/            a.mp4 b.mp4 a.json b.json                   drives "a" and "b"

The camera file is described in intrinsics_file. A folder may hold poses.txt in KITTI's form:
world_from_camera, 12 numbers a row, row k for the k-th image in order.
"""
import logging
import os
from typing import List, Optional, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, images, intrinsics_file, video
from tfdepth.data.drives import Drive
from tfdepth.data.frame_numbers import number_frames
from tfdepth.data.learned_camera import FLAG, LEARNED, camera_name, first_guess

POSES = "poses.txt"
_LOG = logging.getLogger(__name__)
_LAYOUT = (f"images ({', '.join(images.IMAGE_SUFFIXES)}), videos ({', '.join(video.SUFFIXES)}) "
           "or folders of images")


def load(root: str, intrinsics: str = "") -> Tuple[Drive, ...]:
    """Reads the drives of a folder or of a video file.

    Args:
      root: a folder of images; or, where it holds no image, a folder of image folders and of
        videos, each a drive; or a video file, which is decoded once into the cache.
      intrinsics: the camera file for all drives; "" = intrinsics.json in the drive's folder, or
        for a video <its name>.json beside it, or else intrinsics.json in `root`; LEARNED = the
        same, but there need not be one.

    Returns:
      Drives in natural order of their names. How frames are numbered: see frame_numbers.

    Raises:
      UserError: nothing to read, no or a bad camera file, a drive with a single frame, a frame
        that cannot be read or has another size, an unreadable video, names that cannot be put
        in time order, poses.txt with another number of rows.
    """
    root = files.expand(root)
    intrinsics = intrinsics if intrinsics == LEARNED else files.expand(intrinsics)
    if os.path.isfile(root):
        return (_load_video(root, intrinsics),)
    names = files.list_folder(root, f"a folder with {_LAYOUT}, or a video file")
    folders = [name for name in names if _image_names(os.path.join(root, name), quiet=True)]
    if _image_names(root):
        others = folders + [name for name in names if _is_video(name)]
        if others:
            _LOG.warning("%s: reads the images of the folder itself; left out: %s", root,
                         files.listing(others))
        return (_load_images(root, os.path.basename(os.path.abspath(root)), intrinsics, root),)
    drives = {}
    for name in names:
        path = os.path.join(root, name)
        if name in folders:
            drive = _load_images(path, name, intrinsics, root)
        elif _is_video(name):
            drive = _load_video(path, intrinsics)
        else:
            continue
        if drive.name in drives:
            raise UserError(f"{root}: expected one drive of a name; found {drive.name!r} twice.")
        drives[drive.name] = drive
    if not drives:
        raise UserError(f"{root}: expected {_LAYOUT}; found {files.listing(names)}.")
    return tuple(drives.values())


def _is_video(name: str) -> bool:
    return name.lower().endswith(video.SUFFIXES)


def _image_names(folder: str, quiet: bool = False) -> List[str]:
    """Images in a folder; `quiet`: [] for what is no folder."""
    if quiet and not os.path.isdir(folder):
        return []
    return images.image_names(folder)


def _load_video(path: str, intrinsics: str) -> Drive:
    if not _is_video(path):
        raise UserError(f"{path}: expected a folder, or a video ({', '.join(video.SUFFIXES)}); "
                        f"found another file.")
    stem = os.path.splitext(path)[0]
    beside = os.path.join(os.path.dirname(path), intrinsics_file.FILE_NAME)
    camera = _find_camera(intrinsics, (f"{stem}.json", beside), path)  # before minutes of decoding
    return _read_drive(video.decode(path), os.path.basename(stem), camera)


def _load_images(folder: str, name: str, intrinsics: str, root: str) -> Drive:
    places = [os.path.join(place, intrinsics_file.FILE_NAME) for place in (folder, root)]
    return _read_drive(folder, name, _find_camera(intrinsics, places, folder))


def _find_camera(given: str, places: Sequence[str], what: str) -> str:
    """Path of the camera file: the given one or the first of `places` that exists; "" if it is
    learned and none does."""
    if given and given != LEARNED:
        return given
    for place in places:
        if os.path.exists(place):
            return place
    if given == LEARNED:
        return ""
    folder = os.path.dirname(places[0])
    plain = [name for name in ("cam.txt", "intrinsics.txt", "calib.txt", "camera.txt", "K.txt")
             if os.path.exists(os.path.join(folder, name))]
    hint = f" {plain[0]} does not declare its units and is not read." if plain else ""
    raise UserError(f"{what}: expected a camera file {places[0]}; found none.{hint} The shortest "
                    f"one is {intrinsics_file.EXAMPLE}, with your camera's angle of view; a "
                    f"training with {FLAG} does without.")


def _read_drive(folder: str, name: str, camera_file: str) -> Drive:
    names = _image_names(folder)
    if len(names) == 1:
        raise UserError(f"{folder}: expected several frames of a moving camera; "
                        f"found one ({names[0]}).")
    names, numbers = number_frames(folder, names)
    paths = tuple(os.path.join(folder, name) for name in names)
    size = images.check_same_size(paths)
    camera = (dict(intrinsics=intrinsics_file.read_intrinsics(camera_file, size)) if camera_file
              else dict(intrinsics=first_guess(size), camera=camera_name(size)))
    return Drive(name=name, image_paths=paths, frame_numbers=numbers, size=size, **camera,
                 world_from_camera=_poses(os.path.join(folder, POSES), len(names)))


def _poses(path: str, count: int) -> Optional[np.ndarray]:
    """world_from_camera [N, 4, 4], or None when there is no file."""
    if not os.path.exists(path):
        return None
    poses = files.read_poses(path)
    if len(poses) != count:
        raise UserError(f"{path}: expected a row for each of the {count} images; "
                        f"found {len(poses)}.")
    return poses
