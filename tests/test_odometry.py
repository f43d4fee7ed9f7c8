"""Snippet errors, snippet files, motion baselines: published numbers, loops, hand-worked paths."""
import json
import math

import numpy as np
import pytest
from helpers import PARITY, needs_shared, parity
from scipy.spatial.transform import Rotation

from tfdepth.checks import UserError
from tfdepth.evaluation import odometry as od
from tfdepth.evaluation.baselines import MeanMotion
from tfdepth.evaluation.snippet_files import check_same_frames, read_snippets, write_snippets
from tfdepth.evaluation.trajectories import chain, format_tum, relative_motions, rigid_transforms

SFMLEARNER = od.ODOMETRY_PROTOCOLS["odometry_sfmlearner"]
MONODEPTH2 = od.ODOMETRY_PROTOCOLS["odometry_monodepth2"]


def to_4x4(poses):
    return rigid_transforms(poses[:, :, :3], poses[:, :, 3])


@pytest.fixture(scope="module")
def published():
    """Arrays, summary and, for 09 and 10, (true trajectory, predicted one, its frame numbers)."""
    content = parity("evaluation", "odometry.npz")
    drives = {name: (to_4x4(content[f"gt_{name}"]), to_4x4(content[f"result_{name}"]),
                     content[f"result_{name}_index"]) for name in ("seq09", "seq10")}
    summary = json.loads((PARITY / "evaluation" / "pose_snippets.json").read_text())
    return parity("evaluation", "pose_snippets.npz"), summary, drives


def random_trajectory(seed, length):
    random = np.random.default_rng(seed)
    rotations = Rotation.from_rotvec(random.normal(0, 0.2, [length - 1, 3])).as_matrix()
    start = rigid_transforms(Rotation.random(random_state=seed).as_matrix(),
                             random.normal(0, 9, 3))
    return start @ chain(rigid_transforms(rotations, random.normal(0, 1, [length - 1, 3])))


@needs_shared
@pytest.mark.parametrize("name", ["seq09", "seq10"])
def test_published_ate(published, name):
    arrays, summary, drives = published
    truth, predicted, frames = drives[name]
    cut = od.cut_snippets(predicted, 5, frames)
    np.testing.assert_array_equal(frames[cut.starts], arrays[f"{name}_start"])
    true_cut = od.cut_snippets(truth[frames], 5, frames)
    errors = od.snippet_errors(cut.first_from_camera[..., :3, 3],
                               true_cut.first_from_camera[..., :3, 3])
    np.testing.assert_allclose(errors.ate_sfmlearner, arrays[f"{name}_ate_unrounded"], rtol=1e-6)
    np.testing.assert_allclose(errors.ate_rmse, np.sqrt(5) * errors.ate_sfmlearner, rtol=1e-12)
    result = od.evaluate_trajectory(predicted, truth[frames], SFMLEARNER, frames)
    assert result.num_snippets == summary[name]["num_snippets"]
    np.testing.assert_allclose(
        [result.ate_sfmlearner_mean, result.ate_sfmlearner_std],
        [summary[name][f"ate_{kind}_unrounded"] for kind in ("mean", "std")], rtol=1e-6)
    # the published route: through text of 6 decimals
    rounded = od.snippet_errors(cut.first_from_camera[..., :3, 3].round(6),
                                true_cut.first_from_camera[..., :3, 3].round(6))
    np.testing.assert_allclose(rounded.ate_sfmlearner, arrays[f"{name}_ate"], atol=1e-7)


@needs_shared
@pytest.mark.parametrize("name, sample", [("seq09", 0), ("seq09", 1), ("seq10", 0), ("seq10", 1)])
def test_published_samples(published, name, sample):
    """Network-style vectors (target-to-source, R = Rx Ry Rz) and the text lines made of them."""
    arrays, _, drives = published
    vectors = np.delete(arrays[f"{name}_sample{sample}_pose_vec"], 2, axis=0)
    rotations = Rotation.from_euler("XYZ", vectors[:, 3:]).as_matrix()
    snippet = od.snippets_from_motions(rigid_transforms(rotations, vectors[:, :3]))
    tum = arrays[f"{name}_sample{sample}_tum_pred"]
    np.testing.assert_allclose(snippet[:, :3, 3], tum[:, 1:4], atol=1e-9)
    np.testing.assert_allclose(Rotation.from_matrix(snippet[:, :3, :3]).as_quat(canonical=True),
                               tum[:, 4:], atol=1e-9)
    start = int(arrays[f"{name}_sample{sample}_start"])
    true_snippet = od.cut_snippets(drives[name][0][start:start + 5], 5).first_from_camera[0]
    np.testing.assert_allclose(true_snippet[:, :3, 3],
                               arrays[f"{name}_sample{sample}_tum_gt"][:, 1:4], atol=1e-9)


@needs_shared
def test_published_dump(published, tmp_path):
    arrays = published[0]
    snippet = od.snippets_from_motions(np.delete(arrays["pose_vec_to_mat"], 2, axis=0))
    text = str(arrays["dump_text"]).replace("-0.000000", "0.000000")
    assert format_tum(arrays["dump_times"], snippet) == text
    write_snippets(tmp_path, [0], snippet[np.newaxis], arrays["dump_times"])
    assert (tmp_path / "000000.txt").read_text() == text
    found = read_snippets(tmp_path)
    np.testing.assert_allclose(found.timestamps[0], arrays["dump_times"])
    np.testing.assert_allclose(found.first_from_camera[0], snippet, atol=2e-6)


@needs_shared
def test_published_ate_through_files(published, tmp_path):
    arrays, _, drives = published
    truth, predicted, frames = drives["seq10"]
    for kind, trajectory in (("true", truth[frames]), ("predicted", predicted)):
        cut = od.cut_snippets(trajectory[:24], 5)
        write_snippets(tmp_path / kind, cut.starts, cut.first_from_camera, 0.1 * frames)
    true, found = read_snippets(tmp_path / "true"), read_snippets(tmp_path / "predicted")
    check_same_frames(found, true)
    result = od.evaluate_snippets(found.first_from_camera, true.first_from_camera, SFMLEARNER)
    np.testing.assert_allclose(result.snippets.ate_sfmlearner, arrays["seq10_ate"][:20],
                               atol=1e-7)


@needs_shared
def test_published_mean_odometry(published):
    _, summary, drives = published
    mean_odom = summary["mean_odom"]
    trajectories = {name: drive[0] for name, drive in drives.items()}
    for name, truth in trajectories.items():
        own = MeanMotion.fit([truth])
        assert own.num_motions == len(truth) - 1
        rows = [(mean_odom["train_00_08"]["mean_positions"], mean_odom["train_00_08"][name]),
                (own.positions, mean_odom["own_sequence"][name]),
                (MeanMotion.fit(trajectories.values()).positions,
                 mean_odom["both_test_sequences"][name])]
        np.testing.assert_allclose(own.positions, mean_odom["own_sequence"][name]
                                   ["mean_positions"], rtol=1e-5, atol=1e-12)
        for positions, expected in rows:
            mean = MeanMotion(np.eye(4), np.array(positions), 1)
            found = score_constant(mean.predict_positions(), truth)
            np.testing.assert_allclose([found.ate_sfmlearner_mean, found.ate_sfmlearner_std],
                                       [expected["ate_mean"], expected["ate_std"]], rtol=1e-6)
            assert found.num_snippets == len(truth) - 4


@needs_shared
@pytest.mark.parametrize("protocol, name, count, ate", [
    (SFMLEARNER, "seq09", 1587, (0.0323, 0.0260)), (SFMLEARNER, "seq10", 1197, (0.0237, 0.0234)),
    (MONODEPTH2, "seq09", 1590, (0.0180, 0.0130)), (MONODEPTH2, "seq10", 1200, (0.0157, 0.0113))])
def test_mean_motion_of_kitti(published, protocol, name, count, ate):
    """The baseline with the mean motion over sequences 00-08, numbers of methods.md A7 and D6."""
    motion = rigid_transforms(
        Rotation.from_euler("XYZ", [-6.86e-5, 2.10e-5, -5.4e-6]).as_matrix(),
        np.array([-6.277e-4, -1.7536e-2, 0.957457]))
    truth = published[2][name][0]
    mean = MeanMotion(motion, np.zeros([5, 3]), 1).predict_composed(len(truth))
    found = od.evaluate_trajectory(mean, truth, protocol)
    assert (found.protocol, found.num_snippets) == (protocol.name, count)
    np.testing.assert_allclose([found.ate_sfmlearner_mean, found.ate_sfmlearner_std], ate,
                               atol=5.1e-5)                  # printed with four decimals


def ates_of_monodepth2(predicted, truth):
    """The protocol by loops: inverse motions as they are, windows from every frame but the last."""
    def positions(motions):
        pose, found = np.eye(4), [np.zeros(3)]
        for motion in motions:
            pose = pose @ np.linalg.inv(motion)
            found.append(pose[:3, 3])
        return found

    steps = [[np.linalg.inv(poses[k]) @ poses[k + 1] for k in range(len(poses) - 1)]
             for poses in (predicted, truth)]
    return [ate_by_loops(*(positions(motions[k:k + 4]) for motions in steps))
            for k in range(len(steps[0]))]


@pytest.mark.parametrize("length", [2, 4, 9])
def test_monodepth2_against_loops(length):
    truth, predicted = random_trajectory(11, length), random_trajectory(12, length)
    found = od.trajectory_errors(predicted, truth, MONODEPTH2)
    expected = ates_of_monodepth2(predicted, truth)
    np.testing.assert_allclose(np.transpose(found), expected, rtol=1e-9)


def test_monodepth2_with_holes_and_several_drives():
    truth, predicted = random_trajectory(13, 9), random_trajectory(14, 9)
    numbers = [0, 1, 2, 3, 4, 5, 8, 9, 20]             # runs of 6, 2 and 1 frames
    found = od.trajectory_errors(predicted, truth, MONODEPTH2, numbers)
    runs = [ates_of_monodepth2(predicted[run], truth[run]) for run in (slice(6), slice(6, 8))]
    np.testing.assert_allclose(sorted(np.transpose(found).tolist()), sorted(sum(runs, [])))
    parts = [od.trajectory_errors(predicted[run], truth[run], MONODEPTH2)
             for run in (slice(6), slice(6, 8), slice(8, 9))]
    both, whole = (od.summarise(errors, MONODEPTH2) for errors in (parts, [found]))
    assert both.num_snippets == 6
    np.testing.assert_allclose(both[1:8], whole[1:8])
    assert od.evaluate_trajectory(truth[:1], truth[:1], MONODEPTH2) is None
    with pytest.raises(UserError, match="odometry_monodepth2 scores whole trajectories"):
        cut = od.cut_snippets(truth, 5).first_from_camera
        od.evaluate_snippets(cut, cut, MONODEPTH2)


def score_constant(snippet, truth):
    true = od.cut_snippets(truth, 5).first_from_camera
    return od.evaluate_snippets(np.broadcast_to(snippet, true.shape), true, SFMLEARNER)


def ate_by_loops(positions, true_positions):
    """One snippet by the definition: (sqrt(sum) / n, sqrt(sum / n), scale)."""
    shift = [g - p for g, p in zip(true_positions[0], positions[0])]
    moved = [[p + s for p, s in zip(position, shift)] for position in positions]
    pairs = [(p, g) for ps, gs in zip(moved, true_positions) for p, g in zip(ps, gs)]
    scale = sum(p * g for p, g in pairs) / sum(p * p for p, g in pairs)
    total = sum((scale * p - g)**2 for p, g in pairs)
    return math.sqrt(total) / len(positions), math.sqrt(total / len(positions)), scale


def test_snippet_errors_against_loops():
    random = np.random.default_rng(5)
    positions, true_positions = random.normal(0, 2, [2, 3, 4, 3])
    found = od.snippet_errors(positions, true_positions)
    expected = [ate_by_loops(*pair) for pair in zip(positions, true_positions)]
    np.testing.assert_allclose(np.transpose(found), expected, rtol=1e-12)


def test_snippet_errors_by_hand():
    true_positions = np.zeros([1, 5, 3])
    true_positions[0, :, 2] = np.arange(5)
    positions = 0.5 * true_positions
    assert od.snippet_errors(positions, true_positions) == (0.0, 0.0, 2.0)  # a factor is free
    positions[0, 1:, 0] = [0.1, -0.1, -0.1, 0.1]    # sideways: no effect on sum(g p)
    scale = 15 / 7.54                               # sum(g p) = 15, sum(p p) = 7.5 + 0.04
    total = 30 * (scale / 2 - 1)**2 + 4 * (scale * 0.1)**2
    found = od.snippet_errors(positions, true_positions)
    np.testing.assert_allclose(np.ravel(found),
                               [math.sqrt(total) / 5, math.sqrt(total / 5), scale])


def test_standing_still_is_finite():
    truth = np.stack([np.eye(4)] * 7)
    truth[:, 2, 3] = np.arange(7)
    still = np.stack([np.eye(4)] * 7)
    found = od.evaluate_trajectory(still, truth, SFMLEARNER)
    np.testing.assert_array_equal(found.snippets.scale, 0)
    np.testing.assert_allclose(found.ate_rmse_mean, math.sqrt(30 / 5))
    assert (found.scale_median, found.scale_spread) == (0, None)
    standing_truth = od.evaluate_trajectory(truth, still, SFMLEARNER)
    assert standing_truth.ate_rmse_mean == 0
    both = od.evaluate_trajectory(still, still, SFMLEARNER)
    assert (both.ate_sfmlearner_mean, both.num_snippets) == (0, 3)


def test_too_short_is_not_available():
    short = random_trajectory(1, 4)
    assert od.cut_snippets(short, 5).first_from_camera.shape == (0, 5, 4, 4)
    assert od.evaluate_trajectory(short, short, SFMLEARNER) is None
    whole = random_trajectory(1, 8)
    assert od.evaluate_trajectory(whole, whole, SFMLEARNER, [0, 1, 2, 3, 7, 8, 9, 10]) is None


def test_summary_is_over_snippets():
    truth, predicted = random_trajectory(2, 8), random_trajectory(3, 8)
    result = od.evaluate_trajectory(predicted, truth, SFMLEARNER)
    errors = result.snippets
    assert result.num_snippets == 4 and len(set(errors.ate_rmse)) == 4
    mean = sum(errors.ate_rmse) / 4
    np.testing.assert_allclose(
        [result.ate_rmse_mean, result.ate_rmse_std],
        [mean, math.sqrt(sum((error - mean)**2 for error in errors.ate_rmse) / 4)])
    np.testing.assert_allclose(result.scale_spread,
                               np.std(errors.scale) / abs(np.median(errors.scale)))


def test_world_and_unit_are_free():
    truth = random_trajectory(4, 9)
    moved = rigid_transforms(Rotation.random(random_state=1).as_matrix(), np.ones(3)) @ truth
    moved[:, :3, 3] *= 0.2
    result = od.evaluate_trajectory(moved, truth, SFMLEARNER)
    assert result.ate_rmse_mean < 1e-12
    np.testing.assert_allclose([result.scale_median, result.scale_spread], [5, 0], atol=1e-12)


def test_cut_snippets_skips_holes():
    trajectory = random_trajectory(5, 9)
    cut = od.cut_snippets(trajectory, 3, [4, 5, 6, 7, 9, 10, 20, 21, 22])
    np.testing.assert_array_equal(cut.starts, [0, 1, 6])
    expected = np.linalg.inv(trajectory[6]) @ trajectory[8]
    np.testing.assert_allclose(cut.first_from_camera[2, 2], expected, atol=1e-12)
    assert od.consecutive_runs([3, 4, 5, 9, 10]) == [slice(0, 3), slice(3, 5)]
    assert od.consecutive_runs([]) == []


def test_snippets_from_motions_and_join():
    world_from_camera = random_trajectory(6, 9)
    cut = od.cut_snippets(world_from_camera, 5)
    source_from_target = np.stack([
        [np.linalg.inv(world_from_camera[start + k]) @ world_from_camera[start + 2]
         for k in (0, 1, 3, 4)] for start in cut.starts])
    snippets = od.snippets_from_motions(source_from_target)
    np.testing.assert_allclose(snippets, cut.first_from_camera, atol=1e-12)
    joined = od.join_snippets(snippets)
    np.testing.assert_allclose(world_from_camera[0] @ joined, world_from_camera, atol=1e-12)
    with pytest.raises(ValueError, match="as many sources before the target"):
        od.snippets_from_motions(source_from_target[:, :3])


def test_mean_motion():
    turn = Rotation.from_euler("y", 10, degrees=True).as_matrix()
    left = chain(np.stack([rigid_transforms(turn, np.array([0.0, 0, 1]))] * 4))
    right = chain(np.stack([rigid_transforms(turn.T, np.array([0.0, 0, 3]))] * 4))
    mean = MeanMotion.fit([left, right, right[:2]])
    radians = math.atan2((4 - 5) * math.sin(math.radians(10)), 9 * math.cos(math.radians(10)))
    expected = rigid_transforms(Rotation.from_euler("y", radians).as_matrix(),
                                np.array([0, 0, (4 * 1 + 5 * 3) / 9]))
    np.testing.assert_allclose(mean.earlier_from_later, expected, atol=1e-12)
    np.testing.assert_allclose(mean.positions, (left[:, :3, 3] + right[:, :3, 3]) / 2,
                               atol=1e-12)
    assert mean.num_motions == 9
    composed = mean.predict_composed(4)
    np.testing.assert_allclose(relative_motions(composed),
                               np.stack([mean.earlier_from_later] * 3), atol=1e-12)
    assert mean.predict_positions().shape == (5, 4, 4)
    same = MeanMotion.fit([left])
    np.testing.assert_allclose(same.predict_composed(5), left, atol=1e-12)
    with pytest.raises(UserError, match=r"a drive of 5 or more frames with poses; got \[4\]"):
        MeanMotion.fit([left[:4]])


def test_snippet_files(tmp_path):
    cut = od.cut_snippets(random_trajectory(7, 7), 5)
    write_snippets(tmp_path, cut.starts + 9, cut.first_from_camera, 0.1 * np.arange(16))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000009.txt", "000010.txt", "000011.txt"]
    found = read_snippets(tmp_path)
    np.testing.assert_array_equal(found.starts, [9, 10, 11])
    np.testing.assert_allclose(found.timestamps[1], [1.0, 1.1, 1.2, 1.3, 1.4])
    np.testing.assert_allclose(found.first_from_camera, cut.first_from_camera, atol=1e-5)
    with pytest.raises(UserError, match="found 1 others, as 000009.txt"):
        write_snippets(tmp_path, [10, 11], cut.first_from_camera[1:], 0.1 * np.arange(16))
    check_same_frames(found, found._replace(timestamps=found.timestamps + 0.009))
    for other, text in [
            (found._replace(timestamps=found.timestamps + [[0], [0.02], [0]]),
             "within 0.01 s; those of snippet 000010"),
            (found._replace(starts=found.starts + 1), r"missing: \[12\], too many: \[9\]")]:
        with pytest.raises(UserError, match=text):
            check_same_frames(found, other)
    (tmp_path / "000012.txt").write_text("0 0 0 0 0 0 0 1\n")
    with pytest.raises(UserError, match="000012.txt: expected 5 poses, as in 000009.txt; found 1"):
        read_snippets(tmp_path)
    (tmp_path / "times.txt").write_text("0\n")
    with pytest.raises(UserError, match="times.txt: expected a file name that is a frame number"):
        read_snippets(tmp_path)
    with pytest.raises(UserError, match="found none"):
        read_snippets(tmp_path / "nowhere")


def test_refusals():
    truth = random_trajectory(8, 8)
    broken = truth.copy()
    broken[6, 1, 3] = np.nan
    with pytest.raises(UserError, match="predicted positions must be finite; those of 2 of 4 "
                                        "snippets are not, the first is snippet 2"):
        od.evaluate_trajectory(broken, truth, SFMLEARNER)
    with pytest.raises(UserError, match="true positions must be finite"):
        od.evaluate_trajectory(truth, broken, SFMLEARNER)
    with pytest.raises(ValueError, match=r"`true_world_from_camera` must have shape \[8, 4, 4\]"):
        od.evaluate_trajectory(truth, truth[:7], SFMLEARNER)
    with pytest.raises(ValueError, match=r"`first_from_camera` must have shape \[S, 5, 4, 4\]"):
        od.evaluate_snippets(truth[np.newaxis], truth[np.newaxis], SFMLEARNER)
