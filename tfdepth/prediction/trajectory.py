"""The camera's path along a clip, as files and seen from above.

    trajectory/kitti.txt          12 numbers a frame, the rows of world_from_camera [3, 4]
    trajectory/tum.txt            seconds, position, quaternion
    trajectory/path.png           from above
    trajectory/trajectory.json    unit, times, which frames

The first camera is the world. Where frames do not follow one another, nobody knows how the camera
moved: each part of the clip has a path of its own, kitti_1.txt, kitti_2.txt ...

Shape letters: N frames of a part, S sources.
"""
import pathlib
from typing import Dict, List, NamedTuple, Sequence

import numpy as np

from tfdepth.checks import UserError
from tfdepth.evaluation.plots import draw_trajectories, write_figure
from tfdepth.evaluation.predicted_motion import trajectory_of_motions
from tfdepth.evaluation.tables import write_json
from tfdepth.evaluation.trajectories import write_kitti_poses, write_tum

_FACTS = "trajectory.json"
SUPPOSED_RATE = 10.0  # frames a second, where nobody knows it


class Part(NamedTuple):
    """A path along frames that follow one another."""
    first: int                      # index of its first frame in the clip
    world_from_camera: np.ndarray   # [N, 4, 4], the first camera as the world


def find_parts(follows: Sequence[bool], motions: Dict[int, np.ndarray], offsets) -> List[Part]:
    """Paths of a clip's parts; of parts that are too short for the model there is none.

    Args:
      follows: of each frame of the clip, whether the frame before it is the one before in time.
      motions: {index of target: source_from_target [S, 4, 4]}, of every frame with all its sources.
      offsets: S frames from the target to its sources.
    """
    starts = [k for k, is_next in enumerate(follows) if k == 0 or not is_next]
    parts = []
    for first, end in zip(starts, [*starts[1:], len(follows)]):
        path = trajectory_of_motions(motions, offsets, end - first, first)
        if path is not None:
            parts.append(Part(first, path))
    return parts


def check_parts(parts: Sequence[Part], follows: Sequence[bool], offsets):
    """Raises UserError if there is no path at all; arguments as of `find_parts`."""
    if not parts:
        needed = max(0, *offsets) - min(0, *offsets) + 1
        raise UserError(f"--trajectory: expected {needed} frames or more that follow one another; "
                        f"found none in {len(follows)}. A folder's frames follow when their names "
                        "end in numbers that do.")


def write_trajectories(folder: pathlib.Path, parts: Sequence[Part], names: Sequence[str],
                       numbers: Sequence[int], rate: float, facts, show=print):
    """Writes the files that the module lists.

    Args:
      folder: made if missing.
      parts: of the clip.
      names, numbers: of the clip's frames.
      rate: frames a second; 0 = nobody knows.
      facts: for trajectory.json: the unit, the model.
      show: called with lines of text for the user.
    """
    (folder / _FACTS).unlink(missing_ok=True)  # that of an earlier run; this one's comes last
    times = np.array(numbers) / (rate or SUPPOSED_RATE)
    listed = []
    for k, part in enumerate(parts, start=1):
        ending = f"_{k}" if len(parts) > 1 else ""
        last = part.first + len(part.world_from_camera) - 1
        of_part = {"kitti": f"kitti{ending}.txt", "tum": f"tum{ending}.txt",
                   "picture": f"path{ending}.png"}
        write_kitti_poses(folder / of_part["kitti"], part.world_from_camera)
        write_tum(folder / of_part["tum"], times[part.first:last + 1], part.world_from_camera)
        write_figure(folder / of_part["picture"], draw_trajectories(
            None, {"prediction": part.world_from_camera},
            f"frames {names[part.first]} to {names[last]}"))
        listed.append({**of_part, "first_frame": names[part.first], "last_frame": names[last],
                       "frames": last + 1 - part.first})
    without = len(names) - sum(each["frames"] for each in listed)
    source_of_times = "of the video" if rate else "supposed, as nobody knows the clip's own"
    write_json(folder / _FACTS, {
        "kind": "world_from_camera", "parts": listed, "frames_without": without,
        "frames_per_second": rate or SUPPOSED_RATE, "times_are": source_of_times, **facts})
    show(f"wrote the camera's path of {len(names) - without} of {len(names)} frames to {folder}: "
         + (f"{len(parts)} parts, as frames do not follow one another all the way"
            if len(parts) > 1 or without else "one part")
         + f"; times by {rate or SUPPOSED_RATE:g} frames a second, {source_of_times}")
