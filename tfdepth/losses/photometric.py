"""Photometric errors and how they are averaged.

Shape letters: B batch, H rows, W columns, C channels; leading axes are free.
"""
import tensorflow as tf

from tfdepth.checks import check_shape
from tfdepth.losses.ssim import ssim_error


def l1_error(image, other):
    """Absolute difference of two images that broadcast: [..., H, W, C] -> [..., H, W, C]."""
    return tf.abs(image - other)


def photometric_error(image, target, ssim_weight=0.85, edge="mirror"):
    """Weighted sum of structural and absolute difference, mean over channels.

    Args:
      image: [N, H, W, C] float32 in [0, 1], or in [-1, 1] as `ssim_error` says; C static.
      target: like `image`.
      ssim_weight: share of SSIM; 0 leaves the absolute difference.
      edge: of SSIM's windows, see `ssim_error`.

    Returns: [N, H, W, 1], >= 0.
    Raises: ValueError, UserError: as `ssim_error`.
    Source: Godard et al., ICCV 2019, eq. 2 (alpha = 0.85).
    """
    check_shape("image", image, ["N", "H", "W", "C"])
    check_shape("target", target, [n or letter for n, letter in zip(image.shape, "NHWC")])
    channels = image.shape[-1]
    image, target = _folded(image), _folded(target)
    error = (1.0 - ssim_weight) * l1_error(image, target)
    if ssim_weight > 0:
        error += ssim_weight * ssim_error(image, target, edge)
    error = tf.add_n(tf.split(error, channels, axis=-1)) / channels        # [1, H, W, N]
    return tf.transpose(error, [3, 1, 2, 0])


def _folded(images):
    """All images as the channels of one, [N, H, W, C] -> [1, H, W, C N]: with three channels a CPU
    takes twice the time that it takes with many. A GPU was not measured."""
    folded = tf.transpose(images, [1, 2, 3, 0])                            # [H, W, C, N]
    shape = tf.shape(folded)
    channels = None if images.shape[0] is None else images.shape[0] * images.shape[3]
    return tf.ensure_shape(tf.reshape(folded, [1, shape[0], shape[1], -1]),
                           [1, *images.shape[1:3], channels])


def masked_mean(error, valid):
    """Mean error of the valid pixels of each image.

    Args:
      error: [..., H, W, C].
      valid: [..., H, W, 1] bool, leading axes as `error`; pixels outside it do not count, even
        where their error is not finite.

    Returns: [...]; 0 for an image without a valid pixel. The divisor never falls below a tenth of
    the pixels: the noisy mean of a few pixels would otherwise weigh as much as a whole image.
    Raises: ValueError: if a static shape differs from the above.
    """
    axes = [n or f"axis {i}" for i, n in enumerate(error.shape[:-1])]
    check_shape("valid", valid, [*axes, 1])
    total = tf.reduce_sum(tf.where(valid, error, tf.zeros_like(error)), axis=[-3, -2, -1])
    count = tf.reduce_sum(tf.cast(valid, error.dtype), axis=[-3, -2, -1])
    shape = tf.shape(error)
    pixels = tf.cast(shape[-3] * shape[-2], error.dtype)
    channels = tf.cast(shape[-1], error.dtype)
    return total / (tf.maximum(count, 0.1 * pixels) * channels)
