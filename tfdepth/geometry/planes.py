"""Planes in front of a camera, one for each patch of an image, and the depth that they have there.

A plane is (x, y, z, d): its unit normal and its distance in metres; a pixel in direction
(u, v, 1) sees it at depth d / (x u + y v + z).

Shape letters: B batch, H rows, W columns of patches.
"""
import numpy as np
import tensorflow as tf

from tfdepth.checks import check_shape


def planes_from_angles(polar, azimuth, distance):
    """Planes from the direction of their normals.

    Args: polar: angle to the optical axis, radians. azimuth: about it, from x to y, radians.
      distance: metres. All of one shape [...].
    Returns: [..., 4].
    Source: Lee et al., From Big to Small, 2019, section 3.3.
    """
    return tf.stack([tf.sin(polar) * tf.cos(azimuth), tf.sin(polar) * tf.sin(azimuth),
                     tf.cos(polar), distance], axis=-1)


def depth_of_patches(planes, patch):
    """Local planar guidance: the depth of every pixel of every patch, from the patch's plane.

    Directions are those within a patch, whatever the camera: (i - (patch - 1) / 2) / patch for its
    pixel i, so that they stay below 1/2.

    Args:
      planes: [B, H, W, 4].
      patch: pixels of a patch's side.

    Returns: [B, H patch, W patch, 1], metres. Where a slope is steep the plane can pass the camera:
      depths are huge, or below 0, and are left so.
    Raises: ValueError: if a static shape differs from the above.
    Source: Lee et al., From Big to Small, 2019, eq. 2.
    """
    check_shape("planes", planes, ["B", "H", "W", 4])
    offsets = tf.constant((np.arange(patch) - (patch - 1) / 2) / patch, planes.dtype)
    x, y, z, distance = (each[:, :, tf.newaxis, :, tf.newaxis]  # 5 axes, the most in TFLite
                         for each in tf.unstack(planes, axis=-1))
    slope = x * offsets + y * offsets[:, tf.newaxis, tf.newaxis] + z       # [B, H, patch, W, patch]
    rows, columns = (side if side is None else side * patch for side in planes.shape[1:3])
    shape = tf.shape(planes)
    depth = tf.reshape(distance / slope, [-1, shape[1] * patch, shape[2] * patch, 1])
    return tf.ensure_shape(depth, [planes.shape[0], rows, columns, 1])
