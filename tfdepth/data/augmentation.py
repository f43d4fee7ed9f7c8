"""Random changes of a sample: drawn once a sample, then the same for all its frames.

Drawing and applying are apart: the operations are deterministic, and each moves the camera
together with the picture.

Shape letters: F frames of a sample, H rows, W columns.
"""
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
      intrinsics: [3, 3], pixels of the images.
      scale_yx: [2] factors >= 1.
      offset_yx: [2] int32, first row and column of the crop in the zoomed images.
      keep_pixel_centres: True moves the camera by what the resize does exactly: the ratio of whole
        sizes, with half pixels. False multiplies by `scale_yx`, as SfMLearner published.

    Returns: images [F, H, W, C] and intrinsics [3, 3] of the crop.
    """
    size = tf.shape(images)[1:3]
    zoomed = zoomed_size(size, scale_yx)
    images = tf.image.resize(images, zoomed, method="area")
    if keep_pixel_centres:
        scale_yx = tf.cast(zoomed, tf.float32) / tf.cast(size, tf.float32)
    intrinsics = camera.resize_intrinsics(
        intrinsics, tf.unstack(tf.cast(scale_yx, intrinsics.dtype)), keep_pixel_centres)
    offset_yx = tf.cast(offset_yx, tf.int32)
    images = images[:, offset_yx[0]:offset_yx[0] + size[0], offset_yx[1]:offset_yx[1] + size[1]]
    offset = tf.unstack(tf.cast(offset_yx, intrinsics.dtype))
    return images, camera.crop_intrinsics(intrinsics, offset)


def zoomed_size(size, scale_yx):
    """(height, width) after a zoom, rounded down: [2] int32."""
    return tf.cast(tf.cast(size, tf.float32) * scale_yx, tf.int32)


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


def jitter_colors(images, seed):
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
