"""Photometric errors and how they are averaged.

Shape letters: B batch, H rows, W columns, C channels; leading axes are free.
"""
import tensorflow as tf

from tfdepth.checks import check_choice, check_shape
from tfdepth.losses.ssim import EDGES, mixed_error
from tfdepth.tracing import sizes


def l1_error(image, other):
    """Absolute difference of two images that broadcast: [..., H, W, C] -> [..., H, W, C]."""
    return tf.abs(image - other)


def photometric_error(image, target, ssim_weight=0.85, edge="mirror"):
    """Weighted sum of structural and absolute difference, mean over channels.

    Args:
      image: [..., H, W, C] float32 or float64, C static, in [0, 1], or in [-1, 1] as `ssim_error`
        says.
      target: like `image`.
      ssim_weight: share of SSIM; 0 leaves the absolute difference.
      edge: of SSIM's windows, see `ssim_error`.

    Returns: [..., H, W, 1], >= 0, with first derivatives only.
    Raises: ValueError, UserError: as `ssim_error`.
    Source: Godard et al., ICCV 2019, eq. 2 (alpha = 0.85).
    """
    check_shape("image", image, ["...", "H", "W", "C"])
    check_shape("target", target, [n or f"axis {k}" for k, n in enumerate(image.shape)])
    check_choice("edge", edge, EDGES)
    if ssim_weight > 0:
        error = tf.expand_dims(mixed_error(image, target, ssim_weight, edge), -1)
    else:
        error = tf.reduce_mean(l1_error(image, target), axis=-1, keepdims=True)
    return tf.nn.relu(error)  # below 0 by rounding only


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
    total = tf.reduce_sum(error, axis=-1, keepdims=True)
    total = tf.reduce_sum(tf.where(valid, total, tf.zeros_like(total)), axis=[-3, -2, -1])
    count = tf.reduce_sum(tf.cast(valid, error.dtype), axis=[-3, -2, -1])
    *_, height, width, channels = sizes(error)
    least = 0.1 * tf.cast(height * width, error.dtype)
    return total / (tf.maximum(count, least) * tf.cast(channels, error.dtype))
