"""Alignment of trajectories: known transforms recovered, published fits, odd trajectories."""
import json

import numpy as np
import pytest
from helpers import PARITY, needs_shared, parity
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from tfdepth.checks import UserError
from tfdepth.evaluation.alignment import ALIGNMENTS, align, umeyama
from tfdepth.evaluation.trajectories import rebase, relative_motions, rigid_transforms

MODES_OF_EVO = {"none": "origin", "scale_7dof": "scale_7dof", "6dof": "6dof", "7dof": "7dof"}


def random_trajectory(seed, length):
    random = np.random.default_rng(seed)
    return rigid_transforms(Rotation.random(length, random_state=seed).as_matrix(),
                            np.cumsum(random.normal(1, 2, [length, 3]), axis=0))


def published(name):
    arrays = parity("evaluation", "odometry.npz")
    frames = arrays[f"result_{name}_index"]
    return [rigid_transforms(poses[..., :3], poses[..., 3])
            for poses in (arrays[f"result_{name}"], arrays[f"gt_{name}"][frames])]


@needs_shared
@pytest.mark.parametrize("name", ["seq09", "seq10"])
def test_published_fits(name):
    content = json.loads((PARITY / "evaluation" / "odometry_metrics.json").read_text())
    expected = content["alignment"][name]
    predicted, truth = published(name)
    np.testing.assert_allclose(align(predicted, truth, "scale").scale, expected["scale"],
                               rtol=1e-6)
    for mode in ("6dof", "7dof"):
        found = align(predicted, truth, mode)
        for field in ("scale", "rotation", "translation"):
            np.testing.assert_allclose(getattr(found, field), expected[mode][field], rtol=1e-6,
                                       atol=1e-9)
    only_scale = align(predicted, truth, "scale_7dof")
    np.testing.assert_allclose(only_scale.scale, expected["7dof"]["scale"], rtol=1e-6)
    np.testing.assert_array_equal(only_scale.rotation, np.eye(3))
    assert align(predicted, truth, "none").scale == 1


@needs_shared
@pytest.mark.parametrize("name", ["seq09", "seq10"])
@pytest.mark.parametrize("mode", MODES_OF_EVO)
def test_second_opinion_of_evo(name, mode):
    """Distances and angles of aligned poses, every statistic that evo prints."""
    expected = json.loads((PARITY / "evaluation" / "evo_metrics.json").read_text())
    expected = expected[name][MODES_OF_EVO[mode]]
    found = align(*published(name), mode)

    truth, predicted = found.true_world_from_camera, found.world_from_camera

    def check(metric, values):
        statistics = {"rmse": np.sqrt(np.mean(values**2)), "mean": np.mean(values),
                      "median": np.median(values), "std": np.std(values),
                      "max": np.max(values), "sse": np.sum(values**2), "count": len(values)}
        for statistic, value in statistics.items():
            np.testing.assert_allclose(value, expected[metric][statistic], rtol=1e-6,
                                       err_msg=f"{metric} {statistic}")

    metres = np.concatenate([[0], np.cumsum(np.linalg.norm(relative_motions(truth)[:, :3, 3],
                                                           axis=1))])
    nearest = [k + 1 + int(np.argmin(np.abs(metres[k + 1:] - metres[k] - 100)))
               for k in range(len(metres) - 1)]
    pairs = np.array([(k, end) for k, end in enumerate(nearest)
                      if abs(metres[end] - metres[k] - 100) <= 10])
    far = [np.linalg.inv(poses[pairs[:, 0]]) @ poses[pairs[:, 1]] for poses in (truth, predicted)]
    check("rpe_100m_translation_m", np.linalg.norm((np.linalg.inv(far[0]) @ far[1])[:, :3, 3],
                                                   axis=1))
    for kind, base, other in (("ape", truth, predicted),
                              ("rpe_1frame", relative_motions(truth), relative_motions(predicted))):
        errors = np.linalg.inv(base) @ other
        check(f"{kind}_translation_m", np.linalg.norm(errors[:, :3, 3], axis=1))
        check(f"{kind}_rotation_deg",
              np.rad2deg(Rotation.from_matrix(errors[:, :3, :3]).magnitude()))


@pytest.mark.parametrize("mode", ["7dof", "6dof", "scale", "scale_7dof", "scale_steps", "none"])
def test_the_applied_transform_is_recovered(mode):
    truth = random_trajectory(1, 12)
    scale = 1.0 if mode in ("none", "6dof") else 0.3
    moved = rigid_transforms(Rotation.random(random_state=2).as_matrix(), np.ones(3)) @ truth
    moved[:, :3, 3] *= scale
    before = moved.copy()
    found = align(moved, truth, mode)
    np.testing.assert_array_equal(moved, before)                         # inputs stay as they are
    np.testing.assert_allclose(found.scale, 1 / scale)
    np.testing.assert_allclose(found.world_from_camera, rebase(truth), atol=1e-9)
    np.testing.assert_allclose(found.true_world_from_camera, rebase(truth), atol=1e-12)


@pytest.mark.parametrize("with_scale", [True, False])
def test_umeyama_is_the_best_fit(with_scale):
    """Against a search over all parameters, from points that no transform brings together."""
    random = np.random.default_rng(3)
    points, true_points = random.normal(0, 2, [2, 7, 3])
    scale, rotation, translation = umeyama(points, true_points, with_scale)

    def residuals(values):
        factor = values[6] if with_scale else 1.0
        turned = Rotation.from_rotvec(values[:3]).apply(points)
        return (factor * turned + values[3:6] - true_points).ravel()

    best = min((least_squares(residuals, [*random.normal(0, 1, 6), 1.0], xtol=1e-14, ftol=1e-14,
                              gtol=1e-14) for _ in range(6)), key=lambda found: found.cost)
    offsets = scale * points @ rotation.T + translation - true_points
    np.testing.assert_allclose(np.sum(offsets**2), 2 * best.cost, rtol=1e-9)
    np.testing.assert_allclose(translation, best.x[3:6], atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)


def test_mirrored_points_are_not_mirrored_back():
    """Mirrored in z, where they spread least: the best rotation is none at all."""
    points = np.random.default_rng(4).normal(0, [3, 2, 1], [50, 3])
    points -= points.mean(axis=0)
    points = points @ np.linalg.svd(points)[2].T                         # x, y and z independent
    squares = np.sum(points**2, axis=0)
    scale, rotation, translation = umeyama(points, points * [1, 1, -1] + 7, True)
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(scale, (squares[0] + squares[1] - squares[2]) / squares.sum())
    np.testing.assert_allclose(translation, 7)


@pytest.mark.parametrize("mode", ALIGNMENTS)
@pytest.mark.parametrize("length", [1, 2, 5])
def test_standing_still_and_few_points(mode, length):
    truth = random_trajectory(5, length)
    still = np.stack([np.eye(4)] * length)
    found = align(still, truth, mode)
    assert np.isfinite(found.world_from_camera).all()
    assert found.scale == (1 if mode in ("none", "6dof") else 0)
    expected = rebase(truth)[:, :3, 3]
    centre = expected.mean(axis=0) if mode in ("6dof", "7dof") else np.zeros(3)
    np.testing.assert_allclose(found.world_from_camera[:, :3, 3],
                               np.broadcast_to(centre, [length, 3]), atol=1e-12)
    for poses in ((truth, still), (truth, truth)):                       # true ones stand still
        found = align(*poses, mode)
        np.testing.assert_allclose(np.linalg.det(found.rotation), 1)
        assert np.isfinite(found.world_from_camera).all()


def test_straight_paths():
    """The roll about the line is open, the positions are not."""
    truth = np.stack([np.eye(4)] * 4)
    truth[:, :3, 3] = np.outer([0, 1, 3, 4], [1.0, 2, 2])
    predicted = np.stack([np.eye(4)] * 4)
    predicted[:, 0, 3] = [0, 1, 3, 4]
    found = align(predicted, truth, "7dof")
    np.testing.assert_allclose(found.world_from_camera[:, :3, 3], truth[:, :3, 3], atol=1e-12)
    np.testing.assert_allclose(found.scale, 3)
    np.testing.assert_allclose(np.linalg.det(found.rotation), 1)


def test_refusals():
    truth = random_trajectory(6, 4)
    broken = truth.copy()
    broken[2, 1, 1] = np.inf
    with pytest.raises(UserError, match="predicted poses must be finite; 1 of 4 are not, the "
                                        "first is pose 2"):
        align(broken, truth, "none")
    with pytest.raises(UserError, match="true poses must be finite"):
        align(truth, broken, "none")
    with pytest.raises(UserError, match="alignment must be one of none, .* Did you mean '7dof'"):
        align(truth, truth, "7dofs")
    with pytest.raises(ValueError, match=r"`true_world_from_camera` must have shape \[4, 4, 4\]"):
        align(truth, truth[:3], "7dof")
