"""What the errors of several synthesised views make together: minimum, mean and automask.

Shape letters: B batch, S sources, H rows, W columns.
"""
import functools

import tensorflow as tf

from tfdepth.checks import check_choice, check_shape

REDUCTIONS = ("minimum", "mean")


def reprojection_error(errors, identity_errors=None, reduction="minimum"):
    """Error of each pixel over all sources; pixels that do not move are masked.

    Args:
      errors: [B, S, H, W, 1], of the warped sources.
      identity_errors: the same of the sources as they are, or None: no automask. Where the
        smallest of these is the smallest of all, the pixel keeps it, and without a gradient it does
        not train: it looks as if it stood still. At a tie it does not train.
      reduction: over sources: "minimum", so that a source in which the pixel is hidden does not
        count, or "mean".

    Returns:
      error: [B, H, W, 1].
      trains: [B, H, W, 1] bool, False where the automask holds.
    Raises: ValueError: on other shapes. UserError: on an unknown `reduction`.
    Source: Godard et al., ICCV 2019, eqs. 4 and 5 (masked pixels keep their constant error, as the
      released implementation has it).
    """
    check_choice("reduction", reduction, REDUCTIONS)
    check_shape("errors", errors, ["B", "S", "H", "W", 1])
    error = _reduce(errors, reduction)
    if identity_errors is None:
        return error, tf.ones_like(error, tf.bool)
    check_shape("identity_errors", identity_errors, ["B", "S", "H", "W", 1])
    identity = tf.stop_gradient(_reduce(identity_errors, reduction))
    return _smaller(error, identity)


def tie_breaking_noise(num_sources, height, width, scale=1e-5):
    """Normal noise for identity errors, [1, num_sources, height, width, 1], the same at every call.

    Where camera and scene stand still both errors are equal up to rounding; this decides such
    pixels either way, and the loss stays a function of its batch, so that runs can be repeated.

    Source: Godard et al., ICCV 2019 (the released implementation draws it anew at each step).
    """
    return scale * tf.random.stateless_normal(
        [1, num_sources, height, width, 1], seed=[0, 7], alg="philox")  # of XLA and GPUs too


def _reduce(errors, reduction):
    """[B, S, H, W, 1] -> [B, H, W, 1]."""
    if reduction == "mean":
        return tf.reduce_mean(errors, axis=1)
    return functools.reduce(lambda one, other: _smaller(other, one)[0], tf.unstack(errors, axis=1))


@tf.custom_gradient
def _smaller(one, other):
    """The smaller of two tensors of one shape, and where it is `one`; at a tie it is `other`. What
    is not a number stays so, and is seen in the loss.

    tf.minimum's gradient takes three times as long on a CPU.
    """
    smaller, is_one = tf.minimum(one, other), one < other

    def gradient(upstream, _):
        of_one = upstream * tf.cast(is_one, upstream.dtype)
        return of_one, upstream - of_one

    return (smaller, is_one), gradient
