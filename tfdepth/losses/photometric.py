"""Photometric errors and how they are averaged.

Shape letters: B batch, H rows, W columns, C channels; leading axes are free.
"""
import tensorflow as tf

from tfdepth.checks import check_choice, check_shape
from tfdepth.losses.ssim import EDGES, minus_ssim
from tfdepth.tracing import on_cpu_kernels, sizes


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

    Returns: [N, H, W, 1], >= 0. A pixel that is not finite may spoil its window in all N.
    Raises: ValueError, UserError: as `ssim_error`.
    Source: Godard et al., ICCV 2019, eq. 2 (alpha = 0.85).
    """
    check_shape("image", image, ["N", "H", "W", "C"])
    check_shape("target", target, [n or letter for n, letter in zip(image.shape, "NHWC")])
    check_choice("edge", edge, EDGES)
    unit = 1.0 - ssim_weight if ssim_weight < 1 else 1.0

    def difference(image, target):
        """Error of each channel, in units of the absolute difference and lower by a constant: what
        is done to all numbers alike waits for their mean, a third of the work."""
        terms = [l1_error(image, target)] if ssim_weight < 1 else []
        if ssim_weight > 0:
            terms.append(minus_ssim(image, target, 0.5 * ssim_weight / unit, edge))
        return tf.add_n(terms)

    if on_cpu_kernels():
        error = _mean_of_folded(difference(_folded(image), _folded(target)), image.shape[-1], unit)
    else:
        error = tf.reduce_mean(difference(image, target), axis=-1, keepdims=True) * unit
    # SSIM is within [-1, 1], but for rounding: then the error is 0, and without a gradient.
    return tf.nn.relu(error + 0.5 * ssim_weight)


def _folded(images):
    """All images as the channels of one, [N, H, W, C] -> [1, H, W, C N]: with three channels a CPU
    takes twice the time that it takes with many. A GPU, which does without, was not measured."""
    count, height, width, channels = sizes(images)
    folded = tf.transpose(images, [1, 2, 3, 0])                            # [H, W, C, N]
    return tf.reshape(folded, [1, height, width, channels * count])


def _mean_of_folded(folded, channels, unit):
    """`unit` times the mean over channels of each folded image: [1, H, W, C N] -> [N, H, W, 1].

    A product with a constant matrix takes a third of the time of sums of slices. Not for GPUs, some
    of which round what they multiply to ten bits of mantissa.
    """
    _, height, width, folded_channels = sizes(folded)
    images = folded_channels // channels
    share = tf.eye(images, dtype=folded.dtype) * (unit / channels)
    share = tf.tile(share, [channels, 1])                                  # [C N, N]
    pixels = tf.reshape(folded, [-1, folded_channels])
    mean = tf.matmul(share, pixels, transpose_a=True, transpose_b=True)
    return tf.reshape(mean, [images, height, width, 1])


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
