"""Parts of a loss that are differentiated one after another."""
import contextlib
import types

import numpy as np
import pytest
import tensorflow as tf

from tfdepth.losses.in_turn import in_turn, one_at_a_time
from tfdepth.runs.config import TrainConfig
from tfdepth.training.step import losses_of


def waves(k, arrays, none):
    assert none is None
    return tf.reduce_sum(arrays["x"] ** (k + 1)) * tf.sin(arrays["y"])


@pytest.mark.parametrize("context", [contextlib.nullcontext, one_at_a_time])
@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_gradients(context, compiled):
    """Each part with a weight of its own, an argument that is None, and one without a gradient."""
    def found(x, y, unused):
        with context(), tf.GradientTape() as tape:
            tape.watch((x, y, unused))
            parts = in_turn(waves, 3, {"x": x, "y": y, "z": unused}, None)
            total = tf.add_n([weight * part for weight, part in zip((2.0, 3.0, 5.0), parts)])
        by_x, by_y, by_unused = tape.gradient(total, (x, y, unused))
        assert by_unused is None
        return parts, by_x, by_y

    x, y = np.float32([0.5, -0.75]), np.float32(0.8)
    parts, by_x, by_y = (tf.function(found, autograph=False) if compiled else found)(
        *map(tf.constant, (x, y, y)))
    expected = [np.sum(x ** (k + 1)) * np.sin(y) for k in range(3)]
    np.testing.assert_allclose(parts, expected, rtol=1e-5)
    np.testing.assert_allclose(by_x, (2 + 6 * x + 15 * x**2) * np.sin(y), rtol=1e-5)
    np.testing.assert_allclose(by_y, np.dot([2, 3, 5], expected) / np.tan(y), rtol=1e-5)


def test_in_a_step_a_part_waits_for_the_gradient_of_the_one_before():
    """By the edges of the graph: a part is a sine, its gradient a cosine."""
    system = types.SimpleNamespace(
        loss_terms=lambda batch, x: {"sum": tf.add_n(
            in_turn(lambda k, x: tf.reduce_sum(tf.sin(x)), 3, x))},
        total_loss=lambda terms: terms["sum"])
    losses = losses_of(system, TrainConfig())

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total, _ = losses(None, x)
        return tape.gradient(total, x)

    graph = gradient.get_concrete_function(tf.TensorSpec([3])).graph
    sines, cosines = ([operation for operation in graph.get_operations() if operation.type == kind]
                      for kind in ("Sin", "Cos"))
    assert len(sines) == len(cosines) == 3
    for before, after in zip(cosines, sines[1:]):
        assert before in needed_by(after)


def needed_by(operation):
    """All operations of the graph that come before one."""
    found, new = set(), [operation]
    while new:
        found.update(new)
        new = {each for one in new for each in (
            *(tensor.op for tensor in one.inputs), *one.control_inputs)} - found
    return found


def test_without_a_gradient_none_is_computed():
    @tf.function(autograph=False)
    def values(x):
        return in_turn(lambda k, x: tf.reduce_sum(tf.sin(x)), 2, x)

    names = [node.op for node in values.get_concrete_function(
        tf.TensorSpec([3])).graph.as_graph_def().node]
    assert names.count("Sin") == 2 and "Cos" not in names
