"""Signs of life: single numbers of a batch that tell a system that learns from one that collapsed.

None of them depends on the unit of depth. Shape letters: B batch, S sources, H rows, W columns.
"""
import tensorflow as tf

from tfdepth.geometry.synthesis import synthesize_target

FOCAL_ERROR = 0.05  # of the focal length; see `focal_shift`
SMALLEST_FOCAL_SHIFT = 0.01  # pixels: below, photometric errors do not tell the focal length
NEAR_LIMIT = 1e-3  # of the range of disparity: there a sigmoid passes a thousandth of its gradient


def depth_spread(depth):
    """How much depth differs within an image: standard deviation of log depth, mean over the batch.

    Args: depth: [B, H, W, 1], > 0, any unit.
    Returns: scalar; 0 = flat, 0.1 = about 10 % of depth.
    """
    return tf.reduce_mean(tf.math.reduce_std(tf.math.log(depth), axis=[1, 2, 3]))


def at_limit_share(disparity, limits):
    """Share of pixels whose disparity lies at a limit of what the network can say.

    Args: disparity: [B, H, W, 1]. limits: (lowest, highest).
    Returns: scalar in [0, 1].
    """
    lowest, highest = limits
    position = (disparity - lowest) / (highest - lowest)
    return _share((position < NEAR_LIMIT) | (position > 1.0 - NEAR_LIMIT))


def translation_by_depth(source_from_target, depth):
    """How far the camera moves: |translation| over the median depth of the target, mean over all.

    Args: source_from_target: [B, S, 4, 4]. depth: [B, H, W, 1], the same unit.
    Returns: scalar.
    """
    flat = tf.sort(tf.reshape(depth, [tf.shape(depth)[0], -1]), axis=-1)   # [B, H W]
    median = flat[:, tf.shape(flat)[1] // 2, tf.newaxis]                   # [B, 1]
    return tf.reduce_mean(tf.norm(source_from_target[..., :3, 3], axis=-1) / median)


def rotation_degrees(source_from_target):
    """Angle by which the camera turns, degrees, mean over all: [B, S, 4, 4] -> scalar."""
    rotation = source_from_target[..., :3, :3]
    # By the sine as well: the cosine alone rounds what is below a hundredth of a degree to zero.
    twist = rotation - tf.linalg.matrix_transpose(rotation)                # 2 sin(t) [axis]x
    sine = tf.norm(twist, axis=[-2, -1]) / 8.0**0.5
    cosine = (tf.linalg.trace(rotation) - 1.0) / 2.0
    return tf.reduce_mean(tf.atan2(sine, cosine)) * (180.0 / 3.141592653589793)


def focal_shift(source_from_target, intrinsics, size):
    """By how much a focal length that is 5 % off moves the picture of a turning camera, beyond what
    another rotation would: at the corner where it is most. Where this is far below a pixel no
    motion determines the focal length; rotation about the optical axis and translation never do.

    A turn by (a, b) about x and y moves what is seen at (x, y), from the middle in focal lengths,
    by a constant, which gives the focal length times the angle alone, and by (x, y) (b x - a y).
    That points away from the middle, as what comes nearer does: where turns belong to a way
    straight ahead, as a car's, a wrong depth may explain it instead; this number cannot know.

    Args: source_from_target: [B, S, 4, 4]. intrinsics: [B, 3, 3], pixels of size (H, W).
    Returns: pixels, [B, S].
    Source: Gordon et al., ICCV 2019, section 4 (their tolerance is that of a shift by one pixel).
    """
    rotation = source_from_target[..., :3, :3]
    about_x = tf.abs(rotation[..., 2, 1] - rotation[..., 1, 2]) / 2.0      # sines, [B, S]
    about_y = tf.abs(rotation[..., 0, 2] - rotation[..., 2, 0]) / 2.0
    height, width = size
    x = width / 2.0 / intrinsics[:, tf.newaxis, 0, 0]
    y = height / 2.0 / intrinsics[:, tf.newaxis, 1, 1]
    radius = (width**2 + height**2)**0.5 / 2.0
    return 2.0 * FOCAL_ERROR * radius * (about_y * x + about_x * y)


def smallest_focal_shift(batch, source_from_target):
    """`focal_shift` of the camera in a batch that turns least, over its samples the root of the
    mean square.

    Args: batch: Batch with `camera`. source_from_target: [B, S, 4, 4].
    Returns: pixels, scalar.
    """
    shift = focal_shift(source_from_target, batch.intrinsics, batch.target.shape[1:3])
    squares = tf.reduce_mean(shift**2, axis=1)                             # [B]
    same = tf.cast(batch.camera[:, tf.newaxis] == batch.camera, squares.dtype)
    of_camera = tf.reduce_sum(same * squares, axis=1) / tf.reduce_sum(same, axis=1)
    return tf.sqrt(tf.reduce_min(of_camera))


def outside_share(batch, depth, source_from_target):
    """Share of the target's pixels whose point lies outside a source's picture, or behind it.

    Args: batch: Batch. depth: [B, H, W, 1]. source_from_target: [B, S, 4, 4].
    Returns: scalar in [0, 1], mean over the sources.
    """
    # What is not asked for, the samples, a graph does not compute.
    views = synthesize_target(batch.sources, depth, batch.intrinsics, source_from_target)
    return _share(~views.valid)


def automasked_share(trains):
    """Share of pixels that the automask leaves out: trains [B, H, W, 1] bool -> scalar."""
    return _share(~trains)


def _share(chosen):
    return tf.reduce_mean(tf.cast(chosen, tf.float32))
