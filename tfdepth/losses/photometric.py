"""Photometric errors and how they are averaged.

Shape letters: B batch, H rows, W columns, C channels; leading axes are free.
"""
import tensorflow as tf


def l1_error(image, other):
    """Absolute difference: two [..., H, W, C] -> [..., H, W, C]."""
    return tf.abs(image - other)


def masked_mean(error, valid):
    """Mean error of the valid pixels of each image.

    Args:
      error: [..., H, W, C].
      valid: [..., H, W, 1] bool; pixels outside it do not count.

    Returns: [...]; 0 for an image without a valid pixel. The divisor never falls below a tenth of
    the pixels, so that a loss cannot fall by pushing most pixels out of the picture.
    """
    weight = tf.cast(valid, error.dtype)
    total = tf.reduce_sum(error * weight, axis=[-3, -2, -1])
    count = tf.reduce_sum(weight, axis=[-3, -2, -1])
    shape = tf.shape(error)
    pixels = tf.cast(shape[-3] * shape[-2], error.dtype)
    channels = tf.cast(shape[-1], error.dtype)
    return total / (tf.maximum(count, 0.1 * pixels) * channels)
