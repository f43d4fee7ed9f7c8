"""Scores depth under a protocol: a run's own, anyone's from files, and the trivial answer.

n frames; h, w: size of a prediction; H, W: size of the measured depth.
"""
import functools
import os
import pathlib
from typing import Iterable, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from tfdepth.checks import UserError, check_choice
from tfdepth.data import files, images
from tfdepth.data.crops import crop_camera, kb_crop
from tfdepth.data.drives import Drive
from tfdepth.data.kitti_splits import EIGEN_TEST
from tfdepth.evaluation.baselines import PerPixelMeanDepth
from tfdepth.evaluation.depth_metrics import DepthProtocol, evaluate_depth
from tfdepth.evaluation.post_process import post_process
from tfdepth.evaluation.scored_frames import ScoredFrame, frames_of_drives, has_depth
from tfdepth.evaluation.tables import Row

KITTI_BASELINE = 0.54    # metres, the rounded value that Monodepth2's factor 5.4 comes from
KINDS = ("depth", "disparity")
_MEAN_FRAMES = 1000      # training depth maps that a mean is made of, at most


def depth_row(name: str, depths: Iterable[np.ndarray], frames: Sequence[ScoredFrame],
              protocol: DepthProtocol) -> Row:
    """One row of a depth table: (name, {metric or count: value}).

    Args:
      name: of the method.
      depths: n predictions [h, w], > 0, in the order of `frames`; read one at a time.
      frames: n of them.
      protocol: how they are compared.

    Raises:
      UserError: as `evaluate_image`, or a file of a frame that cannot be read.
    """
    result = evaluate_depth(
        ((frame.name, depth, frame.truth(), *([frame.moving()] if protocol.moving_only else []))
         for frame, depth in tqdm(zip(frames, depths), f"scoring {name}", len(frames),
                                  unit=" frames", disable=None, delay=2)), protocol)
    metrics = result.metrics._asdict() if result.metrics else {}
    return name, {**{metric: metrics.get(metric) for metric in protocol.metrics},
                  "scale": result.ratio_median, "scale_spread": result.ratio_spread,
                  "images": result.num_images, "without_truth": len(result.unmeasured)}


def depths_of_run(predictor, frames: Sequence[ScoredFrame], protocol: DepthProtocol,
                  flip: bool = False) -> Iterator[np.ndarray]:
    """Yields what a run predicts of each frame, [H', W'] at the network's size.

    Args:
      predictor: inference.Predictor.
      frames, protocol: as for `depth_row`.
      flip: whether to blend with the prediction of the mirrored image, see `post_process`.

    Raises:
      UserError: the protocol compares metres, which the run cannot know; a file cannot be read.
    """
    unit = metres_per_unit(predictor) if not protocol.median_scaling else 1.0
    for frame in frames:
        image, camera = seen_image(frame, protocol)
        previous = frame.previous() if frame.previous and predictor.system.needs_previous else None
        if protocol.kb_crop and previous is not None:
            previous = cut_kb(previous)
        depth = predictor.depth_of_image(image, previous, camera)
        if flip:
            mirrored = predictor.depth_of_image(
                image[:, ::-1], None if previous is None else previous[:, ::-1],
                None if camera is None else _mirrored(camera, image.shape[1]))
            depth = 1.0 / post_process(1.0 / depth, 1.0 / mirrored)
        yield depth * unit


def seen_image(frame: ScoredFrame, protocol: DepthProtocol):
    """What networks see of a frame: uint8 [h, w, 3], and its camera [3, 3] or None."""
    image, camera = frame.image(), frame.intrinsics
    if not protocol.kb_crop:
        return image, camera
    top, left, _, _ = kb_crop(image.shape[:2])
    return cut_kb(image), None if camera is None else crop_camera(camera, top, left)


def cut_kb(image: np.ndarray) -> np.ndarray:
    """The KB crop of an image or depth map, [H, W, ...] -> [352, 1216, ...]."""
    top, left, height, width = kb_crop(image.shape[:2])
    return image[top:top + height, left:left + width]


def _mirrored(camera: np.ndarray, width: int) -> np.ndarray:
    """The camera [3, 3] of a mirrored image, see geometry.camera.flip_left_right."""
    mirrored = camera.copy()
    mirrored[0, 2] = width - 1 - camera[0, 2]
    return mirrored


def metres_per_unit(predictor) -> float:
    """Metres in the unit of depth of a run.

    Raises: UserError: it was trained on video of one camera, so that nobody knows.
    """
    data = predictor.config.data
    if predictor.system.learns_from_depth:
        return 1.0
    if not data.stereo:
        raise UserError("the protocol compares metres as predicted; a run that was trained on "
                        "video of one camera (data.stereo is false) does not know them. Choose a "
                        "protocol with median scaling.")
    if not data.stereo_baseline:
        return 1.0
    if not data.dataset.startswith("kitti"):
        raise UserError(f"the protocol compares metres; a run on {data.dataset} with "
                        f"data.stereo_baseline={data.stereo_baseline:g} does not say how many "
                        "metres that is. Train with 0, the calibrated distance.")
    return KITTI_BASELINE / data.stereo_baseline


def mean_depth(drives: Sequence[Drive], protocol: DepthProtocol) -> np.ndarray:
    """The mean measured depth of each pixel over training drives, [H, W] metres.

    Of up to 1000 depth maps, spread evenly; measurements beyond the protocol's cap do not count.

    Raises: UserError: no drive has depth, or a file cannot be read.
    """
    frames = frames_of_drives([drive for drive in drives if has_depth(drive)])
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MEAN_FRAMES)).round())
    truths = (frames[int(k)].truth() for k in chosen)
    return PerPixelMeanDepth.fit(np.where(truth < protocol.max_depth, truth, 0)
                                 for truth in truths).predict()


def read_predictions(path: str, kind: str,
                     frames: Sequence[ScoredFrame]) -> Iterator[np.ndarray]:
    """Anyone's predictions of some frames.

    Args:
      path: a .npy [n, h, w]; an .npz with one such array, or with n arrays [h, w] in the order
        of their names; or a folder of n PNGs (16 bits, metres x 256) or n .npy [h, w] in the
        order of their names. n and the order are those of `frames`, or of the whole published
        list that `frames` are a part of.
      kind: "depth" or "disparity" (1 / depth); PNGs hold depth.
      frames: n of them.

    Returns:
      Yields depth [h, w], float64, one at a time; > 0, which `evaluate_image` checks.

    Raises:
      UserError: no such file, another form or number, or (while it is read) something that is no
        array of numbers [h, w].
    """
    check_choice("--prediction_kind", kind, KINDS)
    path = files.expand(path)
    count, load = (_folder_reader(path, kind) if os.path.isdir(path) else
                   _array_reader(path))
    places = range(len(frames))
    if count != len(frames) and frames[0].name.startswith("2011") and count == len(EIGEN_TEST):
        places = [frame.place for frame in frames]
    elif count != len(frames):
        raise UserError(f"--predictions {path}: expected {len(frames)} predictions, one a frame "
                        f"from {frames[0].name} to {frames[-1].name}; found {count}.")
    return (_read(load, place, kind, f"{path}, prediction {place + 1} ({frame.name})")
            for place, frame in zip(places, frames))


def _read(load, place, kind, where):
    try:
        values = np.asarray(load(place), np.float64)
    except UserError:
        raise
    except Exception as error:  # the set is open: a decoder meets foreign bytes
        raise UserError(f"{where}: expected numbers [h, w]; {files.one_line(error)}.") from None
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise UserError(f"{where}: expected numbers [h, w]; found {list(values.shape)}.")
    if kind == "depth":
        return values
    with np.errstate(divide="ignore", over="ignore"):
        return 1.0 / values


def _array_reader(path):
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            whole = loaded
        else:
            names = sorted(loaded.files, key=files.natural_key)
            if len(names) > 1:
                return len(names), lambda k: loaded[names[k]]
            whole = loaded[names[0]]
        if whole.ndim < 3 or whole.dtype.kind != "f":
            raise ValueError(f"an array {whole.dtype} {list(whole.shape)}")
        return len(whole), lambda k: whole[k]
    except FileNotFoundError:
        raise UserError(f"--predictions {path}: no such file or folder.") from None
    except Exception as error:  # as above
        raise UserError(f"--predictions {path}: expected numbers [n, h, w] as .npy or .npz without "
                        f"Python objects; {files.one_line(error)}.") from None


def _folder_reader(path, kind):
    names = [name for name in files.list_folder(path, "a folder of predictions")
             if name.endswith((".png", ".npy"))]
    suffixes = {pathlib.Path(name).suffix for name in names}
    if len(suffixes) != 1:
        raise UserError(f"--predictions {path}: expected PNGs (16 bits, metres x 256) or .npy "
                        f"files, of one kind; found {files.listing(names)}.")
    if suffixes == {".png"} and kind != "depth":
        raise UserError(f"--prediction_kind: PNGs hold depth, metres x 256; got {kind}.")
    read = images.read_depth if suffixes == {".png"} else functools.partial(
        np.load, allow_pickle=False)
    return len(names), lambda k: read(os.path.join(path, names[k]))
