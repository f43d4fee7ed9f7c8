"""Structural dissimilarity of images, alone and mixed with the absolute difference.

With d = x - y, and over each 3 x 3 window means a of x, b of y, e of d, and variances:

    1 - SSIM = p + q - p q,    p = e^2 / (a^2 + b^2 + C1),  q = var d / (var x + var y + C2).

This is Wang's formula with his two factors written as 1 - p and 1 - q. Nothing in it cancels where
images are alike: of equal ones it is 0, and not rounding, which an automask would take for motion.

Most of a step's losses are this. Its gradient is written out, and on CPUs it is a few programs of
XLA: TensorFlow's kernels take one and a half times as long.

Shape letters: N images, H rows, W columns, C channels. Inside, images are planes, [C, N, H, W].
"""
import tensorflow as tf

from tfdepth.checks import check_choice, check_shape
from tfdepth.tracing import compiled_on_cpus, has_programs, sizes

_C1, _C2 = 0.01**2, 0.03**2  # for images in [0, 1]
EDGES = {"mirror": "REFLECT", "cut": "CONSTANT"}  # what a window at the border sees


def ssim_error(image, other, edge="mirror"):
    """(1 - SSIM) / 2 of each pixel's 3 x 3 window, in [0, 1]; 0 where the windows are equal.

    Args:
      image, other: [N, H, W, C] float32 or float64, C static, H and W at least 3. In [0, 1], or in
        [-1, 1] as GeoNet has it, with the same constants.
      edge: "mirror": beyond the border the images are mirrored. "cut": windows end there.

    Returns: [N, H, W, C], with first derivatives only.
    Raises: ValueError: if the shapes differ from the above. UserError: on an unknown `edge`.
    Source: Wang et al., TIP 2004, eq. 13, with the means over windows of Godard et al., CVPR 2017.
    """
    check_shape("image", image, ["N", "H", "W", "C"])
    check_shape("other", other, [n or letter for n, letter in zip(image.shape, "NHWC")])
    count, height, width, channels = sizes(image)
    alone = lambda images: tf.reshape(                                     # a channel, an image
        _planes(images), [1, channels * count, height, width])
    error = tf.clip_by_value(_planes_error(alone(image), alone(other), 1.0, edge), 0.0, 1.0)
    return tf.transpose(tf.reshape(error, [channels, count, height, width]), [1, 2, 3, 0])


def mixed_error(image, other, ssim_weight, edge="mirror"):
    """ssim_weight (1 - SSIM) / 2 + (1 - ssim_weight) |image - other|, mean over channels.

    Args: image, other: as of `ssim_error`, but with any leading axes: [..., H, W, C]. edge: as
      there. ssim_weight: float.
    Returns: [..., H, W], at least 0 but for rounding, with first derivatives only.
    Raises: ValueError: if there are fewer than 3 rows or columns. UserError: on an unknown `edge`.
      That both have one shape is the caller's to see to.
    """
    error = _planes_error(_planes(image), _planes(other), ssim_weight, edge)
    return tf.reshape(error, sizes(image)[:-1])


def _planes(images):
    """[..., H, W, C] -> [C, N, H, W]. At once: this undoes the last operation of view synthesis,
    which made images of planes, and where both meet TensorFlow leaves out both."""
    axes = range(len(images.shape) - 1)
    planes = tf.transpose(images, [len(axes), *axes])
    channels, *_, height, width = sizes(planes)
    return tf.reshape(planes, [channels, -1, height, width])


def _planes_error(image, other, ssim_weight, edge):
    """`mixed_error` of [C, N, H, W]."""
    check_choice("edge", edge, EDGES)
    ssim_weight = float(ssim_weight)  # a number of NumPy's would be traced as a tensor, of its type
    if any(size is not None and size < 3 for size in image.shape[2:]):
        raise ValueError(f"`image` must have 3 rows and columns at least, got {image.shape[2:]}.")

    @tf.custom_gradient
    def of(image, other):
        image, other = tf.stop_gradient(image), tf.stop_gradient(other)    # see compiled_on_cpus
        error, slope = _error_and_slope(image, other, ssim_weight, edge)
        # It is the same the other way round. In a tf.function the second is computed on demand.
        return error, lambda upstream: (
            slope(upstream), _error_and_slope(other, image, ssim_weight, edge)[1](upstream))

    return of(image, other)


def _error_and_slope(image, other, weight, edge):
    """The error, and a function: gradient of the error -> gradient of the image."""
    difference, other = _padded(image - other, edge), _padded(other, edge)
    # What depends on `other` alone, a tf.function computes once for all images compared with it.
    windows = (*_moments(difference, other, edge), *_mean_and_variance(other, edge))
    inverse = _inverse(*windows)
    error = tf.add_n(tf.unstack(_error(difference, *windows, inverse, weight)))

    def slope(upstream):
        return _gradient(difference, other, *_slopes(*windows, inverse),
                         _to_windows(upstream, weight, edge), upstream, weight, edge)

    return error / image.shape[0], slope


@compiled_on_cpus
def _padded(image, edge):
    """[C, N, H, W] -> [C, N, H + 4, W + 4]: windows of the pixels, and of those one beyond."""
    return tf.pad(image, _border(2), EDGES[edge])


@compiled_on_cpus
def _moments(difference, other, edge):
    """Means over windows of d, d^2 and y d: [C, N, H + 2, W + 2] each, as all of windows below."""
    return tuple(_of_windows(each, edge)
                 for each in (difference, tf.square(difference), other * difference))


@compiled_on_cpus
def _mean_and_variance(other, edge):
    mean = _of_windows(other, edge)
    return mean, _of_windows(tf.square(other), edge) - tf.square(mean)


def _parts(e, square, product, b, variance_y):
    """a, variance of d, and what e^2 and it are divided by, of the outputs of the two above."""
    a = b + e
    variance = square - tf.square(e)
    return (a, variance, tf.square(a) + tf.square(b) + _C1,
            2.0 * (variance_y + (product - b * e)) + variance + _C2)


@compiled_on_cpus
def _inverse(*windows):
    """1 / (m n), of which come 1 / m and 1 / n. By itself: XLA does not repeat divisions, and would
    write their results in between in any case."""
    *_, m, n = _parts(*windows)
    return 1.0 / (m * n)


@compiled_on_cpus
def _error(difference, *arguments):
    """Of each channel, [C, N, H, W]; arguments: windows, inverse, weight."""
    *windows, inverse, weight = arguments
    *windows, inverse = (each[..., 1:-1, 1:-1] for each in (*windows, inverse))
    _, variance, m, n = _parts(*windows)
    square = tf.square(windows[0])
    dissimilarity = (square * (n - variance) + variance * m) * inverse
    return (0.5 * weight) * dissimilarity + (1.0 - weight) * tf.abs(difference[..., 2:-2, 2:-2])


@compiled_on_cpus
def _slopes(*arguments):
    """Derivatives of 1 - SSIM by the means over windows of d, d^2 and y d; arguments: windows,
    inverse."""
    *windows, inverse = arguments
    e, _, _, b, _ = windows
    a, variance, m, n = _parts(*windows)
    by_m, by_n = n * inverse, m * inverse                                  # 1 / m, 1 / n
    p, q = tf.square(e) * by_m, variance * by_n
    by_product = -2.0 * (1.0 - p) * q * by_n
    by_variance = (1.0 - p) * by_n * (1.0 - q)
    by_e = 2.0 * (1.0 - q) * by_m * (e - a * p) - 2.0 * e * by_variance - b * by_product
    return by_e, by_variance, by_product


@compiled_on_cpus
def _to_windows(upstream, weight, edge):
    """What windows get of the gradient of the error [N, H, W]: [N, H + 2, W + 2]."""
    upstream = upstream * (0.5 * weight)
    if edge == "mirror":
        upstream = upstream * _at_border(upstream, 2.0)
    upstream = tf.pad(upstream, _border(1)[1:], EDGES[edge])
    return upstream if edge == "mirror" else upstream * _share(upstream)


@compiled_on_cpus
def _gradient(difference, other, by_e, by_variance, by_product, of_windows, upstream, weight, edge):
    """Of the image, [C, N, H, W], of slopes [C, N, H + 2, W + 2] and upstream [N, H, W]."""
    difference, other = (each[..., 2:-2, 2:-2] for each in (difference, other))
    mean = lambda slope: _window_means(slope * of_windows)
    gradient = mean(by_e) + 2.0 * difference * mean(by_variance) + other * mean(by_product)
    if edge == "mirror":
        gradient = gradient * _at_border(upstream, 0.5)
    gradient += tf.sign(difference) * (upstream * (1.0 - weight))
    return gradient * (1.0 / difference.shape[0])


def _of_windows(padded, edge):
    """Means over what `edge` lets windows see."""
    means = _window_means(padded)
    return means if edge == "mirror" else means * _share(means)


def _window_means(padded):
    """Mean of each 3 x 3 window inside planes: [C, N, H, W] -> [C, N, H - 2, W - 2]."""
    if has_programs():
        rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
        return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) * (1.0 / 9.0)
    channels, count, height, width = sizes(padded)
    planes = tf.reshape(padded, [channels * count, height, width, 1])
    return tf.reshape(tf.nn.avg_pool2d(planes, 3, 1, "VALID"),
                      [channels, count, height - 2, width - 2])


def _share(windows):
    """Padded windows are means over nine pixels; at the border fewer of them count."""
    height, width = sizes(windows)[-2:]
    inside = tf.ones([height - 2, width - 2], windows.dtype)
    return tf.pad(inside * _at_border(inside, 1.5), [[1, 1], [1, 1]])


def _at_border(planes, factor):
    """1, in the outermost rows and columns `factor`, in the corners its square: [H, W].

    With 2 for this, the gradient of a mean over mirrored windows is another such mean: for a
    diagonal matrix D, M^T = D^-1 M D.
    """
    height, width = (tf.pad(tf.ones([size - 2], planes.dtype), [[1, 1]], constant_values=factor)
                     for size in sizes(planes)[-2:])
    return height[:, tf.newaxis] * width


def _border(width):
    return [[0, 0], [0, 0], [width, width], [width, width]]
