"""Bilinear sampling: values and gradients inside, on, beyond and far beyond the border."""
import numpy as np
import pytest
import tensorflow as tf

from helpers import needs_shared, parity
from tfdepth.checks import UserError
from tfdepth.geometry.sampling import bilinear_sample

pytestmark = pytest.mark.usefixtures("either_way")
RANDOM = np.random.default_rng(11)
HEIGHT, WIDTH = 5, 8
IMAGE = RANDOM.uniform(-1, 1, [2, HEIGHT, WIDTH, 3])
# Inside, on the border, outside and far outside, not finite.
PIXELS = np.concatenate([
    RANDOM.uniform([-2, -2], [WIDTH + 1, HEIGHT + 1], [2, 60, 2]),
    np.broadcast_to([[0, 0], [7, 4], [7, 1.5], [2.25, 4], [6.5, 3.5], [-0.02, 2], [7.02, 2],
                     [3, 4.02], [-1e8, 3], [2, 1e20], [1e9, 1e9]], [2, 11, 2])], axis=1)


def sample_slowly(image, pixels, border):
    """The definition, one sample at a time, in NumPy."""
    height, width = image.shape[1:3]
    samples = np.zeros([*pixels.shape[:2], image.shape[-1]])
    valid = np.zeros(pixels.shape[:2], bool)
    for b, n in np.ndindex(*pixels.shape[:2]):
        u, v = pixels[b, n]
        valid[b, n] = 0 <= u <= width - 1 and 0 <= v <= height - 1
        if valid[b, n] or border == "border":
            u, v = min(max(u, 0), width - 1), min(max(v, 0), height - 1)
            for row in range(height):
                for column in range(width):
                    weight = max(0, 1 - abs(u - column)) * max(0, 1 - abs(v - row))
                    samples[b, n] += weight * image[b, row, column]
    return samples, valid


@pytest.mark.parametrize("border", ["zeros", "border"])
def test_equals_the_definition_eager_and_traced(border):
    expected, expected_valid = sample_slowly(IMAGE, PIXELS, border)
    image, pixels = tf.constant(IMAGE, tf.float32), tf.constant(PIXELS, tf.float32)
    traced = tf.function(lambda i, p: bilinear_sample(i, p, border), input_signature=[
        tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, 2])])
    for samples, valid in (bilinear_sample(image, pixels, border), traced(image, pixels),
                           map(lambda part: tf.concat(part, 0), zip(
                               traced(image[:1], pixels[:1]), traced(image[1:], pixels[1:])))):
        np.testing.assert_array_equal(valid, expected_valid)
        np.testing.assert_allclose(samples, expected, atol=2e-6)


@pytest.mark.parametrize("border", ["zeros", "border"])
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (1, WIDTH), (HEIGHT, 1)])
def test_every_pixel_is_reproduced(border, size):
    image = tf.constant(IMAGE[:, :size[0], :size[1]], tf.float32)
    grid = np.stack(np.meshgrid(range(size[1]), range(size[0])), -1).reshape(1, -1, 2)
    # Rounding of a projection must not lose the border.
    epsilon = np.finfo(np.float32).eps
    for offset in (0.0, 3 * epsilon, -3 * epsilon):
        pixels = tf.constant(np.repeat(grid, 2, 0) + offset * np.array(size[::-1]), tf.float32)
        samples, valid = bilinear_sample(image, pixels, border)
        assert np.all(valid)
        np.testing.assert_allclose(tf.reshape(samples, image.shape), image,
                                   atol=1e-5)


@pytest.mark.parametrize("border", ["zeros", "border"])
@pytest.mark.parametrize("size, moves", [((1, WIDTH), [1, 0]), ((HEIGHT, 1), [0, 1])])
def test_one_row_or_column_has_no_gradient_across(border, size, moves):
    image = tf.constant(IMAGE[:1, :size[0], :size[1]], tf.float32)
    pixels = tf.Variable(np.float32([[[k * moves[0], k * moves[1]] for k in range(max(size))]]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(bilinear_sample(image, pixels, border)[0])
    assert [bool(np.any(each)) for each in np.moveaxis(
        tape.gradient(total, pixels).numpy(), -1, 0)] == [bool(each) for each in moves]


def test_compiled_and_in_half_precision():
    image, pixels = tf.constant(IMAGE, tf.float16), tf.constant(PIXELS[:, :16], tf.float16)
    expected, _ = sample_slowly(image.numpy().astype(float), pixels.numpy().astype(float), "border")
    for compiled in (False, True):
        sample = tf.function(bilinear_sample, jit_compile=compiled)
        np.testing.assert_allclose(sample(image, pixels, "border")[0], expected, atol=3e-3)


@pytest.mark.parametrize("border", ["zeros", "border"])
def test_gradients_against_finite_differences(border):
    sample = tf.function(lambda image, pixels: bilinear_sample(image, pixels, border)[0])
    pixels = PIXELS[:1, :16]           # no kinks among these, some outside
    assert np.any(pixels < 0) and np.any(pixels > [7, 4])
    exact, numeric = tf.test.compute_gradient(
        sample, [tf.constant(IMAGE[:1]), tf.constant(pixels)], delta=1e-6)
    for ours, theirs in zip(exact, numeric):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_gradient_on_whole_coordinates_is_of_the_cell_to_the_right():
    image = tf.constant([[[[1.0], [3.0], [10.0]]] * 2])
    pixels = tf.Variable([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]])
    with tf.GradientTape() as tape:
        samples, _ = bilinear_sample(image, pixels)
    np.testing.assert_array_equal(tape.gradient(samples, pixels)[0], [[2, 0], [7, 0], [7, 0]])


@pytest.mark.parametrize("border", ["zeros", "border"])
def test_coordinates_that_are_not_finite(border):
    bad = [[np.nan, 1], [1, np.nan], [np.inf, 1], [1, -np.inf], [np.nan, np.inf], [3e38, -3e38]]
    pixels = tf.Variable(np.float32([bad]))
    image = tf.Variable(tf.constant(IMAGE[:1], tf.float32))
    with tf.GradientTape(persistent=True) as tape:
        samples, valid = bilinear_sample(image, pixels, border)
        total = tf.reduce_sum(samples**2)
    assert not np.any(valid) and np.isfinite(samples).all()
    if border == "zeros":
        assert not np.any(tape.gradient(samples, pixels, tf.fill(samples.shape, np.nan)))
    gradient_image, gradient_pixels = tape.gradient(total, [image, pixels])
    assert np.isfinite(gradient_image).all()
    np.testing.assert_array_equal(gradient_pixels, np.zeros([1, 6, 2]))
    if border == "zeros":
        np.testing.assert_array_equal(samples, np.zeros([1, 6, 3]))


def test_batch_of_200_is_indexed_exactly():
    # 24.6 million pixels: beyond 2^24 a float32 index hits only every second one.
    image = np.zeros([200, 192, 640, 1], np.float32)
    image[:, 190:, 600:, 0] = np.arange(200 * 2 * 40).reshape(200, 2, 40)
    pixels = np.broadcast_to(np.float32([[639, 191], [638, 191], [601, 190]]), [200, 3, 2])
    samples, valid = tf.function(bilinear_sample)(tf.constant(image), tf.constant(pixels))
    assert np.all(valid)
    np.testing.assert_array_equal(
        samples[..., 0], 80 * np.arange(200)[:, np.newaxis] + [79, 78, 1])


def test_equals_the_kernel_of_tensorflow_addons():
    from tensorflow_addons.image import resampler
    image = tf.Variable(RANDOM.uniform(-1, 1, [2, 30, 50, 3]), dtype=tf.float32)
    pixels = tf.Variable(RANDOM.uniform(0, [49, 29], [2, 400, 2]), dtype=tf.float32)
    weight = tf.constant(RANDOM.uniform(-1, 1, [2, 400, 3]), tf.float32)
    found = []
    for sample in (lambda: bilinear_sample(image, pixels)[0], lambda: resampler(image, pixels)):
        with tf.GradientTape() as tape:
            samples = sample()
            total = tf.reduce_sum(weight * samples)
        found.append((samples, *tape.gradient(total, [image, pixels])))
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@needs_shared
def test_published_sampler():
    expected = parity("sfmlearner", "geometry.npz")
    image = tf.Variable(expected["img_uint8"] / np.float32(255) * 2 - 1)

    def compare(name):
        pixels = tf.Variable(expected[f"{name}_coords"].reshape(2, -1, 2))
        with tf.GradientTape() as tape:
            samples, _ = bilinear_sample(image, pixels)
        # The published sampler drops the last row and column themselves.
        kept = ~(pixels.numpy() == [79, 47]).any(-1)
        published = expected[f"{name}_out"].reshape(2, -1, 3)
        np.testing.assert_allclose(samples[kept], published[kept], atol=1e-4)
        return kept, published, samples, tape.gradient(samples, [pixels, image])

    kept, _, _, (gradient_pixels, gradient_image) = compare("sampler")
    assert kept.all()
    np.testing.assert_allclose(gradient_pixels, expected["sampler_grad_coords"].reshape(2, -1, 2),
                               atol=1e-4)
    np.testing.assert_allclose(gradient_image, expected["sampler_grad_img"], atol=1e-4)
    kept, published, samples, _ = compare("sampler_special")
    assert not published[~kept].any()
    np.testing.assert_array_equal(samples[0, 3], image[0, 47, 79])


@pytest.mark.parametrize("call, error, message", [
    (lambda: bilinear_sample(IMAGE, PIXELS, "boarder"), UserError,
     "border must be one of zeros, border; got 'boarder'. Did you mean 'border'?"),
    (lambda: bilinear_sample(IMAGE[0], PIXELS), ValueError,
     "`image` must have shape [B, H, W, C]; got [5, 8, 3]."),
    (lambda: bilinear_sample(IMAGE, PIXELS[..., :1]), ValueError,
     "`pixels` must have shape [B, N, 2]; got [2, 71, 1]."),
])
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
