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
    along_x = lambda picture: tf.abs(picture[..., 1:] - picture[..., :-1])
    along_y = lambda picture: tf.abs(picture[..., 1:, :] - picture[..., :-1, :])
    total = 0.0
    for difference in (along_x, along_y):
        edges = tf.reduce_mean(difference(image), axis=0)                  # [B, H, W], one less
        total += tf.reduce_mean(difference(disparity)[0] * tf.exp(-edges), axis=[1, 2])
    return total


def mean_normalized(disparity):
    """Disparity over its mean in each image, [B, H, W, 1]: smoothness cannot shrink it then.

    Source: Wang et al., CVPR 2018, section 3.2; Godard et al., ICCV 2019, eq. 3.
    """
    return disparity / (tf.reduce_mean(disparity, axis=[1, 2], keepdims=True) + 1e-7)
