"""Losses that XLA compiles: the same values and gradients as without it."""
import numpy as np
import pytest
import tensorflow as tf
from test_precision import CONFIGS, SIZE, batch_of

from tfdepth.runs.config import TrainConfig
from tfdepth.systems import SYSTEMS, build_system
from tfdepth.training.step import losses_of

FAST = 1  # the others take some 10 seconds each to compile


@pytest.mark.parametrize("config, floatx, learned", [
    *(pytest.param(config, "float64", True, id=type(config).__name__,
                   marks=[] if k < FAST else pytest.mark.slow) for k, config in enumerate(CONFIGS)),
    pytest.param(CONFIGS[0], "float64", False, id="known camera"),
    pytest.param(CONFIGS[0], "float32", True, id="float32")])
def test_values_and_gradients(config, floatx, learned, request):
    """Gradients in float64: in float32 rounding moves samples across edges, where these jump."""
    request.addfinalizer(lambda: tf.keras.backend.set_floatx("float32"))
    tf.keras.backend.set_floatx(floatx)
    tf.keras.utils.set_random_seed(0)
    offsets = () if SYSTEMS[type(config)].learns_from_depth else (-1, 1)
    system = build_system(config, offsets)
    system.create_variables(SIZE)
    batch = tf.nest.map_structure(
        lambda each: None if each is None else tf.cast(each, floatx), batch_of(len(offsets)))
    if learned:
        batch = batch._replace(camera=tf.zeros([len(batch.target)], tf.int32))
    found = []
    for xla in (False, True):
        losses = losses_of(system, TrainConfig(xla=xla))

        @tf.function
        def total_and_gradients():
            with tf.GradientTape() as tape:
                tape.watch(batch.intrinsics)
                total, terms = losses(batch, system.forward(batch, training=False))
                scaled = 3.0 * total
            learning = [*system.trainable_variables, *[batch.intrinsics] * learned]
            return total, terms, tape.gradient(
                scaled, learning, unconnected_gradients=tf.UnconnectedGradients.ZERO)

        found.append(total_and_gradients())
    (total, terms, gradients), (compiled_total, compiled_terms, compiled_gradients) = found
    rtol = 1e-9 if floatx == "float64" else 1e-5
    np.testing.assert_allclose(compiled_total, total, rtol=rtol)
    assert set(compiled_terms) == set(terms) == set(system.loss_weights)
    for name, term in terms.items():
        np.testing.assert_allclose(compiled_terms[name], term, rtol=rtol, atol=1e-2 * rtol)
    norm = tf.linalg.global_norm(gradients)
    difference = tf.linalg.global_norm([a - b for a, b in zip(compiled_gradients, gradients)])
    if floatx == "float64":
        assert norm > 1e-4 and difference < 1e-7 * norm, (float(difference), float(norm))
