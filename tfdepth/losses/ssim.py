"""Structural dissimilarity of images.

Shape letters: N images, H rows, W columns, C channels.
"""
import tensorflow as tf

from tfdepth.checks import check_choice, check_shape

_C1, _C2 = 0.01**2, 0.03**2  # for images in [0, 1]
EDGES = {"mirror": "REFLECT", "cut": "CONSTANT"}  # what a window at the border sees


def ssim_error(image, other, edge="mirror"):
    """(1 - SSIM) / 2 of each pixel's 3 x 3 window, in [0, 1]; 0 where the windows are equal.

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
    return _ssim_error(image, other, EDGES[edge])


def _ssim_error(image, other, padding):
    """The same, its gradient written out: with fewer passes over memory than that of automatic
    differentiation it takes three quarters of the time, of what is half of a step's losses."""
    cut = padding == "CONSTANT"
    # Padded windows are means over nine pixels; at the border fewer of them count.
    share = 1.0 / _window_means(tf.pad(tf.ones_like(image[:1, ..., :1]), _border(1))) if cut else 1

    def means(padded):
        return _window_means(padded) * share if cut else _window_means(padded)

    @tf.custom_gradient
    def error_of(image, other):
        image, other = (tf.pad(each, _border(1), padding) for each in (image, other))
        mean, mean_other = means(image), means(other)
        product, square = mean * mean_other, mean**2 + mean_other**2
        likeness = 2.0 * product + _C1
        covariance = 2.0 * (means(image * other) - product) + _C2
        brightness = square + _C1
        variance = means(image**2 + other**2) - square + _C2
        inverse = 1.0 / (brightness * variance)
        ssim = likeness * covariance * inverse

        def gradient(upstream):
            # d ssim = inverse (covariance d likeness + likeness d covariance)
            #          - ssim inverse (variance d brightness + brightness d variance)
            outer = tf.where(tf.abs(ssim) <= 1.0, -0.5 * upstream * inverse, 0.0)
            outer_ssim = outer * ssim
            spread = lambda values: _spread(values * share if cut else values)
            of_product = spread(2.0 * outer * likeness)         # by the mean of image * other
            of_square = spread(-2.0 * outer_ssim * brightness)  # by that of the squares, halved
            across = 2.0 * outer * (covariance - likeness)
            along = 2.0 * outer_ssim * (brightness - variance)

            def by(own, own_mean, another, another_mean):
                total = (spread(another_mean * across + own_mean * along)
                         + another * of_product + own * of_square)
                if cut:
                    return total[:, 1:-1, 1:-1]
                return tf.raw_ops.MirrorPadGrad(input=total, paddings=_border(1), mode=padding)

            return by(image, mean, other, mean_other), by(other, mean_other, image, mean)

        return tf.clip_by_value((1.0 - ssim) / 2.0, 0.0, 1.0), gradient

    return error_of(image, other)


def _window_means(image):
    """Mean of each 3 x 3 window inside an image: [N, H, W, C] -> [N, H - 2, W - 2, C]."""
    return tf.nn.avg_pool2d(image, 3, 1, "VALID")


def _spread(gradient):
    """The gradient of `_window_means`: what windows get goes to their pixels, a ninth each."""
    return _window_means(tf.pad(gradient, _border(2)))


def _border(width):
    return [[0, 0], [width, width], [width, width], [0, 0]]
