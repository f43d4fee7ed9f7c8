"""Bilinear sampling of images at pixel coordinates, with validity.

Shape letters: B batch, H rows, W columns, N samples, C channels.
"""
import numpy as np
import tensorflow as tf

from tfdepth.checks import check_choice, check_shape
from tfdepth.geometry.selection import select
from tfdepth.tracing import compiled_on_cpus, sizes, without_programs

BORDERS = ("zeros", "border")

# A sample that lies outside by less than this many machine epsilons of the image's size counts as
# on the border: a border pixel that is projected onto itself misses by about one.
ROUNDING = 4.0


def bilinear_sample(image, pixels, border="zeros"):
    """Samples an image between its pixels.

    Args:
      image: [B, H, W, C], float; C static.
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

    First derivatives reach image and coordinates. Those of coordinates are zero where a sample is
    not valid (with "border": along the clamped axis). Where a coordinate is a whole number they are
    those of the cell to the right (below), at the last pixel of the cell to the left (above).
    Source: Jaderberg et al., Spatial Transformer Networks, NeurIPS 2015, eq. 5.
    """
    check_shape("pixels", pixels, ["B", "N", 2])
    samples, valid = sample_planes(image, *tf.unstack(pixels, axis=-1), border)
    return tf.transpose(samples, [1, 2, 0]), valid


def sample_planes(image, u, v, border="zeros"):
    """`bilinear_sample` at coordinates u and v of any number of axes.

    Args: image, border: as there. u, v: [B, ...] each, of the image's type.
    Returns: samples, channels first, [C, B, ...]; valid [B, ...].
    Raises: as there.
    """
    check_shape("image", image, ["B", "H", "W", "C"])
    check_choice("border", border, BORDERS)
    _, height, width, _ = sizes(image)
    cell, right, down, valid = _places(u, v, height, width, border)
    polynomials = tf.gather(_polynomials(image), cell, batch_dims=1)       # [B, ..., 4 C]
    axes = range(len(u.shape))
    return _values(tf.transpose(polynomials, [len(axes), *axes]), right, down), valid


def _places(u, v, height, width, border):
    """Which cell each sample is in, and where in it; the empty cell for what samples 0.

    Args: u, v: [B, ...]. height, width: of the image.
    Returns: cell int32, row-major; right and down, in [0, 1]; valid; each like `u`.
    """
    @tf.custom_gradient
    def of(u, v):
        *places, moves_u, moves_v = _places_and_moves(
            tf.stop_gradient(u), tf.stop_gradient(v), height, width, border)
        return places, lambda _, of_right, of_down, __: (
            select(moves_u, of_right, 0.0), select(moves_v, of_down, 0.0))

    return of(u, v)


@compiled_on_cpus
def _places_and_moves(u, v, height, width, border):
    """`_places`, and where a sample moves along with its coordinate: u, v."""
    valid, finite = True, True
    for coordinates, size in ((u, width), (v, height)):
        end = tf.cast(size - 1, u.dtype)
        slack = ROUNDING * np.finfo(u.dtype.as_numpy_dtype).eps * (end + 1.0)
        valid &= (coordinates >= -slack) & (coordinates <= end + slack)    # False for NaN
        finite &= tf.math.is_finite(coordinates)
    keep = valid if border == "zeros" else finite
    firsts, within, moves = [], [], []
    for coordinates, size in ((u, width), (v, height)):
        end = tf.cast(size - 1, u.dtype)
        clipped = tf.minimum(tf.maximum(select(keep, coordinates, 0.0), 0.0), end)
        # The last pixel belongs to the cell before it, so that it is itself reproduced.
        first = tf.minimum(tf.floor(clipped), tf.maximum(end - 1.0, 0.0))
        firsts.append(tf.cast(first, tf.int32))
        within.append(clipped - first)
        moves.append(keep & (clipped == coordinates) & (end > 0))
    # Integers: a float32 cannot tell numbers above 2^24 from their neighbours.
    cell = select(keep, firsts[1] * width + firsts[0], height * width)
    return cell, *within, valid, *moves


@tf.custom_gradient
def _values(polynomials, right, down):
    """Polynomials [4 C, B, ...] at places [B, ...] in their cells: [C, B, ...].

    Channels come first: with three of them last, a CPU takes several times as long.
    """
    given = [tf.stop_gradient(each) for each in (polynomials, right, down)]
    return _interpolated(*given), lambda upstream: (
        _of_polynomials(upstream, *given[1:]), *_of_places(upstream, *given))


@compiled_on_cpus
def _interpolated(polynomials, right, down):
    start, by_right, by_down, by_both = tf.split(polynomials, 4)
    return (start + by_right * right) + (by_down + by_both * right) * down


@compiled_on_cpus
def _of_polynomials(upstream, right, down):
    of_right = upstream * right
    return tf.concat([upstream, of_right, upstream * down, of_right * down], axis=0)


@compiled_on_cpus
def _of_places(upstream, polynomials, right, down):
    """Gradients of `_interpolated` by right and down."""
    _, by_right, by_down, by_both = tf.split(polynomials, 4)
    over_channels = lambda planes: tf.add_n(tf.unstack(planes))  # XLA's sums take twice the time
    return (over_channels(upstream * (by_right + by_both * down)),
            over_channels(upstream * (by_down + by_both * right)))


@tf.custom_gradient
def _polynomials(image):
    """Between four pixels a bilinear function is a + b right + c down + d right down.

    [B, H, W, C] -> [B, (H + 1) W, 4 C]: (a, b, c, d) of the cell right of and below each pixel; an
    empty one follows the image. Those of the last column and row serve images that have no other,
    and there at the pixels alone. Side by side, so that one gather fetches all four.
    """
    def gradient(upstream):  # few images have one: theirs is that of TensorFlow's kernels
        again = tf.stop_gradient(image)
        with without_programs(), tf.GradientTape() as tape:
            tape.watch(again)
            polynomials = _differences(again)
        return tape.gradient(polynomials, again, upstream)

    return _differences(tf.stop_gradient(image)), gradient


@compiled_on_cpus
def _differences(image):
    """[B, H, W, C] -> [B, (H + 1) W, 4 C]."""
    batch, _, _, channels = sizes(image)
    image = tf.pad(image, [[0, 0], [0, 2], [0, 1], [0, 0]])                # [B, H + 2, W + 1, C]
    to_right = image[:, :, 1:] - image[:, :, :-1]
    below = lambda each: each[:, 1:] - each[:, :-1]
    polynomials = tf.concat([image[:, :-1, :-1], to_right[:, :-1],
                             below(image[:, :, :-1]), below(to_right)], axis=-1)
    return tf.reshape(polynomials, [batch, -1, 4 * channels])
