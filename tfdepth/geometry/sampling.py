"""Bilinear sampling of images at pixel coordinates, with validity.

Shape letters: B batch, H rows, W columns, N samples, C channels.
"""
import warnings

import numpy as np
import tensorflow as tf

from tfdepth.checks import check_choice, check_shape

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
        inside.append(tf.clip_by_value(coordinates, 0.0, last))
    beyond = tf.constant(-2.0, u.dtype)  # where the resampler sees nothing
    inside[0] = tf.where(valid if border == "zeros" else finite, inside[0], beyond)
    # One fused kernel, six times as fast as gathering and weighting by separate operations. It
    # fades to 0 beyond the last pixel, so that pixel needs a neighbour to have a gradient there.
    samples = resampler(_extrapolated(image), tf.stack(inside, axis=-1))
    return tf.ensure_shape(samples, [None, u.shape[1], image.shape[-1]]), valid


def _extrapolated(image):
    """One more column and row, in line with the last two: [B, H, W, C] -> [B, H + 1, W + 1, C]."""
    # [-2:][:1] is the last but one, or the last where there is only one.
    image = tf.concat([image, 2.0 * image[:, :, -1:] - image[:, :, -2:][:, :, :1]], axis=2)
    return tf.concat([image, 2.0 * image[:, -1:] - image[:, -2:][:, :1]], axis=1)
