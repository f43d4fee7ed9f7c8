"""One training step: a batch in parts, and the loss scale of float16."""
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from helpers import random_images
from cluster_config import ToyWithStatistics
from toy_system import ToyConfig

from tfdepth import systems
from tfdepth.checks import UserError
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig
from tfdepth.structures import Batch
from tfdepth.systems import build_system
from tfdepth.training.optimizers import optimizer_of
from tfdepth.training.step import make_train_step

pytestmark = pytest.mark.usefixtures("toy")
SIZE = 16, 32


@pytest.fixture(scope="module")
def batch():
    target, sources = random_images(6, size=SIZE), random_images(6, 2, size=SIZE, seed=1)
    camera = np.broadcast_to(np.float32([[20, 0, 14], [0, 23, 9], [0, 0, 1]]), [6, 3, 3])
    return Batch(*map(tf.constant, (target, sources, target, sources, camera)))


def make(precision="float32", parts=1):
    """(system, optimiser, step) with the same first weights at every call."""
    tf.keras.utils.set_random_seed(4)
    system = build_system(ToyConfig(), (-1, 1), precision=precision)
    system.create_variables(SIZE)
    config = ExperimentConfig(ToyConfig(), optimizer=OptimizerConfig(1e-2, clip_norm=0.5),
                              train=TrainConfig(6, precision=precision, accumulate=parts))
    optimizer, learned = optimizer_of(config, system, 1, 1)
    return system, optimizer, make_train_step(
        tf.distribute.get_strategy(), system, optimizer, config, learned)


def state(system):
    return [variable.numpy() for variable in system.trainable_variables]


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_give_the_update_of_the_whole(batch, parts):
    (whole, _, whole_step), (cut, _, cut_step) = make(), make(parts=parts)
    for _ in range(2):
        expected, found = whole_step(batch), cut_step(batch)
        assert found.applied and set(found.terms) == set(expected.terms)
        for name, value in expected.terms.items():
            np.testing.assert_allclose(found.terms[name], value, rtol=1e-5)
        np.testing.assert_allclose(found.gradient_norm, expected.gradient_norm, rtol=1e-5)
    for one, other in zip(state(whole), state(cut)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_loss_scale_does_not_change_the_update(batch):
    (plain, _, plain_step), (scaled, optimizer, scaled_step) = make(), make("mixed_float16")
    assert float(optimizer.loss_scale) == 2**15
    expected, found = plain_step(batch), scaled_step(batch)
    assert found.applied and {layer.compute_dtype for layer in (scaled.disparity, scaled.motion)
                              } == {"float16"}
    np.testing.assert_allclose(found.gradient_norm, expected.gradient_norm, rtol=1e-2)
    for one, other in zip(state(plain), state(scaled)):
        np.testing.assert_allclose(one, other, atol=2e-3)  # Adam's first step is 1e-2 times a sign


def test_too_large_a_scale_is_halved_and_changes_nothing(batch):
    system, optimizer, step = make("mixed_float16")
    scale = optimizer._loss_scale._current_loss_scale  # nothing public sets it
    scale.assign(3e38)
    before = state(system)
    result = step(batch._replace(sources=batch.sources * 1e4))
    assert result.overflowed and not result.applied
    for one, other in zip(before, state(system)):
        np.testing.assert_array_equal(one, other)
    assert float(optimizer.loss_scale) == pytest.approx(1.5e38)


def test_bad_images_are_no_overflow(batch):
    system, optimizer, step = make("mixed_float16")
    bad = batch.target.numpy()
    bad[1, 2, 3, 0] = np.nan
    before = state(system)
    result = step(batch._replace(target_input=tf.constant(bad)))
    assert not (result.overflowed or result.applied or result.inputs_finite)
    assert float(optimizer.loss_scale) == 2**15
    for one, other in zip(before, state(system)):
        np.testing.assert_array_equal(one, other)


def test_bad_images_leave_running_statistics_alone(batch, monkeypatch):
    monkeypatch.setitem(systems.SYSTEMS, ToyConfig, ToyWithStatistics)
    system, _, step = make()
    assert step(batch).applied and np.any(system.norm.moving_mean)
    before = [variable.numpy() for variable in system.variables]
    bad = batch.target.numpy()
    bad[1, 2, 3, 0] = np.nan
    assert not step(batch._replace(target_input=tf.constant(bad))).applied
    for one, other in zip(before, system.variables):
        np.testing.assert_array_equal(one, other)


def test_replicas_that_share_statistics_take_no_parts(two_replicas):
    config = ExperimentConfig(ToyConfig(), train=TrainConfig(
        4, accumulate=2, sync_batch_norm=True))
    with two_replicas.scope():
        system = build_system(ToyConfig(), (-1, 1))
    with pytest.raises(UserError, match="--config.train.accumulate=1, got 2"):
        make_train_step(two_replicas, system, None, config)
    with pytest.raises(UserError, match="a multiple of --config.train.accumulate times the repl"):
        make_train_step(two_replicas, system, None, dataclasses.replace(
            config, train=TrainConfig(6, accumulate=2)))
