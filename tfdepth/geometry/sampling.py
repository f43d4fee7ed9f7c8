"""Bilinear sampling of images at pixel coordinates, with validity.

Shape letters: B batch, H rows, W columns, N samples, C channels.
"""
import numpy as np
import tensorflow as tf

from tfdepth.checks import check_choice, check_shape

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
        0 at once, without fading. "border": the nearest border pixel; the top-left pixel for
        coordinates that are not finite.

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
    check_shape("image", image, ["B", "H", "W", "C"])
    check_shape("pixels", pixels, ["B", "N", 2])
    check_choice("border", border, BORDERS)
    shape = tf.shape(image)
    height, width = shape[1], shape[2]
    last = tf.cast(tf.stack([width, height]) - 1, pixels.dtype)            # [2]
    slack = ROUNDING * np.finfo(pixels.dtype.as_numpy_dtype).eps * (last + 1.0)
    valid = tf.reduce_all((pixels >= -slack) & (pixels <= last + slack), axis=-1)  # False for NaN
    # Coordinates are brought inside before any arithmetic: far outside, weights would be huge
    # numbers that cancel only approximately, and an index would overflow.
    keep = valid if border == "zeros" else tf.reduce_all(tf.math.is_finite(pixels), axis=-1)
    inside = tf.where(keep[..., tf.newaxis], pixels, tf.zeros_like(pixels))
    inside = tf.clip_by_value(inside, tf.zeros_like(last), last)
    # The last pixel belongs to the cell before it, so that it is itself reproduced.
    corner = tf.clip_by_value(tf.floor(inside), tf.zeros_like(last), tf.maximum(last - 1.0, 0.0))
    weight = inside - tf.stop_gradient(corner)                             # [B, N, 2], in [0, 1]
    index = tf.cast(corner, tf.int32)
    index = index[..., 1] * width + index[..., 0]                          # int32: exact
    cells = _cells(image)                                                  # [B, H * W, 4 C]
    cell = tf.gather(cells, index, batch_dims=1)                           # [B, N, 4 C]
    top_left, top_right, bottom_left, bottom_right = tf.split(cell, 4, axis=-1)
    right, down = weight[..., :1], weight[..., 1:]
    top = top_left + right * (top_right - top_left)
    bottom = bottom_left + right * (bottom_right - bottom_left)
    samples = top + down * (bottom - top)
    if border == "zeros":
        samples = tf.where(valid[..., tf.newaxis], samples, tf.zeros_like(samples))
    return samples, valid


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
