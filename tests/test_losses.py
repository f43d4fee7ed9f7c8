"""Errors and losses against slow NumPy loops, and where their gradients could break."""
import numpy as np
import pytest
import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.losses.explainability import explainability_error
from tfdepth.losses.photometric import l1_error, masked_mean, photometric_error
from tfdepth.losses.reprojection import reprojection_error, tie_breaking_noise
from tfdepth.losses.smoothness import (
    edge_aware_smoothness, mean_normalized, second_order_smoothness)
from tfdepth.losses.ssim import ssim_error

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


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("edge", ["mirror", "cut"])
def test_ssim_by_loops(edge):
    image, other = RANDOM.random((2, 2, 4, 5, 3)) * (1 + (edge == "cut")) - (edge == "cut")
    other[0, :2] = image[0, :2]
    padded = [np.pad(each, [(0, 0), (1, 1), (1, 1), (0, 0)], "reflect") for each in (image, other)]
    expected = np.empty_like(image)
    for index in np.ndindex(image.shape):
        n, i, j, c = index
        x, y = (each[n, i:i + 3, j:j + 3, c] for each in padded)
        if edge == "cut":
            x, y = (each[n, max(i - 1, 0):i + 2, max(j - 1, 0):j + 2, c] for each in (image, other))
        covariance = ((x - x.mean()) * (y - y.mean())).mean()
        ssim = ((2 * x.mean() * y.mean() + 1e-4) * (2 * covariance + 9e-4)
                / ((x.mean()**2 + y.mean()**2 + 1e-4) * (x.var() + y.var() + 9e-4)))
        expected[index] = np.clip((1 - ssim) / 2, 0, 1)
    np.testing.assert_allclose(ssim_error(tf.constant(image), tf.constant(other), edge), expected,
                               atol=1e-10)
    for weight in (0.0, 1.0, 0.6):
        mixed = photometric_error(tf.constant(image), tf.constant(other), weight, edge)
        by_hand = (weight * expected + (1 - weight) * np.abs(image - other)).mean(-1, keepdims=True)
        np.testing.assert_allclose(mixed, by_hand, atol=1e-10)
    of_any_size = tf.function(
        lambda *images: photometric_error(*images, ssim_weight=0.6, edge=edge),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.float64)] * 2)
    np.testing.assert_allclose(of_any_size(image, other), by_hand, atol=1e-10)
    more_axes = photometric_error(image[:, np.newaxis], other[:, np.newaxis], 0.6, edge)
    np.testing.assert_allclose(more_axes, by_hand[:, np.newaxis], atol=1e-10)
    alone = photometric_error(image[1], other[1], 0.6, edge)
    np.testing.assert_allclose(alone, by_hand[1], atol=1e-10)


@pytest.mark.parametrize("image, target", [([4, 6, 8, 3], [3, 6, 8, 4]),
                                           ([4, 6, 8, 3], [1, 6, 8, 3])])
def test_photometric_error_of_images_that_differ_in_shape(image, target):
    with pytest.raises(ValueError, match=r"`target` must have shape \[4, 6, 8, 3\]"):
        photometric_error(tf.zeros(image), tf.zeros(target))


def test_ssim_of_images_smaller_than_a_window():
    with pytest.raises(ValueError, match=r"`image` must have 3 rows and columns at least"):
        ssim_error(tf.zeros([1, 2, 8, 3]), tf.zeros([1, 2, 8, 3]))


@pytest.mark.parametrize("edge", ["mirror", "cut"])
def test_gradient_of_ssim_by_differences(edge):
    images = RANDOM.random((2, 2, 4, 5, 3))
    for k in range(2):
        exact, by_differences = tf.test.compute_gradient(
            lambda image, k=k: ssim_error(*[image, images[1]][::1 - 2 * k], edge),
            [images[0]], 1e-6)
        np.testing.assert_allclose(exact[0], by_differences[0], atol=2e-7)
    same = tf.constant(images[0])
    with tf.GradientTape() as tape:
        tape.watch(same)
        error = ssim_error(same, same, edge)
    assert np.abs(tape.gradient(error, same)).max() < 1e-9  # the best there is


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("level", [0.1, 0.95])
def test_equal_images_have_no_error_in_single_precision(level):
    """Bright images with little in them, where rounding is largest against SSIM's constants."""
    image = tf.constant(RANDOM.uniform(level - 3e-3, level + 3e-3, [2, 24, 32, 3]), tf.float32)
    np.testing.assert_array_equal(photometric_error(image, image), 0)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("weight", [0.0, 1.0, 0.85])
def test_gradient_of_the_photometric_error_by_differences(weight):
    image, target = (tf.constant(each) for each in RANDOM.random((2, 2, 4, 5, 3)))
    upstream = RANDOM.random((2, 4, 5, 1))
    exact, by_differences = tf.test.compute_gradient(
        lambda image: upstream * photometric_error(image, target, weight), [image], 1e-6)
    np.testing.assert_allclose(exact[0], by_differences[0], atol=1e-7)


def test_edge_aware_smoothness_by_loops():
    disparity, image = RANDOM.random((2, 4, 5, 1)), RANDOM.random((2, 4, 5, 3))
    expected = []
    for d, picture in zip(disparity[..., 0], image):
        x = [abs(d[i, j + 1] - d[i, j]) * np.exp(-np.abs(picture[i, j + 1] - picture[i, j]).mean())
             for i in range(4) for j in range(4)]
        y = [abs(d[i + 1, j] - d[i, j]) * np.exp(-np.abs(picture[i + 1, j] - picture[i, j]).mean())
             for i in range(3) for j in range(5)]
        expected.append(np.mean(x) + np.mean(y))
    np.testing.assert_allclose(edge_aware_smoothness(tf.constant(disparity), tf.constant(image)),
                               expected, rtol=1e-12)
    exact, by_differences = tf.test.compute_gradient(
        edge_aware_smoothness, [tf.constant(disparity), tf.constant(image)], 1e-6)
    for each, slowly in zip(exact, by_differences):
        np.testing.assert_allclose(each, slowly, atol=1e-8)
    normal = mean_normalized(tf.constant(disparity))
    np.testing.assert_allclose(np.mean(normal, axis=(1, 2, 3)), [1, 1], rtol=1e-6)
    with pytest.raises(ValueError, match=r"`image` must have shape \[B, 4, 5, C\]"):
        edge_aware_smoothness(tf.constant(disparity), tf.constant(image[:, :3]))


def test_reprojection_takes_the_best_source_and_masks_what_stands_still():
    errors = RANDOM.random((2, 3, 4, 5, 1))
    identity = RANDOM.random((2, 3, 4, 5, 1))
    error, trains = reprojection_error(tf.constant(errors), tf.constant(identity))
    np.testing.assert_array_equal(error, np.minimum(errors.min(1), identity.min(1)))
    np.testing.assert_array_equal(trains, errors.min(1) < identity.min(1))
    error, trains = reprojection_error(tf.constant(errors), tf.constant(identity), "mean")
    np.testing.assert_allclose(error, np.minimum(errors.mean(1), identity.mean(1)))
    assert 0 < np.mean(trains) < 1
    error, trains = reprojection_error(tf.constant(errors))
    np.testing.assert_array_equal(error, errors.min(1))
    assert np.all(trains)
    with pytest.raises(UserError, match="reduction must be one of minimum, mean"):
        reprojection_error(tf.constant(errors), reduction="min")


def test_masked_pixels_send_no_gradient_and_ties_do_not_train():
    errors = tf.Variable([[[[[0.2], [0.6], [0.4], [0.4]]],
                           [[[0.3], [0.7], [0.4], [0.1]]]]])                # [1, 2, 1, 4, 1]
    identity = tf.Variable([[[[[0.5], [0.5], [0.4], [0.9]]], [[[0.5], [0.5], [0.9], [0.2]]]]])
    with tf.GradientTape() as tape:
        error, trains = reprojection_error(errors, identity)
    gradients = tape.gradient(error, [errors, identity], unconnected_gradients="zero")
    np.testing.assert_array_equal(np.squeeze(trains), [True, False, False, True])
    np.testing.assert_array_equal(np.squeeze(gradients[0]), [[1, 0, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(gradients[1], np.zeros_like(identity))


def test_what_is_not_a_number_is_not_masked():
    errors = tf.constant([[[[[np.nan], [0.2]]], [[[0.1], [0.3]]]]])             # [1, 2, 1, 2, 1]
    error, trains = reprojection_error(errors, tf.fill([1, 2, 1, 2, 1], 0.5))
    np.testing.assert_array_equal(np.squeeze(error), np.float32([np.nan, 0.2]))
    np.testing.assert_array_equal(np.squeeze(trains), [False, True])


def test_noise_decides_ties_either_way_and_always_the_same_way():
    noise = tie_breaking_noise(2, 48, 64)
    np.testing.assert_array_equal(noise, tie_breaking_noise(2, 48, 64))
    assert noise.shape == (1, 2, 48, 64, 1)
    assert 0.9e-5 < np.std(noise) < 1.1e-5 and abs(np.mean(noise)) < 1e-6
    still = tf.fill([2, 2, 48, 64, 1], 0.25)
    _, trains = reprojection_error(still, still + noise)
    assert 0.2 < np.mean(trains) < 0.3  # where both sources' noise is positive
