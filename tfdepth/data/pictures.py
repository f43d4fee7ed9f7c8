"""What happens to pictures and their cameras on the way to the network.

Preparing a folder and reading the original call the same functions, so both give the same bits.
Shape letters: H, W the network's size.
"""
import numpy as np
import tensorflow as tf

from tfdepth.geometry import camera

BANDS = 4  # of a picture that is resized: as many threads have work


def intrinsics_at(drive, size):
    """Intrinsics of a drive's images after a resize to `size`: float64 [3, 3]."""
    scale_yx = (size[0] / drive.size[0], size[1] / drive.size[1])
    return camera.resize_intrinsics(tf.constant(drive.intrinsics, tf.float64), scale_yx).numpy()


def file_part(drive):
    """Which pixels of the files of a drive count: int32 [3, 2], (rows, columns) of a whole file,
    of the first pixel, of the part.

    Raises: ValueError: if the part does not lie within the file.
    """
    part = np.array([drive.file_size or drive.size, drive.corner, drive.size], np.int32)
    if (part[1] < 0).any() or (part[1] + part[2] > part[0]).any():
        raise ValueError(f"{drive.name}: {drive.size} pixels from {drive.corner} on do not lie in "
                         f"files of {drive.file_size or drive.size}.")
    return part


def crop(image, part):
    """The part of a decoded file that counts: [rows, columns, C], [3, 2] -> [part's size, C].

    Raises: tf.errors.InvalidArgumentError: when it runs, if the file has another size.
    """
    # A file that was replaced by one of another size would have another camera.
    tf.debugging.assert_equal(tf.shape(image)[:2], part[0])
    end = part[1] + part[2]
    return image[part[1, 0]:end[0], part[1, 1]:end[1]]


def decode_frame(data, part, size, has_size=False):
    """A frame at the network's size.

    Args:
      data: string, a PNG or JPEG file.
      part: int32 [3, 2] of `file_part`.
      size: (H, W).
      has_size: whether the part is known to have that size; saves the resize, changes no bit.

    Returns: uint8 [H, W, 3].
    """
    image = crop(tf.io.decode_image(data, channels=3, expand_animations=False), part)
    if not has_size:
        image = resize_image(image, size)
    return tf.ensure_shape(image, [*size, 3])


def resize_image(image, size):
    """Resizes pictures, 0 to 255, to uint8 [..., h, w, 3], bilinearly and antialiased; so frames
    are kept. The values of tf.image.resize but for float32's rounding, sooner where cores are idle.

    Args: image: [H, W, 3] or [B, H, W, 3]. size: (h, w), no tensor.
    """
    height, width = size
    images = tf.cast(image, tf.float32)
    single = images.shape.rank == 3
    images = images[tf.newaxis] if single else images
    scale = tf.constant([height, width], tf.float32) / tf.cast(tf.shape(images)[1:3], tf.float32)
    # The kernel keeps to one thread; bands of rows are resized side by side.
    edges = np.linspace(0, height, min(BANDS, height) + 1).astype(int).tolist()
    bands = [tf.raw_ops.ScaleAndTranslate(
        images=images, size=[below - above, width], scale=scale, translation=[-float(above), 0.0],
        kernel_type="triangle", antialias=True) for above, below in zip(edges, edges[1:])]
    resized = tf.concat(bands, axis=1)
    resized = tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
    return resized[0] if single else resized


def decode_depth(data, part, size):
    """A depth map at the network's size, by nearest neighbour.

    Args:
      data: string, a 16-bit grey PNG; "" = nothing was measured.
      part, size: as for `decode_frame`.

    Returns: uint16 [H, W, 1], as stored in the file; all 0 where `data` is "".
    """
    return tf.cond(tf.strings.length(data) > 0,
                   lambda: resize_labels(decode_measured(data, part), size),
                   lambda: tf.zeros([*size, 1], tf.uint16))


def decode_measured(data, part):
    """A depth map that is there, at its own size.

    Args: as for `decode_depth`.
    Returns: uint16 [part's size, 1], as stored in the file.
    """
    return crop(tf.io.decode_png(data, channels=1, dtype=tf.uint16), part)


def resize_labels(labels, size):
    """Resizes [H, W, C] of any type to [h, w, C] by nearest neighbour: no value is made up."""
    labels = tf.image.resize(labels, size, method="nearest")
    return tf.ensure_shape(labels, [*size, labels.shape[-1]])
