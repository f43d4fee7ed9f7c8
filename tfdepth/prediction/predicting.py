"""A model applied to a user's images: depth in files, pictures of it, and what the numbers mean.

tools/predict.py lists the files. The network runs once, over frames as they come, as a stream can
be read once. Its depths, and frames that are needed again, wait in a nameless file in the output
folder until the range of the clip is known, so memory does not grow with the number of frames
(but for a kilobyte each), and nothing is written if one of them cannot be read.

Shape letters: H rows, W columns of the network; h, w of an image.
"""
import contextlib
import os
import pathlib
import re
import time
from typing import Any, Dict, NamedTuple, Optional

import numpy as np

from tfdepth.checks import UserError, check_choice
from tfdepth.data import files, images
from tfdepth.evaluation.plots import colour_depth
from tfdepth.evaluation.resizing import RESIZINGS
from tfdepth.inference import NO_MOTION, load_predictor
from tfdepth.prediction.clips import open_clip
from tfdepth.prediction.colour_video import beside, open_colour_video
from tfdepth.prediction.pointcloud import point_cloud, write_ply
from tfdepth.prediction.running import no_camera, progress, run_networks
from tfdepth.prediction.smoothing import Smoothing
from tfdepth.prediction.spool import Spool
from tfdepth.prediction.trajectory import (
    check_parts, check_rate, find_parts, find_rate, write_trajectories)
from tfdepth.prediction.true_motion import check_numbers
from tfdepth.prediction.viewer import ViewerFrame, write_viewer
from tfdepth.prediction.writing import FORMATS, range_of_clip, write_depth
from tfdepth.runs.scale import UNITS
from tfdepth.systems.base import PRECISIONS

COLOUR_VIDEO, VIEWER = "colour.mp4", "viewer.html"


class Outputs(NamedTuple):
    """What a user asks for."""
    file_format: str = "png"      # of depth: one of FORMATS
    video: Optional[bool] = None  # colours as a video, not as pictures; None: of a video
    smooth: float = 0.0           # share of the frames before in the colours
    pointcloud: bool = False
    trajectory: bool = False
    pictures: bool = False        # what else the system has to show: masks, warped neighbours
    html: bool = False            # a viewer


def predict_files(model, source, output, outputs=Outputs(), camera="", precision="float32",
                  frames_per_second=0.0, show=print):
    """Writes depth, pictures and descriptions of images; see tools/predict.py.

    The network's depth, or, as the system was published, its inverse, is resized to the image
    bilinearly, with half-pixel centres.

    Args:
      model: run folder.
      source: an image, a folder of images (not of its sub-folders), a video or a named pipe.
      output: folder, made if missing; files of these names in it are replaced.
      outputs: Outputs.
      camera: a camera file, or its JSON text, for all images; "" = as `open_clip` finds it.
      precision: of the networks, see systems.base.PRECISIONS.
      frames_per_second: of the source; 0 = as a video's file says.
      show: called with lines of text for the user.

    Raises:
      UserError: if the source, the model or the output is not as above, an image cannot be read,
        something was asked for that the model or the clip does not give, the camera is needed and
        nobody knows it, or depth is not positive and finite.
    """
    check_choice("--format", outputs.file_format, FORMATS)
    check_choice("--precision", precision, PRECISIONS)
    check_rate(frames_per_second)
    smoothing, start = Smoothing(outputs.smooth), time.monotonic()
    if not output:
        raise UserError("--output: expected a folder; got an empty path.")
    if frames_per_second and outputs.trajectory:
        check_numbers(source)
    with open_clip(source, camera, model) as clip:
        if outputs.video is None:
            outputs = outputs._replace(video=clip.is_video)
        _check_clip(clip, outputs)
        predictor = load_predictor(model, precision)
        _check_system(predictor, clip, outputs)
        scale = predictor.describe_scale()
        unit, rate = UNITS[scale["scale"]], find_rate(frames_per_second, clip.rate)
        for line in clip.warnings:
            show(line)
        folder = pathlib.Path(output).expanduser()
        with _output(clip, output, outputs) as spool:
            predicted = run_networks(
                clip, predictor, spool,
                keep_images=outputs.video or outputs.pointcloud or outputs.html,
                with_motions=predictor.system.predicts_motion and (outputs.trajectory
                                                                   or outputs.html),
                with_pictures=outputs.pictures)
            frames = predicted.frames
            depths = lambda: (_depth(spool, predictor, frame) for frame in frames)
            clip_range = range_of_clip(depths(), len(frames), predictor.size, outputs.file_format)
            facts = {"model": os.path.abspath(os.path.expanduser(model)),
                     "system": type(predictor.system).__name__, "checkpoint_step": predictor.step,
                     **scale}
            follows = [frame.follows for frame in frames]
            parts = find_parts(follows, predicted.motions, predictor.offsets, predictor.frame_gap)
            if outputs.trajectory:
                check_parts(follows, predictor.offsets, predictor.frame_gap, parts)
            clamped = _write_frames(folder, predicted, spool, predictor, clip_range,
                                    rate.frames_per_second, smoothing, outputs, unit, facts)
            if outputs.trajectory:
                write_trajectories(folder / "trajectory", parts, [each.name for each in frames],
                                   [each.number for each in frames], rate, unit, facts, show)
            if outputs.html:
                _write_viewer(folder, clip, predicted, spool, predictor, clip_range, parts, unit,
                              show)
    seconds = time.monotonic() - start
    stored = (f"16-bit PNG, depth x {clip_range.divisor:g}" if outputs.file_format == "png" else
              f"float32 .{outputs.file_format}")
    show(f"wrote {len(frames)} depth maps ({stored}; {scale['scale']}: "
         f"{scale['scale_reason']}) to {folder / 'depth'}, "
         + (f"a video to {folder / COLOUR_VIDEO}" if outputs.video else
            f"pictures to {folder / 'colour'}")
         + (f", points to {folder / 'points'}" if outputs.pointcloud else "")
         + (f", a viewer to {folder / VIEWER}" if outputs.html else ""))
    if outputs.pictures:
        without = len(frames) - len(predicted.pictures)
        show(f"wrote what the model has to show of {len(predicted.pictures)} of {len(frames)} "
             f"images to {folder / 'pictures'}"
             + (f"; {without} lack a neighbour" if without else ""))
    if predictor.system.needs_previous:
        alone = sum(_before(frames, k, predictor.frame_gap) is None for k in range(len(frames)))
        if alone:
            show(f"{alone} of {len(frames)} images have no frame {_gap(predictor)}before them; the "
                 "model saw these twice")
    show(f"{len(frames)} frames in {seconds:.1f} seconds, {len(frames) / seconds:.2f} frames/s "
         "with start and writing")
    if clamped:
        show(f"warning: {clamped} pixels are nearer than the PNG can tell and hold 1; "
             "--format npy keeps them")


def _check_clip(clip, outputs):
    """What can be refused before the model is loaded."""
    for wanted, flag in ((outputs.pointcloud, "--pointcloud"), (outputs.html, "--html")):
        if wanted and clip.camera is None:
            raise no_camera(flag, clip.source)
    if outputs.video and len(clip.sizes) > 1:
        raise UserError(f"--video: expected images of one size in {clip.source}; found "
                        f"{len(clip.sizes)} sizes.")


def _check_system(predictor, clip, outputs):
    system = predictor.system
    if outputs.trajectory and not system.predicts_motion:
        raise UserError(f"--trajectory: {NO_MOTION}")
    if outputs.trajectory and not clip.is_video:
        check_parts(clip.follows, predictor.offsets, predictor.frame_gap)
    if outputs.pictures and system.stereo:
        raise UserError("--pictures: the model compares with the other camera's picture, which "
                        "nobody has here; its evaluation draws them.")
    if outputs.pictures and clip.camera is None and system.num_sources:
        raise no_camera("--pictures", clip.source)


@contextlib.contextmanager
def _output(clip, output, outputs):
    """Makes the output folders, and a Spool in there."""
    folder = pathlib.Path(output).expanduser()
    names = ["depth"] + [name for wanted, name in (
        (not outputs.video, "colour"), (outputs.pointcloud, "points"),
        (outputs.pictures, "pictures"), (outputs.trajectory, "trajectory")) if wanted]
    ours = {os.path.realpath(folder / name) for name in (*names, COLOUR_VIDEO)}
    for path in clip.paths or [clip.source]:
        if {os.path.realpath(os.path.dirname(path)), os.path.dirname(os.path.realpath(path)),
                os.path.realpath(path)} & ours:
            raise UserError(f"--output {output}: expected a folder whose {'/, '.join(names)}/ and "
                            f"{COLOUR_VIDEO} hold none of the input; found {path}.")
    try:
        for name in names:
            (folder / name).mkdir(parents=True, exist_ok=True)
        with Spool(folder) as spool:
            yield spool
    except OSError as error:  # also from the caller's block: a full disk
        raise UserError(f"--output {output}: expected a folder that can be written; "
                        f"{files.one_line(error)}.") from None


def _depth(spool, predictor, frame):
    """float32 [H, W] in the unit that is written."""
    return np.frombuffer(spool.get(frame.depth), np.float32).reshape(predictor.size)


def _full_depth(depth, frame, predictor):
    """[H, W] -> float32 [h, w]."""
    return RESIZINGS[predictor.system.resized](depth, frame.size).astype(np.float32)


def _write_frames(folder, predicted, spool, predictor, clip_range, rate, smoothing, outputs, unit,
                  facts):
    """Writes all that there is about single frames, and the colour video; returns how many pixels
    PNGs hold as too near."""
    clamped, frames, system = 0, predicted.frames, predictor.system
    with contextlib.ExitStack() as stack:
        if outputs.video:
            (folder / COLOUR_VIDEO).unlink(missing_ok=True)  # descriptions name it from now on
            write_picture = stack.enter_context(open_colour_video(folder / COLOUR_VIDEO, rate))
        for k, frame in enumerate(progress(frames, "writing", len(frames))):
            network_depth = _depth(spool, predictor, frame)
            depth = _full_depth(network_depth, frame, predictor)             # [h, w]
            shown = smoothing.show(network_depth, frame.follows)
            colours = colour_depth(depth if shown is network_depth else
                                   _full_depth(shown, frame, predictor), *clip_range.colours)
            image = spool.get_picture(frame.image) if frame.image else None
            more: Dict[str, Any] = smoothing.facts(frame.follows)
            if outputs.video:
                write_picture(beside(image, colours))
                colour_file = f"../{COLOUR_VIDEO}"
            else:
                images.write_png(str(folder / "colour" / f"{frame.name}.png"), colours)
                colour_file = f"../colour/{frame.name}.png"
            if outputs.pointcloud:
                write_ply(folder / "points" / f"{frame.name}.ply",
                          point_cloud(image, depth, frame.intrinsics, network_depth), unit)
                more["points_file"] = f"../points/{frame.name}.ply"
            if outputs.pictures:
                more.update(_write_pictures(folder, frame.name, spool,
                                            predicted.pictures.get(k, {}), predictor))
            if system.needs_previous:
                more.update(_previous(frames, k, predictor))
            clamped += write_depth(
                folder / "depth", frame.name, outputs.file_format, depth, clip_range.divisor,
                frame.intrinsics, {
                    "source": frame.path, "frame": k, "network_size": predictor.size,
                    "resized": system.resized, "colour_file": colour_file,
                    "colour_inverse_depth_range": clip_range.colours, **facts, **more})
    return clamped


def _write_pictures(folder, name, spool, pictures, predictor):
    """Writes pictures/NAME_<title>.png; returns what the description says of them."""
    listed = {}
    for title, place in pictures.items():
        file_name = f"{name}_{re.sub('[^0-9a-zA-Z]+', '_', title)}.png"
        images.write_png(str(folder / "pictures" / file_name), spool.get_picture(place))
        listed[title] = f"../pictures/{file_name}"
    if not listed:
        neighbours = ", ".join(f"{predictor.frame_gap * k:+d}" for k in predictor.offsets)
        return {"pictures": None,
                "pictures_reason": f"the clip lacks a neighbour of it, {neighbours}"}
    return {"pictures": listed}


def _before(frames, k, gap):
    """The frame `gap` before; None where they do not all follow."""
    joined = k >= gap and all(frame.follows for frame in frames[k - gap + 1:k + 1])
    return frames[k - gap] if joined else None


def _gap(predictor):
    return f"{predictor.frame_gap} " if predictor.frame_gap > 1 else ""


def _previous(frames, k, predictor):
    """For the description: which image stood for the frame before."""
    before = _before(frames, k, predictor.frame_gap)
    if before:
        of_one_file = before.path == frames[k].path
        return {"previous_frame": before.name if of_one_file else os.path.basename(before.path)}
    return {"previous_frame": None,
            "previous_reason": f"no frame {_gap(predictor)}before it was given; the model saw the "
                               "image twice"}


def _write_viewer(folder, clip, predicted, spool, predictor, clip_range, parts, unit, show):
    whole = len(parts) == 1 and len(parts[0].world_from_camera) == len(predicted.frames)
    write_viewer(
        folder / VIEWER, os.path.basename(clip.source),
        (ViewerFrame(frame.name, spool.get_picture(frame.image),
                     _full_depth(_depth(spool, predictor, frame), frame, predictor),
                     frame.intrinsics)
         for frame in progress(predicted.frames, "viewer", len(predicted.frames))),
        clip_range.colours, parts[0].world_from_camera if whole else None, unit)
    if not whole and len(predicted.frames) > 1:
        show(f"the viewer shows no path of the camera: {_why_no_path(predictor)}")


def _why_no_path(predictor):
    if not predictor.system.predicts_motion:
        return NO_MOTION
    if predictor.frame_gap > 1:
        return (f"the model learned from frames {predictor.frame_gap} apart (data.frame_gap), so "
                "those in between have no place")
    return "frames are too few, or do not follow one another all the way"
