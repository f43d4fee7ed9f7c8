"""Rotation matrices from the three parameterisations that published systems use.

All functions take and give any leading axes. Column vectors: `rotation @ point`. Angles are in
radians. Every function is differentiable everywhere; gradients are finite at zero rotation.
"""
import contextlib
import functools
import inspect

import tensorflow as tf

from tfdepth.checks import check_shape
from tfdepth.geometry.products import matmul


@contextlib.contextmanager
def _stack_without_source():
    """TensorFlow Graphics, as it is imported, looks for the caller of each of its modules by
    inspect.stack(), which reads the source of all frames: four seconds, without which it finds the
    same."""
    whole = inspect.stack
    inspect.stack = functools.partial(whole, 0)
    try:
        yield
    finally:
        inspect.stack = whole


with _stack_without_source():
    from tensorflow_graphics.geometry.transformation import rotation_matrix_3d


def from_euler_xyz(angles):
    """Rotation Rx(a) Ry(b) Rz(c): the rotation about z acts first.

    Args:
      angles: [..., 3], (a, b, c) about the x, y and z axis, radians.

    Returns: [..., 3, 3].
    Raises: ValueError: if the last axis is not 3.
    Source: Zhou et al., CVPR 2017 (the order of its released implementation).
    """
    check_shape("angles", angles, ["...", 3])
    # TensorFlow Graphics composes Rz Ry Rx; the transpose of that order at the negated angles is
    # Rx Ry Rz.
    return tf.linalg.matrix_transpose(rotation_matrix_3d.from_euler(-angles))


def from_axis_angle(axis_angle):
    """Rotation about the vector `axis_angle` by its length (Rodrigues' formula).

    Args:
      axis_angle: [..., 3], radians; zero is the identity.

    Returns: [..., 3, 3].
    Raises: ValueError: if the last axis is not 3.
    Source: Rodrigues' formula R = I + (sin t / t) [v]x + ((1 - cos t) / t^2) [v]x^2, t = |v|.
    """
    check_shape("axis_angle", axis_angle, ["...", 3])
    # Both quotients are smooth functions of t^2; near zero their Taylor series replace them, and
    # the inner `where` keeps the unused branch from sending NaN into the gradient.
    square = tf.reduce_sum(axis_angle**2, axis=-1)[..., tf.newaxis, tf.newaxis]
    small = square < 1e-6
    safe = tf.where(small, tf.ones_like(square), square)
    angle = tf.sqrt(safe)
    sine_quotient = tf.where(small, 1.0 - square / 6.0, tf.sin(angle) / angle)
    # 2 sin^2(t/2) is 1 - cos t without its cancellation.
    cosine_quotient = tf.where(small, 0.5 - square / 24.0, 2.0 * tf.sin(angle / 2.0)**2 / safe)
    cross = _cross_product_matrix(axis_angle)
    identity = tf.eye(3, dtype=axis_angle.dtype)
    return identity + sine_quotient * cross + cosine_quotient * matmul(cross, cross)


def from_quaternion(quaternion_wxyz):
    """Rotation of a quaternion (w, x, y, z) of any non-zero length.

    Args:
      quaternion_wxyz: [..., 4]; normalised here. Its negative is the same rotation.

    Returns: [..., 3, 3].
    Raises: ValueError: if the last axis is not 4.
    Source: Hamilton's convention, as in Hartley and Zisserman, 2nd ed., appendix A4.3.3.
    """
    check_shape("quaternion_wxyz", quaternion_wxyz, ["...", 4])
    unit = quaternion_wxyz / tf.norm(quaternion_wxyz, axis=-1, keepdims=True)
    return rotation_matrix_3d.from_quaternion(tf.roll(unit, shift=-1, axis=-1))  # to x, y, z, w


def _cross_product_matrix(vector):
    """[v]x, the matrix with [v]x p = v x p: [..., 3] -> [..., 3, 3]."""
    x, y, z = tf.unstack(vector, axis=-1)
    zero = tf.zeros_like(x)
    rows = [tf.stack([zero, -z, y], -1), tf.stack([z, zero, -x], -1), tf.stack([-y, x, zero], -1)]
    return tf.stack(rows, axis=-2)
