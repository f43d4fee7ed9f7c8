"""SfMLearner's text files of snippets: one TUM file a snippet, named after its first frame."""
import pathlib
from typing import NamedTuple

import numpy as np

from tfdepth.checks import UserError, check_shape
from tfdepth.evaluation.trajectories import format_tum, read_tum, rebase
from tfdepth.files import Path, write_atomically

TIME_TOLERANCE = 0.01  # seconds between two poses that are of the same frame


class SnippetFiles(NamedTuple):
    """What a folder of snippets holds; S snippets of n frames."""
    starts: np.ndarray              # [S] index of the first frame, from the file names
    timestamps: np.ndarray          # [S, n] seconds
    first_from_camera: np.ndarray   # [S, n, 4, 4]


def write_snippets(folder: Path, starts: np.ndarray, first_from_camera: np.ndarray,
                   timestamps: np.ndarray):
    """Writes every snippet as `%06d.txt`, the index of its first frame.

    Args:
      folder: made if missing.
      starts: [S] index of the first frame of each snippet.
      first_from_camera: [S, n, 4, 4].
      timestamps: [N] seconds of every frame of the drive.

    Raises:
      ValueError: a shape differs from the above.
      UserError: the folder holds other snippets, which would be read as part of this dump.

    Source: pose_evaluation_utils.py of SfMLearner (dump_pose_seq_TUM).
    """
    check_shape("first_from_camera", first_from_camera, ["S", "n", 4, 4])
    check_shape("starts", np.asarray(starts), [len(first_from_camera)])
    folder = pathlib.Path(folder).expanduser()
    names = [f"{start:06d}.txt" for start in starts]
    others = {path.name for path in folder.glob("*.txt")} - set(names)
    if others:
        raise UserError(f"{folder}: expected no snippets but those written now; found "
                        f"{len(others)} others, as {min(others)}. Choose an empty folder.")
    length = first_from_camera.shape[1]
    for name, start, snippet in zip(names, starts, first_from_camera):
        write_atomically(folder / name, format_tum(timestamps[start:start + length], snippet))


def read_snippets(folder: Path) -> SnippetFiles:
    """Reads a folder of `<number>.txt` TUM files, in the order of their numbers.

    Each snippet is re-based to its first line, whatever its origin is in the file.

    Raises:
      UserError: there is no such file, a name is not a number, the files differ in length, or one
        is malformed.
    """
    folder = pathlib.Path(folder).expanduser()
    paths = sorted(folder.glob("*.txt"))
    if not paths:
        raise UserError(f"{folder}: expected snippets in files as 000000.txt; found none.")
    for path in paths:
        if not path.stem.isdecimal():
            raise UserError(f"{path}: expected a file name that is a frame number, as "
                            f"000000.txt; found {path.name!r}.")
    paths.sort(key=lambda path: int(path.stem))
    snippets = [read_tum(path) for path in paths]
    length = len(snippets[0].timestamps)
    for path, snippet in zip(paths, snippets):
        if len(snippet.timestamps) != length:
            raise UserError(f"{path}: expected {length} poses, as in {paths[0].name}; found "
                            f"{len(snippet.timestamps)}.")
    return SnippetFiles(np.array([int(path.stem) for path in paths]),
                        np.stack([snippet.timestamps for snippet in snippets]),
                        rebase(np.stack([snippet.world_from_camera for snippet in snippets])))


def check_same_frames(predicted: SnippetFiles, true: SnippetFiles):
    """Raises UserError unless both hold the same snippets, at times within TIME_TOLERANCE."""
    if predicted.timestamps.shape != true.timestamps.shape or (
            np.any(predicted.starts != true.starts)):
        missing = sorted(set(true.starts.tolist()) - set(predicted.starts.tolist()))
        extra = sorted(set(predicted.starts.tolist()) - set(true.starts.tolist()))
        raise UserError(
            f"the predicted snippets must be the true ones, {true.timestamps.shape[0]} of "
            f"{true.timestamps.shape[1]} frames; got {predicted.timestamps.shape[0]} of "
            f"{predicted.timestamps.shape[1]} frames; missing: {missing[:5] or 'none'}, "
            f"too many: {extra[:5] or 'none'}.")
    late = np.abs(predicted.timestamps - true.timestamps).max(axis=1) > TIME_TOLERANCE
    if late.any():
        raise UserError(f"predicted and true times must agree within {TIME_TOLERANCE} s; those "
                        f"of snippet {int(true.starts[np.argmax(late)]):06d} do not.")
