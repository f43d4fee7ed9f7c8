"""Layers that are written otherwise than they read: values and gradients against NumPy."""
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfdepth.networks.torch_layers import max_pool, reflect, upsample_nearest


def test_upsample_nearest():
    features, upstream = _normal(2, 3, 5, 4), _normal(2, 6, 10, 4)
    values, gradient = _with_gradient(upsample_nearest, features, upstream)
    np.testing.assert_array_equal(values, features.repeat(2, axis=1).repeat(2, axis=2))
    np.testing.assert_allclose(
        gradient, upstream.reshape(2, 3, 2, 5, 2, 4).sum(axis=(2, 4)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("height, width, border", [(2, 3, 1), (5, 7, 1), (3, 4, 2), (6, 5, 3)])
def test_reflect(height, width, border, training):
    features = _normal(2, height, width, 3)
    upstream = _normal(2, height + 2 * border, width + 2 * border, 3)
    values, gradient = _with_gradient(
        lambda features: reflect(features, border, training), features, upstream)
    sides = [(0, 0), (border, border), (border, border), (0, 0)]
    np.testing.assert_array_equal(values, np.pad(features, sides, "reflect"))
    expected = np.zeros_like(features)
    rows, columns = (np.pad(np.arange(size), border, "reflect") for size in (height, width))
    for (row, from_row), (column, from_column) in itertools.product(
            enumerate(rows), enumerate(columns)):
        expected[:, from_row, from_column] += upstream[:, row, column]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("height, width", [(6, 10), (7, 9)])
def test_max_pool(height, width, training):
    features = np.maximum(_normal(2, height, width, 3), 0.0)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    upstream = _normal(2, rows, columns, 3)
    values, gradient = _with_gradient(
        lambda features: max_pool(features, training), features, upstream)
    expected, expected_gradient = np.zeros_like(upstream), np.zeros_like(features)
    for image, row, column, channel in np.ndindex(expected.shape):
        top, left = max(2 * row - 1, 0), max(2 * column - 1, 0)
        window = features[image, top:2 * row + 2, left:2 * column + 2, channel]
        expected[image, row, column, channel] = window.max()
        if window.max() > 0:  # of several zeros any may have it: a ReLU before stops it there
            y, x = np.unravel_index(window.argmax(), window.shape)
            expected_gradient[image, top + y, left + x, channel] += upstream[
                image, row, column, channel]
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_allclose(gradient * (features > 0), expected_gradient, rtol=1e-5, atol=1e-6)


def test_max_pool_keeps_no_padded_copy():
    """The graph pads again, for the gradient alone."""
    def gradient(features, training):
        with tf.GradientTape() as tape:
            tape.watch(features)
            total = tf.reduce_sum(max_pool(features, training))
        return tape.gradient(total, features)

    for training, count in ((False, 1), (True, 2)):
        graph = tf.function(gradient).get_concrete_function(
            tf.TensorSpec([1, 6, 8, 2]), training).graph
        assert sum(each.type == "Pad" for each in graph.get_operations()) == count


def _normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def _with_gradient(layer, features, upstream):
    features = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(features)
        values = layer(features)
    return values.numpy(), tape.gradient(values, features, tf.constant(upstream)).numpy()
