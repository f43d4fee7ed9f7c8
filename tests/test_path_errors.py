"""Errors by path length, ATE and RPE: published numbers, hand-worked paths, missing frames."""
import dataclasses
import json
import math

import numpy as np
import pytest
from helpers import PARITY, needs_shared, parity
from scipy.spatial.transform import Rotation

from tfdepth.checks import UserError
from tfdepth.evaluation.path_errors import PATH_PROTOCOLS, PathProtocol, path_errors
from tfdepth.evaluation.trajectories import chain, rigid_transforms

KITTI = PATH_PROTOCOLS["odometry_kitti"]
ATTENTION = PATH_PROTOCOLS["odometry_attention"]
SHORT = PathProtocol("short", "a few metres", (4, 8), "none", step=2)
MODES = ("none", "scale", "scale_7dof", "6dof", "7dof")


@pytest.fixture(scope="module")
def published():
    """odometry.npz, and (predicted, true, rows) of sequences 09 and 10."""
    arrays = parity("evaluation", "odometry.npz")
    poses = {key: rigid_transforms(values[..., :3], values[..., 3])
             for key, values in arrays.items() if values.shape[1:] == (3, 4)}
    return arrays, {name: (poses[f"result_{name}"], poses[f"gt_{name}"],
                           arrays[f"result_{name}_index"]) for name in ("seq09", "seq10")}


@needs_shared
@pytest.mark.parametrize("name", ["seq09", "seq10"])
@pytest.mark.parametrize("mode", MODES)
def test_published_errors(published, name, mode):
    arrays, drives = published
    predicted, truth, rows = drives[name]
    content = json.loads((PARITY / "evaluation" / "odometry_metrics.json").read_text())
    expected = content[mode][name]
    found = path_errors(predicted, truth, KITTI, rows, mode)
    np.testing.assert_allclose(
        [found.translation_percent, found.rotation_deg_per_100m, found.ate_m, found.rpe_m,
         found.rpe_deg, found.num_segments, found.num_frames],
        [expected[key] for key in ("translation_error_percent", "rotation_error_deg_per_100m",
                                   "ate_m", "rpe_m", "rpe_deg", "num_segments", "num_frames")],
        rtol=1e-6)
    assert (found.protocol, found.alignment, found.num_skipped) == ("odometry_kitti", mode, 8)
    for row in found.per_length:
        length = expected["per_length"][str(row.length)]
        np.testing.assert_allclose(row[1:], [length["count"], length["translation_error_percent"],
                                             length["rotation_error_deg_per_100m"]], rtol=1e-6)
    segments = found.segments
    seconds = 0.1 * (segments.end - segments.start + 1)
    np.testing.assert_allclose(
        np.stack([segments.start, np.deg2rad(segments.rotation_deg_per_100m) / 100,
                  segments.translation_percent / 100, segments.length,
                  segments.length / seconds], axis=1),
        arrays[f"{mode}_{name}_segments"], rtol=1e-6)


@needs_shared
@pytest.mark.parametrize("name", ["seq09", "seq10"])
@pytest.mark.parametrize("mode", ["none", "scale_7dof", "6dof", "7dof"])
def test_second_opinion_of_evo(published, name, mode):
    expected = json.loads((PARITY / "evaluation" / "evo_metrics.json").read_text())
    expected = expected[name]["origin" if mode == "none" else mode]
    predicted, truth, rows = published[1][name]
    found = path_errors(predicted, truth, KITTI, rows, mode)
    np.testing.assert_allclose(found.ate_m, expected["ape_translation_m"]["rmse"], rtol=1e-9)
    np.testing.assert_allclose(found.rpe_m, expected["rpe_1frame_translation_m"]["mean"],
                               rtol=1e-6)


def attention_by_loops(predicted, truth, lengths):
    """methods.md D7 word by word, for a prediction of every frame."""
    motion = lambda poses, a, b: np.linalg.inv(poses[a]) @ poses[b]
    steps = [[motion(poses, k, k + 1)[:3, 3] for k in range(len(poses) - 1)]
             for poses in (truth, predicted)]
    scale = math.sqrt(np.sum(np.square(steps[0])) / np.sum(np.square(steps[1])))
    path = [0.0]
    for step in steps[0]:
        path.append(path[-1] + math.sqrt(step @ step))
    rows = []
    for start in range(0, len(truth), 10):
        for length in lengths:
            end = next((k for k in range(start, len(path)) if path[k] > path[start] + length), None)
            if end is not None:
                step = motion(predicted, start, end)
                step[:3, 3] *= scale
                error = np.linalg.inv(motion(truth, start, end)) @ step
                angle = Rotation.from_matrix(error[:3, :3]).magnitude()
                actual = path[end] - path[start]
                rows.append((start, end, length, 100 * np.linalg.norm(error[:3, 3]) / actual,
                             100 * math.degrees(angle) / actual))
    return scale, rows


def random_drive(seed, count):
    random = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(random.normal(0, 0.03, [count - 1, 3])).as_matrix()
    return chain(rigid_transforms(turns, random.normal(0, 0.5, [count - 1, 3]) + [0, 0, 4]))


@pytest.mark.parametrize("name", ["odometry_attention", "odometry_attention_25"])
def test_errors_of_the_attention_maps_authors(name):
    truth, predicted = random_drive(1, 90), random_drive(2, 90)
    predicted[:, :3, 3] *= 0.2
    protocol = PATH_PROTOCOLS[name]
    found = path_errors(predicted, truth, protocol)
    scale, rows = attention_by_loops(predicted, truth, protocol.lengths)
    assert len(rows) > 10 and found.num_skipped == 0
    np.testing.assert_allclose(found.scale, scale)
    np.testing.assert_allclose(np.stack(found.segments, axis=1), rows, rtol=1e-6)
    np.testing.assert_allclose(found.translation_percent, np.mean([row[3] for row in rows]))


def straight(count, metres):
    """Straight ahead, `metres` a frame."""
    poses = np.stack([np.eye(4)] * count)
    poses[:, 2, 3] = metres * np.arange(count)
    return poses


def test_by_hand():
    """11 frames of 1 m; every step too long by 0.1 m and turned by 1 degree about the way."""
    truth = straight(11, 1.0)
    turned = Rotation.from_euler("z", np.arange(11)[:, np.newaxis], degrees=True).as_matrix()
    predicted = rigid_transforms(turned, 1.1 * truth[:, :3, 3])
    found = path_errors(predicted, truth, SHORT)
    # the path is longer than 4 m after 5 frames, than 8 m after 9
    np.testing.assert_array_equal(found.segments.start, [0, 0, 2, 4])
    np.testing.assert_array_equal(found.segments.end, [5, 9, 7, 9])
    np.testing.assert_array_equal(found.segments.length, [4, 8, 4, 4])
    np.testing.assert_allclose(found.segments.translation_percent, [12.5, 11.25, 12.5, 12.5])
    np.testing.assert_allclose(found.segments.rotation_deg_per_100m, [125, 112.5, 125, 125])
    np.testing.assert_allclose([found.translation_percent, found.rpe_m, found.rpe_deg, found.ate_m],
                               [(3 * 12.5 + 11.25) / 4, 0.1, 1, 0.1 * math.sqrt(385 / 11)])
    assert found.num_segments == 4 and [row.num_segments for row in found.per_length] == [3, 1]
    actual = path_errors(predicted, truth, dataclasses.replace(SHORT, by_true_length=True))
    np.testing.assert_allclose(actual.segments.translation_percent, 10)
    np.testing.assert_allclose(path_errors(predicted, truth, SHORT, alignment="scale").ate_m, 0,
                               atol=1e-12)


def test_missing_frames_are_counted():
    truth = straight(11, 1.0)
    rows = [1, 2, 3, 4, 7, 8, 9, 10]                  # without 0, 5 and 6
    found = path_errors(truth[rows], truth, SHORT, rows)
    np.testing.assert_array_equal(found.segments.start, [2, 4])     # not 0-5 and 0-9
    assert (found.num_segments, found.num_skipped, found.num_frames) == (2, 2, 8)
    np.testing.assert_allclose(found.translation_percent, 0, atol=1e-12)
    # neighbours only: the jump from 4 to 7 is no step
    late = truth[rows].copy()
    late[4:, 2, 3] += 3.0
    found = path_errors(late, truth, SHORT, rows)
    np.testing.assert_allclose([found.rpe_m, found.rpe_deg], 0, atol=1e-12)
    np.testing.assert_allclose(found.segments.translation_percent, [75, 75])


def test_too_short_is_not_available():
    truth = straight(6, 1.0)
    found = path_errors(straight(6, 1.1), truth, KITTI, alignment="scale")
    assert (found.translation_percent, found.rotation_deg_per_100m) == (None, None)
    assert found.num_segments == found.num_skipped == 0 and len(found.per_length) == 8
    assert all(row[1:] == (0, None, None) for row in found.per_length)
    assert found.ate_m < 1e-9 and found.rpe_m is not None
    apart = path_errors(truth[[0, 3]], truth, KITTI, [0, 3])
    assert (apart.rpe_m, apart.rpe_deg) == (None, None)
    single = path_errors(truth[:1], truth[:1], KITTI)
    assert (single.ate_m, single.rpe_m, single.translation_percent) == (None, None, None)


def test_no_motion_has_the_error_of_standing_still():
    truth = straight(61, 2.0)
    found = path_errors(np.stack([np.eye(4)] * 61), truth, KITTI)
    assert found.scale == 0
    np.testing.assert_allclose(found.translation_percent, 102)      # 102 m after 51 frames
    np.testing.assert_allclose(found.rpe_m, 2)


def test_refusals():
    truth = straight(6, 1.0)
    with pytest.raises(ValueError, match=r"`world_from_camera` must have shape \[6, 4, 4\]"):
        path_errors(truth[:5], truth, SHORT)
    for rows in ([0, 1, 9], [1, 0, 2], [1, 1, 2], [-1, 0, 1]):
        with pytest.raises(ValueError, match="`rows` must ascend within 0 to 5"):
            path_errors(truth[:3], truth, SHORT, rows)
    broken = truth.copy()
    broken[5, 0, 3] = np.nan
    with pytest.raises(UserError, match="true poses must be finite; 1 of 6"):
        path_errors(truth[:3], broken, SHORT, [0, 1, 2])
    with pytest.raises(UserError, match="predicted poses must be finite"):
        path_errors(broken, truth, SHORT)
    with pytest.raises(UserError, match="alignment must be one of"):
        path_errors(truth, truth, SHORT, alignment="best")
