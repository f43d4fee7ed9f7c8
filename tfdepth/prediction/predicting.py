"""A model applied to a user's images: depth in files, pictures of it, and what the numbers mean.

For every image NAME.jpg there are, below the output folder,

    depth/NAME.png    or .npy: depth at the size of the image
    depth/NAME.json   what the numbers are; written last, so a depth map with one is complete
    colour/NAME.png   inverse depth in colours, to look at; one range for the whole clip

The network runs once. Its depths wait in a nameless file in the output folder (4 H W bytes an
image) until the range of the clip is known, so memory does not grow with the number of images, and
nothing is written if one of them cannot be read.

Shape letters: N images, H rows, W columns of the network; h, w of an image.
"""
import contextlib
import io
import math
import os
import pathlib
import tempfile
from typing import NamedTuple, Tuple

import numpy as np
from tqdm import tqdm

from tfdepth.checks import UserError, check_choice
from tfdepth.data import images
from tfdepth.evaluation.plots import colour_depth, inverse_depth_range
from tfdepth.evaluation.resizing import RESIZINGS
from tfdepth.evaluation.tables import write_json
from tfdepth.files import write_atomically
from tfdepth.inference import load_predictor
from tfdepth.prediction.clips import open_clip, with_cameras
from tfdepth.runs.cameras import camera_of_size
from tfdepth.runs.folder import RunFolder
from tfdepth.systems.base import PRECISIONS

FORMATS = ("png", "npy")
LARGEST_STEP = 65534         # of a 16-bit PNG; readers take 65535 for a mark
RANGE_SAMPLES = 1_000_000    # pixels, spread evenly over the clip, that decide the colour range


class ClipRange(NamedTuple):
    """What the files of a clip have in common."""
    divisor: float                # stored value = depth x divisor
    colours: Tuple[float, float]  # inverse depths of the darkest and of the brightest colour


def predict_files(model, source, output, file_format="png", camera="", precision="float32",
                  show=print):
    """Writes depth, pictures and descriptions of images; see the module's docstring.

    The network's depth, or, as the system was published, its inverse, is resized to the image
    bilinearly, with half-pixel centres.

    Args:
      model: run folder.
      source: an image, a folder of images (not of its sub-folders) or a video.
      output: folder, made if missing; files of these names in it are replaced.
      file_format: of depth: "png" (16 bits, depth x `png_divisor`) or "npy" (float32, depth).
      camera: a camera file, or its JSON text, for all images; "" = as `open_clip` finds it, or
        else the one that the model's run learned, of images of the same shape.
      precision: of the networks, see systems.base.PRECISIONS.
      show: called with lines of text for the user.

    Raises:
      UserError: if the source, the model or the output is not as above, an image cannot be read,
        the model needs the camera and nobody knows it, or its depth is not positive and finite.
    """
    check_choice("--format", file_format, FORMATS)
    check_choice("--precision", precision, PRECISIONS)
    clip = open_clip(source, camera)
    predictor = load_predictor(model, precision)
    clip = with_cameras(clip, lambda size: camera_of_size(RunFolder(model), size))
    with _spool(clip, output) as spool:
        for path, (_, depth) in zip(clip.paths, _progress(
                predictor.depths_of_files(clip.paths, clip.follows, clip.intrinsics),
                "predicting", clip)):
            if not (np.isfinite(depth) & (depth > 0)).all():
                raise UserError(f"{model}: expected a model with finite depth above 0; that of "
                                f"step {predictor.step} is not so for {path}. Did it diverge?")
            spool.write(depth.tobytes())
        spool.flush()
        depths = np.memmap(spool, np.float32, "r", shape=(len(clip.paths), *predictor.size))
        clip_range = _range_of_clip(depths, file_format)
        facts = {"model": os.path.abspath(os.path.expanduser(model)),
                 "system": type(predictor.system).__name__, "checkpoint_step": predictor.step,
                 "network_size": predictor.size, "resized": predictor.system.resized,
                 **_scale(predictor.config.data, predictor.system.learns_from_depth)}
        folder, clamped = pathlib.Path(output).expanduser(), 0
        for frame, depth in enumerate(_progress(depths, "writing", clip)):
            previous = _previous(clip, frame) if predictor.system.needs_previous else {}
            clamped += _write_frame(folder, clip, frame, depth, clip_range, file_format,
                                    {**facts, **previous})
    stored = (f"16-bit PNG, depth x {clip_range.divisor:g}" if file_format == "png" else
              "float32 .npy")
    show(f"wrote {len(clip.paths)} depth maps ({stored}; {facts['scale']}: "
         f"{facts['scale_reason']}) to {folder / 'depth'}, pictures to {folder / 'colour'}")
    if predictor.system.needs_previous and not all(clip.follows):
        show(f"{clip.follows.count(False)} of {len(clip.paths)} images have no frame before them; "
             "the model saw these twice")
    if clamped:
        show(f"warning: {clamped} pixels are nearer than the PNG can tell and hold 1; "
             "--format npy keeps them")


def _scale(data, learns_from_depth=False):
    """What is known of the unit of the depth of a model that was trained on such data."""
    if learns_from_depth:
        return {"scale": "metric", "scale_reason":
                "metres, trained on measured depth; true for such scenes and cameras"}
    if not data.stereo:
        return {"scale": "relative", "scale_reason":
                "trained on video of one camera, so depth is known up to one unknown factor"}
    if data.stereo_baseline:
        return {"scale": "relative", "scale_reason":
                f"trained on stereo pairs at a distance of {data.stereo_baseline:g} units; metres "
                f"= depth x their true distance / {data.stereo_baseline:g}"}
    return {"scale": "metric", "scale_reason":
            "metres, trained on stereo pairs of known distance; true for that camera"}


def _previous(clip, frame):
    """For the description: which image stood for the frame before."""
    if clip.follows[frame]:
        return {"previous_frame": os.path.basename(clip.paths[frame - 1])}
    return {"previous_frame": None,
            "previous_reason": "no frame before it was given; the model saw the image twice"}


def png_divisor(largest: float) -> float:
    """Steps a unit of depth: the largest power of two with which `largest` fits into 16 bits.

    Relative depth has no unit that KITTI's 256 would suit: of a model whose depths are below 1 it
    would keep few steps. So the farthest pixel of a clip always fits, with a rounding error below
    2e-5 of it; a pixel 1000 times nearer has one below 2 %.
    """
    return 2.0 ** (math.frexp(LARGEST_STEP / largest)[1] - 1)


@contextlib.contextmanager
def _spool(clip, output):
    """Makes the output folders, and a file in there that vanishes with the program."""
    if not output:
        raise UserError("--output: expected a folder; got an empty path.")
    folder = pathlib.Path(output).expanduser()
    ours = [folder / "depth", folder / "colour"]
    for path in clip.paths:
        if {os.path.realpath(os.path.dirname(path)), os.path.dirname(os.path.realpath(path))} & {
                os.path.realpath(each) for each in ours}:
            raise UserError(f"--output {output}: expected a folder whose depth/ and colour/ hold "
                            f"none of the input; found {path}.")
    try:
        for each in ours:
            each.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as spool:
            yield spool
    except OSError as error:  # also from the caller's block: a full disk
        raise UserError(f"--output {output}: expected a folder that can be written; "
                        f"{error.strerror or error}.") from None


def _progress(frames, what, clip):
    return tqdm(frames, what, len(clip.paths), unit=" images", disable=None)


def _range_of_clip(depths, file_format) -> ClipRange:
    """The common divisor and colours; depths: [N, H, W], may lie on disk."""
    count = min(depths.size, RANGE_SAMPLES)
    places = np.linspace(0, depths.size - 1, count).astype(np.int64)
    colours = inverse_depth_range(1.0 / depths.reshape(-1)[places])
    largest = max(float(depth.max()) for depth in depths)
    return ClipRange(png_divisor(largest) if file_format == "png" else 1.0, colours)


def _write_frame(folder, clip, frame, depth, clip_range, file_format, facts):
    """Writes the three files of an image; returns how many pixels the PNG holds as too near."""
    stem = os.path.splitext(os.path.basename(clip.paths[frame]))[0]
    values = folder / "depth" / f"{stem}.{file_format}"
    picture = folder / "colour" / f"{stem}.png"
    description = folder / "depth" / f"{stem}.json"
    description.unlink(missing_ok=True)  # that of an earlier run
    resize = RESIZINGS[facts["resized"]]
    depth = resize(depth, clip.sizes[frame]).astype(np.float32)              # [h, w]
    clamped = 0
    if file_format == "png":
        images.write_depth(str(values), depth, clip_range.divisor)
        clamped = int(np.sum(depth * clip_range.divisor <= 0.5))  # would round to 0, "no depth"
    else:
        content = io.BytesIO()
        np.save(content, depth, allow_pickle=False)
        write_atomically(values, content.getvalue())
    images.write_png(str(picture), colour_depth(depth, *clip_range.colours))
    write_json(description, {
        "file": values.name,
        "source": clip.origin(frame),
        "frame": frame,
        "kind": "depth",                      # along the optical axis, not ray length or disparity
        "divisor": clip_range.divisor,        # depth = stored value / divisor
        "clamped_pixels": clamped,
        "depth_range": [depth.min(), depth.max()],
        "source_size": clip.sizes[frame],     # (height, width)
        "intrinsics": clip.intrinsics[frame],
        "colour_file": f"../colour/{picture.name}",
        "colour_inverse_depth_range": clip_range.colours,
        **facts})
    return clamped
