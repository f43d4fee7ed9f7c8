"""The tables of runs: every protocol's methods in rows, beside trivial baselines."""
import dataclasses
from typing import Dict, List, NamedTuple, Sequence

from tfdepth.checks import UserError
from tfdepth.data.pipeline import open_source
from tfdepth.evaluation.depth_metrics import HIGHER_IS_BETTER, PROTOCOLS
from tfdepth.evaluation.depth_report import depth_row, depths_of_run, mean_depth
from tfdepth.evaluation.odometry_report import (
    PATH_COLUMNS, SNIPPET_COLUMNS, mean_motions, odometry_table, true_paths)
from tfdepth.evaluation.path_errors import PATH_PROTOCOLS
from tfdepth.evaluation.report_pictures import panel_of_frames
from tfdepth.evaluation.scene import KITTI_RAW
from tfdepth.evaluation.scored_frames import find_frames, frames_of_drives, has_depth
from tfdepth.evaluation.tables import Column, Row, metric_columns
from tfdepth.evaluation.view_synthesis import SynthesisErrors, evaluate_synthesis

DEFAULT_PROTOCOLS = ("depth", "depth_moving", "odometry_sfmlearner", "view_synthesis")
SNIPPET_LENGTH = 5


class Table(NamedTuple):
    """What a protocol says."""
    rows: List[Row]
    columns: Sequence[Column]
    about: str                  # what was scored
    figures: Dict[str, object]  # file name -> matplotlib Figure
    beside_papers: bool         # whether the papers scored the same data


def default_protocols(scene):
    """The protocols that runs are scored by when the user names none."""
    if scene.predictor.system.learns_from_depth:
        published = {"nyu": "nyu", **dict.fromkeys(KITTI_RAW, "bts")}
        return ("depth_metres" if scene.drives else published.get(
            scene.config.dataset, "depth_metres"),)
    if scene.config.dataset not in KITTI_RAW or scene.drives:
        return DEFAULT_PROTOCOLS
    # Its 28 test drives hold thousands of frames, of which papers score the same 697.
    if scene.config.stereo:
        return ("eigen_stereo",)
    return ("eigen" if scene.predictor.system.resized == "depth" else "eigen_monodepth2",)


def table_of_runs(name, scene):
    """The Table of a protocol: a row each of the runs of a Scene.

    Raises: UserError: the protocol needs what runs or data lack.
    """
    if name in PROTOCOLS:
        return _depth_table_of_runs(name, scene)
    if name != "view_synthesis":
        return _odometry_table_of_runs(name, scene)
    for method, predictor in scene.predictors.items():
        if not predictor.system.num_sources:
            raise UserError("--protocol view_synthesis: expected a run that learnt from several "
                            f"views; {method} sees single images.")
    rows = [(method, evaluate_synthesis(predictor.system, open_source(
        scene.scored, scene.config_of(predictor)))._asdict())
            for method, predictor in scene.predictors.items()]
    better = ("lower", None, "lower", "lower", None, "lower", None)
    columns = [Column(field, each, 4) for field, each in zip(SynthesisErrors._fields, better)]
    return Table(rows, columns, scene.about, {}, False)


def _depth_table_of_runs(name, scene):
    protocol = PROTOCOLS[name]
    if protocol.frames:
        return _published_depth_table(name, scene)
    for drive in scene.scored:
        if not has_depth(drive):
            raise UserError(f"{drive.name} has no depth_paths")
        if protocol.moving_only and drive.moving_paths is None:
            raise UserError(f"{drive.name} has no moving_paths")
    frames = frames_of_drives(scene.scored, scene.config.frame_gap)
    methods = {}
    if any(has_depth(drive) for drive in scene.train):
        mean = mean_depth(scene.train, protocol)
        methods["per-pixel training mean"] = (mean for _ in frames)
    methods.update(_depths(scene, frames, protocol))
    return depth_table(protocol, frames, methods, scene.about)


def _published_depth_table(name, scene):
    """The table of a test set with frames of its own, beside the mean of the training drives where
    the run was trained on the same data set."""
    protocol, config = PROTOCOLS[name], scene.config
    is_eigen = protocol.frames in ("eigen", "improved")
    if is_eigen and scene.predictor.config.data.crop == "kb":  # what this network knows
        protocol = dataclasses.replace(protocol, kb_crop=True)
    if not config.root:
        raise UserError(f"--protocol {name} needs --data_root, the folder of its data set.")
    drives = scene.eigen_drives() if is_eigen else scene.drives
    frames = find_frames(protocol.frames, config.root, drives, config.depth_root)
    about = f"{len(frames)} frames of {config.root}"
    seen = scene.trained_on(sorted({frame.name.split("/")[0] for frame in frames}))
    if is_eigen and seen:
        about += f"; THE RUN WAS TRAINED on {len(seen)} of these drives: {', '.join(sorted(seen))}"
    table = depth_table(protocol, frames, _depths(scene, frames, protocol), about)
    own = (config.dataset in KITTI_RAW if is_eigen else config.dataset == protocol.frames
           and config.root == scene.predictor.config.data.root)
    if own and any(map(has_depth, scene.train)):
        table.rows.insert(0, mean_depth_row(scene.train, frames, protocol, config.crop))
    for method, predictor in scene.predictors.items():
        table.figures[scene.file_name(f"depth-{name}", method)] = panel_of_frames(
            frames, protocol, predictor, scene.flip)
    return table


def _depths(scene, frames, protocol):
    """{run: its predictions, see `depths_of_run`}."""
    return {name: depths_of_run(predictor, frames, protocol, scene.flip)
            for name, predictor in scene.predictors.items()}


def mean_depth_row(train, frames, protocol, crop=""):
    """The mean depth of training drives is in metres: scaled by the median it would be another,
    better, method. `crop`: DataConfig.crop of the drives."""
    name = ("training mean, in metres" if protocol.median_scaling else "per-pixel training mean")
    protocol = dataclasses.replace(protocol, median_scaling=False, kb_crop=crop == "kb")
    mean = mean_depth(train, protocol)
    method, values = depth_row(name, (mean for _ in frames), frames, protocol)
    return method, {**values, "scale": None, "scale_spread": None}


def depth_table(protocol, frames, methods, about):
    """The Table of depth of methods, {name: predictions}, see `depth_row`."""
    rows = [depth_row(method, depths, frames, protocol) for method, depths in methods.items()]
    columns = [*metric_columns(protocol.metrics, HIGHER_IS_BETTER), Column("scale"),
               Column("scale_spread"), Column("images", decimals=0)]
    if any(values["without_truth"] for _, values in rows):
        columns.append(Column("without_truth", decimals=0))
    return Table(rows, columns, about, {}, bool(protocol.frames))


def _odometry_table_of_runs(name, scene):
    paths = scene.paths()
    means = mean_motions(true_paths(scene.train), paths, SNIPPET_LENGTH)
    methods = {"mean motion": means} if means else {}
    for method in scene.predictors:
        methods[method] = [scene.motion(method, path, SNIPPET_LENGTH) for path in paths]
    rows, figures = odometry_table(name, paths, methods, scene.alignment)
    return Table(rows, odometry_columns(name), scene.about, figures,
                 scene.config.dataset == "kitti_odometry"
                 and any(is_papers_sequence(path.name) for path in paths))


def is_papers_sequence(name):
    """Whether a path, or a file of poses, is of sequence 09 or 10."""
    return name[:2] in ("09", "10")


def odometry_columns(name):
    """The columns of an odometry protocol."""
    if name in PATH_PROTOCOLS:
        better = {column: "lower" for column in PATH_COLUMNS[:5]}
        return [Column(column, better.get(column), 4) for column in PATH_COLUMNS]
    return [Column(column, "lower" if column.endswith("_mean") else None,
                   4 if column.startswith("ate") else 3) for column in SNIPPET_COLUMNS]
