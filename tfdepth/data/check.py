"""The data check ("doctor"): what would make a training fail or learn nothing, before it starts.

Every finding comes with its mend. Problems stop a training; warnings are worth a look.
"""
import concurrent.futures
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import (
    datasets, depth_check, files, images, intrinsics_file, kitti_odometry, kitti_raw, kitti_splits,
    lidar, motion, samples)
from tfdepth.data.check_report import DriveReport, Finding, Report
from tfdepth.data.config import DataConfig
from tfdepth.data.drives import Drive

_SPREAD = 20           # frames a drive that are decoded unless all are
_STATIC_SHARE = 0.5    # of the neighbouring pairs; more is worth a warning
_LONG_STEP = 10.0      # metres a frame; 100 m/s at 10 frames a second
_HOLE_SHARE = 0.1
_SKIPPED = {"kitti_odometry": kitti_odometry.skipped_sequences,
            "kitti_raw": kitti_raw.skipped_drives}
_AGAIN = "mend that and check again"
_Job = Tuple[int, str, Tuple[int, int], str, float]  # drive, path, size to have, kind, divisor


def check_data(config: DataConfig, full: bool = False,
               progress: Optional[Callable[[int, int], None]] = None,
               multiple: int = 32) -> Report:
    """Checks a data set as a training with `config` would see it.

    Args:
      config: what to check; its drive names, size, offsets and motion limits count.
      full: decode every file, checksums included; else 20 frames a drive, spread evenly.
      progress: called with (files decoded, files to decode).
      multiple: what both sides of config.size must be multiples of, for the networks.

    Returns:
      A report. What a loader refuses is a problem in it; nothing is raised for bad data.
    """
    report = Report(config.dataset, config.root)
    _check_network_size(config.size, multiple, report)
    try:
        drives = datasets.load_drives(config)
    except UserError as error:
        report.problems.append(Finding(str(error), _AGAIN))
        return report
    report.drives = [_describe(drive) for drive in drives]
    _check_files(drives, report, full, progress)
    _check_depth(drives, report)
    for drive, row in zip(drives, report.drives):
        _check_frames(drive, row, config, report)
        _check_motion(drive, row, config, report)
    _check_skipped(config, report)
    _check_roles(config, drives, report)
    if config.dataset == "kitti_raw" and report.samples:
        report.notes += _beside_published(config, drives, report)
    return report


def _describe(drive: Drive) -> DriveReport:
    steps, counts = np.unique(np.diff(drive.frame_numbers), return_counts=True)
    return DriveReport(
        name=drive.name, frames=len(drive), size=drive.size,
        field_of_view=intrinsics_file.field_of_view(drive.intrinsics, drive.size),
        gaps=dict(zip(steps.tolist(), counts.tolist())),
        has_poses=drive.world_from_camera is not None, in_metres=motion.measured_in_metres(drive),
        has_depth=drive.depth_paths is not None, has_moving=drive.moving_paths is not None)


def _check_network_size(size: Sequence[int], multiple: int, report: Report):
    if len(size) != 2 or any(side <= 0 or side % multiple for side in size):
        nearest = tuple(max(multiple, round(side / multiple) * multiple) for side in size)
        report.problems.append(Finding(
            f"size {tuple(size)} is not (height, width) in multiples of {multiple}",
            f"set size to {nearest}"))


def _check_files(drives: Sequence[Drive], report: Report, full: bool, progress):
    """Decodes files in parallel and notes what is wrong with each."""
    jobs: List[_Job] = []
    for d, drive in enumerate(drives):
        count = len(drive) if full else min(_SPREAD, len(drive))
        for k in np.unique(np.linspace(0, len(drive) - 1, count).round().astype(int)):
            for kind, paths in (("image", drive.image_paths), ("image", drive.stereo_paths),
                                ("depth", drive.depth_paths), ("scan", drive.lidar_paths),
                                ("moving", drive.moving_paths)):
                if paths is not None and paths[k]:
                    jobs.append((d, paths[k], drive.file_size or drive.size, kind,
                                 drive.depth_divisor))
    empty_depth = [0] * len(drives)
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        for start in range(0, len(jobs), 256):
            chunk = jobs[start:start + 256]
            for done, (job, (fault, empty)) in enumerate(zip(chunk, pool.map(_decode, chunk))):
                row = report.drives[job[0]]
                row.files_decoded += 1
                empty_depth[job[0]] += empty
                if fault:
                    row.bad_files.append(fault)
                if progress:
                    progress(start + done + 1, len(jobs))
    for row, empty in zip(report.drives, empty_depth):
        if row.bad_files:
            report.problems.append(Finding(
                f"{row.name}: {len(row.bad_files)} of {row.files_decoded} decoded files are bad: "
                f"{' | '.join(row.bad_files[:3])}", "replace or remove them"
                + ("" if full else "; a full check finds the others")))
        if empty:
            report.warnings.append(Finding(f"{row.name}: {empty} depth maps hold no measurement",
                                           "look at them before evaluating on them"))


def _check_depth(drives: Sequence[Drive], report: Report):
    """Whether the depths are plausible where all files that were decoded are sound."""
    sound = [drive for drive, row in zip(drives, report.drives) if not row.bad_files]
    try:
        depth_check.check_depth(sound)
    except UserError as error:
        report.problems.append(Finding(str(error), _AGAIN))


def _decode(job: _Job) -> Tuple[str, bool]:
    """(what is wrong with the file or "", whether it is an empty depth map)."""
    _, path, size, kind, divisor = job
    try:
        if kind == "scan":
            lidar.read_scan(path)
            return "", False
        images.check_depth_size(path, size)
        images.verify_image(path, frame=kind == "image")
        return "", kind == "depth" and not images.read_depth(path, divisor).any()
    except UserError as error:
        return str(error), False


def _check_frames(drive: Drive, row: DriveReport, config: DataConfig, report: Report):
    """Holes, and what the network's size does to the frames."""
    pairs = max(1, len(drive) - 1)
    if row.holes / pairs > _HOLE_SHARE:
        report.warnings.append(Finding(
            f"{row.name}: {row.holes} of {pairs} successive frames are no neighbours in time",
            "number the frames without holes, or expect fewer samples"))
    height, width = drive.size
    if len(config.size) != 2 or min(config.size) <= 0:
        return
    if config.size[0] > height or config.size[1] > width:
        report.warnings.append(Finding(
            f"{row.name}: frames of {width} x {height} are enlarged to {config.size[1]} x "
            f"{config.size[0]}", "choose a size that is not larger than the frames"))
    stretch = (config.size[1] / config.size[0]) / (width / height)
    if not 0.7 < stretch < 1.43:
        report.warnings.append(Finding(
            f"{row.name}: frames of {width} x {height} are stretched by {stretch:.2f} to "
            f"{config.size[1]} x {config.size[0]}", "choose a size nearer to their shape"))


def _check_motion(drive: Drive, row: DriveReport, config: DataConfig, report: Report):
    """Static share, and steps that no camera makes."""
    if row.bad_files and not row.in_metres:
        return  # measuring would need those files
    try:
        steps = motion.motion(drive, config.frame_gap)
        static = motion.static_pairs(drive, config.frame_gap, config.min_translation,
                                     config.min_image_change)
    except UserError as error:
        row.bad_files.append(str(error))
        report.problems.append(Finding(str(error), "replace or remove the file"))
        return
    known = ~np.isnan(steps)
    if not known.any():
        return
    row.static_share = float(static[known].mean())
    row.median_motion = float(np.median(steps[known]))
    if row.static_share > _STATIC_SHARE:
        report.warnings.append(Finding(
            f"{row.name}: {row.static_share:.0%} of the neighbouring frames are static",
            "record with more motion, keep fewer frames a second, or lower "
            + ("min_translation" if row.in_metres else "min_image_change")))
    longest = int(np.nanargmax(steps))
    if row.in_metres and steps[longest] > _LONG_STEP:
        report.warnings.append(Finding(
            f"{row.name}: the camera jumps {steps[longest]:.1f} m after frame "
            f"{drive.frame_numbers[longest]} (median {row.median_motion:.2f} m)",
            "poses must be in metres, world_from_camera, a row for each frame"))


def _check_skipped(config: DataConfig, report: Report):
    if config.dataset not in _SKIPPED or not config.root:
        return
    try:
        skipped = _SKIPPED[config.dataset](config.root, config.cameras)
    except UserError:
        return  # loading has succeeded, so this is another process at work
    if skipped:
        report.warnings.append(Finding(
            f"{len(skipped)} drives have no {' and '.join(config.cameras) or 'images'} and are "
            f"left out: {files.listing(skipped)}", "add their images if you want them"))


def _check_roles(config: DataConfig, drives: Sequence[Drive], report: Report):
    """The split, and whether there are samples to train and to validate on."""
    try:
        split = datasets.split_drives(config, drives)
    except UserError as error:
        report.problems.append(Finding(str(error), "correct the names"))
        return
    report.roles = {role: tuple(drive.name for drive in chosen)
                    for role, chosen in zip(split._fields, split)}
    unreadable = {row.name for row in report.drives if row.bad_files and not row.in_metres}
    for role, chosen in (("train", split.train), ("validation", split.validation)):
        if role != "train" and not chosen or unreadable & {drive.name for drive in chosen}:
            continue
        try:
            table = samples.select_samples(chosen, config)
        except UserError as error:
            report.problems.append(Finding(f"{role}: {error}", _AGAIN))
            continue
        if role == "train":
            report.samples = table.counts
        else:
            report.validation_samples = table.counts


def _beside_published(config: DataConfig, drives: Sequence[Drive], report: Report) -> List[str]:
    """The counts of the Eigen split beside those of the lists that all papers use."""
    ours = report.samples.kept
    checked = report.validation_samples.kept if report.validation_samples else 0
    missing = set(kitti_splits.EIGEN_TEST_DRIVES) - {drive.name.split("/")[0] for drive in drives}
    published = (kitti_splits.EIGEN_ZHOU_TRAIN_IMAGES, kitti_splits.EIGEN_ZHOU_VALIDATION_IMAGES)
    return [
        f"Eigen split: {ours:,} training and {checked:,} validation samples here; {published[0]:,} "
        f"and {published[1]:,} in the published lists.",
        "  Those take 32 drives, both colour cameras, every frame but the first and last of its "
        "drive and but a list of static frames,",
        "  and draw a tenth of the frames, neighbours of training frames, for validation. Here: "
        f"all {len({drive.name.split('/')[0] for drive in drives})} drives that are here",
        "  but the 28 of the test set"
        + (f" ({len(missing)} of these are not here)" if missing else "") + ", the drives of "
        "eigen_validation for validation, and static is a frame from or to which",
        f"  the vehicle moved less than {config.min_translation:g} m, by its measured speed. (With "
        "the published list of static frames, all of KITTI raw",
        "  and both cameras, the samples here would be 39,662 and 4,442.)"]
