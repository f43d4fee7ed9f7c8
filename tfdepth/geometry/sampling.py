"""Bilinear sampling of images at pixel coordinates, with validity.

Shape letters: B batch, H rows, W columns, N samples, C channels.
"""
import warnings

import numpy as np
import tensorflow as tf

from tfdepth.checks import check_choice, check_shape
from tfdepth.tracing import on_cpu_kernels

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # of the end of TensorFlow Addons' development
    from tensorflow_addons.image import resampler

BORDERS = ("zeros", "border")

# A sample that lies outside by less than this many machine epsilons of the image's size counts as
# on the border: a border pixel that is projected onto itself misses by about one.
ROUNDING = 4.0


def bilinear_sample(image, pixels, border="zeros"):
    """Samples an image between its pixels.

    Args:
      image: [B, H, W, C], float; H and W static or not.
      pixels: [B, N, 2], (u, v); the centre of the top-left pixel is (0, 0).
      border: what lies beyond the outermost pixel centres. "zeros": nothing; samples there are
        0 at once, without fading. "border": the nearest border pixel. Coordinates that are not
        finite sample 0 either way.

    Returns:
      samples: [B, N, C].
      valid: [B, N] bool, whether the sample lies within the outermost pixel centres, these
        included, up to ROUNDING. Coordinates that are not finite are not valid.

    Raises:
      ValueError: if a static shape differs from the above.
      UserError: on an unknown `border`.

    Gradients reach image and coordinates. Those of coordinates are zero where a sample is not valid
    (with "border": along the clamped axis). Where a coordinate is a whole number they are those of
    the cell to the right (below), at the last pixel of the cell to the left (above).
    Source: Jaderberg et al., Spatial Transformer Networks, NeurIPS 2015, eq. 5.
    """
    check_shape("pixels", pixels, ["B", "N", 2])
    return sample_at(image, *tf.unstack(pixels, axis=-1), border)


def sample_at(image, u, v, border="zeros"):
    """`bilinear_sample` at coordinates in two tensors, [B, N] each."""
    check_shape("image", image, ["B", "H", "W", "C"])
    check_choice("border", border, BORDERS)
    shape = tf.shape(image)
    inside, valid, finite = [], True, True
    for coordinates, size in ((u, shape[2]), (v, shape[1])):
        last = tf.cast(size - 1, u.dtype)
        slack = ROUNDING * np.finfo(u.dtype.as_numpy_dtype).eps * (last + 1.0)
        valid &= (coordinates >= -slack) & (coordinates <= last + slack)   # False for NaN
        finite &= tf.math.is_finite(coordinates)
        inside.append(_clipped(coordinates, last))
    keep = valid if border == "zeros" else finite
    samples = (_sample_fused if on_cpu_kernels() else _sample_gathered)(image, *inside, keep)
    return tf.ensure_shape(samples, [None, u.shape[1], image.shape[-1]]), valid


@tf.custom_gradient
def _clipped(coordinates, last):
    """Coordinates, those outside [0, last] moved to its ends; half the time of tf.clip_by_value."""
    zero = tf.zeros_like(last)
    clipped = tf.raw_ops.ClipByValue(t=coordinates, clip_value_min=zero, clip_value_max=last)

    def gradient(upstream):
        inside = tf.cast(clipped == coordinates, upstream.dtype)           # 0 for NaN
        return tf.math.multiply_no_nan(upstream, inside), None

    return clipped, gradient


def _sample_fused(image, u, v, keep):
    """Samples at coordinates in the image, 0 where not `keep`, by one kernel: on a CPU five times
    as fast as gathering and weighting by separate operations. It exists for CPUs alone."""
    # It fades to 0 beyond the last pixel, so that pixel needs a neighbour to have a gradient.
    return resampler(_extrapolated(image), _places(u, v, keep))


@tf.custom_gradient
def _places(u, v, keep):
    """tf.stack([u, v], axis=-1), where not `keep` a place that the kernel sees nothing at, and
    gives no gradient: [B, N, 2]."""
    # tf.where takes three times as long as this for arrays of one shape.
    u = tf.raw_ops.Select(condition=keep, x=u, y=tf.fill(tf.shape(u), tf.constant(-2.0, u.dtype)))
    # Complex numbers lie in memory as the stack does: a quarter of the time.
    return (tf.bitcast(tf.complex(u, v), u.dtype),
            lambda upstream: (*tf.unstack(upstream, axis=-1), None))


def _sample_gathered(image, u, v, keep):
    """The same by operations that every device has."""
    keep = keep[..., tf.newaxis]                                           # [B, N, 1]
    place = tf.stack([u, v], axis=-1)                                      # [B, N, 2]
    place = tf.where(keep, place, tf.zeros_like(place))
    shape = tf.shape(image)
    # The last pixel belongs to the cell before it, so that it is itself reproduced.
    last_cell = tf.maximum(tf.stack([shape[2], shape[1]]) - 2, 0)
    corner = tf.minimum(tf.floor(place), tf.cast(last_cell, place.dtype))
    weight = place - tf.stop_gradient(corner)                              # [B, N, 2], in [0, 1]
    index = tf.cast(corner, tf.int32)
    index = index[..., 1] * shape[2] + index[..., 0]                       # int32: exact
    cell = tf.gather(_cells(image), index, batch_dims=1)                   # [B, N, 4 C]
    top_left, top_right, bottom_left, bottom_right = tf.split(cell, 4, axis=-1)
    right, down = weight[..., :1], weight[..., 1:]
    top = top_left + right * (top_right - top_left)
    bottom = bottom_left + right * (bottom_right - bottom_left)
    samples = top + down * (bottom - top)
    return tf.where(keep, samples, tf.zeros_like(samples))


def _cells(image):
    """Each pixel with its right, lower and lower right neighbour: [B, H, W, C] -> [B, H W, 4 C].

    One gather of four neighbours is several times faster than four gathers. Missing neighbours at
    the far border repeat the border pixel; they only ever get weight 0.
    """
    right = tf.concat([image[:, :, 1:], image[:, :, -1:]], axis=2)
    down = lambda picture: tf.concat([picture[:, 1:], picture[:, -1:]], axis=1)
    cells = tf.concat([image, right, down(image), down(right)], axis=-1)
    shape = tf.shape(image)
    return tf.reshape(cells, [shape[0], shape[1] * shape[2], 4 * image.shape[-1]])


def _extrapolated(image):
    """One more column and row, in line with the last two: [B, H, W, C] -> [B, H + 1, W + 1, C]."""
    # [-2:][:1] is the last but one, or the last where there is only one.
    image = tf.concat([image, 2.0 * image[:, :, -1:] - image[:, :, -2:][:, :, :1]], axis=2)
    return tf.concat([image, 2.0 * image[:, -1:] - image[:, -2:][:, :1]], axis=1)
