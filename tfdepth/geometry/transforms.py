"""Rigid transforms: 4x4 matrices on column vectors, named `b_from_a`.

`b_from_a` maps points of frame a to frame b, so in a product inner names meet:
c_from_a = c_from_b @ b_from_a. All functions take any leading axes.
"""
import tensorflow as tf

from tfdepth.checks import check_shape
from tfdepth.geometry import rotations
from tfdepth.geometry.products import matmul


def from_rotation_translation(rotation, translation):
    """The transform p -> rotation p + translation.

    Args:
      rotation: [..., 3, 3].
      translation: [..., 3], any length unit.

    Returns: [..., 4, 4].
    Raises: ValueError: if the last axes differ from the above.
    """
    check_shape("rotation", rotation, ["...", 3, 3])
    check_shape("translation", translation, ["...", 3])
    top = tf.concat([rotation, translation[..., tf.newaxis]], axis=-1)            # [..., 3, 4]
    bottom = tf.zeros_like(top[..., :1, :]) + tf.constant([0, 0, 0, 1], top.dtype)
    return tf.concat([top, bottom], axis=-2)


def from_translation_euler(vector):
    """The transform of SfMLearner's pose vector.

    Args:
      vector: [..., 6], (tx, ty, tz, rx, ry, rz): translation, then Euler angles in radians.
        Angles outside [-pi, pi] are clipped to it, as published, not wrapped.

    Returns: [..., 4, 4], rotation Rx Ry Rz.
    Raises: ValueError: if the last axis is not 6.
    Source: Zhou et al., CVPR 2017, eq. 2 (parameterisation of the released implementation).
    """
    check_shape("vector", vector, ["...", 6])
    pi = 3.141592653589793
    angles = tf.clip_by_value(vector[..., 3:], -pi, pi)
    return from_rotation_translation(rotations.from_euler_xyz(angles), vector[..., :3])


def inverse(b_from_a):
    """a_from_b, from the transpose of the rotation: exact for rigid transforms, never singular.

    Args: b_from_a: [..., 4, 4].
    Returns: [..., 4, 4].
    Raises: ValueError: if the last axes are not 4 x 4.
    """
    check_shape("b_from_a", b_from_a, ["...", 4, 4])
    rotation = tf.linalg.matrix_transpose(b_from_a[..., :3, :3])
    translation = -matmul(rotation, b_from_a[..., :3, 3:])                         # [..., 3, 1]
    return from_rotation_translation(rotation, translation[..., 0])


def transform_points(b_from_a, points_a):
    """Maps points from frame a to frame b.

    Args:
      b_from_a: [..., 4, 4].
      points_a: [..., N, 3], the same leading axes.

    Returns: [..., N, 3], points in frame b.
    Raises: ValueError: if the last axes differ from the above.
    """
    check_shape("b_from_a", b_from_a, ["...", 4, 4])
    check_shape("points_a", points_a, ["...", "N", 3])
    rotation, translation = b_from_a[..., :3, :3], b_from_a[..., :3, 3]
    rotated = matmul(points_a, tf.linalg.matrix_transpose(rotation))               # [..., N, 3]
    return rotated + translation[..., tf.newaxis, :]
