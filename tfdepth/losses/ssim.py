"""Structural dissimilarity of images.

Shape letters: N images, H rows, W columns, C channels.
"""
import tensorflow as tf

from tfdepth.checks import check_choice, check_shape

_C1, _C2 = 0.01**2, 0.03**2  # for images in [0, 1]
EDGES = {"mirror": "REFLECT", "cut": "CONSTANT"}  # what a window at the border sees


def ssim_error(image, other, edge="mirror"):
    """(1 - SSIM) / 2 of each pixel's 3 x 3 window, in [0, 1]; 0 where the windows are equal. The
    losses take `minus_ssim`, and do the rest to the mean over channels.

    Args:
      image, other: [N, H, W, C] float32, H and W at least 2. In [0, 1], or in [-1, 1] as GeoNet
        has it, with the same constants.
      edge: "mirror": beyond the border the images are mirrored. "cut": windows end there.

    Returns: [N, H, W, C].
    Raises: ValueError: if the shapes differ from the above. UserError: on an unknown `edge`.
    Source: Wang et al., TIP 2004, eq. 13, with the means over windows of Godard et al., CVPR 2017.
    """
    check_choice("edge", edge, EDGES)
    check_shape("image", image, ["N", "H", "W", "C"])
    check_shape("other", other, [n or letter for n, letter in zip(image.shape, "NHWC")])
    return tf.clip_by_value(0.5 + minus_ssim(image, other, 0.5, edge), 0.0, 1.0)


def minus_ssim(image, other, weight, edge="mirror"):
    """-weight * SSIM, in [-weight, weight] but for rounding; arguments as of `ssim_error`.

    Its gradient is written out: a third of a step's losses are this, and it takes half the passes
    over memory that automatic differentiation would. With window means a, b, variances and
    covariance: SSIM = l k / (m n), l = 2 a b + C1, k = 2 covariance + C2, m = a^2 + b^2 + C1, n =
    variance of both + C2. What depends on `other` alone, TensorFlow computes once for all images
    that are compared with it.

    In l and k every factor is a power of two: of equal images they round as m and n do, and SSIM is
    1. Another factor, as to spare a pass for the weight, would leave them an error above the noise
    that decides the ties of an automask.
    """
    padding = EDGES[edge]
    means, spread, crop = _window_operations(image, padding)

    @tf.custom_gradient
    def of(image, other):
        image, other = (tf.pad(each, _border(1), padding) for each in (image, other))
        a, b = means(image), means(other)
        square_a, square_b = tf.square(a), tf.square(b)
        twice_other, twice_b = 2.0 * other, 2.0 * b
        product = a * twice_b
        l = product + _C1
        # Constants come last: these differences of nearly equal numbers lose no more digits so.
        k = (means(image * twice_other) - product) + _C2
        m = square_a + (square_b + _C1)
        n = (means(tf.square(image)) - square_a) + ((means(tf.square(other)) - square_b) + _C2)
        factor = -weight / (m * n)
        result = l * k * factor

        def gradient(upstream):
            outer = upstream * factor
            outer_result = outer * (2.0 / weight * result)
            of_product, of_square = spread(outer * l), spread(outer_result * m)
            across, along = outer * (k - l), outer_result * (n - m)

            def by(own, own_mean, twice_another, twice_another_mean):
                return crop(spread(across * twice_another_mean + along * own_mean)
                            + (twice_another * of_product + own * of_square))

            return by(image, a, twice_other, twice_b), by(other, b, 2.0 * image, 2.0 * a)

        return result, gradient

    return of(image, other)


def _window_operations(image, padding):
    """Means of the windows of a padded image, and the gradients of these and of the padding."""
    if padding == "REFLECT":
        return _window_means, _spread, lambda padded: tf.raw_ops.MirrorPadGrad(
            input=padded, paddings=_border(1), mode=padding)
    # Padded windows are means over nine pixels; at the border fewer of them count.
    share = 1.0 / _window_means(tf.pad(tf.ones_like(image[:1, ..., :1]), _border(1)))
    return (lambda padded: _window_means(padded) * share, lambda values: _spread(values * share),
            lambda padded: padded[:, 1:-1, 1:-1])


def _window_means(image):
    """Mean of each 3 x 3 window inside an image: [N, H, W, C] -> [N, H - 2, W - 2, C]."""
    return tf.nn.avg_pool2d(image, 3, 1, "VALID")


def _spread(gradient):
    """The gradient of `_window_means`: what windows get goes to their pixels, a ninth each."""
    return _window_means(tf.pad(gradient, _border(2)))


def _border(width):
    return [[0, 0], [width, width], [width, width], [0, 0]]
