"""View synthesis: the target view made from a source view, the target's depth and the motion.

Shape letters: B batch, S sources, H rows, W columns, C channels.
"""
from typing import NamedTuple

import tensorflow as tf

from tfdepth.checks import check_shape
from tfdepth.geometry import camera
from tfdepth.geometry.products import matmul
from tfdepth.geometry.sampling import bilinear_sample


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
    pixels, _ = source_pixels(depth, intrinsics, source_from_target)  # outside where not in front
    shape = tf.shape(sources)
    flat = lambda tensor: tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], axis=0))
    images, valid = bilinear_sample(
        tf.ensure_shape(flat(sources), [None, *sources.shape[2:]]), flat(pixels), border)
    return SynthesizedViews(tf.reshape(images, shape),
                            tf.reshape(valid, tf.concat([shape[:4], [1]], axis=0)))


def source_pixels(depth, intrinsics, source_from_target):
    """Where the points that the target sees appear in each source.

    Args: as `synthesize_target`.

    Returns:
      pixels: [B, S, H * W, 2], (u, v) in each source; outside every image where not `in_front`.
      in_front: [B, S, H * W] bool, whether the point lies before the source's camera.
    """
    shape = tf.shape(depth)
    grid = camera.pixel_grid(shape[1], shape[2], depth.dtype)              # [3, H W]
    camera_matrix = intrinsics[:, tf.newaxis]                              # [B, 1, 3, 3]
    # K (R d K^-1 p + t) = d (K R K^-1) p + K t: one small matrix product a pixel, no 3-D points.
    homography = matmul(matmul(camera_matrix, source_from_target[..., :3, :3]),
                        camera.inverse_intrinsics(camera_matrix))          # [B, S, 3, 3]
    epipole = matmul(camera_matrix, source_from_target[..., :3, 3:])       # [B, S, 3, 1]
    flat_depth = tf.reshape(depth, [shape[0], 1, 1, -1])                   # [B, 1, 1, H W]
    points = matmul(homography, grid) * flat_depth + epipole               # [B, S, 3, H W]
    pixels, in_front = camera.divide_by_depth(points)
    return tf.linalg.matrix_transpose(pixels), in_front
