"""Names the file that TensorFlow could not read: its own errors do not."""
import os

import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.data import images
from tfdepth.data.shards import frame_bytes


def readable(batches, image_paths, depth_files=()):
    """The batches of a dataset; a file that cannot be decoded is named.

    Args: batches: of TensorFlow. image_paths: what they are read from. depth_files: the same of
      depth, with the size to have: (path, (height, width)).
    Raises: UserError: instead of TensorFlow's error, which names no file.
    """
    try:
        yield from batches
    except tf.errors.OpError as error:
        raise unreadable(error, image_paths, depth_files) from None


def unreadable(error, image_paths, depth_files=()):
    """The UserError to show for an error of TensorFlow while it read some of these files."""
    found = first_unreadable(image_paths)
    for path, size in depth_files if found is None else ():
        try:
            images.verify_image(path, frame=False)
            images.check_depth_size(path, size)
        except UserError as wrong:
            return wrong
    return (found or _first_odd(list(image_paths))
            or UserError("a file of the data was changed while it was read, so that it has "
                         f"another size than before ({str(error).splitlines()[0][:200]})."))


def first_unreadable(paths):
    """The UserError of the first image file that cannot be read; None if all can."""
    for path in paths:
        try:
            images.verify_image(path)  # the checksums too: TensorFlow's decoder looks at them
        except UserError as error:
            return error
    return None


def _first_odd(image_paths):
    """The UserError of a sound picture that TensorFlow's decoder refuses, or that has another
    size than the others of its folder; None without such."""
    folders = {}
    for path in image_paths:
        folders.setdefault(os.path.dirname(path), []).append(path)
    try:
        for path in image_paths:
            tf.io.decode_image(frame_bytes(path), channels=3, expand_animations=False)
        for paths in folders.values():
            images.check_same_size(paths)
    except UserError as error:
        return error
    except tf.errors.OpError as error:
        return UserError(f"{path}: expected a PNG or JPEG image; the file is damaged "
                         f"({str(error).splitlines()[0][-100:]}).")
    return None
