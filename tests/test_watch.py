"""The collapse watch: its values, when it warns, and that it changes nothing."""
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from data_folders import write_kitti
from toy_system import Toy, ToyConfig

from tfdepth.data.config import DataConfig
from tfdepth.geometry import rotations, transforms
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig
from tfdepth.structures import Batch, DepthPrediction, SfmPrediction
from tfdepth.systems import signs
from tfdepth.systems.monodepth2 import Monodepth2, Monodepth2Config
from tfdepth.training import loop, watch

SIZE = 24, 40


def plane(*distances):
    """Depth [B, H, W, 1] of fronto-parallel planes."""
    return tf.ones([len(distances), *SIZE, 1]) * tf.reshape(tf.constant(distances), [-1, 1, 1, 1])


def motions(*vectors):
    """[1, S, 4, 4], translation and then axis times angle, of each source."""
    vectors = np.float32(vectors)
    return transforms.from_rotation_translation(
        rotations.from_axis_angle(vectors[:, 3:]), vectors[:, :3])[tf.newaxis]


def batch_of(target, *sources, focal=(30.0, 34.0)):
    camera = [[[focal[0], 0.0, 17.0], [0.0, focal[1], 13.0], [0.0, 0.0, 1.0]]]
    sources = tf.stack(sources, axis=1)
    return Batch(target, sources, target, sources, tf.constant(camera))


def test_depth_spread():
    assert float(signs.depth_spread(plane(2.0, 30.0))) == pytest.approx(0.0, abs=1e-5)
    halves = tf.concat([plane(2.0, 5.0)[:, :12], plane(8.0, 5.0)[:, 12:]], axis=1)
    # log depth is +-log(2) about its mean in one of two images, in any unit of depth
    for unit in (1.0, 50.0):
        assert float(signs.depth_spread(unit * halves)) == pytest.approx(math.log(2) / 2, rel=1e-4)


def test_motion_is_measured_in_median_depths_and_degrees():
    depth = tf.concat([plane(4.0)[:, :14], plane(100.0)[:, 14:]], axis=1)   # median 4
    tiny = math.radians(0.001)
    moved = motions((0, 0, 2, 0, math.radians(3), 0), (0.6, 0.8, 0, 0, 0, tiny))
    assert float(signs.translation_by_depth(moved, depth)) == pytest.approx((0.5 + 0.25) / 2)
    assert float(signs.rotation_degrees(moved)) == pytest.approx((3 + 0.001) / 2, rel=1e-4)
    assert float(signs.rotation_degrees(moved[:, 1:])) == pytest.approx(0.001, rel=1e-2)
    assert float(signs.rotation_degrees(motions((0, 0, 0, math.radians(170), 0, 0)))) == (
        pytest.approx(170, rel=1e-4))
    still = motions([0.0] * 6)
    assert float(signs.translation_by_depth(still, depth)) == 0.0
    assert float(signs.rotation_degrees(still)) == 0.0


def test_share_outside():
    image = tf.zeros([1, *SIZE, 3])
    share = lambda *vectors: float(signs.outside_share(
        batch_of(image, *[image] * len(vectors)), plane(3.0), motions(*vectors)))
    assert share([0.0] * 6) == 0.0
    # 1 m sideways at 3 m and 30 px is 10 of 40 columns; 1.5 m down at 34 px is 17 of 24 rows
    assert share((1.0, 0, 0, 0, 0, 0)) == pytest.approx(10 / 40)
    assert share((0, 1.5, 0, 0, 0, 0), [0.0] * 6) == pytest.approx(17 / 24 / 2)
    assert share((0, 0, -4.0, 0, 0, 0)) == 1.0                              # behind the camera


def test_share_at_a_limit():
    disparity = np.full([1, *SIZE, 1], 5.0, np.float32)
    disparity[:, :6] = 0.011                                                # of (0.01, 10.01)
    disparity[:, 6:9, :20] = 10.009
    assert float(signs.at_limit_share(disparity, (0.01, 10.01))) == pytest.approx((6 + 1.5) / 24)


def test_signs_of_a_system_and_its_automask():
    system = Monodepth2(Monodepth2Config(num_levels=1), (-1, 1))
    size = 64, 96
    random = np.random.default_rng(0)
    target = tf.constant(random.random([1, *size, 3], np.float32))
    other = tf.constant(random.random([1, *size, 3], np.float32))
    disparity = tf.fill([1, *size, 1], 0.3)
    still = SfmPrediction(DepthPrediction(system._depth(disparity), (disparity,)),
                          tf.eye(4, batch_shape=[1, 2]))
    found = system.signs(batch_of(target, other, other), still)
    assert set(found) == {"depth_spread", "at_limit_share", "outside_share", "automasked_share",
                          "translation_by_depth", "rotation_degrees"}
    # Unmoved views are the sources themselves: the noise that breaks ties decides.
    assert 0.5 < float(found["automasked_share"]) < 0.9
    # The left half of a source is the target itself: it stands still, whatever is predicted.
    half = tf.concat([target[:, :, :48], other[:, :, 48:]], axis=2)
    moving = still._replace(source_from_target=motions([0, 0, 2.0, 0, 0, 0], [0, 0, 2.0, 0, 0, 0]))
    masked = float(system.signs(batch_of(target, half, half), moving)["automasked_share"])
    truth = system.pictures(batch_of(target, half, half), moving)["trains"].numpy()
    assert masked == pytest.approx(1.0 - truth.mean()) and 0.5 < masked < 0.95
    without = Monodepth2(Monodepth2Config(num_levels=1, automask=False), (-1, 1))
    assert "automasked_share" not in without.signs(batch_of(target, half, half), moving)


# Recorded at steps 100, 120, ... of runs at 64x192 that learnt, or will: the fourth is at the
# beginning of 200 000 steps.
HEALTHY = {
    "sfmlearner, synthetic": {
        "depth_spread": [.560, .808, .663, .811, .761, .891, .556, .395, .408],
        "outside_share": [.052, .045, .047, .052, .050, .052, .051, .056, .049],
        "translation_by_depth": [.035, .030, .033, .040, .030, .023, .030, .041, .030],
    },
    "sfmlearner:quick, KITTI": {
        "depth_spread": [.333, .597, .755, .567, .607, .718, .721, .761, .758],
        "outside_share": [.114, .108, .110, .112, .111, .096, .117, .099, .100],
        "translation_by_depth": [.084, .068, .067, .080, .073, .064, .082, .071, .068],
    },
    "the published SfMLearner, KITTI": {
        "depth_spread": [.030, .028, .027, .026, .025, .024, .023, .023, .022],
        "outside_share": [.068, .062, .073, .061, .071, .062, .061, .089, .076],
        "translation_by_depth": [.063, .057, .066, .058, .066, .056, .058, .086, .076],
    },
    "monodepth2, synthetic": {
        "depth_spread": [.491, .816, .723, 1.021, .868, .991, 1.893, 2.198, 1.922],
        "outside_share": [.050, .052, .038, .054, .044, .039, .057, .049, .052],
        "translation_by_depth": [.015, .011, .006, .009, .008, .008, .006, .013, .021],
        "at_limit_share": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, .000, .024, .012],
        "automasked_share": [.668, .549, .522, .620, .570, .612, .496, .548, .530],
    },
    "monodepth2:quick, KITTI": {
        "depth_spread": [.757, .712, 1.039, .429, .633, .478],
        "outside_share": [.053, .058, .063, .069, .093, .073],
        "translation_by_depth": [.010, .019, .030, .062, .097, .075],
        "automasked_share": [.515, .486, .454, .341, .391, .326],
    },
}
LIMIT, FLAT, STILL, MASKED, OUTSIDE = ("hardly learn any more", "depth is the same",
                                       "stay where it is", "taken for standing still",
                                       "outside the neighbouring frames")


def warnings_of(series, capsys, first=100, every=20, num_steps=1000):
    """What is printed on series {sign: values}, a value a line; the watch sees every line."""
    observer = watch.CollapseWatch(num_steps)
    for k, values in enumerate(zip(*series.values())):
        observer.add(first + every * k,
                     {f"watch/{name}": value for name, value in zip(series, values)})
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_runs_pass_in_silence(name, capsys):
    series = {sign: values * 3 for sign, values in HEALTHY[name].items()}
    assert len(series["depth_spread"]) >= 18
    assert not warnings_of(series, capsys)


# Recorded from step 20 on: Monodepth2 at ten times its learning rate (synthetic), SfMLearner at
# twenty times its own, SfMLearner on one picture with noise.
@pytest.mark.parametrize("series", [
    dict(at_limit_share=[1.0] * 12, depth_spread=[0.0] * 12,
         outside_share=[1, 1, .75, .254, .054, .053, .039] + [.05] * 5,
         translation_by_depth=[27.6, 10.7, 1.97, .202, .038, .053, .018] + [.02] * 5,
         automasked_share=[.835, .79, .862, .769, .809, .683, .739] + [.7] * 5),
    dict(at_limit_share=[1.0] * 12, depth_spread=[0.0] * 12, outside_share=[.02] * 12,
         translation_by_depth=[0, .0001, .0001, .0001, .0001, .0002, .0002, .0003, .0004, .0005,
                               .0006, .0007]),
    dict(at_limit_share=[1.0] * 12, depth_spread=[0.0] * 12, outside_share=[.021] * 12,
         translation_by_depth=[0.0] * 12)])
def test_recorded_collapses_are_told_once_at_step_120(series, capsys):
    told = warnings_of(series, capsys, first=20)
    assert len(told) == 1 and told[0].startswith("warning: step 120: 100% of the pixels"), told
    assert LIMIT in told[0] and "camera stands still" in told[0] and "clip_norm" in told[0]


@pytest.mark.parametrize("change, words, first", [
    (dict(depth_spread=.003), FLAT, 200), (dict(translation_by_depth=.0004), STILL, 200),
    (dict(automasked_share=.98), MASKED, 200), (dict(outside_share=.6), OUTSIDE, 120),
    (dict(at_limit_share=.9, depth_spread=.003), LIMIT, 120)])
def test_each_collapse_is_told_once_by_its_cause(change, words, first, capsys):
    healthy = dict(depth_spread=.5, outside_share=.1, translation_by_depth=.05,
                   automasked_share=.6, at_limit_share=0.0)
    series = {name: [change.get(name, value)] * 30 for name, value in healthy.items()}
    told = warnings_of(series, capsys, first=20)
    assert len(told) == 1 and words in told[0] and told[0].startswith(f"warning: step {first}:")
    assert next(f"watch/{name}" for name in change) in told[0]
    # lines that are rare, or of every step, are judged by as many steps; one bad line by nothing
    assert warnings_of(series, capsys, first=100, every=100)[0].startswith("warning: step 300")
    assert warnings_of(series, capsys, first=1, every=1) == []
    once = {name: [value] * 4 + [change.get(name, value)] + [value] * 20
            for name, value in healthy.items()}
    assert warnings_of(once, capsys, first=200) == []
    lost = {name: [math.nan] * 30 for name in healthy}
    assert warnings_of(lost, capsys) == []


def test_flat_depth_is_given_time_in_long_runs(capsys):
    flat = dict(depth_spread=[.002] * 300)
    assert warnings_of(flat, capsys, first=20, num_steps=200_000)[0].startswith(
        "warning: step 4000")


class NormToy(Toy):
    """The toy behind a batch normalisation."""

    def __init__(self, config, offsets, stereo=False):
        super().__init__(config, offsets, stereo)
        self.norm = tf.keras.layers.BatchNormalization()

    def forward(self, batch, training):
        image = self.norm(batch.target_input, training=training)
        return SfmPrediction(self.predict_depth(image, None),
                             self.predict_motion(image, batch.source_inputs))


@pytest.mark.parametrize("replicas", [1, 2])
def test_measuring_sees_the_network_as_in_training_and_leaves_it_as_it_was(replicas, request):
    strategy = request.getfixturevalue("two_replicas") if replicas == 2 else (
        tf.distribute.get_strategy())
    random = np.random.default_rng(1)
    images = 0.3 * random.random([3, 4, *SIZE, 3], np.float32)
    parts = [batch_of(*images[:3, k:k + 4 // replicas])
             for k in range(0, 4, 4 // replicas)]
    parts = [part._replace(intrinsics=tf.repeat(part.intrinsics, 4 // replicas, axis=0))
             for part in parts]
    with strategy.scope():
        tf.keras.utils.set_random_seed(2)
        system = NormToy(ToyConfig(), (-1, 1))
        system.create_variables(SIZE)
    before = [variable.numpy() for variable in system.variables]
    batch = parts[0] if replicas == 1 else strategy.experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group])
    found = watch.make_signs(strategy, system)(batch)
    for variable, value in zip(system.variables, before):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.name)
    alone = NormToy(ToyConfig(), (-1, 1))
    alone.create_variables(SIZE)
    alone.set_weights(before)
    of_parts = [alone.signs(part, alone.forward(part, training=True)) for part in parts]
    assert set(found) == {"watch/depth_spread", "watch/outside_share",
                          "watch/translation_by_depth", "watch/rotation_degrees"}
    for name, value in found.items():
        expected = np.mean([float(each[name[len("watch/"):]]) for each in of_parts])
        assert value == pytest.approx(expected, rel=1e-4), name
    inference = float(alone.signs(parts[0], alone.forward(parts[0], False))["depth_spread"])
    assert abs(inference - found["watch/depth_spread"]) > 0.1 * inference


def run(root, folder, size_weight, rate=1e-3, steps=240):
    """A toy run; `size_weight` pulls disparity towards 0, where depth is the same everywhere."""
    config = ExperimentConfig(
        ToyConfig(), DataConfig("kitti_odometry", str(root), size=(16, 32)),
        OptimizerConfig(learning_rate=rate), TrainConfig(steps=steps, batch_size=2,
                                                         save_every=steps))
    config.system.loss_weights.size = size_weight
    found = loop.train(config, folder)
    return [json.loads(line) for line in found.metrics.read_text().splitlines()]


@pytest.mark.usefixtures("toy")
def test_a_run_that_collapses_is_told_within_240_steps(tmp_path, capsys):
    root = write_kitti(tmp_path / "kitti", count=9)
    lines = run(root, tmp_path / "healthy", 0.0, steps=40)
    assert [line["step"] for line in lines] == [20, 40]
    assert all(0.01 < line["watch/depth_spread"] < 3.0 for line in lines)
    assert all(0.0 <= line["watch/outside_share"] < 0.3 for line in lines)
    capsys.readouterr()
    lines = run(root, tmp_path / "collapsed", 100.0, rate=0.2)
    assert lines[-1]["watch/depth_spread"] < 0.005
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    # At this rate motion runs away, too, by rounding to below or above what is told of: the log says.
    shares = [line["watch/outside_share"] for line in lines]
    window = watch.WINDOW_STEPS // 20 + 1
    away = any(np.median(shares[k:k + window]) > 0.5 for k in range(len(shares) - window + 1))
    outside = [line for line in warned if "outside the neighbouring frames" in line]
    assert len(outside) == away
    warned = [line for line in warned if line not in outside]
    assert len(warned) == 1 and warned[0].startswith("warning: step 2")
    assert "depth is the same" in warned[0]
    assert "watch/depth_spread" in warned[0] and "--config.optimizer.learning_rate" in warned[0]
