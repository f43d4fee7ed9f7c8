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
    d_x = disparity[:, :, 1:] - disparity[:, :, :-1]
    d_y = disparity[:, 1:] - disparity[:, :-1]
    d_xx = d_x[:, :, 1:] - d_x[:, :, :-1]
    d_yy = d_y[:, 1:] - d_y[:, :-1]
    d_xy = d_x[:, 1:] - d_x[:, :-1]  # equals d_yx, which the sum counts too
    mean = lambda difference: tf.reduce_mean(tf.abs(difference), axis=[1, 2, 3])
    return mean(d_xx) + 2.0 * mean(d_xy) + mean(d_yy)
