"""Checks of a served request, in the graph: what is malformed ends as INVALID_ARGUMENT.

Inputs of a signature have no declared shape. If they had one, TensorFlow would take it for granted
and fold the checks away, and the client would read of some operation deep inside.

Shape letters: B batch, S sources, h, w rows and columns of the images of a request.
"""
import tensorflow as tf


def _check(fits, *sentence):
    """A context whose operations run only if `fits`, a scalar bool; else the sentence is told."""
    return tf.control_dependencies([tf.debugging.Assert(fits, list(sentence), summarize=16)])


def checked_images(name, images, num_sources=None):
    """Images of unknown shape -> the same as [B, h, w, 3], or [B, S, h, w, 3] of `num_sources`."""
    sources = [] if num_sources is None else [num_sources]
    axes = ", ".join(["B", *map(str, sources), "h", "w", "3"])
    shape = tf.shape(images)
    # Slices, not elements, which some ranks would not have.
    fits = (tf.equal(tf.rank(images), 4 + len(sources)) & tf.reduce_all(shape >= 1)
            & tf.reduce_all(tf.equal(shape[-1:], 3))
            & tf.reduce_all(tf.equal(
                shape[1:1 + len(sources)], tf.constant(sources, tf.int32))))
    with _check(fits, f"`{name}` must be RGB images [{axes}] of at least one pixel, at least one "
                "image; got shape", shape):
        shape = tf.shape(images)
        # Not by ensure_shape, from which the optimiser would conclude that the check holds.
        return tf.reshape(images, [-1, *sources, shape[-3], shape[-2], 3])


def checked_floats(name, images):
    """Float images [B, h, w, 3] that lie in [0, 1]."""
    with _check(tf.reduce_all((images >= 0.0) & (images <= 1.0)),  # False for NaN
                f"`{name}` must lie in [0, 1] (uint8 images have signatures without _float); got "
                "values from, to", tf.reduce_min(images), tf.reduce_max(images)):
        return tf.identity(images)


def checked_pair(name, image_shape, other_name, other_shape):
    """A context in which two tensors have one shape, given as int32 vectors of one length."""
    return _check(tf.reduce_all(tf.equal(image_shape, other_shape)),
                  f"`{other_name}` must have the shape of `{name}`; got", other_shape, "and",
                  image_shape)


def checked_intrinsics(intrinsics, batch_size):
    """Intrinsics of unknown shape -> [B, 3, 3] with positive focal lengths."""
    shape = tf.shape(intrinsics)
    fits = tf.equal(tf.rank(intrinsics), 3) & tf.reduce_all(
        tf.equal(tf.concat([shape, [0, 0, 0]], 0)[:3], tf.stack([batch_size, 3, 3])))
    with _check(fits, "`intrinsics` must have shape [B, 3, 3], one matrix an image; got shape",
                shape, "for a batch of", batch_size):
        intrinsics = tf.reshape(intrinsics, [-1, 3, 3])
    focal_lengths = tf.linalg.diag_part(intrinsics)[:, :2]
    fits = tf.reduce_all(focal_lengths > 0) & tf.reduce_all(tf.math.is_finite(intrinsics))
    with _check(fits, "`intrinsics` must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels, fx "
                "and fy above 0; got fx and fy", focal_lengths):
        return tf.identity(intrinsics)


def checked_files(name, encoded):
    """Strings of unknown shape -> [B], each with the first bytes of a JPEG or PNG file."""
    shape = tf.shape(encoded)
    with _check(tf.equal(tf.rank(encoded), 1) & tf.reduce_all(shape >= 1),
                f"`{name}` must be a vector of JPEG or PNG files [B], at least one; got shape",
                shape):
        encoded = tf.reshape(encoded, [-1])
    is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 3), b"\xff\xd8\xff")
    is_png = tf.equal(tf.strings.substr(encoded, 0, 8), b"\x89PNG\r\n\x1a\n")
    with _check(tf.reduce_all(is_jpeg | is_png),
                f"`{name}` must hold the bytes of JPEG or PNG files; not so are those at",
                tf.where(~(is_jpeg | is_png))[:, 0]):
        return tf.identity(encoded)


def checked_sizes(name, sizes):
    """Sizes [B, 2] of decoded files -> their one size [2]."""
    with _check(tf.reduce_all(tf.equal(sizes, sizes[:1])),
                f"the images of `{name}` must have one size in a request; got (h, w)", sizes):
        return tf.identity(sizes[0])
