"""What a model sees in a user's images, frame by frame, to compare with what is true of them.

Shape letters: N frames, n steps; H, W the network's size; h, w of an image.
"""
from typing import Iterator, NamedTuple, Optional, Tuple

import numpy as np

from tfdepth.evaluation.resizing import RESIZINGS
from tfdepth.evaluation.trajectories import relative_motions
from tfdepth.prediction.clips import open_clip
from tfdepth.prediction.running import (
    check_depth, check_motions, neighbour_window, progress)
from tfdepth.prediction.trajectory import find_parts


class ObservedFrame(NamedTuple):
    """A frame, and the model's depth of it."""
    name: str                           # of its file, without the ending
    depth: np.ndarray                   # [h, w] > 0, resized as the system was published
    network_depth: np.ndarray           # [H, W] > 0
    intrinsics: Optional[np.ndarray]    # [3, 3], pixels of H x W; None = unknown


class ObservedMotion(NamedTuple):
    """The way along a clip."""
    names: Tuple[str, ...]    # N
    numbers: np.ndarray       # [N] int, places in time; holes in them are holes in time
    rate: float               # frames a second, as a video says; 0 = nobody knows
    steps: np.ndarray         # [n, 2] int, earlier and later frame
    lengths: np.ndarray       # [n] in the model's unit


def observe_depth(predictor, source, camera, model) -> Iterator[ObservedFrame]:
    """Yields what the model sees.

    Args: predictor: Predictor. source, camera, model: as of `open_clip`.
    Raises: UserError: as `open_clip`, or if an image cannot be read or depth is not positive and
      finite.
    """
    resize = RESIZINGS[predictor.system.resized]
    with open_clip(source, camera, model) as clip:
        for frame, _, depth in predictor.depths_of_frames(
                progress(clip.frames, "calibrating", clip.count)):
            check_depth(depth, predictor, frame)
            size, intrinsics = frame.image.shape[:2], frame.intrinsics
            if intrinsics is not None:
                intrinsics = predictor.resized_camera(intrinsics, size).numpy()
            yield ObservedFrame(frame.name, resize(depth, size), depth, intrinsics)


def observe_motion(predictor, source, camera, model) -> ObservedMotion:
    """The model's steps from each frame to the next, or as far as the frames it learned from.

    Args: as of `observe_depth`.
    Raises: UserError: as `open_clip`, or if an image cannot be read or motion is not finite.
    """
    names, numbers, follows, motions = [], [], [], {}
    window = neighbour_window(predictor)

    def look(ready):
        for neighbours in ready:
            found = predictor.motions_of_neighbours(neighbours)
            check_motions(found, predictor, lambda index: names[index])
            motions.update(found)

    with open_clip(source, camera, model) as clip:
        for frame in progress(clip.frames, "calibrating", clip.count):
            names.append(frame.name)
            numbers.append(frame.number)
            follows.append(frame.follows)
            look(window.add(predictor.resized(frame.image), frame.follows))
    look(window.rest())
    steps, lengths = [np.zeros([0, 2], int)], [np.zeros(0)]
    for part in find_parts(follows, motions, predictor.offsets, predictor.frame_gap):
        frames = np.array(part.frames)
        steps.append(np.stack([frames[:-1], frames[1:]], axis=1))
        lengths.append(np.linalg.norm(relative_motions(part.world_from_camera)[:, :3, 3], axis=1))
    return ObservedMotion(tuple(names), np.array(numbers, int), clip.rate, np.concatenate(steps),
                          np.concatenate(lengths))
