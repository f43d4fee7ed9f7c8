"""Inner results computed again, or not held: the same update, running statistics moved once."""
import contextlib

import numpy as np
import pytest
import tensorflow as tf
from test_precision import CONFIGS, SIZE, batch_of

from tfdepth.losses.in_turn import one_at_a_time
from tfdepth.networks.rematerialization import recomputed, rematerialization
from tfdepth.systems import SYSTEMS, build_system


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_same_gradients_and_statistics(config):
    offsets = () if SYSTEMS[type(config)].learns_from_depth else (-1, 1)
    batch = batch_of(len(offsets))
    tf.keras.utils.set_random_seed(0)
    system = build_system(config, offsets)
    system.create_variables(SIZE)
    first = [variable.numpy() for variable in system.variables]
    found = []
    for context in (contextlib.nullcontext(), rematerialization(True), one_at_a_time()):
        for variable, value in zip(system.variables, first):
            variable.assign(value)
        with context, tf.GradientTape() as tape:
            loss = system.total_loss(
                system.loss_terms(batch, system.forward(batch, training=True)))
        gradients = tape.gradient(loss, system.trainable_variables)
        found.append(([loss], [None if each is None else each.numpy() for each in gradients],
                      [variable.numpy() for variable in system.non_trainable_variables]))
    for again in found[1:]:
        for one, other in zip(tf.nest.flatten(found[0]), tf.nest.flatten(again)):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * np.abs(one).max())
    moved = [np.any(variable != value) for variable, value in zip(system.variables, first)]
    assert any(moved) == bool(found[0][2])


def test_only_arguments_and_results_are_kept():
    """Counts how often the function runs: once more for the gradient, and not without one."""
    calls = []

    def wave(x, scale):
        calls.append(0)
        return tf.sin(scale * x), None if scale is None else tf.cos(x)

    x, scale = tf.constant([0.3, 0.7]), tf.Variable(2.0)
    with rematerialization(True):
        recomputed(wave, x, 1.0)
        assert len(calls) == 1
        with tf.GradientTape() as tape:
            tape.watch(x)
            sine, cosine = recomputed(lambda x: wave(x, scale), x)
            total = tf.reduce_sum(sine * cosine)
        assert len(calls) == 2
        by_x, by_scale = tape.gradient(total, [x, scale])
    assert len(calls) == 3
    sine, cosine, x = np.sin(2 * x), np.cos(x), x.numpy()
    np.testing.assert_allclose(by_x, 2 * np.cos(2 * x) * cosine - sine * np.sin(x), rtol=1e-5)
    np.testing.assert_allclose(by_scale, np.sum(x * np.cos(2 * x) * cosine), rtol=1e-5)
