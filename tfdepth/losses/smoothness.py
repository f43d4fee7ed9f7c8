"""Smoothness of disparity maps.

Shape letters: B batch, H rows, W columns.
"""
import tensorflow as tf

from tfdepth.checks import check_shape


def second_order_smoothness(disparity):
    """Mean absolute second differences of each map, in all four orders of the axes.

    Args:
      disparity: [B, H, W, 1], H and W at least 3.

    Returns: [B], mean|d_xx| + mean|d_xy| + mean|d_yx| + mean|d_yy|, each over its own array.
    Raises: ValueError: if the shape differs from the above.
    Source: Zhou et al., CVPR 2017, section 3.1 (L_smooth; form of the released implementation).
    """
    check_shape("disparity", disparity, ["B", "H", "W", 1])
    d_x, d_y = _differences(disparity, 2), _differences(disparity, 1)
    d_xx, d_yy = _differences(d_x, 2), _differences(d_y, 1)
    d_xy = _differences(d_x, 1)  # equals d_yx, which the sum counts too
    mean = lambda difference: tf.reduce_mean(tf.abs(difference), axis=[1, 2, 3])
    return mean(d_xx) + 2.0 * mean(d_xy) + mean(d_yy)


def edge_aware_smoothness(disparity, image):
    """Mean absolute first differences of each map, less where the image has edges.

    Args:
      disparity: [B, H, W, 1].
      image: [B, H, W, C], the picture that the map belongs to; in [-1, 1] its edges count twice
        what they do in [0, 1].

    Returns: [B], mean(|d_x| exp(-|I_x|)) + mean(|d_y| exp(-|I_y|)), |I_x| the mean over channels.
    Raises: ValueError: if the shapes differ from the above.
    Source: Godard et al., ICCV 2019, eq. 3.
    """
    check_shape("disparity", disparity, ["B", "H", "W", 1])
    height, width = (n or letter for n, letter in zip(disparity.shape[1:3], "HW"))
    check_shape("image", image, ["B", height, width, "C"])
    # Channels first: on a CPU three numbers side by side take several times as long.
    disparity, image = (tf.transpose(each, [3, 0, 1, 2]) for each in (disparity, image))
    total = 0.0
    for axis in (3, 2):
        edges = tf.reduce_mean(tf.abs(_differences(image, axis)), axis=0)  # [B, H, W], one less
        steps = tf.abs(_differences(disparity, axis))[0]
        total += tf.reduce_mean(steps * tf.exp(-edges), axis=[1, 2])
    return total


def mean_normalized(disparity):
    """Disparity over its mean in each image, [B, H, W, 1]: smoothness cannot shrink it then.

    Source: Wang et al., CVPR 2018, section 3.2; Godard et al., ICCV 2019, eq. 3.
    """
    return disparity / (tf.reduce_mean(disparity, axis=[1, 2], keepdims=True) + 1e-7)


def _differences(array, axis):
    """Each element's successor along an axis minus itself: one fewer.

    The gradient is written out: that of a slice takes five times as long on a CPU.
    """
    rank = len(array.shape)
    cut = lambda begin, end: tuple([slice(None)] * axis + [slice(begin, end)])

    @tf.custom_gradient
    def differ(array):
        def gradient(upstream):
            shifted = [tf.pad(upstream, [width if each == axis else [0, 0] for each in range(rank)])
                       for width in ([1, 0], [0, 1])]
            return shifted[0] - shifted[1]
        return array[cut(1, None)] - array[cut(None, -1)], gradient

    return differ(array)
