"""Trajectories and snippets that a predictor sees in consecutive frames.

Shape letters: N frames, S snippets, n frames of a snippet.
"""
import numpy as np

from tfdepth.evaluation.odometry import cut_snippets, snippets_from_motions
from tfdepth.evaluation.trajectories import chain


def predicted_trajectory(predictor, paths):
    """Camera path along consecutive frames, chained from the motions of neighbours.

    For every pair of neighbours, the prediction with the later frame as target is used; at the
    ends of the path, and for models that see no adjacent frame, that of the nearest target which
    both frames belong to.

    Args: predictor: Predictor. paths: N image files, neighbours in time.
    Returns: world_from_camera [N, 4, 4], the first camera as the world, up to the model's scale;
      None if there are too few frames, or the model never sees two neighbours.
    Raises: UserError: if a file cannot be read.
    """
    return trajectory_of_motions(predictor.motions_of_files(paths), predictor.offsets, len(paths))


def trajectory_of_motions(motions, offsets, count, first=0):
    """Camera path along consecutive frames; see `predicted_trajectory`.

    Args: motions: {index of target: source_from_target [S, 4, 4]}. offsets: S frames from the
      target to its sources. count: N. first: index of the first frame.
    Returns: as `predicted_trajectory`.
    """
    places = {0: None, **{offset: k for k, offset in enumerate(offsets)}}

    def camera_from_target(target, frame):
        place = places[frame - target]
        return np.eye(4) if place is None else motions[target][place]

    earlier_from_later = []
    for later in range(first + 1, first + count):
        targets = [later - offset for offset in places
                   if offset - 1 in places and later - offset in motions]
        if not targets:
            return None
        target = min(targets, key=lambda target: (abs(target - later), target))
        earlier_from_later.append(camera_from_target(target, later - 1)
                                  @ np.linalg.inv(camera_from_target(target, later)))
    return chain(np.stack(earlier_from_later)) if earlier_from_later else None


def predicted_snippets(predictor, paths, length):
    """All snippets of consecutive frames.

    A model that sees exactly the frames of a snippet predicts each snippet at once, as published;
    the motions of any other are chained.

    Args: predictor: Predictor. paths: N image files, neighbours in time. length: n, odd.
    Returns: first_from_camera [S, n, 4, 4], S = N - n + 1; None if there are too few frames, or
      the model never sees two neighbours.
    Raises: UserError: if a file cannot be read.
    """
    if len(paths) < length:
        return None
    half = length // 2
    if predictor.offsets == tuple(k for k in range(-half, half + 1) if k):
        motions = predictor.motions_of_files(paths)
        return snippets_from_motions(np.stack([motions[target] for target in sorted(motions)]))
    trajectory = predicted_trajectory(predictor, paths)
    return None if trajectory is None else cut_snippets(trajectory, length).first_from_camera
