"""Trajectories and snippets that a predictor sees in consecutive frames.

Shape letters: N frames, S snippets, n frames of a snippet.
"""
import numpy as np

from tfdepth.checks import UserError
from tfdepth.evaluation.odometry import cut_snippets, snippets_from_motions
from tfdepth.evaluation.trajectories import chain


def predicted_trajectory(predictor, paths):
    """Camera path along consecutive frames, chained from the motions of neighbours.

    Of the two predictions for a pair of neighbours, the one with the later frame as target is
    used; where there is none, the other.

    Args: predictor: Predictor. paths: N image files, neighbours in time.
    Returns: world_from_camera [N, 4, 4], the first camera as the world, up to the model's scale;
      None if there are too few frames.
    Raises: UserError: if a file cannot be read, or the model sees no adjacent frames.
    """
    offsets = predictor.offsets
    if not {-1, 1} & set(offsets):
        raise UserError("a trajectory needs a model with -1 or 1 among its frame offsets; "
                        f"this one has {offsets}.")
    motions = predictor.motions_of_files(paths)
    earlier_from_later = []
    for earlier in range(len(paths) - 1):
        if -1 in offsets and earlier + 1 in motions:
            earlier_from_later.append(motions[earlier + 1][offsets.index(-1)])
        elif 1 in offsets and earlier in motions:
            earlier_from_later.append(np.linalg.inv(motions[earlier][offsets.index(1)]))
        else:
            return None
    return chain(np.stack(earlier_from_later)) if earlier_from_later else None


def predicted_snippets(predictor, paths, length):
    """All snippets of consecutive frames.

    A model that sees exactly the frames of a snippet predicts each snippet at once, as published;
    the motions of any other are chained.

    Args: predictor: Predictor. paths: N image files, neighbours in time. length: n, odd.
    Returns: first_from_camera [S, n, 4, 4], S = N - n + 1; None if there are too few frames.
    Raises: UserError: as `predicted_trajectory`.
    """
    if len(paths) < length:
        return None
    half = length // 2
    if predictor.offsets == tuple(k for k in range(-half, half + 1) if k):
        motions = predictor.motions_of_files(paths)
        return snippets_from_motions(np.stack([motions[target] for target in sorted(motions)]))
    trajectory = predicted_trajectory(predictor, paths)
    return None if trajectory is None else cut_snippets(trajectory, length).first_from_camera
