"""How far the camera moved between frames, by speed, by poses or by what the frames show.

A frame whose neighbour was taken from the same place says nothing about depth, even when the
camera turned: by poses only the translation counts. Letters: N frames of a drive.
"""
import concurrent.futures
import functools
from typing import Sequence, Tuple

import numpy as np
from tqdm import tqdm

from tfdepth.data import images
from tfdepth.data.drives import Drive

THUMBNAIL_HEIGHT = 32   # averages noise of sigma 5/255 down to 0.002, below any useful threshold
_CHUNK = 256            # frames that are read ahead


def neighbours(frame_numbers: Sequence[int], offset: int) -> np.ndarray:
    """Index of the frame whose number is `offset` away, for every frame.

    Args:
      frame_numbers: N, ascending.
      offset: frames, any sign.

    Returns:
      int64 [N]; -1 where the drive has no such frame.
    """
    numbers = np.asarray(frame_numbers, np.int64)                            # [N]
    found = np.minimum(np.searchsorted(numbers, numbers + offset), len(numbers) - 1)
    return np.where(numbers[found] == numbers + offset, found, -1)


def motion(drive: Drive, gap: int = 1) -> np.ndarray:
    """Motion from each frame to the one `gap` frames later.

    Args:
      drive: its measured `travel` is used, without it its poses, without both all its images are
        read once (threads; a progress bar on a terminal; the result is kept in memory).
      gap: frames, > 0.

    Returns:
      float64 [N]; metres a frame (the mean travel of the frames between, or the translation
      divided by `gap`), without travel and poses the mean absolute difference in [0, 1] between
      small grey copies of the two images. NaN where the drive has no frame `gap` later.

    Raises:
      UserError: an image cannot be read.
    """
    if gap <= 0:
        raise ValueError(f"`gap` must be positive; got {gap}.")
    if not measured_in_metres(drive):
        return _image_changes(drive.thumbnail_paths or drive.image_paths, drive.frame_numbers, gap)
    later = neighbours(drive.frame_numbers, gap)
    if drive.travel is not None:
        return _mean_travel(drive.travel, later, gap)
    positions = drive.world_from_camera[:, :3, 3]                            # [N, 3]
    distances = np.linalg.norm(positions[later] - positions, axis=1) / gap
    return np.where(later >= 0, distances, np.nan)


def measured_in_metres(drive: Drive) -> bool:
    """Whether `motion` is in metres a frame; else it is a change of the images."""
    return drive.travel is not None or drive.world_from_camera is not None


def _mean_travel(travel: np.ndarray, later: np.ndarray, gap: int) -> np.ndarray:
    """Mean of `travel` from each frame up to the one before `later`: float64 [N]."""
    frames = np.arange(len(travel))
    total = np.zeros(len(travel))
    for step in range(gap):
        between = frames + step < later  # where a frame is missing there are fewer than `gap`
        total[between] += travel[frames[between] + step]
    return np.where(later >= 0, total / np.maximum(later - frames, 1), np.nan)


def static_pairs(drive: Drive, gap: int, min_translation: float,
                 min_image_change: float) -> np.ndarray:
    """Which frames hardly move until the frame `gap` later.

    Args:
      drive, gap: as for `motion`.
      min_translation: metres a frame; decides where the drive has travel or poses. 0 = nothing is
        static.
      min_image_change: in [0, 1]; decides where it has neither. 0 = nothing is static, and no
        image is read.

    Returns:
      bool [N]; False where there is no frame `gap` later.

    Raises:
      UserError: an image cannot be read.
    """
    threshold = min_translation if measured_in_metres(drive) else min_image_change
    if threshold <= 0:
        return np.zeros(len(drive), bool)
    return motion(drive, gap) < threshold  # NaN compares False


@functools.lru_cache(maxsize=256)
def _image_changes(paths: Tuple[str, ...], frame_numbers: Tuple[int, ...], gap: int) -> np.ndarray:
    """Mean absolute difference to the frame `gap` later, float64 [N], NaN where there is none."""
    earlier = neighbours(frame_numbers, -gap)
    changes = np.full(len(paths), np.nan)
    recent = {}  # index -> thumbnail, the last `gap` frames: a partner is at most so far back
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool, \
            tqdm(total=len(paths), desc="measuring motion", unit=" frames", disable=None) as bar:
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start:start + _CHUNK]
            read = pool.map(lambda path: images.read_thumbnail(path, THUMBNAIL_HEIGHT), chunk)
            for k, thumbnail in enumerate(read, start):
                if earlier[k] >= 0:
                    changes[earlier[k]] = np.abs(thumbnail - recent[earlier[k]]).mean()
                recent[k] = thumbnail
                recent.pop(k - gap, None)
            bar.update(len(chunk))
    changes.setflags(write=False)
    return changes
