"""Random changes of a sample: drawn once a sample, then the same for all its frames.

Drawing and applying are apart: the operations are deterministic, and each moves the camera
together with the picture. What moves a camera matrix moves any map onto the picture's pixels: by
such a map measured depth follows (`resample`).

Shape letters: F frames of a sample, H rows, W columns; h, w of a result of another size.
"""
import functools
import math
from typing import Callable, NamedTuple

import tensorflow as tf

from tfdepth.geometry import camera


def draw_scale_and_crop(size, largest, seed):
    """Draws a zoom and where to crop.

    Args:
      size: (height, width) of the images, which the crop keeps.
      largest: zoom factors are uniform in [1, largest), independent in y and x.
      seed: [2] int32 or int64; the same seed draws the same numbers.

    Returns:
      scale_yx: [2] float32. offset_yx: [2] int32, pixels of the zoomed image.
    Source: Zhou et al., CVPR 2017 (augmentation of the released implementation).
    """
    scale_yx = tf.random.stateless_uniform([2], seed, 1.0, largest)
    room = zoomed_size(size, scale_yx) - tf.constant(size)
    fraction = tf.random.stateless_uniform([2], seed + [0, 1])
    return scale_yx, tf.cast(fraction * tf.cast(room + 1, tf.float32), tf.int32)


def scale_and_crop(images, intrinsics, scale_yx, offset_yx, keep_pixel_centres=True):
    """Zooms all frames by area resampling and crops them back to their size.

    Args:
      images: [F, H, W, C] float.
      intrinsics: [..., 3, 3], pixels of the images.
      scale_yx: [2] factors >= 1.
      offset_yx: [2] int32, first row and column of the crop in the zoomed images.
      keep_pixel_centres: True moves the camera by what the resize does exactly: the ratio of whole
        sizes, with half pixels. False multiplies by `scale_yx`, as SfMLearner published.

    Returns: images [F, H, W, C] and intrinsics [..., 3, 3] of the crop.
    """
    size = tf.shape(images)[1:3]
    zoomed = zoomed_size(size, scale_yx)
    images = tf.image.resize(images, zoomed, method="area")
    if keep_pixel_centres:
        scale_yx = tf.cast(zoomed, tf.float32) / tf.cast(size, tf.float32)
    intrinsics = camera.resize_intrinsics(
        intrinsics, tf.unstack(tf.cast(scale_yx, intrinsics.dtype)), keep_pixel_centres)
    return crop(images, intrinsics, offset_yx, size)


def zoomed_size(size, scale_yx):
    """(height, width) after a zoom, rounded down: [2] int32."""
    return tf.cast(tf.cast(size, tf.float32) * scale_yx, tf.int32)


def draw_crop(old_size, new_size, seed):
    """Draws where to crop, all places alike.

    Args: old_size, new_size: (height, width). seed: [2] integers.
    Returns: [2] int32, first row and column.
    """
    room = tf.constant(old_size) - tf.constant(new_size)
    fraction = tf.random.stateless_uniform([2], seed)
    return tf.cast(fraction * tf.cast(room + 1, tf.float32), tf.int32)


def crop(images, intrinsics, offset_yx, size, moved=None):
    """Cuts a rectangle out of all frames.

    Args:
      images: [F, H, W, C].
      intrinsics: [..., 3, 3], pixels of the images.
      offset_yx: [2] whole numbers, first row and column.
      size: (h, w).
      moved: [3, 3], new_from_old, by which the images are yet to be moved before, see `resample`;
        only what the crop keeps is computed. The intrinsics are of the moved images.

    Returns: images [F, h, w, C] and intrinsics [..., 3, 3] of the crop.
    """
    offset_yx = tf.cast(offset_yx, tf.int32)
    offset = tf.unstack(tf.cast(offset_yx, intrinsics.dtype))
    if moved is not None:
        images = resample(images, camera.crop_intrinsics(moved, offset), size)
    else:
        images = images[:, offset_yx[0]:offset_yx[0] + size[0],
                        offset_yx[1]:offset_yx[1] + size[1]]
    return images, camera.crop_intrinsics(intrinsics, offset)


def draw_rotation(largest, seed):
    """An angle, uniform in [-largest, largest), degrees: scalar; `seed`: [2] integers."""
    return tf.random.stateless_uniform([], seed, -largest, largest)


def rotation(size, degrees):
    """Turns a picture about its middle.

    A camera that turns about its optical axis sees the same, with the same depths, where the
    principal point is the middle and the focal lengths are equal. So the camera matrix stays, which
    is exact for such cameras and, for KITTI's and a degree, right to a pixel.

    Args: size: (H, W). degrees: scalar; positive turns x towards y, on the screen clockwise.
    Returns: [3, 3], new_from_old: pixels of the turned picture from those of the picture.
    """
    radians = tf.cast(degrees, tf.float32) * (math.pi / 180.0)
    cosine, sine = tf.cos(radians), tf.sin(radians)
    x, y = (size[1] - 1) / 2.0, (size[0] - 1) / 2.0
    return tf.stack([tf.stack([cosine, -sine, x - cosine * x + sine * y]),
                     tf.stack([sine, cosine, y - sine * x - cosine * y]),
                     tf.constant([0.0, 0.0, 1.0])])


def resample(images, new_from_old, size, nearest=False):
    """Moves pixels by an affine map.

    Args:
      images: [F, H, W, C] float32.
      new_from_old: [3, 3], maps (u, v, 1) of the images to that of the result.
      size: (h, w) of the result.
      nearest: True takes the nearest pixel, so that no value is made up; False interpolates
        bilinearly.

    Returns: [F, h, w, C]; 0, which is black and "not measured", outside the images.
    """
    old_from_new = tf.linalg.inv(new_from_old)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=tf.reshape(old_from_new, [1, 9])[:, :8], output_shape=size,
        interpolation="NEAREST" if nearest else "BILINEAR", fill_mode="CONSTANT", fill_value=0.0)
    return tf.ensure_shape(moved, [None, *size, None])


def draw_flip(seed):
    """Whether a sample is mirrored, with probability 1/2: bool scalar; `seed`: [2] integers."""
    return tf.random.stateless_uniform([], seed) < 0.5


def flip(images, intrinsics, stereo_from_target, flipped):
    """Mirrors all frames of a sample together with their cameras.

    Args:
      images: [F, H, W, 3].
      intrinsics: [3, 3], pixels of the images.
      stereo_from_target: [4, 4], or None without a second camera.
      flipped: bool scalar, whether to.

    Returns: the three, mirrored or as they were. Of the motion between the cameras the mirror
      negates what lies across it: the second camera changes sides.
    """
    stereo = tf.eye(4) if stereo_from_target is None else stereo_from_target
    mirror = tf.constant([-1.0, 1.0, 1.0, 1.0])
    images, intrinsics, stereo = tf.cond(
        flipped,
        lambda: (*camera.flip_left_right(images, intrinsics),
                 mirror[:, tf.newaxis] * stereo * mirror),
        lambda: (images, intrinsics, stereo))
    return images, intrinsics, None if stereo_from_target is None else stereo


class ColorJitter(NamedTuple):
    """A way to change the colours of a sample."""
    change: Callable     # (images [F, H, W, 3] in [0, 1], seed [2] integers) -> images; the same
    #                      seed draws the same numbers, for all frames
    seen_by_losses: bool = False  # whether losses compare the changed images; False: the others


def jitter_hue(images, seed):
    """Changes brightness, contrast, saturation and hue of all frames alike.

    Args:
      images: [F, H, W, 3] in [0, 1].
      seed: [2] integers; the same seed draws the same numbers.

    Returns: [F, H, W, 3] in [0, 1]; with probability 1/2 the images as they were.
    Source: Godard et al., ICCV 2019, section 4.1 (factors in [0.8, 1.2], hue in [-0.1, 0.1]).
    """
    draws = tf.random.stateless_uniform([5], seed)
    factors = 0.8 + 0.4 * draws[:3]

    def jittered():
        changed = tf.clip_by_value(images * factors[0], 0.0, 1.0)
        changed = tf.clip_by_value(tf.image.adjust_contrast(changed, factors[1]), 0.0, 1.0)
        changed = tf.image.adjust_saturation(changed, factors[2])
        return tf.clip_by_value(tf.image.adjust_hue(changed, 0.2 * draws[3] - 0.1), 0.0, 1.0)

    return tf.cond(draws[4] < 0.5, jittered, lambda: images)


def jitter_gamma(images, seed, gamma, brightness, color):
    """Raises all frames to a power and multiplies them, as a whole and each channel.

    Args:
      images: [F, H, W, 3] in [0, 1].
      seed: [2] integers; the same seed draws the same numbers.
      gamma, brightness, color: (lowest, highest) power, factor, and factor of a channel.

    Returns: [F, H, W, 3] in [0, 1]; with probability 1/2 the images as they were.
    """
    draws = tf.random.stateless_uniform([6], seed)
    between = lambda limits, draw: limits[0] + (limits[1] - limits[0]) * draw

    def jittered():
        factors = between(brightness, draws[1]) * between(color, draws[2:5])
        return tf.clip_by_value(images**between(gamma, draws[0]) * factors, 0.0, 1.0)

    return tf.cond(draws[5] < 0.5, jittered, lambda: images)


def _gamma_row(brightness, spread, seen_by_losses=False):
    limits = (1 - spread, 1 + spread)
    return ColorJitter(functools.partial(jitter_gamma, gamma=limits, brightness=brightness,
                                         color=limits), seen_by_losses)


COLOR_JITTERS = {
    "monodepth2": ColorJitter(jitter_hue),
    # Yin and Shi, CVPR 2018, released data loader; its factors of channels differ between the
    # frames of a sample by an oversight, here they do not.
    "geonet": _gamma_row((0.5, 2.0), 0.2, seen_by_losses=True),
    # Lee et al., From Big to Small, 2019, released data loader.
    "bts_kitti": _gamma_row((0.9, 1.1), 0.1),
    "bts_nyu": _gamma_row((0.75, 1.25), 0.1),
}
