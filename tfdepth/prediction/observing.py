"""What a model sees in a user's images, frame by frame, to compare with what is true of them.

Shape letters: N frames, n steps; H, W the network's size; h, w of an image.
"""
import os
from typing import Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from tqdm import tqdm

from tfdepth.checks import UserError
from tfdepth.data import video
from tfdepth.evaluation.predicted_motion import predicted_trajectory
from tfdepth.evaluation.resizing import RESIZINGS
from tfdepth.evaluation.trajectories import relative_motions
from tfdepth.geometry.camera import resize_intrinsics
from tfdepth.prediction.clips import open_clip


class Seen(NamedTuple):
    """A frame, and the model's depth of it."""
    name: str                           # of its file, without the ending
    depth: np.ndarray                   # [h, w] > 0, resized as the system was published
    network_depth: np.ndarray           # [H, W] > 0
    intrinsics: Optional[np.ndarray]    # [3, 3], pixels of H x W; None = unknown


class SeenMotion(NamedTuple):
    """The way along a clip."""
    names: Tuple[str, ...]    # N
    rate: float               # frames a second, as a video says; 0 = nobody knows
    steps: np.ndarray         # [n, 2] int, earlier and later frame
    lengths: np.ndarray       # [n] in the model's unit


def observe_depth(predictor, source, camera) -> Iterator[Seen]:
    """Yields what the model sees.

    Args: predictor: Predictor. source, camera: as of `open_clip`.
    Raises: UserError: as `open_clip`, or if an image cannot be read or depth is not positive and
      finite.
    """
    clip, (rows, columns) = open_clip(source, camera), predictor.size
    resize = RESIZINGS[predictor.system.resized]
    predicted = tqdm(predictor.depths_of_files(clip.paths, clip.follows, clip.intrinsics),
                     "calibrating", len(clip.paths), unit=" images", disable=None)
    for path, size, intrinsics, (_, depth) in zip(
            clip.paths, clip.sizes, clip.intrinsics, predicted):
        if not (np.isfinite(depth) & (depth > 0)).all():
            raise UserError(f"{path}: expected a model with finite depth above 0; that of step "
                            f"{predictor.step} is not so. Did it diverge?")
        if intrinsics is not None:
            intrinsics = resize_intrinsics(intrinsics.astype(np.float32),
                                           (rows / size[0], columns / size[1])).numpy()
        yield Seen(_stem(path), resize(depth, size), depth, intrinsics)


def observe_motion(predictor, source, camera) -> SeenMotion:
    """The model's steps from each frame to the next, or as far as the frames it learned from.

    Args: as of `observe_depth`.
    Raises: UserError: as `open_clip`, or if an image cannot be read or the model sees no motion.
    """
    clip, gap = open_clip(source, camera), predictor.config.data.frame_gap
    starts = [frame for frame, follows in enumerate(clip.follows) if not follows]
    steps: List[np.ndarray] = [np.zeros([0, 2], int)]
    lengths: List[np.ndarray] = [np.zeros(0)]
    for start, end in zip(starts, [*starts[1:], len(clip.paths)]):
        frames = np.arange(start, end, gap)
        trajectory = predicted_trajectory(predictor, [clip.paths[frame] for frame in frames])
        if trajectory is not None:
            steps.append(np.stack([frames[:-1], frames[1:]], axis=1))
            lengths.append(np.linalg.norm(relative_motions(trajectory)[:, :3, 3], axis=1))
    is_video = os.path.isfile(clip.source) and clip.source.lower().endswith(video.SUFFIXES)
    return SeenMotion(tuple(map(_stem, clip.paths)),
                      video.read_header(clip.source).rate if is_video else 0.0,
                      np.concatenate(steps), np.concatenate(lengths))


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]
