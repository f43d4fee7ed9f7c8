"""Errors and losses against slow NumPy loops, and where their gradients could break."""
import numpy as np
import pytest
import tensorflow as tf

from tfdepth.losses.explainability import explainability_error
from tfdepth.losses.photometric import l1_error, masked_mean
from tfdepth.losses.smoothness import second_order_smoothness

RANDOM = np.random.default_rng(8)


def test_second_order_smoothness():
    disparity = RANDOM.uniform(0, 10, [2, 5, 7, 1])

    def by_loops(image):
        d_x = lambda d: np.array([[d[i, j + 1] - d[i, j] for j in range(d.shape[1] - 1)]
                                  for i in range(d.shape[0])])
        d_y = lambda d: d_x(d.T).T
        return sum(np.abs(second(first(image))).mean() for first in (d_x, d_y)
                   for second in (d_x, d_y))

    np.testing.assert_allclose(second_order_smoothness(tf.constant(disparity)),
                               [by_loops(image[..., 0]) for image in disparity], rtol=1e-12)
    v, u = np.mgrid[:5, :7]
    plane = tf.constant((0.5 * u - 0.25 * v + 3)[np.newaxis, ..., np.newaxis])
    np.testing.assert_array_equal(second_order_smoothness(plane), [0.0])
    exact, numeric = tf.test.compute_gradient(
        second_order_smoothness, [tf.constant(disparity)], delta=1e-6)
    np.testing.assert_allclose(exact[0], numeric[0], atol=1e-7)
    with pytest.raises(ValueError, match=r"`disparity` .*\[B, H, W, 1\]; got \[5, 7\]"):
        second_order_smoothness(tf.zeros([5, 7]))


def test_masked_mean():
    error = RANDOM.uniform(0, 2, [2, 3, 4, 5, 3])
    valid = RANDOM.random([2, 3, 4, 5, 1]) < 0.6
    valid[0, 1] = False                # no pixel
    valid[1, 2] = False
    valid[1, 2, 2, 2] = True           # one pixel, less than a tenth of 20

    def by_loops(error, valid):
        values = [error[i, j] for i, j in np.ndindex(4, 5) if valid[i, j, 0]]
        return np.sum(values) / (3 * max(len(values), 2))

    expected = [[by_loops(error[b, s], valid[b, s]) for s in range(3)] for b in range(2)]
    assert expected[0][1] == 0
    mean = tf.function(masked_mean, input_signature=[
        tf.TensorSpec([None, 3, None, None, 3], tf.float64),
        tf.TensorSpec([None, 3, None, None, 1], tf.bool)])
    np.testing.assert_allclose(mean(error, valid), expected, rtol=1e-12)
    np.testing.assert_allclose(masked_mean(tf.constant(error[0, 0]), tf.constant(valid[0, 0])),
                               expected[0][0], rtol=1e-12)
    holes = np.where(valid, error, np.nan)
    np.testing.assert_allclose(mean(holes, valid), expected, rtol=1e-12)


def test_masked_mean_without_valid_pixels_is_zero_with_zero_gradient():
    error = tf.Variable(RANDOM.uniform(0, 2, [1, 4, 5, 3]))
    with tf.GradientTape() as tape:
        mean = masked_mean(error, tf.zeros([1, 4, 5, 1], tf.bool))
    np.testing.assert_array_equal(mean, [0.0])
    np.testing.assert_array_equal(tape.gradient(mean, error), np.zeros([1, 4, 5, 3]))


@pytest.mark.parametrize("shape", [(2, 4, 5, 1), (2, 3, 4, 5, 3), (2, 3, 5, 4, 1)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"`valid` must have shape \[2, 3, 4, 5, 1\]; got"):
        masked_mean(tf.zeros([2, 3, 4, 5, 3]), tf.zeros(shape, tf.bool))


def test_explainability_error():
    logits = RANDOM.normal(size=[2, 3, 4, 2, 2])
    expected = np.zeros(logits.shape[:-1])
    for index in np.ndindex(*expected.shape):
        no, yes = np.exp(logits[index])
        expected[index] = -np.log(yes / (no + yes))
    np.testing.assert_allclose(explainability_error(tf.constant(logits)), expected, rtol=1e-12)
    extreme = tf.Variable([[[[[1e4, -1e4], [-1e4, 1e4]]]]])
    with tf.GradientTape() as tape:
        error = explainability_error(extreme)
    np.testing.assert_allclose(error[0, 0, 0], [2e4, 0])
    np.testing.assert_allclose(tape.gradient(error, extreme)[0, 0, 0], [[1, -1], [0, 0]])
    with pytest.raises(ValueError, match=r"`logits` must have shape \[B, H, W, S, 2\]"):
        explainability_error(tf.zeros([1, 2, 2, 4]))


def test_l1_error_of_equal_images_has_no_gradient():
    image = tf.Variable([[[[0.5, -0.25, 1.0]]]])
    with tf.GradientTape() as tape:
        error = l1_error(image, tf.constant([[[[0.5, 0.5, 0.5]]]]))
    np.testing.assert_array_equal(error[0, 0, 0], [0.0, 0.75, 0.5])
    np.testing.assert_array_equal(tape.gradient(error, image)[0, 0, 0], [0.0, -1.0, 1.0])
