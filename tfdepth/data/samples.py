"""Which frames become training samples: those with true neighbours in time and with motion, or
with measured depth.

Letters: M samples, S sources of a sample, D drives, F frames of all drives together.
"""
import os
from typing import NamedTuple, Sequence

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, motion
from tfdepth.data.config import DataConfig
from tfdepth.data.drives import Drive


class SampleCounts(NamedTuple):
    """What became of the frames; total is the sum of the others."""
    total: int               # F
    without_neighbours: int  # at the ends of drives and beside holes
    static: int              # a neighbour on either side was taken from (nearly) the same place
    kept: int                # M
    without_depth: int = 0   # has no depth map, where the samples need one


class SampleTable(NamedTuple):
    """Samples as indices into the frames of all drives, one drive after the other."""
    indices: np.ndarray        # [M, 1 + S] int32, target first, then sources in time order
    drive_indices: np.ndarray  # [M] int32, into the drives
    drive_starts: np.ndarray   # [D + 1] int32, where the frames of drive d start in the flat list
    counts: SampleCounts


def select_samples(drives: Sequence[Drive], config: DataConfig,
                   supervised: bool = False) -> SampleTable:
    """Lists every target frame that has all its sources and is not static.

    Sources are found by frame number within the drive, so a hole in the numbers has no
    neighbours; a step of the offsets spans config.frame_gap frames. A sample is static when the
    motion between the target and the nearest source on either side (one of the two is enough) is
    below config.min_translation, in metres a frame, by the travel or the poses of the drive, or,
    without both, when the images differ by less than config.min_image_change.

    Args:
      drives: D of them.
      config: its offsets, frame_gap, min_translation and min_image_change are used.
      supervised: whether a target needs a depth map; then it needs no sources, offsets may be ().

    Returns:
      The samples in the order of the drives and of time.

    Raises:
      UserError: offsets that are empty, 0, double or not ascending; a frame_gap below 1; a frame
        that cannot be read while motion is measured; no sample left, with the counts and the
        likely cause.
    """
    alone = config.stereo or supervised  # a frame without neighbours of its own camera will do
    offsets = check_offsets(config.offsets) if config.offsets or not alone else ()
    if not (isinstance(config.frame_gap, int) and config.frame_gap >= 1):
        raise UserError(f"frame_gap must be a whole number of frames, 1 or more; got "
                        f"{config.frame_gap!r}.")
    offsets = tuple(offset * config.frame_gap for offset in offsets)         # in frames
    tables, owners, static_count, unmeasured_count = [], [], 0, 0
    starts = np.cumsum([0] + [len(drive) for drive in drives])               # [D + 1]
    for d, drive in enumerate(drives):
        rows = _with_neighbours(drive, offsets)                              # [m, 1 + S]
        static = _static(drive, rows, offsets, config)                       # [m]
        static_count += int(static.sum())
        rows = rows[~static]
        if supervised:
            measured = _measured(drive)[rows[:, 0]]                          # [m]
            unmeasured_count += int((~measured).sum())
            rows = rows[measured]
        tables.append((rows + starts[d]).astype(np.int32))
        owners.append(np.full(len(rows), d, np.int32))
    empty = [np.zeros((0, 1 + len(offsets)), np.int32)]
    indices = np.concatenate(tables or empty)
    total, kept = int(starts[-1]), len(indices)
    counts = SampleCounts(total, total - static_count - unmeasured_count - kept, static_count, kept,
                          unmeasured_count)
    if not kept:
        raise UserError(_why_empty(drives, counts, config))
    return SampleTable(indices, np.concatenate(owners), starts.astype(np.int32), counts)


def check_offsets(offsets: Sequence[int]) -> Sequence[int]:
    """Returns `offsets` as a tuple; UserError unless they are ascending, and none is 0."""
    offsets = tuple(offsets)
    whole = all(isinstance(offset, (int, np.integer)) for offset in offsets)
    if not offsets or not whole or 0 in offsets or list(offsets) != sorted(set(offsets)):
        raise UserError("offsets must be ascending whole numbers of frames without 0, as (-1, 1); "
                        f"got {offsets}.")
    return offsets


def _with_neighbours(drive: Drive, offsets: Sequence[int]) -> np.ndarray:
    """[m, 1 + S] indices within the drive, of the targets whose sources are all there."""
    columns = [np.arange(len(drive))]
    columns += [motion.neighbours(drive.frame_numbers, offset) for offset in offsets]
    rows = np.stack(columns, axis=1)                                         # [N, 1 + S]
    return rows[(rows >= 0).all(axis=1)]


def _measured(drive: Drive) -> np.ndarray:
    """bool [N]: the frame has a depth map."""
    if drive.depth_paths is None:
        return np.zeros(len(drive), bool)
    return np.array([path != "" for path in drive.depth_paths])


def _static(drive: Drive, rows: np.ndarray, offsets: Sequence[int],
            config: DataConfig) -> np.ndarray:
    """bool [m]: no motion between the target and the nearest source before or after it."""
    static = np.zeros(len(rows), bool)
    if not len(rows):
        return static
    before = [offset for offset in offsets if offset < 0][-1:]
    after = [offset for offset in offsets if offset > 0][:1]
    for offset in before + after:
        pairs = motion.static_pairs(
            drive, abs(offset), config.min_translation, config.min_image_change)  # [N]
        first = rows[:, 0] if offset > 0 else rows[:, 1 + offsets.index(offset)]
        static |= pairs[first]
    return static


def _why_empty(drives: Sequence[Drive], counts: SampleCounts, config: DataConfig) -> str:
    if not drives:
        return ("no drive to take samples from; expected at least one. "
                "Are all drives held out for validation and test?")
    names = [os.path.basename(path) for path in drives[0].image_paths[:3]]
    facts = (f"no sample left of {counts.total} frames in {len(drives)} drives "
             f"({files.listing([drive.name for drive in drives])}): {counts.without_neighbours} "
             f"lack a neighbour at offsets {tuple(config.offsets)}"
             f"{f' x {config.frame_gap} frames' if config.frame_gap > 1 else ''}, "
             f"{counts.static} are static.")
    if counts.without_depth:
        return (f"{facts[:-1]}, {counts.without_depth} have no depth map, from which this system "
                "learns. --config.data.depth_root names the folder of KITTI's annotated depth.")
    if counts.static:
        in_metres = any(motion.measured_in_metres(drive) for drive in drives)
        limits = f"min_image_change ({config.min_image_change:g})"
        if in_metres:
            limits = f"min_translation ({config.min_translation:g} m a frame) or {limits}"
        return f"{facts} Depth needs a camera that moves; if yours does, lower {limits}."
    return (f"{facts} Neighbours are frames whose numbers differ by the offset; the first frames "
            f"of {drives[0].name} are {', '.join(names)}, numbered "
            f"{', '.join(map(str, drives[0].frame_numbers[:3]))}.")
