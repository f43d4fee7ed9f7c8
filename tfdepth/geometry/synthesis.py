"""View synthesis: the target view made from a source view, the target's depth and the motion.

Shape letters: B batch, S sources, H rows, W columns, C channels.
"""
from typing import NamedTuple

import tensorflow as tf

from tfdepth.checks import check_shape
from tfdepth.geometry import camera
from tfdepth.geometry.products import matmul
from tfdepth.geometry.sampling import sample_planes
from tfdepth.geometry.selection import select
from tfdepth.tracing import compiled_on_cpus, sizes


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
    merged = lambda tensor: tf.reshape(tensor, [shape[0] * shape[1], *sizes(tensor)[2:]])
    planes, valid = sample_planes(merged(sources), merged(u), merged(v), border)
    planes = tf.reshape(planes, [shape[4], *shape[:4]])
    return SynthesizedViews(tf.transpose(planes, [1, 2, 3, 4, 0]),
                            tf.reshape(valid, [*shape[:4], 1]))


def source_pixels(depth, intrinsics, source_from_target):
    """Where the points that the target sees appear in each source.

    Args: as `synthesize_target`.

    Returns: u, v and in_front, [B, S, H, W] each: pixels in each source, outside every image where
      the point does not lie before the source's camera, bool in_front.
    """
    camera_matrix = intrinsics[:, tf.newaxis]                              # [B, 1, 3, 3]
    # K (R d K^-1 p + t) = d (K R K^-1) p + K t, without 3-D points. No tf.matmul: see `matmul`.
    motion, _ = tf.split(source_from_target, [3, 1], axis=-2)              # R | t, [B, S, 3, 4]
    turned, shift = tf.split(matmul(camera_matrix, motion), [3, 1], axis=-1)
    homography = matmul(turned, camera.inverse_intrinsics(camera_matrix))
    return _pixels(homography, tf.squeeze(shift, axis=-1), tf.squeeze(depth, axis=-1))


@tf.custom_gradient
def _pixels(homography, shift, depth):
    """u, v and in_front, [B, S, H, W]: the pixel of the point depth * homography p + shift.

    Args: homography: [B, S, 3, 3]. shift: [B, S, 3]. depth: [B, H, W], of the pixels p.
    The gradient is written out for the sums over pixels, which TensorFlow does and XLA is slow at.
    """
    given = [tf.stop_gradient(each) for each in (homography, shift, depth)]
    u, v, in_front, inverse_z = _divided(*given)

    def gradient(of_u, of_v, _):
        of_depth, *of_points = _of_points(
            given[0], given[2], u, v, inverse_z, in_front, of_u, of_v)
        by_pixel, of_shift = of_points[:3], of_points[3:]                  # of x, y, z
        across, down = _grid(depth)
        # Not by rows and columns first: in losses compiled as one program, XLA (of TensorFlow 2.15)
        # simplified such sums of sums to gradients that were wrong by a twentieth.
        total = lambda each: tf.reduce_sum(each, axis=[-2, -1])
        return (tf.stack([tf.stack([total(each * across), total(each * down), total(each)], -1)
                          for each in by_pixel], axis=-2),
                tf.stack([total(each) for each in of_shift], -1), of_depth)

    return (u, v, in_front), gradient


def _grid(depth):
    """u [W] and v [H, 1] of all pixels."""
    _, height, width = sizes(depth)
    return (tf.range(width, dtype=depth.dtype),
            tf.range(height, dtype=depth.dtype)[:, tf.newaxis])


def _rays(homography, depth):
    """homography p of every pixel p: three of [B, S, H, W]."""
    across, down = _grid(depth)
    entry = lambda i, j: homography[:, :, i, j, tf.newaxis, tf.newaxis]    # [B, S, 1, 1]
    return [entry(i, 0) * across + (entry(i, 1) * down + entry(i, 2)) for i in range(3)]


@compiled_on_cpus
def _divided(homography, shift, depth):
    """u, v, in_front, and 1 / z, 0 where not in front."""
    x, y, z = (ray * depth[:, tf.newaxis] + shift[:, :, i, tf.newaxis, tf.newaxis]
               for i, ray in enumerate(_rays(homography, depth)))
    u, v, in_front = camera.divide_by_depth(x, y, z)
    return u, v, in_front, select(in_front, 1.0 / z, 0.0)


@compiled_on_cpus
def _of_points(homography, depth, u, v, inverse_z, in_front, of_u, of_v):
    """Gradients: of depth [B, H, W]; of the coordinates of rays, and of points: [B, S, H, W] each.
    See `_divided`. Pixels that lie nowhere have none, whatever comes from above."""
    somewhere = in_front & tf.math.is_finite(u) & tf.math.is_finite(v)
    u, v, of_u, of_v = (select(somewhere, each, 0.0)
                        for each in (u, v, of_u * inverse_z, of_v * inverse_z))
    of_points = of_u, of_v, -(of_u * u + of_v * v)
    of_depth = tf.add_n([of * ray for of, ray in zip(of_points, _rays(homography, depth))])
    of_rays = (select(somewhere, of * depth[:, tf.newaxis], 0.0) for of in of_points)
    return tf.reduce_sum(of_depth, axis=1), *of_rays, *of_points
