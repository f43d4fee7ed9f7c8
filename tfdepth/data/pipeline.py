"""From files to batches: decode, resize, augment, batch, prefetch.

The order and every random number are pure functions of (seed, position), position counting the
samples that were drawn since the start of the run; so a resumed run sees what the uninterrupted
one would have seen, and so do one replica or many. Pictures are files, or records of a prepared
folder (tfdepth.data.shards), which give the same batches.

Memory does not grow with the data beyond the list of frames: a sample is looked up and read when
its turn comes. Python looks up and reads; TensorFlow, in parallel, decodes and resizes.

Shape letters: B batch, S sources, F = 1 + S frames of a sample, H rows, W columns.
"""
from typing import NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.data import augmentation
from tfdepth.data.config import DataConfig
from tfdepth.data.drives import Drive
from tfdepth.data.pictures import (
    decode_depth, decode_frame, file_part, intrinsics_at, resize_image)
from tfdepth.data.samples import SampleTable, select_samples
from tfdepth.data.shards import frame_bytes
from tfdepth.data.unreadable import readable, unreadable
from tfdepth.structures import Batch


class Source(NamedTuple):
    """What batches are drawn from: drives, and the samples among their frames."""
    drives: Tuple[Drive, ...]
    table: SampleTable
    config: DataConfig

    @property
    def num_samples(self):
        """M, the samples of an epoch."""
        return len(self.table.indices)


def open_source(drives: Sequence[Drive], config: DataConfig) -> Source:
    """Selects the samples of some drives.

    Raises: UserError: if no sample is left; the message says why.
    """
    return Source(tuple(drives), select_samples(drives, config), config)


def training_batches(source, batch_size, seed, start=0, cache_megabytes=0):
    """Endless shuffled and augmented batches.

    Args:
      source: Source.
      batch_size: B, of all replicas together. Batches run on across the ends of epochs, so that
        every sample is seen once an epoch also when B does not divide their number.
      seed: of order and augmentation.
      start: how many batches were drawn before.
      cache_megabytes: resized frames stay in memory when all of them need no more than this.

    Returns: tf.data.Dataset of Batch.
    """
    read_sample = _sample_reader(source, cache_megabytes)
    count = source.num_samples

    def sample(position):
        index = _shuffled(position, count, seed)
        return _augment(*read_sample(index), source.config, position, seed)

    return (tf.data.Dataset.range(start * batch_size, tf.int64.max)
            .map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .batch(batch_size, drop_remainder=True).prefetch(2))


def _augment(frames, intrinsics, stereo_from_target, config, position, seed):
    """Frames [F, H, W, 3] and cameras of a sample -> a Batch without its batch axis."""
    # Every decision has numbers of its own: switching one on does not change the others.
    draw = lambda decision: tf.stack([position, tf.constant(8 * seed + decision, tf.int64)])
    if config.scale_crop > 1.0:
        scale_yx, offset_yx = augmentation.draw_scale_and_crop(
            config.size, config.scale_crop, draw(0))
        frames, intrinsics = augmentation.scale_and_crop(frames, intrinsics, scale_yx, offset_yx)
    frames = tf.ensure_shape(frames, [1 + len(config.offsets) + config.stereo, *config.size, 3])
    if config.flip:
        frames, intrinsics, stereo_from_target = augmentation.flip(
            frames, intrinsics, stereo_from_target, augmentation.draw_flip(draw(2)))
    seen = augmentation.jitter_colors(frames, draw(3)) if config.color_jitter else frames
    return _sample_of(frames, seen, intrinsics, stereo_from_target)


def _sample_of(frames, seen, intrinsics, stereo_from_target, depth=None):
    """A Batch without its batch axis, of frames [F, H, W, 3], the target first."""
    return Batch(frames[0], frames[1:], seen[0], seen[1:], intrinsics, depth, stereo_from_target)


def evaluation_batches(source, batch_size, limit=0, with_depth=False, cache_megabytes=0):
    """Every sample once, in order, as it is; the last batch may be smaller.

    Args:
      limit: samples at most, spread evenly; 0 = all.
      with_depth: whether to read `target_depth`, by nearest neighbour at the network's size.

    Returns: iterable of Batch.
    Raises: UserError: if depth is asked for and a drive has none; while iterating, names a file
      that cannot be read.
    """
    read_sample = _sample_reader(source, cache_megabytes)
    if with_depth and any(drive.depth_paths is None for drive in source.drives):
        raise UserError("depth was asked for; a drive has no depth maps.")
    read_depth = _depth_reader(source) if with_depth else lambda index: None

    def sample(index):
        frames, intrinsics, stereo_from_target = read_sample(index)
        return _sample_of(frames, frames, intrinsics, stereo_from_target, read_depth(index))

    chosen = np.arange(source.num_samples)
    if 0 < limit < len(chosen):
        chosen = np.linspace(0, len(chosen) - 1, limit).round().astype(np.int64)
    batches = (tf.data.Dataset.from_tensor_slices(chosen)
               .map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
               .batch(batch_size).prefetch(2))
    return Readable(batches, _all_paths(source), _depth_paths(source) if with_depth else ())


class Readable(NamedTuple):
    """Batches that can be gone through again and again; see `readable`."""
    batches: tf.data.Dataset
    image_paths: Sequence[str]
    depth_paths: Sequence[str]

    def __iter__(self):
        return readable(self.batches, self.image_paths, self.depth_paths)


def frame_batches(paths, size, batch_size):
    """Single images in order, resized: tf.data.Dataset of float32 [B, H, W, 3] in [0, 1]."""
    paths = list(paths)
    read_files = _reader(paths)

    def read(index):
        image = tf.io.decode_image(read_files(index[tf.newaxis])[0], channels=3,
                                   expand_animations=False)
        return tf.cast(tf.ensure_shape(resize_image(image, size), [*size, 3]), tf.float32) / 255.0

    return (tf.data.Dataset.range(len(paths))
            .map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .batch(batch_size).prefetch(2))


def sample_names(source, batch_size, seed, step):
    """Names of the samples of a training batch, and their files: for messages.

    Returns: (("drive frame 000012", ...), (path, ...)).
    """
    positions = range(step * batch_size, (step + 1) * batch_size)
    names, paths = [], []
    for position in positions:
        row = int(_shuffled(tf.constant(position, tf.int64), source.num_samples, seed))
        drive_index = source.table.drive_indices[row]
        drive = source.drives[drive_index]
        local = source.table.indices[row] - source.table.drive_starts[drive_index]
        names.append(f"{drive.name} frame {drive.frame_numbers[local[0]]}")
        paths += [drive.image_paths[frame] for frame in local]
        if source.config.stereo:
            paths.append(drive.stereo_paths[local[0]])
    return tuple(names), tuple(dict.fromkeys(paths))


def _shuffled(position, count, seed):
    """The sample at a position: each epoch is another permutation, computed without a list."""
    epoch = position // count
    key = tf.stack([tf.constant(seed, tf.int64), epoch])
    return tf.random.experimental.index_shuffle(
        position % count, key, tf.constant(count - 1, tf.int64))


def _sample_reader(source, cache_megabytes):
    """A graph function: sample index -> frames [F, H, W, 3], the target first and the other
    camera's last, intrinsics [3, 3], and stereo_from_target [4, 4] or None."""
    cameras = tf.constant(np.stack([intrinsics_at(drive, source.config.size) for drive in
                                    source.drives]), tf.float32)           # [drives, 3, 3]
    rows, owners = source.table.indices, tf.constant(source.table.drive_indices)
    stereo = None
    if source.config.stereo:  # in the list of all paths behind those of the cameras themselves
        rows = np.concatenate([rows, rows[:, :1] + source.table.drive_starts[-1]], axis=1)
        stereo = tf.constant(np.stack([_stereo_from_target(drive, source.config.stereo_baseline)
                                       for drive in source.drives]))       # [drives, 4, 4]
    rows = tf.constant(rows)
    read_frames = _frame_reader(source, cache_megabytes)

    def read_sample(index):
        owner = owners[index]
        frames = tf.cast(read_frames(rows[index], owner), tf.float32) / 255.0  # [F, H, W, 3]
        return frames, cameras[owner], None if stereo is None else stereo[owner]

    return read_sample


def _stereo_from_target(drive, baseline):
    """stereo_from_camera of a drive, float32 [4, 4]; its translation `baseline` long unless 0."""
    matrix = drive.stereo_from_camera.copy()
    if baseline > 0:
        matrix[:3, 3] *= baseline / np.linalg.norm(matrix[:3, 3])
    return matrix.astype(np.float32)


def _all_paths(source):
    """The pictures of a source in the order of its frame indices; the other cameras' last."""
    paths = [path for drive in source.drives for path in drive.image_paths]
    if source.config.stereo:
        paths += [path for drive in source.drives for path in drive.stereo_paths]
    return paths


def _depth_paths(source):
    """The depth maps of a source in the order of its frame indices; "" = none."""
    return [path for drive in source.drives for path in drive.depth_paths]


def _reader(paths):
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
    paths = _all_paths(source)
    parts = tf.constant(np.stack([file_part(drive) for drive in source.drives]))  # [drives, 3, 2]
    read_files = _reader(paths)
    # Frames that have the size already, as those of prepared folders, need no test at run time.
    resized = all(drive.size == tuple(size) for drive in source.drives)

    def read(rows, owner):
        return tf.stack([decode_frame(data, parts[owner], size, resized)
                         for data in tf.unstack(read_files(rows))])

    if len(paths) * size[0] * size[1] * 3 <= cache_megabytes * 2**20:
        owners = np.repeat(np.arange(len(source.drives)), np.diff(source.table.drive_starts))
        owners = np.tile(owners, len(paths) // len(owners))
        frames = tf.data.Dataset.from_tensor_slices((np.arange(len(paths))[:, np.newaxis], owners))
        frames = frames.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        try:
            in_memory = next(iter(frames.batch(len(paths))))[:, 0]         # [all frames, H, W, 3]
        except tf.errors.OpError as error:
            raise unreadable(error, paths) from None
        return lambda rows, owner: tf.gather(in_memory, rows)
    return read


def _depth_reader(source):
    """A graph function: sample index -> measured depth of its target, [H, W, 1], metres."""
    read_files = _reader(_depth_paths(source))
    targets, owners = (tf.constant(table) for table in (
        source.table.indices[:, :1], source.table.drive_indices))
    parts = tf.constant(np.stack([file_part(drive) for drive in source.drives]))
    divisors = tf.constant([drive.depth_divisor for drive in source.drives], tf.float32)

    def read_depth(index):
        data, owner = read_files(targets[index])[0], owners[index]
        steps = decode_depth(data, parts[owner], source.config.size)
        return tf.cast(steps, tf.float32) / divisors[owner]

    return read_depth
