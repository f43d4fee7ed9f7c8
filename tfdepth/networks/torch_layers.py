"""Layers as networks have them that were published in PyTorch.

They differ from Keras' own in what a trained checkpoint and a training step depend on: padding is
the same on both sides also at stride 2, the first weights are drawn otherwise, and batch
normalisation averages its statistics over ten steps.
"""
import numpy as np
import tensorflow as tf

from tfdepth.checks import check_choice
from tfdepth.networks.batch_norm import batch_norm
from tfdepth.networks.rematerialization import recomputed, rematerialization
from tfdepth.tracing import sizes

PADDINGS = ("zeros", "reflect")  # beyond the border: 0, or the mirror image


class SymmetricConvolution(tf.keras.layers.Conv2D):
    """A convolution with (kernel - 1) / 2 pixels of padding on every side.

    Input: [B, H, W, C]. Output: [B, ceil(H / stride), ceil(W / stride), channels].
    """

    def __init__(self, channels, kernel, stride=1, padding="zeros", bias=True, initializer=None,
                 activation=None, dtype=None):
        """Args: padding: one of PADDINGS. initializer: of the kernel; None = PyTorch's default,
        uniform in +-1 / sqrt(fan_in), which biases have too. dtype: as for any Keras layer."""
        check_choice("padding", padding, PADDINGS)
        # At stride 1 TensorFlow's own zero padding has the same number on both sides.
        self._pad = 0 if padding == "zeros" and stride == 1 else kernel // 2
        self._reflects = padding == "reflect"
        super().__init__(
            channels, kernel, strides=stride, padding="valid" if self._pad else "same",
            use_bias=bias, activation=activation, dtype=dtype, kernel_initializer=initializer
            or tf.keras.initializers.VarianceScaling(1.0 / 3.0, "fan_in", "uniform"))

    def build(self, input_shape):
        fan_in = self.kernel_size[0] * self.kernel_size[1] * input_shape[-1]
        self.bias_initializer = tf.keras.initializers.RandomUniform(-fan_in**-0.5, fan_in**-0.5)
        super().build(input_shape)

    def call(self, features, training=False):
        """Args: training: bool; as of `reflect`."""
        if self._reflects:
            features = reflect(features, self._pad, training)
        elif self._pad:
            features = pad(features, self._pad)
        return super().call(features)


def pad(features, width):
    """Puts `width` zeros on all four sides: [B, H, W, C] -> [B, H + 2 width, W + 2 width, C]."""
    return tf.pad(features, _on_all_sides(width))


def reflect(features, width, training=False):
    """As `pad`, but with the mirror image beyond the outermost pixels; in half of tf.pad's time.

    Args: features: H and W are more than `width`, which is not checked. training: bool; True: with
      a gradient of half the time, too, for which TensorFlow keeps the graph, see
      `tracing.gradients_released`.
    """
    reflected = lambda features: _mirrored(_mirrored(features, width, axis=2), width, axis=1)
    if not training:
        return reflected(features)
    gradient = lambda upstream: tf.raw_ops.MirrorPadGrad(
        input=upstream, paddings=_on_all_sides(width), mode="REFLECT")
    return tf.custom_gradient(lambda features: (reflected(features), gradient))(features)


def _mirrored(features, width, axis):
    """Beyond both ends of an axis its next `width` places in reverse."""
    at = lambda place: features[(slice(None),) * axis + (slice(place, place + 1),)]
    before, after = map(at, range(width, 0, -1)), map(at, range(-2, -2 - width, -1))
    return tf.concat([*before, features, *after], axis)


def _on_all_sides(width):
    return [[0, 0], [width, width], [width, width], [0, 0]]


def max_pool(features, training=False):
    """The maximum of 3x3 pixels around every second one, of features that are nowhere below zero.

    Args: features: [B, H, W, C]. training: bool; True: they are padded again for the gradient, of
      which a copy of a network's largest features would be kept otherwise.
    Returns: [B, ceil(H / 2), ceil(W / 2), C].
    """
    # Zeros are as good a padding as PyTorch's minus infinity: nothing is below them.
    pool = lambda features: tf.nn.max_pool2d(pad(features, 1), 3, 2, "VALID")
    with rematerialization(training):
        return recomputed(pool, features)


def batch_normalization(after=None, gamma="ones", momentum=0.9, epsilon=1e-5, dtype=None):
    """Batch normalisation with PyTorch's constants.

    Args: after: as of `batch_norm`. gamma: initialiser of the scale. Others: as of Keras' layer.
    """
    return batch_norm(after, momentum=momentum, epsilon=epsilon, gamma_initializer=gamma,
                      dtype=dtype)


def upsample_nearest(features):
    """Doubles both sides, each pixel four times: [B, H, W, C] -> [B, 2 H, 2 W, C]."""
    batch, height, width, channels = sizes(features)
    across = tf.reshape(tf.concat([features, features], axis=-1),
                        [batch, height, 2 * width * channels])             # each pixel twice
    return tf.reshape(tf.concat([across, across], axis=-1),
                      [batch, 2 * height, 2 * width, channels])            # each row twice


def double_bilinear(features):
    """Doubles both sides, bilinearly with half-pixel centres: [B, H, W, C] -> [B, 2 H, 2 W, C]."""
    height, width = features.shape[1:3]
    return tf.cast(tf.image.resize(features, [2 * height, 2 * width]), features.dtype)


def upsample_bilinear(maps, factor):
    """Enlarges maps of few channels by a whole factor, bilinearly with half-pixel centres.

    The values of tf.image.resize, but in any type, float64 included: two products with constant
    matrices, as fast for a channel or two. [B, H, W, C] -> [B, factor H, factor W, C], H, W and C
    static.
    """
    if factor == 1:
        return maps
    return _resample(maps, *(_interpolation(size, factor) for size in maps.shape[1:3]))


def halve_lanczos(images):
    """Halves both sides, by Lanczos' filter of three lobes, as wide as half the pixels need.

    The values of tf.image.resize with antialias, by operations that XLA knows.
    [B, H, W, C] -> [B, H / 2, W / 2, C], H, W and C static.
    """
    return _resample(images, *(_lanczos(size) for size in images.shape[1:3]))


def _resample(maps, down, right):
    """Maps [B, H, W, C] times constant matrices [H', H] and [W', W]: [B, H', W', C]."""
    height, width, channels = maps.shape[1:]
    down, right = tf.constant(down, maps.dtype), tf.constant(right, maps.dtype)
    maps = tf.reshape(tf.transpose(maps, [0, 3, 1, 2]), [-1, height, width])
    maps = tf.matmul(tf.matmul(down, maps), right, transpose_b=True)
    maps = tf.reshape(maps, [-1, channels, *maps.shape[1:]])
    return tf.transpose(maps, [0, 2, 3, 1])


def _interpolation(size, factor):
    """Weights by which each new pixel takes from the old ones: [factor * size, size]."""
    place = (np.arange(factor * size) + 0.5) / factor - 0.5                # in old pixels
    place = np.clip(place, 0, size - 1)[:, np.newaxis]
    return np.maximum(0.0, 1.0 - np.abs(place - np.arange(size)))


def _lanczos(size):
    """Weights by which each of size // 2 new pixels takes from the old ones: [size // 2, size]."""
    scale = size / (size // 2)
    place = (np.arange(size // 2) + 0.5) * scale - 0.5                     # in old pixels
    distance = (place[:, np.newaxis] - np.arange(size)) / scale
    weights = np.where(np.abs(distance) < 3.0, np.sinc(distance) * np.sinc(distance / 3.0), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)
