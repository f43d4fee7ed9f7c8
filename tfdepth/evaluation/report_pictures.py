"""The pictures of an evaluation: depth panels and trajectories."""
import numpy as np

from tfdepth.checks import UserError
from tfdepth.data.pipeline import evaluation_batches, open_source
from tfdepth.evaluation.depth_metrics import evaluate_image
from tfdepth.evaluation.depth_report import cut_kb, depths_of_run, seen_image
from tfdepth.evaluation.odometry import consecutive_runs
from tfdepth.evaluation.odometry_report import TruePath, mean_motions, true_paths
from tfdepth.evaluation.plots import (
    DepthPicture, draw_depth_panel, draw_trajectories, write_figure)

PICTURES = 4  # frames in a depth panel


def write_pictures(scene, folder, length, show=print):
    """Writes depth.png, or depth-<run>.png of several runs, and trajectory-<drive>.png of every
    drive.

    Args: scene: Scene. folder: pathlib.Path, made if missing. length: frames of a snippet.
      show: told what cannot be drawn.
    Returns: the paths written.
    """
    paths = []
    for name, predictor in scene.predictors.items():
        file = scene.file_name("depth", name)
        try:
            panel = draw_depth_panel(_pictures_of_samples(scene, predictor))
        except UserError as error:
            show(f"{file}: not available; {error}")
        else:
            paths.append(folder / file)
            write_figure(paths[-1], panel)
    moving = [name for name, predictor in scene.predictors.items()
              if predictor.system.predicts_motion]
    for drive in scene.scored if moving else ():
        run = max(consecutive_runs(drive.frame_numbers), key=lambda run: run.stop - run.start)
        longest = max([path for path in true_paths([drive])], default=TruePath(
            drive.name, drive.image_paths[run], drive.frame_numbers[run], None),
            key=lambda path: len(path.frame_numbers))
        predictions = {}
        for name in moving:
            trajectory = scene.motion(name, longest, length).trajectory
            if trajectory is None:
                show(f"trajectory of {drive.name}: not available; the model never sees two "
                     "neighbours")
                continue
            predictions[name] = trajectory.world_from_camera
        if not predictions:
            continue
        if longest.world_from_camera is not None:
            for mean in mean_motions(true_paths(scene.train), [longest], 2):
                predictions["mean motion"] = mean.trajectory.world_from_camera
        paths.append(folder / f"trajectory-{drive.name.replace('/', '-')}.png")
        write_figure(paths[-1], draw_trajectories(longest.world_from_camera, predictions,
                                                  drive.name))
    return paths


def panel_of_frames(frames, protocol, predictor, flip):
    """What a run predicts of a few frames of a test set, spread over it: a matplotlib Figure."""
    chosen = [frames[int(k)] for k in
              np.unique(np.linspace(0, len(frames) - 1, PICTURES).round())]
    pictures = []
    for frame, depth in zip(chosen, depths_of_run(predictor, chosen, protocol, flip)):
        (image, camera), truth = seen_image(frame, protocol), frame.truth()
        ratio = evaluate_image(frame.name, depth, truth, protocol).ratio
        if protocol.median_scaling and ratio:
            depth = ratio * depth
        if protocol.kb_crop:
            truth = cut_kb(truth)
        others = predictor.pictures_of_image(image, camera)
        pictures.append(DepthPicture(frame.name, image / 255.0, depth, truth, _flat(others)))
    return draw_depth_panel(pictures)


def _pictures_of_samples(scene, predictor):
    """One DepthPicture each of a few samples, with what the system has to show."""
    system = predictor.system
    system.check_cameras(scene.scored)
    source = open_source(scene.scored, scene.config_of(predictor), system.learns_from_depth)
    with_depth = source.supervised or all(
        drive.depth_paths is not None for drive in scene.scored)
    pictures = []
    for k, batch in enumerate(evaluation_batches(source, 1, PICTURES, with_depth)):
        batch = system.with_cameras(batch)
        prediction = system.forward(batch, training=False)
        depth = prediction.scene.depth.numpy()[0, ..., 0]
        truth = None
        if with_depth:
            truth = batch.target_depth.numpy()[0, ..., 0]
            if (truth > 0).any() and not source.supervised:
                depth = depth * np.median(truth[truth > 0]) / np.median(depth[truth > 0])
        others = {title: image.numpy()[0] for title, image in
                  system.pictures(batch, prediction).items()}
        pictures.append(DepthPicture(
            f"sample {k + 1}", batch.target.numpy()[0], depth, truth, _flat(others)))
    return pictures


def _flat(pictures):
    """{title: [H, W, 1 or 3]} -> {title: [H, W] or [H, W, 3]}."""
    return {title: image[..., 0] if image.shape[-1] == 1 else image
            for title, image in pictures.items()}
