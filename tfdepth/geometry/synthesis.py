"""View synthesis: the target view made from a source view, the target's depth and the motion.

Shape letters: B batch, S sources, H rows, W columns, C channels.
"""
from typing import NamedTuple

import tensorflow as tf

from tfdepth.checks import check_shape
from tfdepth.geometry import camera
from tfdepth.geometry.products import matmul
from tfdepth.geometry.sampling import sample_at
from tfdepth.tracing import sizes


class SynthesizedViews(NamedTuple):
    """The target view as each source shows it."""
    images: tf.Tensor    # [B, S, H, W, C]  values of the sources, seen from the target
    valid: tf.Tensor     # [B, S, H, W, 1]  bool, the pixel's point lies in the source's picture


def synthesize_target(sources, depth, intrinsics, source_from_target, border="zeros"):
    """Warps every source to the target: samples it where the target's points appear in it.

    p_source ~ K T D(p) K^-1 p for every pixel p of the target.

    Args:
      sources: [B, S, H, W, C] images.
      depth: [B, H, W, 1] depth of the target along its optical axis, any unit.
      intrinsics: [B, 3, 3], pixels of H x W, the same for target and sources.
      source_from_target: [B, S, 4, 4], rigid transforms in the unit of `depth`.
      border: "zeros" or "border", see `bilinear_sample`.

    Returns: SynthesizedViews. Pixels whose point lies behind the source's camera are not valid.

    Raises:
      ValueError: if a static shape differs from the above.
      UserError: on an unknown `border`.

    Source: Zhou et al., CVPR 2017, eq. 2.
    """
    check_shape("sources", sources, ["B", "S", "H", "W", "C"])
    height, width = (n or letter for n, letter in zip(sources.shape[2:4], "HW"))
    check_shape("depth", depth, ["B", height, width, 1])
    check_shape("intrinsics", intrinsics, ["B", 3, 3])
    check_shape("source_from_target", source_from_target, ["B", "S", 4, 4])
    u, v, _ = source_pixels(depth, intrinsics, source_from_target)  # outside where not in front
    shape = sizes(sources)
    flat = lambda tensor: tf.reshape(tensor, [shape[0] * shape[1], shape[2] * shape[3]])
    images, valid = sample_at(
        tf.reshape(sources, [shape[0] * shape[1], *shape[2:]]), flat(u), flat(v), border)
    return SynthesizedViews(tf.reshape(images, shape), tf.reshape(valid, [*shape[:4], 1]))


def source_pixels(depth, intrinsics, source_from_target):
    """Where the points that the target sees appear in each source.

    Args: as `synthesize_target`.

    Returns: u, v and in_front, [B, S, H, W] each: pixels in each source, outside every image where
      the point does not lie before the source's camera, bool in_front.
    """
    batch, height, width, _ = sizes(depth)
    across = tf.range(width, dtype=depth.dtype)                            # [W]
    down = tf.range(height, dtype=depth.dtype)[:, tf.newaxis]              # [H, 1]
    camera_matrix = intrinsics[:, tf.newaxis]                              # [B, 1, 3, 3]
    # K (R d K^-1 p + t) = d (K R K^-1) p + K t, without 3-D points. Row by row, and (1, u) apart
    # from v, this is a handful of passes over the pixels; and no matrix product, see `matmul`.
    projection = matmul(camera_matrix, source_from_target[..., :3, :])     # [B, S, 3, 4], K (R | t)
    homography = matmul(projection[..., :3], camera.inverse_intrinsics(camera_matrix))
    rows = tf.concat([homography, projection[..., 3:]], axis=-1)           # [B, S, 3, 4]
    coefficients = tf.unstack(tf.reshape(rows, [batch, -1, 1, 1, 12]), axis=-1)
    depth = tf.reshape(depth, [batch, 1, height, width])
    points = []
    for of_u, of_v, of_one, shift in (
            coefficients[:4], coefficients[4:8], coefficients[8:]):        # [B, S, 1, 1] each
        points.append((of_u * across + (of_v * down + of_one)) * depth + shift)
    return camera.divide_by_depth(*points)
