"""Structural dissimilarity of images.

Shape letters: N images, H rows, W columns, C channels.
"""
import tensorflow as tf

from tfdepth.checks import check_shape

_C1, _C2 = 0.01**2, 0.03**2  # for images in [0, 1]


def ssim_error(image, other):
    """(1 - SSIM) / 2 of each pixel's 3 x 3 window, in [0, 1]; 0 where the windows are equal.

    Args: image, other: [N, H, W, C] float32 in [0, 1], H and W at least 2. Beyond the border the
      images are mirrored.

    Returns: [N, H, W, C].
    Raises: ValueError: if the shapes differ from the above.
    Source: Wang et al., TIP 2004, eq. 13, with the means over windows of Godard et al., CVPR 2017.
    """
    check_shape("image", image, ["N", "H", "W", "C"])
    check_shape("other", other, [n or letter for n, letter in zip(image.shape, "NHWC")])
    mean, mean_other = _window_mean(image), _window_mean(other)
    product, square = mean * mean_other, mean**2 + mean_other**2
    covariance = _window_mean(image * other) - product
    variances = _window_mean(image**2 + other**2) - square
    similarity = (2.0 * product + _C1) * (2.0 * covariance + _C2)
    ssim = similarity / ((square + _C1) * (variances + _C2))
    return tf.clip_by_value((1.0 - ssim) / 2.0, 0.0, 1.0)


def _window_mean(image):
    """Mean of 3 x 3 windows, the image mirrored beyond its border: [N, H, W, C]."""
    return _pool(tf.pad(image, _border(1), "REFLECT"))


@tf.custom_gradient
def _pool(image):
    """Mean of the 3 x 3 windows inside an image."""
    # The gradient of a mean over windows is a mean over windows: as TensorFlow computes it on a
    # CPU it takes nine times as long as the mean itself.
    mean = lambda picture: tf.nn.avg_pool2d(picture, 3, 1, "VALID")
    return mean(image), lambda gradient: mean(tf.pad(gradient, _border(2)))


def _border(width):
    return [[0, 0], [width, width], [width, width], [0, 0]]
