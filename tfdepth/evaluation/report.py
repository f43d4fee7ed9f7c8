"""Evaluates a run: tables for the terminal, evaluation.json and .csv, and pictures."""
import dataclasses
import os
from typing import Callable

import numpy as np

from tfdepth.checks import UserError, check_choice
from tfdepth.data.datasets import load_drives, split_drives
from tfdepth.data.frame_numbers import follows
from tfdepth.data.images import read_depth, read_image
from tfdepth.data.pipeline import evaluation_batches, open_source
from tfdepth.evaluation.baselines import MeanMotion, PerPixelMeanDepth
from tfdepth.evaluation.depth_metrics import (
    HIGHER_IS_BETTER, PROTOCOLS, DepthMetrics, evaluate_depth)
from tfdepth.evaluation.odometry import (
    ODOMETRY_PROTOCOLS, consecutive_runs, cut_snippets, evaluate_snippets)
from tfdepth.evaluation.plots import (
    DepthPicture, draw_depth_panel, draw_trajectories, write_figure)
from tfdepth.evaluation.predicted_motion import predicted_snippets, predicted_trajectory
from tfdepth.evaluation.tables import Column, format_table, metric_columns, write_csv, write_json
from tfdepth.evaluation.view_synthesis import SynthesisErrors, evaluate_synthesis
from tfdepth.inference import load_predictor
from tfdepth.runs.folder import RunFolder

PICTURES = 4  # frames in the depth panel


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a protocol can be asked of."""
    run: Callable       # (name, _Scene) -> table rows [(method, {column: value})]
    columns: tuple      # of the table
    needs: tuple        # attributes of Drive that must be known
    title: str


class _Scene:
    """A predictor, the drives it is scored on, and those it was trained on."""

    def __init__(self, predictor, data_config):
        self.predictor = predictor
        self.config = data_config
        split = split_drives(data_config, load_drives(data_config))
        self.train = split.train
        self.scored = split.test or split.train
        self.role = "test" if split.test else "training"


def evaluate_run(workdir, protocol="", data_root="", output=None, show=print):
    """Scores the best checkpoint of a run on its test drives, or without these on its training
    drives.

    Args:
      workdir: the run folder.
      protocol: a row of EVALUATIONS; "" = all of DEFAULT_PROTOCOLS that the data allow.
      data_root: folder of the data; "" = where the run found them.
      output: folder for evaluation.json, .csv and pictures/; None = the run folder.
      show: called with every table and with the paths written.

    Returns: {protocol: {method: {column: value}}}.
    Raises: UserError: if run or data do not fit, or the protocol needs what the data lack.
    """
    if protocol:
        check_choice("--protocol", protocol, EVALUATIONS)
    predictor = load_predictor(workdir)
    config = dataclasses.replace(predictor.config.data)
    config.root = os.path.abspath(os.path.expanduser(str(data_root))) if data_root else config.root
    scene = _Scene(predictor, config)
    folder = RunFolder(output or workdir)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder.path}: expected a folder that can be written; "
                        f"{error.strerror}.") from error
    results = {}
    for name in [protocol] if protocol else DEFAULT_PROTOCOLS:
        evaluation = EVALUATIONS[name]
        lacking = [f"{drive.name} has no {need}" for drive in scene.scored
                   for need in evaluation.needs if getattr(drive, need) is None]
        if lacking and protocol:
            raise UserError(f"--protocol {name} needs {' and '.join(evaluation.needs)} of every "
                            f"drive; {lacking[0]}.")
        if lacking:
            show(f"{name}: not available; {lacking[0]}")
            continue
        try:
            rows = evaluation.run(name, scene)
        except UserError as error:
            if protocol:
                raise
            show(f"{name}: not available; {error}")
            continue
        show(format_table(rows, evaluation.columns, f"{name}: {evaluation.title}; {scene.role} "
                          f"drives {', '.join(drive.name for drive in scene.scored)}"))
        results[name] = dict(rows)
    write_json(folder.path / "evaluation.json", {
        "checkpoint_step": predictor.step, "drives": [drive.name for drive in scene.scored],
        "role": scene.role, "protocols": results})
    write_csv(folder.path / "evaluation.csv",
              [(f"{name}: {method}", values) for name, rows in results.items()
               for method, values in rows.items()])
    for path in write_pictures(scene, folder.pictures, show):
        show(f"picture: {path}")
    return results


def _depth_rows(name, scene):
    protocol = PROTOCOLS[name]
    rows = []
    if all(drive.depth_paths is not None for drive in scene.train):
        capped = (np.where(truth < protocol.max_depth, truth, 0) for truth in
                  (read_depth(path) for drive in scene.train for path in drive.depth_paths))
        mean = PerPixelMeanDepth.fit(capped).predict()
        result = evaluate_depth(((label, mean, *truth) for label, *truth in
                                 _truths(scene.scored, protocol)), protocol)
        rows.append(("per-pixel training mean", _depth_columns(result)))
    depths = (depth for drive in scene.scored
              for _, depth in scene.predictor.depths_of_files(
                  drive.image_paths, follows(drive.frame_numbers)))
    result = evaluate_depth(
        ((label, depth, *truth) for depth, (label, *truth) in
         zip(depths, _truths(scene.scored, protocol))), protocol)
    return rows + [(type(scene.predictor.system).__name__, _depth_columns(result))]


def _truths(drives, protocol):
    """(name, measured depth), or with the mask of what moves behind, of every frame."""
    for drive in drives:
        for k, number in enumerate(drive.frame_numbers):
            masks = [read_image(drive.moving_paths[k])[..., 0] > 0] * protocol.moving_only
            yield (f"{drive.name} frame {number}", read_depth(drive.depth_paths[k]), *masks)


def _depth_columns(result):
    metrics = result.metrics._asdict() if result.metrics else {}
    return {**metrics, "scale": result.ratio_median, "scale_spread": result.ratio_spread,
            "images": result.num_images, "without_truth": len(result.unmeasured)}


def _odometry_rows(name, scene):
    protocol = ODOMETRY_PROTOCOLS[name]
    length = protocol.snippet_length
    predicted, true = [], []
    for drive in scene.scored:
        for run in consecutive_runs(drive.frame_numbers):
            snippets = predicted_snippets(scene.predictor, drive.image_paths[run], length)
            if snippets is not None:
                predicted.append(snippets)
                true.append(cut_snippets(drive.world_from_camera[run], length).first_from_camera)
    if not true:
        raise UserError(f"no drive has {length} frames in a row of which the model sees neighbours.")
    predicted, true = np.concatenate(predicted), np.concatenate(true)
    rows = []
    training = [drive.world_from_camera[run] for drive in scene.train
                if drive.world_from_camera is not None
                for run in consecutive_runs(drive.frame_numbers)]
    if any(len(trajectory) >= length for trajectory in training):
        mean = MeanMotion.fit(training, length).predict_composed(length)
        rows.append(("mean motion", _odometry_columns(
            evaluate_snippets(np.broadcast_to(mean, true.shape), true, protocol))))
    return rows + [(type(scene.predictor.system).__name__,
                    _odometry_columns(evaluate_snippets(predicted, true, protocol)))]


def _odometry_columns(result):
    fields = ("ate_sfmlearner_mean", "ate_sfmlearner_std", "ate_rmse_mean", "ate_rmse_std",
              "scale_median", "scale_spread", "num_snippets")
    return {field: getattr(result, field) for field in fields}


def _synthesis_rows(name, scene):
    source = open_source(scene.scored, scene.config)
    errors = evaluate_synthesis(scene.predictor.system, source)
    return [(type(scene.predictor.system).__name__, errors._asdict())]


EVALUATIONS = {
    **{name: Evaluation(
        _depth_rows, (*metric_columns(DepthMetrics._fields, HIGHER_IS_BETTER),
                      Column("scale"), Column("scale_spread"), Column("images", decimals=0)),
        ("depth_paths", *["moving_paths"] * protocol.moving_only), protocol.about)
       for name, protocol in PROTOCOLS.items()},
    **{name: Evaluation(
        _odometry_rows,
        (Column("ate_sfmlearner_mean", "lower", 4), Column("ate_sfmlearner_std", None, 4),
         Column("ate_rmse_mean", "lower", 4), Column("ate_rmse_std", None, 4),
         Column("scale_median"), Column("scale_spread"), Column("num_snippets", decimals=0)),
        ("world_from_camera",), protocol.about) for name, protocol in ODOMETRY_PROTOCOLS.items()},
    "view_synthesis": Evaluation(
        _synthesis_rows,
        tuple(Column(name, better, 4) for name, better in zip(
            SynthesisErrors._fields, ("lower", None, "lower", "lower", None, "lower", None))),
        (), "warped error against unwarped, and direction of motion"),
}
DEFAULT_PROTOCOLS = ("depth", "depth_moving", "odometry_sfmlearner", "view_synthesis")


def write_pictures(scene, folder, show=print):
    """Writes depth.png and trajectory-<drive>.png of every drive.

    Args: scene: _Scene. folder: pathlib.Path, made if missing. show: told what cannot be drawn.
    Returns: the paths written.
    """
    paths = []
    try:
        panel = draw_depth_panel(_depth_pictures(scene))
    except UserError as error:
        show(f"depth.png: not available; {error}")
    else:
        paths.append(folder / "depth.png")
        write_figure(paths[0], panel)
    training = [drive.world_from_camera[run] for drive in scene.train
                if drive.world_from_camera is not None
                for run in consecutive_runs(drive.frame_numbers)]
    for drive in scene.scored if scene.predictor.system.predicts_motion else ():
        run = max(consecutive_runs(drive.frame_numbers), key=lambda run: run.stop - run.start)
        trajectory = predicted_trajectory(scene.predictor, drive.image_paths[run])
        if trajectory is None:
            show(f"trajectory of {drive.name}: not available; the model never sees two neighbours")
            continue
        true, predictions = None, {type(scene.predictor.system).__name__: trajectory}
        if drive.world_from_camera is not None:
            true = drive.world_from_camera[run]
            if any(len(each) >= 2 for each in training):
                predictions["mean motion"] = MeanMotion.fit(training, 2).predict_composed(len(true))
        paths.append(folder / f"trajectory-{drive.name.replace('/', '-')}.png")
        write_figure(paths[-1], draw_trajectories(true, predictions, drive.name))
    return paths


def _depth_pictures(scene):
    """One DepthPicture each of a few frames, spread over the drives."""
    source = open_source(scene.scored, scene.config)
    with_depth = all(drive.depth_paths is not None for drive in scene.scored)
    pictures = []
    system = scene.predictor.system
    for k, batch in enumerate(evaluation_batches(source, 1, PICTURES, with_depth)):
        prediction = system.forward(batch, training=False)
        depth = prediction.scene.depth.numpy()[0, ..., 0]
        truth = None
        if with_depth:
            truth = batch.target_depth.numpy()[0, ..., 0]
            if (truth > 0).any():
                depth = depth * np.median(truth[truth > 0]) / np.median(depth[truth > 0])
        extra = {title: image.numpy()[0] for title, image in
                 system.pictures(batch, prediction).items()}
        pictures.append(DepthPicture(
            f"sample {k + 1}", batch.target.numpy()[0], depth, truth,
            masks=[image[..., 0] for image in extra.values() if image.shape[-1] == 1],
            warped=[image for image in extra.values() if image.shape[-1] == 3]))
    return pictures
