"""Evaluates a run, or anyone's files: tables for the terminal, JSON, CSV, and pictures."""
import dataclasses
import os
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError, check_choice
from tfdepth.data.datasets import load_drives, split_drives
from tfdepth.data.files import expand
from tfdepth.evaluation.odometry import ODOMETRY_PROTOCOLS, consecutive_runs
from tfdepth.data.pipeline import evaluation_batches, open_source
from tfdepth.evaluation.depth_metrics import HIGHER_IS_BETTER, PROTOCOLS, evaluate_image
from tfdepth.evaluation.depth_report import (
    cut_kb, depth_row, depths_of_run, mean_depth, read_predictions)
from tfdepth.evaluation.odometry_report import (
    PATH_COLUMNS, SNIPPET_COLUMNS, TruePath, mean_motion, motion_of_file, motion_of_run,
    odometry_table, true_paths)
from tfdepth.evaluation.path_errors import PATH_PROTOCOLS
from tfdepth.evaluation.plots import (
    DepthPicture, draw_depth_panel, draw_trajectories, write_figure)
from tfdepth.evaluation.published import published_rows
from tfdepth.evaluation.scored_frames import find_frames, frames_of_drives, has_depth
from tfdepth.evaluation.tables import Column, Row, format_table, metric_columns, write_csv, write_json
from tfdepth.evaluation.trajectory_files import read_times, read_trajectory
from tfdepth.evaluation.view_synthesis import SynthesisErrors, evaluate_synthesis
from tfdepth.inference import load_predictor
from tfdepth.runs.folder import RunFolder

PICTURES = 4  # frames in a depth panel
ALL_PROTOCOLS = {**{name: protocol.about for table in (PROTOCOLS, ODOMETRY_PROTOCOLS, PATH_PROTOCOLS)
                    for name, protocol in table.items()},
                 "view_synthesis": "warped error against unwarped, and direction of motion"}
DEFAULT_PROTOCOLS = ("depth", "depth_moving", "odometry_sfmlearner", "view_synthesis")
_SNIPPET_LENGTH = 5


class Table(NamedTuple):
    """What a protocol says."""
    rows: List[Row]
    columns: Sequence[Column]
    about: str                 # what was scored
    figures: Dict[str, object]  # file name -> matplotlib Figure


class _Scene:
    """A run, the drives that it is scored on and those that it was trained on."""

    def __init__(self, predictor, config, flip, drives, depth_root):
        self.predictor, self.config, self.flip = predictor, config, flip
        self.drives, self.depth_root = drives, depth_root
        self.name = type(predictor.system).__name__
        self._split = None

    @property
    def split(self):
        if self._split is None:  # a published test set does not need the run's own data
            self._split = split_drives(self.config, load_drives(self.config))
        return self._split

    @property
    def train(self):
        return self.split.train

    @property
    def scored(self):
        return self.split.test or self.split.train

    @property
    def about(self):
        role = "test" if self.split.test else "training"
        return f"{role} drives {', '.join(drive.name for drive in self.scored)}"


def evaluate_run(workdir, protocol="", data_root="", output=None, drives=(), depth_root="",
                 flip=False, show=print):
    """Scores the best checkpoint of a run.

    Args:
      workdir: the run folder.
      protocol: a row of ALL_PROTOCOLS; "" = all of DEFAULT_PROTOCOLS that the data allow; of a
        run on KITTI raw the Eigen split.
      data_root: folder of the data; "" = where the run found them.
      output: folder for evaluation.json, .csv and pictures/; None = the run folder.
      drives: names of the drives to score; () = the run's test drives, or without these its
        training drives; of a published test set all.
      depth_root: KITTI's annotated depth; "" = where the run found it, or in `data_root`.
      flip: whether depth is blended with that of the mirrored image.
      show: called with every table and with the paths written.

    Returns: {protocol: {method: {column: value}}}.
    Raises: UserError: if run or data do not fit, or the protocol needs what the data lack.
    """
    _check_protocol(protocol)
    predictor = load_predictor(workdir)
    config = dataclasses.replace(predictor.config.data)
    if data_root:
        config.root = os.path.abspath(expand(str(data_root)))
    if depth_root:
        config.depth_root = os.path.abspath(expand(str(depth_root)))
    if not protocol and not drives and config.dataset in ("kitti_raw", "kitti_depth"):
        # Its 28 test drives hold thousands of frames, of which papers score the same 697.
        protocol = {"depth": "eigen"}.get(predictor.system.resized, "eigen_monodepth2")
    published = protocol in PROTOCOLS and PROTOCOLS[protocol].frames
    if drives and not published:
        config.test_drives = tuple(drives)
        config.train_drives = config.validation_drives = ()
    scene = _Scene(predictor, config, flip, tuple(drives), config.depth_root)
    tables = {}
    for name in [protocol] if protocol else DEFAULT_PROTOCOLS:
        try:
            tables[name] = _table_of_run(name, scene)
        except UserError as error:
            if protocol:
                raise
            show(f"{name}: not available; {error}")
    facts = {"checkpoint_step": predictor.step}
    if not published:
        facts.update(drives=[drive.name for drive in scene.scored],
                     role="test" if scene.split.test else "training")
    folder = RunFolder(output or workdir)
    results = _write(tables, folder, facts, show)
    if not published:
        for path in write_pictures(scene, folder.pictures, show):
            show(f"picture: {path}")
    return results


def evaluate_files(protocol, output, predictions="", prediction_kind="depth", data_root="",
                   trajectory="", truth="", times="", drives=(), depth_root="", show=print):
    """Scores anyone's predictions.

    Args:
      protocol: of depth, for `predictions`, or of odometry, for `trajectory`.
      output: folder for evaluation.json, .csv and pictures/.
      predictions, prediction_kind: see `depth_report.read_predictions`.
      data_root, drives, depth_root: the data set that the protocol is for, see `find_frames`.
      trajectory, truth: files of poses, see `trajectory_files.read_trajectory`.
      times: file of the seconds of every frame, for TUM text; "" = 10 frames a second.
      show: called with every table and with the paths written.

    Returns: {protocol: {method: {column: value}}}.
    Raises: UserError: a file is missing or malformed, or does not fit the protocol.
    """
    _check_protocol(protocol, "one")
    name = os.path.basename((predictions or trajectory).rstrip(os.sep))
    if predictions:
        if protocol not in PROTOCOLS or not PROTOCOLS[protocol].frames:
            known = [name for name, row in PROTOCOLS.items() if row.frames]
            check_choice("--protocol: one of depth with frames of its own", protocol, known)
        frames = find_frames(PROTOCOLS[protocol].frames, data_root, drives, depth_root)
        depths = read_predictions(predictions, prediction_kind, frames)
        table = _depth_table(protocol, frames, {name: depths}, f"{len(frames)} frames")
    else:
        check_choice("--protocol: one of odometry", protocol,
                     [*ODOMETRY_PROTOCOLS, *PATH_PROTOCOLS])
        seconds = read_times(times) if times else None
        true = read_trajectory(truth, seconds)
        if len(consecutive_runs(true.frame_numbers)) != 1:
            raise UserError(f"--truth {truth}: expected a pose of every frame; some are missing.")
        path = TruePath(os.path.basename(truth), (), true.frame_numbers, true.world_from_camera)
        motion = motion_of_file(trajectory, path, seconds)
        rows, figures = odometry_table(protocol, [path], {name: [motion]})
        figures["trajectory.png"] = draw_trajectories(
            path.world_from_camera[np.searchsorted(true.frame_numbers,
                                                   motion.trajectory.frame_numbers)],
            {name: motion.trajectory.world_from_camera}, path.name)
        table = Table(rows, _odometry_columns(protocol), path.name, figures)
    return _write({protocol: table}, RunFolder(output), {}, show)


def _check_protocol(protocol, needed=""):
    if protocol or needed:
        check_choice("--protocol", protocol, ALL_PROTOCOLS)


def _table_of_run(name, scene):
    if name in PROTOCOLS:
        return _depth_table_of_run(name, scene)
    if name == "view_synthesis":
        errors = evaluate_synthesis(scene.predictor.system, open_source(scene.scored, scene.config))
        better = ("lower", None, "lower", "lower", None, "lower", None)
        columns = [Column(field, each, 4) for field, each in zip(SynthesisErrors._fields, better)]
        return Table([(scene.name, errors._asdict())], columns, scene.about, {})
    return _odometry_table_of_run(name, scene)


def _depth_table_of_run(name, scene):
    protocol = PROTOCOLS[name]
    depths = lambda frames: depths_of_run(scene.predictor, frames, protocol, scene.flip)
    if protocol.frames:
        frames = find_frames(protocol.frames, scene.config.root, scene.drives, scene.depth_root)
        table = _depth_table(name, frames, {scene.name: depths(frames)},
                             f"{len(frames)} frames of {scene.config.root}")
        table.figures[f"depth-{name}.png"] = draw_depth_panel(
            _pictures_of_frames(frames, protocol, scene))
        return table
    for drive in scene.scored:
        if not has_depth(drive):
            raise UserError(f"{drive.name} has no depth_paths")
        if protocol.moving_only and drive.moving_paths is None:
            raise UserError(f"{drive.name} has no moving_paths")
    frames = frames_of_drives(scene.scored)
    methods = {}
    if any(has_depth(drive) for drive in scene.train):
        mean = mean_depth(scene.train, protocol)
        methods["per-pixel training mean"] = (mean for _ in frames)
    return _depth_table(name, frames, {**methods, scene.name: depths(frames)}, scene.about)


def _depth_table(name, frames, methods, about):
    protocol = PROTOCOLS[name]
    rows = [depth_row(method, depths, frames, protocol) for method, depths in methods.items()]
    columns = [*metric_columns(protocol.metrics, HIGHER_IS_BETTER), Column("scale"),
               Column("scale_spread"), Column("images", decimals=0)]
    return Table(rows, columns, about, {})


def _odometry_table_of_run(name, scene):
    paths = true_paths(scene.scored)
    if not paths:
        raise UserError(f"{scene.scored[0].name} has no world_from_camera")
    methods = {}
    means = [mean_motion(true_paths(scene.train), path, _SNIPPET_LENGTH) for path in paths]
    if all(means):
        methods["mean motion"] = means
    methods[scene.name] = [motion_of_run(scene.predictor, path, _SNIPPET_LENGTH)
                           for path in paths]
    rows, figures = odometry_table(name, paths, methods)
    return Table(rows, _odometry_columns(name), scene.about, figures)


def _odometry_columns(name):
    if name in PATH_PROTOCOLS:
        better = {column: "lower" for column in PATH_COLUMNS[:5]}
        return [Column(column, better.get(column), 4) for column in PATH_COLUMNS]
    return [Column(column, "lower" if column.endswith("_mean") else None,
                   4 if column.startswith("ate") else 3) for column in SNIPPET_COLUMNS]


def _write(tables, folder, facts, show):
    """Shows the tables, with the papers' rows below, and writes them and their figures."""
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder.path}: expected a folder that can be written; "
                        f"{error.strerror}.") from error
    published = {}
    for name, table in tables.items():
        show(format_table(table.rows, table.columns, f"{name}: {ALL_PROTOCOLS[name]}; "
                          f"{table.about}"))
        rows = published_rows(name)
        if rows:
            published[name] = dict(rows)
            show(format_table(rows, _published_columns(rows, table.columns),
                              f"{name}: as printed in the papers"))
    results = {name: dict(table.rows) for name, table in tables.items()}
    write_json(folder.path / "evaluation.json",
               {**facts, "protocols": results, "published": published})
    write_csv(folder.path / "evaluation.csv",
              [(f"{name}: {method}", values) for name, rows in results.items()
               for method, values in rows.items()])
    for table in tables.values():
        for name, figure in table.figures.items():
            write_figure(folder.pictures / name, figure)
            show(f"picture: {folder.pictures / name}")
    return results


def _published_columns(rows, columns):
    printed = dict.fromkeys(key for _, values in rows for key in values if key != "note")
    known = {column.name: column for column in columns}
    return [known.get(name, Column(name, "lower")) for name in printed]


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
    training = true_paths(scene.train)
    for drive in scene.scored if scene.predictor.system.predicts_motion else ():
        run = max(consecutive_runs(drive.frame_numbers), key=lambda run: run.stop - run.start)
        path = TruePath(drive.name, drive.image_paths[run], drive.frame_numbers[run], None)
        trajectory = motion_of_run(scene.predictor, path, _SNIPPET_LENGTH).trajectory
        if trajectory is None:
            show(f"trajectory of {drive.name}: not available; the model never sees two neighbours")
            continue
        true, predictions = None, {scene.name: trajectory.world_from_camera}
        if drive.world_from_camera is not None:
            true, mean = drive.world_from_camera[run], mean_motion(training, path, 2)
            if mean:
                predictions["mean motion"] = mean.trajectory.world_from_camera
        paths.append(folder / f"trajectory-{drive.name.replace('/', '-')}.png")
        write_figure(paths[-1], draw_trajectories(true, predictions, drive.name))
    return paths


def _pictures_of_frames(frames, protocol, scene):
    """DepthPictures of a few frames of a published test set, spread over it."""
    chosen = [frames[int(k)] for k in
              np.unique(np.linspace(0, len(frames) - 1, PICTURES).round())]
    pictures = []
    for frame, depth in zip(chosen, depths_of_run(scene.predictor, chosen, protocol, scene.flip)):
        image, truth = frame.image(), frame.truth()
        ratio = evaluate_image(frame.name, depth, truth, protocol).ratio
        if protocol.median_scaling and ratio:
            depth = ratio * depth
        if protocol.kb_crop:  # the picture shows what the network saw
            image, truth = cut_kb(image), cut_kb(truth)
        pictures.append(DepthPicture(frame.name, image / 255.0, depth, truth))
    return pictures


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
