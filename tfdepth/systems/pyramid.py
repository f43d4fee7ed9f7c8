"""Images as systems that were published in TensorFlow 1 compare them: centred, and at four sizes.

Shape letters: H rows, W columns, C channels; leading axes are free.
"""
import tensorflow as tf

from tfdepth.geometry import camera

PYRAMID_INTRINSICS = ("scaled", "exact")


def centred(image):
    """[0, 1] -> [-1, 1], the range of networks and losses; 0, the value outside, is mid-grey."""
    return 2.0 * image - 1.0


def shrink(images, factor):
    """Area average by a whole factor: [..., H, W, C] -> [..., H / factor, W / factor, C]."""
    if factor == 1:
        return images
    size = images.shape[-3:]
    small = tf.nn.avg_pool2d(tf.reshape(images, [-1, *size]), factor, factor, "VALID")
    small = tf.reshape(small, tf.concat([tf.shape(images)[:-3], tf.shape(small)[1:]], axis=0))
    return tf.ensure_shape(small, [*images.shape[:-3], *(n // factor for n in size[:2]), size[2]])


def shrink_intrinsics(intrinsics, factor, kind):
    """The camera [B, 3, 3] of shrunk images; kind: "scaled": K / factor as published, "exact":
    half pixels are heeded."""
    return camera.resize_intrinsics(intrinsics, (1.0 / factor, 1.0 / factor),
                                    keep_pixel_centres=kind == "exact")
