"""The camera's path along a clip, as files and seen from above.

    trajectory/kitti.txt          12 numbers a frame, the rows of world_from_camera [3, 4]
    trajectory/tum.txt            seconds, position, quaternion
    trajectory/path.png           from above
    trajectory/trajectory.json    unit, times, which frames

The first camera is the world. Where frames do not follow one another, nobody knows how the camera
moved: each part of the clip has a path of its own, kitti_1.txt, kitti_2.txt ... A model that learned
from every second frame (data.frame_gap) gives the path of every second frame.

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
    frames: range                   # N indices in the clip
    world_from_camera: np.ndarray   # [N, 4, 4], the first camera as the world


class Rate(NamedTuple):
    """How fast a clip was taken."""
    frames_per_second: float
    origin: str                     # of that number, in words


def check_rate(frames_per_second: float):
    """Raises UserError unless --frames_per_second is one, or 0."""
    if not 0 <= frames_per_second < 1e4:
        raise UserError("--frames_per_second: expected a number above 0; got "
                        f"{frames_per_second:g}.")


def find_rate(given: float, of_clip: float) -> Rate:
    """Args: given, of_clip: frames a second, by the user and by the file; 0 = not said."""
    if given:
        return Rate(given, "of --frames_per_second")
    if of_clip:
        return Rate(of_clip, "of the video")
    return Rate(SUPPOSED_RATE, "supposed, as nobody knows the clip's own")


def find_parts(follows: Sequence[bool], motions: Dict[int, np.ndarray], offsets, gap=1,
               ) -> List[Part]:
    """Paths of a clip's parts; of parts that are too short for the model there is none.

    Args:
      follows: of each frame of the clip, whether the frame before it is the one before in time.
      motions: {index of target: source_from_target [S, 4, 4]}, of every frame with all its sources.
      offsets: S steps from the target to its sources.
      gap: frames of a step; a path has the frames 0, gap, 2 gap ... of its part.
    """
    starts = [k for k, is_next in enumerate(follows) if k == 0 or not is_next]
    parts = []
    for first, end in zip(starts, [*starts[1:], len(follows)]):
        frames = range(first, end, gap)
        path = trajectory_of_motions(
            {k: motions[frame] for k, frame in enumerate(frames) if frame in motions},
            offsets, len(frames))
        if path is not None:
            parts.append(Part(frames, path))
    return parts


def check_parts(follows: Sequence[bool], offsets, gap=1, parts=None):
    """Raises UserError if there can be no path, or is none in `parts`; arguments as of
    `find_parts`, which gives `parts`."""
    needed, longest, length = gap * (max(0, *offsets) - min(0, *offsets)) + 1, 0, 0
    for is_next in follows:
        length = length + 1 if is_next else 1
        longest = max(longest, length)
    if longest < needed:
        raise UserError(f"--trajectory: expected {needed} frames or more that follow one another; "
                        f"found none in {len(follows)}. A folder's frames follow when their names "
                        "end in numbers that do.")
    if parts is not None and not parts:
        raise UserError("--trajectory: expected a model that sees any two neighbours; this one "
                        f"compares a frame with {', '.join(f'{k:+d}' for k in offsets)}.")


def write_trajectories(folder: pathlib.Path, parts: Sequence[Part], names: Sequence[str],
                       numbers: Sequence[int], rate: Rate, unit: str, facts, show=print):
    """Writes the files that the module lists.

    Args:
      folder: made if missing.
      parts: of the clip.
      names, numbers: of the clip's frames.
      rate: of the clip.
      unit: of the path, in words.
      facts: for trajectory.json: the unit, the model.
      show: called with lines of text for the user.
    """
    (folder / _FACTS).unlink(missing_ok=True)  # that of an earlier run; this one's comes last
    times = np.array(numbers) / rate.frames_per_second
    listed = []
    for k, part in enumerate(parts, start=1):
        ending = f"_{k}" if len(parts) > 1 else ""
        of_part = {"kitti": f"kitti{ending}.txt", "tum": f"tum{ending}.txt",
                   "picture": f"path{ending}.png"}
        write_kitti_poses(folder / of_part["kitti"], part.world_from_camera)
        write_tum(folder / of_part["tum"], times[part.frames], part.world_from_camera)
        write_figure(folder / of_part["picture"], draw_trajectories(
            None, {"prediction": part.world_from_camera},
            f"frames {names[part.frames[0]]} to {names[part.frames[-1]]}", unit))
        listed.append({**of_part, "first_frame": names[part.frames[0]],
                       "last_frame": names[part.frames[-1]], "frames": len(part.frames)})
    without = len(names) - sum(each["frames"] for each in listed)
    gap = parts[0].frames.step
    write_json(folder / _FACTS, {
        "kind": "world_from_camera", "parts": listed, "frame_gap": gap, "frames_without": without,
        "frames_per_second": rate.frames_per_second, "times_are": rate.origin, **facts})
    show(f"wrote the camera's path of {len(names) - without} of {len(names)} frames to {folder}: "
         + (f"those {gap} apart, as the model learned it (data.frame_gap); " if gap > 1 else "")
         + (f"{len(parts)} parts, as frames do not follow one another all the way"
            if len(parts) > 1 or gap == 1 and without else "one part")
         + f"; times by {rate.frames_per_second:g} frames a second, {rate.origin}")
