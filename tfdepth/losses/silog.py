"""Scale-invariant losses of log depth.

Shape letters: B batch, H rows, W columns.
"""
import tensorflow as tf

from tfdepth.checks import check_shape


def silog_loss(depth, true_depth, valid, variance_focus=0.85):
    """mean(g^2) - variance_focus mean(g)^2, g = log depth - log true depth.

    Args:
      depth, true_depth: [B, H, W, 1], metres, > 0 where `valid`.
      valid: [B, H, W, 1] bool; pixels outside it do not count.
      variance_focus: 0 to 1; at 1 the scale of a batch does not matter.

    Returns: scalar, over all valid pixels of the batch together; 0, with a gradient of 0, where
      there is none.
    Raises: ValueError: if the shapes differ from the above.
    Source: Eigen et al., NeurIPS 2014, eq. 4; Niu, A new method for monocular depth estimation,
      eq. 6 (variance_focus is lambda there).
    """
    check_shape("depth", depth, ["B", "H", "W", 1])
    shape = [n or letter for n, letter in zip(depth.shape, "BHW")]
    check_shape("true_depth", true_depth, [*shape, 1])
    check_shape("valid", valid, [*shape, 1])
    one = tf.ones_like(depth)  # where it is not valid: keeps the logarithm's gradient finite
    ratio = tf.math.log(tf.where(valid, depth, one)) - tf.math.log(tf.where(valid, true_depth, one))
    count = tf.maximum(tf.reduce_sum(tf.cast(valid, depth.dtype)), 1.0)
    mean, mean_square = tf.reduce_sum(ratio) / count, tf.reduce_sum(ratio**2) / count
    return mean_square - variance_focus * mean**2


def root_silog_loss(depth, true_depth, valid, variance_focus=0.85):
    """10 times the square root of `silog_loss`, which has the same arguments.

    Where that is 0, so is this, and its gradient.

    Source: Lee et al., From Big to Small, 2019, eqs. 4 and 5.
    """
    square = silog_loss(depth, true_depth, valid, variance_focus)
    positive = square > 0.0  # an infinite slope at 0 would make the gradient NaN
    return tf.where(positive, 10.0 * tf.sqrt(tf.where(positive, square, tf.ones_like(square))), 0.0)
