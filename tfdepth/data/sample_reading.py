"""From the number of a sample to its frames, its cameras and its measured depth.

Readers are made of the Source of tfdepth.data.pipeline; in them Python looks up and reads, and
TensorFlow decodes and resizes.

Shape letters: S sources, F = 1 + S frames of a sample, H rows, W columns of the network; h, w of
the part of a depth map that counts.
"""
import numpy as np
import tensorflow as tf

from tfdepth.data.learned_camera import camera_number
from tfdepth.data.pictures import (
    decode_depth, decode_frame, decode_measured, file_part, intrinsics_at)
from tfdepth.data.shards import frame_bytes
from tfdepth.data.unreadable import unreadable
from tfdepth.geometry import camera


def sample_reader(source, cache_megabytes):
    """A graph function: sample index -> frames [F, H, W, 3], the target first and the other
    camera's last, intrinsics [3, 3], stereo_from_target [4, 4] or None, and the number of the
    camera, or None where cameras are known."""
    cameras = tf.constant(np.stack([intrinsics_at(drive, source.config.size) for drive in
                                    source.drives]), tf.float32)           # [drives, 3, 3]
    rows, owners = source.table.indices, tf.constant(source.table.drive_indices)
    stereo = None
    if source.config.stereo:  # in the list of all paths behind those of the cameras themselves
        rows = np.concatenate([rows, rows[:, :1] + source.table.drive_starts[-1]], axis=1)
        stereo = tf.constant(np.stack([_stereo_from_target(drive, source.config.stereo_baseline)
                                       for drive in source.drives]))       # [drives, 4, 4]
    rows = tf.constant(rows)
    numbers = None
    if any(drive.camera for drive in source.drives):
        numbers = tf.constant([camera_number(drive.camera) for drive in source.drives])
    read_frames = _frame_reader(source, cache_megabytes)

    def read_sample(index):
        owner = owners[index]
        frames = tf.cast(read_frames(rows[index], owner), tf.float32) / 255.0  # [F, H, W, 3]
        return (frames, cameras[owner], None if stereo is None else stereo[owner],
                None if numbers is None else numbers[owner])

    return read_sample


def _stereo_from_target(drive, baseline):
    """stereo_from_camera of a drive, float32 [4, 4]; its translation `baseline` long unless 0."""
    matrix = drive.stereo_from_camera.copy()
    if baseline > 0:
        matrix[:3, 3] *= baseline / np.linalg.norm(matrix[:3, 3])
    return matrix.astype(np.float32)


def all_paths(source):
    """The pictures of a source in the order of its frame indices; the other cameras' last."""
    paths = [path for drive in source.drives for path in drive.image_paths]
    if source.config.stereo:
        paths += [path for drive in source.drives for path in drive.stereo_paths]
    return paths


def _depth_paths(source):
    """The depth maps of a source in the order of its frame indices; "" = none."""
    return [path for drive in source.drives
            for path in drive.depth_paths or ("",) * len(drive)]


def depth_files(source):
    """(path, (height, width)) of the depth maps that there are."""
    sizes = [drive.file_size or drive.size for drive in source.drives for _ in drive.image_paths]
    return [(path, size) for path, size in zip(_depth_paths(source), sizes) if path]


def file_reader(paths):
    """A graph function: indices [F] into `paths` -> the bytes of those files, string [F]; "" of a
    path ""."""
    def read(indices):
        return np.array([frame_bytes(paths[k]) if paths[k] else b"" for k in indices], object)

    def read_files(indices):
        data = tf.numpy_function(read, [indices], tf.string, stateful=False)
        return tf.ensure_shape(data, indices.shape)

    return read_files


def _frame_reader(source, cache_megabytes):
    """A graph function: frame indices [F] and their drive -> uint8 [F, H, W, 3]."""
    size = source.config.size
    paths = all_paths(source)
    parts = tf.constant(np.stack([file_part(drive) for drive in source.drives]))  # [drives, 3, 2]
    read_files = file_reader(paths)
    # Frames that have the size already, as those of prepared folders, need no test at run time.
    resized = all(drive.size == tuple(size) for drive in source.drives)

    @tf.autograph.experimental.do_not_convert
    def read(rows, owner):
        return tf.stack([decode_frame(data, parts[owner], size, resized)
                         for data in tf.unstack(read_files(rows))])

    if len(paths) * size[0] * size[1] * 3 <= cache_megabytes * 2**20:
        owners = np.repeat(np.arange(len(source.drives)), np.diff(source.table.drive_starts))
        owners = np.tile(owners, len(paths) // len(owners))
        frames = tf.data.Dataset.from_tensor_slices((np.arange(len(paths))[:, np.newaxis], owners))
        frames = map_in_parallel(read, frames).batch(len(paths))
        try:
            in_memory = next(iter(frames))[:, 0]                           # [all frames, H, W, 3]
        except tf.errors.OpError as error:
            raise unreadable(error, paths) from None
        return lambda rows, owner: tf.gather(in_memory, rows)
    return read


def depth_reader(source):
    """A graph function: sample index -> measured depth of its target, [H, W, 1], metres."""
    read_target = _target_reader(source)
    return lambda index: read_target(
        index, lambda data, part: decode_depth(data, part, source.config.size))


def measured_reader(source):
    """A graph function: sample index -> measured depth of its target as stored, [h, w, 1], metres,
    and frame_from_depth, [3, 3], from its pixels to those of H x W."""
    read_target = _target_reader(source)
    owners = tf.constant(source.table.drive_indices)
    scales = [(source.config.size[0] / drive.size[0], source.config.size[1] / drive.size[1])
              for drive in source.drives]
    maps = tf.stack([camera.resize_intrinsics(tf.eye(3), scale_yx) for scale_yx in scales])
    return lambda index: (read_target(index, decode_measured), maps[owners[index]])


def _target_reader(source):
    """A graph function: sample index, decoder of (data, part) -> depth of its target, metres."""
    read_files = file_reader(_depth_paths(source))
    targets, owners = (tf.constant(table) for table in (
        source.table.indices[:, :1], source.table.drive_indices))
    parts = tf.constant(np.stack([file_part(drive) for drive in source.drives]))
    divisors = tf.constant([drive.depth_divisor for drive in source.drives], tf.float32)

    def read_target(index, decode):
        data, owner = read_files(targets[index])[0], owners[index]
        return tf.cast(decode(data, parts[owner]), tf.float32) / divisors[owner]

    return read_target


def map_in_parallel(function, dataset):
    """The results of a function of the elements of a dataset, in order, by all cores.

    Args: function: of tensors, traced into a graph. dataset: tf.data.Dataset.
    Returns: tf.data.Dataset, without TensorFlow's tuner, as is all that is made of it.
    """
    options = tf.data.Options()
    # TensorFlow's tuner sleeps for as long as it has run, a minute at most. The end of an iterator
    # wakes it, but in 2.15 it may miss that, and then whoever ends the iterator waits.
    options.autotune.enabled = False
    return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE,
                       deterministic=True).with_options(options)
