"""Bilinear sampling of images at pixel coordinates, with validity.

Shape letters: B batch, H rows, W columns, N samples, C channels.
"""
import numpy as np
import tensorflow as tf

from tfdepth.checks import check_choice, check_shape
from tfdepth.geometry.selection import select
from tfdepth.tracing import sizes

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
    batch, height, width, channels = sizes(image)
    last = [tf.cast(size - 1, u.dtype) for size in (width, height)]
    valid, finite = True, True
    for coordinates, end in zip((u, v), last):
        slack = ROUNDING * np.finfo(u.dtype.as_numpy_dtype).eps * (end + 1.0)
        valid &= (coordinates >= -slack) & (coordinates <= end + slack)    # False for NaN
        finite &= tf.math.is_finite(coordinates)
    keep = valid if border == "zeros" else finite
    u, v = (_clipped(coordinates, end, keep) for coordinates, end in zip((u, v), last))
    cell, right, down = _places(u, v, keep, height, width)
    polynomials = tf.transpose(tf.gather(_polynomials(image), cell, batch_dims=1), [2, 0, 1])
    polynomials = tf.reshape(polynomials, [4, channels, batch, -1])        # [4, C, B, N]
    return tf.transpose(_values(polynomials, right, down), [1, 2, 0]), valid


@tf.custom_gradient
def _clipped(coordinates, last, keep):
    """Coordinates, those outside [0, last] moved to its ends, 0 where not `keep`. They have a
    gradient only where nothing was moved; half the time of tf.clip_by_value."""
    zero = tf.zeros_like(last)
    clipped = tf.raw_ops.ClipByValue(t=coordinates, clip_value_min=zero, clip_value_max=last)
    clipped = select(keep, clipped, 0.0)

    def gradient(upstream):
        unmoved = keep & (clipped == coordinates) & (last > 0)
        # 0 there whatever comes from above.
        return tf.math.multiply_no_nan(upstream, tf.cast(unmoved, upstream.dtype)), None, None

    return clipped, gradient


def _places(u, v, keep, height, width):
    """Which cell each sample is in, and where in it; the empty cell where not `keep`.

    Args: u, v: [B, N], within the image. keep: [B, N] bool. height, width: of the image.
    Returns: cell [B, N] int32, row-major; right and down [B, N], in [0, 1].
    """
    # The last pixel belongs to the cell before it, so that it is itself reproduced.
    last = lambda size: tf.cast(tf.maximum(size - 2, 0), u.dtype)
    column, row = tf.minimum(tf.floor(u), last(width)), tf.minimum(tf.floor(v), last(height))
    # Integers: a float32 cannot tell numbers above 2^24 from their neighbours.
    cell = tf.cast(row, tf.int32) * width + tf.cast(column, tf.int32)
    return (select(keep, cell, height * width),
            u - tf.stop_gradient(column), v - tf.stop_gradient(row))


@tf.custom_gradient
def _values(polynomials, right, down):
    """Polynomials [4, C, B, N] at places [B, N] in their cells: [C, B, N].

    Channels come first: with three of them last, a CPU takes several times as long.
    """
    start, by_right, by_down, by_both = tf.unstack(polynomials)
    # Both slopes here: what the gradient needs of the polynomials, in half their memory.
    slope_right = by_right + by_both * down
    slope_down = by_down + by_both * right

    def gradient(upstream):
        of_right = upstream * right
        return (tf.stack([upstream, of_right, upstream * down, of_right * down]),
                tf.reduce_sum(upstream * slope_right, axis=0),
                tf.reduce_sum(upstream * slope_down, axis=0))

    return (start + by_right * right) + slope_down * down, gradient


def _polynomials(image):
    """Between four pixels a bilinear function is a + b right + c down + d right down.

    [B, H, W, C] -> [B, (H + 1) W, 4 C]: (a, b, c, d) of the cell right of and below each pixel; an
    empty one follows the image. Those of the last column and row serve images that have no other,
    and there at the pixels alone. Side by side, so that one gather fetches all four.
    """
    batch, _, _, channels = sizes(image)
    planes = tf.transpose(image, [3, 0, 1, 2])
    planes = tf.pad(planes, [[0, 0], [0, 0], [0, 2], [0, 1]])              # [C, B, H + 2, W + 1]
    to_right = planes[..., 1:] - planes[..., :-1]
    below = lambda each: each[..., 1:, :] - each[..., :-1, :]
    polynomials = tf.concat([planes[..., :-1, :-1], to_right[..., :-1, :],
                             below(planes[..., :-1]), below(to_right)], axis=0)
    return tf.transpose(tf.reshape(polynomials, [4 * channels, batch, -1]), [1, 2, 0])
