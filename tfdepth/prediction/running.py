"""The networks run over a clip, once, as its frames come.

Depths, and frames that are needed again, go to a Spool, so memory does not grow with the number of
frames (but for a kilobyte each). Shape letters: H rows, W columns of the network; h, w of an image;
S sources.
"""
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from tqdm import tqdm

from tfdepth.checks import UserError
from tfdepth.data.neighbours import NeighbourWindow
from tfdepth.inference import BATCH_SIZE, NO_CAMERA
from tfdepth.prediction.spool import Place


class PredictedFrame(NamedTuple):
    """A frame after the network ran; what is large waits in the spool."""
    name: str
    path: str
    number: int
    follows: bool
    size: Tuple[int, int]             # (h, w)
    intrinsics: Optional[np.ndarray]  # [3, 3], pixels of (h, w)
    depth: Place                      # float32 [H, W]
    image: Optional[Place]            # uint8 [h, w, 3]; only where it is needed again


class PredictedClip(NamedTuple):
    """All of a clip after the network ran."""
    frames: List[PredictedFrame]
    motions: Dict[int, np.ndarray]             # by target: source_from_target [S, 4, 4]
    pictures: Dict[int, Dict[str, Place]]      # by target: uint8 [H, W, 3] or [H, W] by title


def run_networks(clip, predictor, spool, keep_images=False, with_motions=False,
                 with_pictures=False) -> PredictedClip:
    """Goes through a clip.

    Args:
      clip: Clip; its frames are used up.
      predictor: Predictor.
      spool: Spool that depths, images and pictures go to.
      keep_images: whether frames are needed again.
      with_motions: whether to predict motion.
      with_pictures: whether to draw what else the system has to show.

    Raises:
      UserError: a frame cannot be read, there is none, depth is not positive and finite, motion
        not finite, or the camera is needed and nobody knows it.
    """
    frames, motions, pictures = [], {}, {}
    window = neighbour_window(predictor)

    def look_around(ready):
        for neighbours in ready:
            if with_motions:
                found = predictor.motions_of_neighbours(neighbours)
                check_motions(found, predictor, lambda index: frames[index].name)
                motions.update(found)
            if with_pictures:
                pictures.update(_look(neighbours, frames, predictor, spool))

    for frame, image, depth in predictor.depths_of_frames(
            progress(clip.frames, "predicting", clip.count)):
        check_depth(depth, predictor, frame)
        frames.append(PredictedFrame(
            frame.name, frame.path, frame.number, frame.follows, frame.image.shape[:2],
            frame.intrinsics, spool.put(depth.tobytes()),
            spool.put_picture(frame.image) if keep_images else None))
        if with_motions or with_pictures:
            look_around(window.add(image, frame.follows))
    look_around(window.rest())
    if not frames:
        raise UserError(f"{clip.source}: expected frames; found none.")
    return PredictedClip(frames, motions, pictures)


def neighbour_window(predictor) -> NeighbourWindow:
    """One whose neighbours are as far apart as those that the model learned from."""
    return NeighbourWindow([predictor.frame_gap * offset for offset in predictor.offsets],
                           BATCH_SIZE)


def _look(neighbours, frames, predictor, spool):
    """{index: {title: place of a picture}} of the targets."""
    cameras = [np.eye(3, dtype=np.float32) if frames[index].intrinsics is None else
               predictor.resized_camera(frames[index].intrinsics, frames[index].size)
               for index in neighbours.indices]
    found = {index: {} for index in neighbours.indices.tolist()}
    for title, batch in predictor.pictures_of_batch(
            neighbours.targets, neighbours.sources, np.stack(cameras)).items():
        for index, picture in zip(found, batch):
            pixels = np.rint(255.0 * picture).astype(np.uint8)
            found[index][title] = spool.put_picture(
                pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return found


def check_depth(depth, predictor, frame):
    """Raises UserError unless depth [H, W] of a frame is positive and finite."""
    if not (np.isfinite(depth) & (depth > 0)).all():
        raise UserError("--model: expected a model with finite depth above 0; that of "
                        f"step {predictor.step} is not so for {frame.label}. Did it diverge?")


def check_motions(motions, predictor, name_of):
    """Raises UserError unless motions, {index: [S, 4, 4]}, are finite; name_of: index -> name."""
    for index, motion in motions.items():
        if not np.isfinite(motion).all():
            raise UserError("--model: expected a model with finite motion; that of step "
                            f"{predictor.step} is not so for {name_of(index)}. Did it diverge?")


def progress(frames, what, count):
    """`frames` with a bar on a terminal; count 0 = nobody knows."""
    return tqdm(frames, what, count or None, unit=" frames", disable=None)


def no_camera(flag, source):
    """What to raise where a flag needs a camera."""
    return UserError(f"{flag}: expected the camera of {source}; {NO_CAMERA}")
