"""Trajectories and snippets from the motions that a model predicts, for every kind of model."""
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tfdepth.evaluation.odometry import cut_snippets
from tfdepth.evaluation.predicted_motion import predicted_snippets, predicted_trajectory
from tfdepth.evaluation.trajectories import rebase, rigid_transforms


class Oracle:
    """A predictor that knows the truth; paths are frame numbers."""

    def __init__(self, world_from_camera, offsets):
        self.world_from_camera, self.offsets = world_from_camera, offsets

    def motions_of_files(self, paths):
        poses = self.world_from_camera[list(paths)]
        inside = lambda target: all(0 <= target + k < len(paths) for k in self.offsets)
        return {target: np.stack([np.linalg.inv(poses[target + k]) @ poses[target]
                                  for k in self.offsets])
                for target in range(len(paths)) if inside(target)}


def drive(count):
    random = np.random.default_rng(4)
    turns = Rotation.from_euler("xyz", np.cumsum(random.normal(0, 0.1, [count, 3]), axis=0))
    return rigid_transforms(turns.as_matrix(), np.cumsum(random.normal(1, 0.3, [count, 3]), axis=0))


@pytest.mark.parametrize("offsets", [(-1, 1), (-2, -1, 1, 2), (1,), (-1,)])
def test_trajectory_has_every_frame(offsets):
    truth = drive(9)
    found = predicted_trajectory(Oracle(truth, offsets), range(9))
    np.testing.assert_allclose(found, rebase(truth), atol=1e-9)


def test_not_available_is_none():
    truth = drive(9)
    assert predicted_trajectory(Oracle(truth, (-2, 2)), range(9)) is None   # never two neighbours
    assert predicted_trajectory(Oracle(truth, (-1, 2)), range(9)) is None   # not the last two
    assert predicted_trajectory(Oracle(truth, (-2, -1, 1, 2)), range(4)) is None
    assert predicted_snippets(Oracle(truth, (-1, 1)), range(4), 5) is None


@pytest.mark.parametrize("offsets", [(-1, 1), (-2, -1, 1, 2)])
def test_snippets(offsets):
    truth = drive(8)
    found = predicted_snippets(Oracle(truth, offsets), range(8), 5)
    np.testing.assert_allclose(found, cut_snippets(truth, 5).first_from_camera, atol=1e-9)
    assert found.shape == (4, 5, 4, 4)
