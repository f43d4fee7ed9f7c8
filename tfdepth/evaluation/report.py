"""Evaluates runs, anyone's files, or the trivial answers: tables, JSON, CSV and pictures."""
import dataclasses
import json
import os

import numpy as np

from tfdepth.checks import UserError, check_choice
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives, split_drives
from tfdepth.data.files import expand
from tfdepth.evaluation.depth_metrics import PROTOCOLS
from tfdepth.evaluation.depth_report import read_predictions
from tfdepth.evaluation.odometry import ODOMETRY_PROTOCOLS, consecutive_runs
from tfdepth.evaluation.odometry_report import (
    TruePath, mean_motions, motion_of_file, odometry_table, true_paths)
from tfdepth.evaluation.path_errors import PATH_PROTOCOLS
from tfdepth.evaluation.plots import draw_trajectories, write_figure
from tfdepth.evaluation.published import is_quoted, published_rows
from tfdepth.evaluation.report_pictures import write_pictures
from tfdepth.evaluation.run_tables import (
    SNIPPET_LENGTH, Table, default_protocols, depth_table, is_papers_sequence, mean_depth_row,
    odometry_columns, table_of_runs)
from tfdepth.evaluation.scene import KITTI, Scene
from tfdepth.evaluation.scored_frames import find_frames
from tfdepth.evaluation.tables import Column, format_table, write_csv, write_json
from tfdepth.evaluation.trajectory_files import read_times, read_trajectory
from tfdepth.inference import load_predictor
from tfdepth.runs.folder import RunFolder

ALL_PROTOCOLS = {**{name: protocol.about
                    for table in (PROTOCOLS, ODOMETRY_PROTOCOLS, PATH_PROTOCOLS)
                    for name, protocol in table.items()},
                 "view_synthesis": "warped error against unwarped, and direction of motion"}


def evaluate_runs(workdirs, protocols=(), data_root="", output=None, drives=(), depth_root="",
                  dataset="", flip=False, alignment="", show=print):
    """Scores the best checkpoints of one run, or of several on the same data side by side.

    Args:
      workdirs: the run folders.
      protocols: rows of ALL_PROTOCOLS; () = all of DEFAULT_PROTOCOLS that the data allow, of
        runs on KITTI raw the Eigen split, of one that learnt from depth metres alone.
      data_root: folder of the data; "" = where the first run found them.
      output: folder for evaluation.json, .csv and pictures/; None = the run folder, of one run.
      drives: names of the drives to score; () = the runs' test drives, or without these the
        training drives; of the Eigen split all.
      depth_root: KITTI's annotated depth; "" = in `data_root`, or where the first run found it.
      dataset: a row of DATASETS, to score other data than the runs' own: all drives of
        `data_root`, or `drives`; baselines are fitted on the others then. Such runs may have
        learnt from different data.
      flip: whether depth is blended with that of the mirrored image.
      alignment: of the protocols by path length, a row of ALIGNMENTS; "" = the protocol's own.
      show: called with every table and with the paths written.

    Returns: {protocol: {method: {column: value}}}; a method is a run's system, or of several runs
      the name of its folder.
    Raises: UserError: if runs and data do not fit, or a protocol needs what the data lack.
    """
    for name in protocols:
        check_choice("--protocol", name, ALL_PROTOCOLS)
    if len(workdirs) > 1 and output is None:
        raise UserError("--workdir of several runs needs --output; found none.")
    predictors = _load_predictors(workdirs, dataset)
    for name, predictor in predictors.items():
        show(f"{name}: the best checkpoint, of step {predictor.step}")
    config = dataclasses.replace(next(iter(predictors.values())).config.data)
    if dataset:
        config = dataclasses.replace(config, dataset=dataset, train_drives=(), test_drives=drives,
                                     validation_drives=(), cameras=(), intrinsics="",
                                     crop=config.crop if dataset in KITTI else "")
    if data_root:
        config.root, config.depth_root = os.path.abspath(expand(str(data_root))), ""
        if not os.path.exists(config.root):  # synthetic drives would be made there
            raise UserError(f"--data_root {config.root}: no such file or folder.")
    if depth_root:
        config.depth_root = os.path.abspath(expand(str(depth_root)))
    scene = Scene(predictors, config, tuple(drives), flip, alignment, bool(dataset))
    tables = {}
    for name in protocols or default_protocols(scene):
        try:
            tables[name] = table_of_runs(name, scene)
        except UserError as error:
            if protocols:
                raise
            show(f"{name}: not available; {error}")
    steps = {name: predictor.step for name, predictor in predictors.items()}
    facts = {"checkpoint_step": steps if len(steps) > 1 else scene.predictor.step}
    own = any(name not in PROTOCOLS or not PROTOCOLS[name].frames for name in tables)
    if own:
        facts.update(drives=[drive.name for drive in scene.scored], role=scene.role)
    return _write(tables, RunFolder(output or workdirs[0]), facts, show, scene if own else None)


def _load_predictors(workdirs, dataset):
    """{name in tables: Predictor}.

    Args: dataset: what they are scored on; "": the data that they learnt from.
    Raises: UserError: the runs cannot share a table, as their pictures are cropped in different
      ways, or, without `dataset`, they learnt from different data; or one is there twice.
    """
    paths = [os.path.abspath(expand(str(workdir))) for workdir in workdirs]
    if len(set(paths)) < len(paths):
        raise UserError(f"--workdir: expected different runs; found {', '.join(paths)}.")
    # What is scored is the network: tables do not change with a calibration.
    loaded = [load_predictor(workdir, calibrated=False) for workdir in workdirs]
    if len(loaded) == 1:
        return {type(loaded[0].system).__name__: loaded[0]}
    shared = ("dataset", "cameras", "intrinsics", "train_drives", "validation_drives",
              "test_drives", "crop")
    if dataset:
        shared = ("crop",) if dataset in KITTI else ()
    for field in shared:
        values = [getattr(predictor.config.data, field) for predictor in loaded]
        if any(value != values[0] for value in values):
            found = " and ".join(str(value) or "(none)" for value in values)
            raise UserError("--workdir of several runs: expected the same data in all, or, but for "
                            f"data.crop, --dataset and --data_root; found data.{field} {found}.")
    names = [os.path.basename(path) for path in paths]
    return dict(zip(names if len(set(names)) == len(names) else paths, loaded))


def evaluate_files(protocol, output, predictions="", prediction_kind="depth", data_root="",
                   trajectory="", truth="", times="", drives=(), depth_root="", alignment="",
                   show=print):
    """Scores anyone's predictions.

    Args:
      protocol: of depth, for `predictions`, or of odometry, for `trajectory`.
      output: folder for evaluation.json, .csv and pictures/.
      predictions, prediction_kind: see `depth_report.read_predictions`.
      data_root, drives, depth_root: the data set that the protocol is for, see `find_frames`.
      trajectory, truth: files of poses, see `trajectory_files.read_trajectory`.
      times: file of the seconds of every frame, for TUM text; "" = 10 frames a second.
      alignment: as for `evaluate_runs`.
      show: called with every table and with the paths written.

    Returns: {protocol: {method: {column: value}}}.
    Raises: UserError: a file is missing or malformed, or does not fit the protocol.
    """
    name = os.path.basename((predictions or trajectory).rstrip(os.sep))
    if predictions:
        check_choice("--protocol: one of depth with frames of its own", protocol,
                     [name for name, row in PROTOCOLS.items() if row.frames])
        frames = find_frames(PROTOCOLS[protocol].frames, data_root, drives, depth_root)
        depths = read_predictions(predictions, prediction_kind, frames)
        table = depth_table(PROTOCOLS[protocol], frames, {name: depths}, f"{len(frames)} frames")
    else:
        check_choice("--protocol: one of odometry", protocol,
                     [*ODOMETRY_PROTOCOLS, *PATH_PROTOCOLS])
        seconds = read_times(times) if times else None
        true = read_trajectory(truth, seconds)
        if len(consecutive_runs(true.frame_numbers)) != 1:
            raise UserError(f"--truth {truth}: expected a pose of every frame; some are missing.")
        path = TruePath(os.path.basename(truth), (), true.frame_numbers, true.world_from_camera)
        motion = motion_of_file(trajectory, path, seconds)
        rows, figures = odometry_table(protocol, [path], {name: [motion]}, alignment)
        places = np.searchsorted(true.frame_numbers, motion.trajectory.frame_numbers)
        figures["trajectory.png"] = draw_trajectories(
            path.world_from_camera[places], {name: motion.trajectory.world_from_camera}, path.name)
        table = Table(rows, odometry_columns(protocol), path.name, figures,
                      is_papers_sequence(path.name))
    return _write({protocol: table}, RunFolder(output), {}, show)


def evaluate_baseline(protocol, output, data_root, drives=(), depth_root="", alignment="",
                      show=print):
    """Scores what knows nothing of an image: the training set's mean depth, or its mean motion.

    Args:
      protocol: of depth on the Eigen test set: mean LiDAR depth of each pixel over KITTI raw's
        other drives, in metres. Of odometry: mean motion of KITTI odometry's other sequences.
      data_root: folder of KITTI raw, or of KITTI odometry.
      drives: to score; () = of the Eigen test set all, of odometry 09 and 10.
      output, depth_root, alignment, show: as for `evaluate_files`.

    Returns: {protocol: {method: {column: value}}}.
    Raises: UserError: data that are missing or malformed, or a protocol of other data.
    """
    depth = [name for name, row in PROTOCOLS.items() if row.frames in ("eigen", "improved")]
    check_choice("--protocol: one of --baseline", protocol,
                 [*depth, *ODOMETRY_PROTOCOLS, *PATH_PROTOCOLS])
    root = os.path.abspath(expand(data_root))
    if protocol in depth:
        config = DataConfig(dataset="kitti_raw", root=root, cameras=("image_02",),
                            test_drives=("eigen_test",))
        frames = find_frames(PROTOCOLS[protocol].frames, root, drives, depth_root)
        row = mean_depth_row(split_drives(config, load_drives(config)).train, frames,
                              PROTOCOLS[protocol])
        table = depth_table(PROTOCOLS[protocol], frames, {}, f"{len(frames)} frames of {root}")
        table.rows.append(row)
    else:
        config = DataConfig(dataset="kitti_odometry", root=root, test_drives=drives or ("09", "10"))
        split = split_drives(config, load_drives(config))
        paths = true_paths(split.test)
        means = mean_motions(true_paths(split.train), paths, SNIPPET_LENGTH)
        if not means:
            raise UserError(f"--data_root {root}: expected poses of training sequences beside "
                            f"{', '.join(config.test_drives)}; found none.")
        rows, figures = odometry_table(protocol, paths, {"mean motion": means}, alignment)
        table = Table(rows, odometry_columns(protocol), ", ".join(path.name for path in paths),
                      figures, any(is_papers_sequence(path.name) for path in paths))
    return _write({protocol: table}, RunFolder(output), {}, show)


def _write(tables, folder, facts, show, scene=None):
    """Shows the tables, with the papers' rows below, and writes them, their figures and, of a
    scene, its pictures. Of what lies in the folder, the pictures of the report before this one go.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder.path}: expected a folder that can be written; "
                        f"{error.strerror}.") from error
    published = {}
    for name, table in tables.items():
        show(format_table(table.rows, table.columns, f"{name}: {ALL_PROTOCOLS[name]}; "
                          f"{table.about}"))
        rows = published_rows(name) if table.beside_papers else []
        if rows:
            published[name] = dict(rows)
            own = [row for row in rows if not is_quoted(row[0])]
            quoted = f"; {len(rows) - len(own)} rows that they quote are in evaluation.json"
            show(format_table(own or rows, _published_columns(own or rows, table.columns),
                              f"{name}: as printed in the papers, of all frames"
                              + quoted * (0 < len(own) < len(rows))))
    _remove_pictures(folder)
    results = {name: dict(table.rows) for name, table in tables.items()}
    about = {name: table.about for name, table in tables.items()}
    report = {**facts, "scored": about, "protocols": results, "published": published}
    write_json(folder.path / "evaluation.json", report)  # before the pictures: they take longer
    write_csv(folder.path / "evaluation.csv",
              [(f"{name}: {method}", values) for name, rows in results.items()
               for method, values in rows.items()])
    pictures = []
    for table in tables.values():
        for name, figure in table.figures.items():
            pictures.append(folder.pictures / name)
            write_figure(pictures[-1], figure)
    if scene:
        pictures += write_pictures(scene, folder.pictures, SNIPPET_LENGTH, show)
    for path in pictures:
        show(f"picture: {path}")
    write_json(folder.path / "evaluation.json",
               {**report, "pictures": [path.name for path in pictures]})
    return results


def _remove_pictures(folder):
    """Removes the pictures that the report in a folder names, and no other file."""
    try:
        names = json.loads(
            (folder.path / "evaluation.json").read_text(encoding="utf-8"))["pictures"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # no report, or one of others
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and name.endswith(".png") and os.path.basename(name) == name:
            (folder.pictures / name).unlink(missing_ok=True)


def _published_columns(rows, columns):
    printed = dict.fromkeys(key for _, values in rows for key in values if key != "note")
    known = {column.name: column for column in columns}
    return [known.get(name, Column(name, "lower")) for name in printed]
