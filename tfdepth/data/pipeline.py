"""From files to batches: decode, resize, augment, batch, prefetch.

The order and every random number are pure functions of (seed, position), position counting the
samples that were drawn since the start of the run; so a resumed run sees what the uninterrupted
one would have seen, and so do one replica or many. Pictures are files, or records of a prepared
folder (tfdepth.data.shards), which give the same batches.

Memory does not grow with the data beyond the list of frames: a sample is looked up and read when
its turn comes. Python looks up and reads; TensorFlow, in parallel, decodes and resizes.

Shape letters: B batch, S sources, F = 1 + S frames of a sample, H rows, W columns.
"""
import functools
from typing import NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.data import augmentation
from tfdepth.data.config import DataConfig
from tfdepth.data.crops import training_size, training_window
from tfdepth.data.drives import Drive
from tfdepth.data.pictures import resize_image
from tfdepth.data.sample_reading import (
    all_paths, depth_files, depth_reader, file_reader, map_in_parallel, measured_reader,
    sample_reader)
from tfdepth.data.samples import SampleTable, select_samples
from tfdepth.data.unreadable import readable
from tfdepth.geometry.products import matmul
from tfdepth.structures import Batch


class Source(NamedTuple):
    """What batches are drawn from: drives, and the samples among their frames."""
    drives: Tuple[Drive, ...]
    table: SampleTable
    config: DataConfig
    supervised: bool = False    # every sample has a depth map, which batches hold

    @property
    def num_samples(self):
        """M, the samples of an epoch."""
        return len(self.table.indices)


def open_source(drives: Sequence[Drive], config: DataConfig, supervised: bool = False) -> Source:
    """Selects the samples of some drives; for a system that learns from depth, `supervised`.

    Raises: UserError: if no sample is left; the message says why.
    """
    return Source(tuple(drives), select_samples(drives, config, supervised), config, supervised)


def training_batches(source, batch_size, seed, start=0, cache_megabytes=0, slices=None):
    """Endless shuffled and augmented batches, or parts of them.

    Args:
      source: Source.
      batch_size: B, of all replicas together. Batches run on across the ends of epochs, so that
        every sample is seen once an epoch also when B does not divide their number.
      seed: of order and augmentation.
      start: how many batches were drawn before.
      cache_megabytes: resized frames stay in memory when all of them need no more than this.
      slices: [(begin, end)] in a batch, each beginning where the one before it ends: of the
        replicas that this dataset feeds. Samples outside of them are not read. None: whole batches.

    Returns: tf.data.Dataset of Batch, one after another the slices of the first batch, of the
      second one, ...; with depth if the source is supervised.
    """
    slices = slices or [(0, batch_size)]
    first, per_batch = slices[0][0], slices[-1][1] - slices[0][0]
    read_sample = sample_reader(source, cache_megabytes)
    read_depth = measured_reader(source) if source.supervised else lambda index: (None, None)
    count = source.num_samples

    @tf.autograph.experimental.do_not_convert
    def sample(number):
        position = number // per_batch * batch_size + first + number % per_batch
        index = _shuffled(position, count, seed)
        return _augment(*read_sample(index), *read_depth(index), source.config, position, seed)

    samples = map_in_parallel(sample, tf.data.Dataset.counter(start * per_batch, dtype=tf.int64))
    sizes = {end - begin for begin, end in slices}
    if len(sizes) == 1:
        return samples.batch(sizes.pop(), drop_remainder=True).prefetch(2 * len(slices))

    def part(batch, begin, end):
        return Batch(*(tensor if tensor is None else tensor[begin - first:end - first]
                       for tensor in batch))

    @tf.autograph.experimental.do_not_convert
    def split(batch):
        parts = [tf.data.Dataset.from_tensors(part(batch, *ends)) for ends in slices]
        return functools.reduce(lambda before, after: before.concatenate(after), parts)

    return samples.batch(per_batch, drop_remainder=True).flat_map(split).prefetch(2 * len(slices))


def _augment(frames, intrinsics, stereo_from_target, camera, depth, frame_from_depth, config,
             position, seed):
    """Frames [F, H, W, 3], cameras and measured depth of a sample -> a Batch without its batch
    axis. Depth [h, w, 1] has its own size, see `sample_reading.measured_reader`; or is None."""
    # Every decision has numbers of its own: switching one on does not change the others.
    draw = lambda decision: tf.stack([position, tf.constant(8 * seed + decision, tf.int64)])
    # What moves the pixels of the frames moves both: the camera, and the map from those of depth.
    matrices = tf.stack([intrinsics, tf.eye(3) if depth is None else frame_from_depth])
    top, left, *size = training_window(config)
    if tuple(size) != tuple(config.size):
        frames, matrices = augmentation.crop(frames, matrices, (top, left), size)
    if config.scale_crop > 1.0:
        scale_yx, offset_yx = augmentation.draw_scale_and_crop(size, config.scale_crop, draw(0))
        frames, matrices = augmentation.scale_and_crop(frames, matrices, scale_yx, offset_yx)
    old_size, size = size, training_size(config)
    offset_yx = augmentation.draw_crop(old_size, size, draw(5))              # 0 without a crop
    if config.max_rotation > 0.0:
        turned = augmentation.rotation(
            old_size, augmentation.draw_rotation(config.max_rotation, draw(4)))
        matrices = tf.stack([matrices[0], matmul(turned, matrices[1])])      # see `rotation`
        frames, matrices = augmentation.crop(frames, matrices, offset_yx, size, turned)
    elif config.random_crop:
        frames, matrices = augmentation.crop(frames, matrices, offset_yx, size)
    frames = tf.ensure_shape(frames, [1 + len(config.offsets) + config.stereo, *size, 3])
    intrinsics = matrices[0]
    if depth is not None:
        depth = augmentation.resample(depth[tf.newaxis], matrices[1], size, nearest=True)[0]
    flipped = tf.constant(False)
    if config.flip:
        flipped = augmentation.draw_flip(draw(2))
        frames, intrinsics, stereo_from_target = augmentation.flip(
            frames, intrinsics, stereo_from_target, flipped)
        if depth is not None:
            depth = tf.cond(flipped, lambda: tf.reverse(depth, axis=[1]), lambda: depth)
    seen = frames
    if config.color_jitter:
        jitter = augmentation.COLOR_JITTERS[config.color_jitter]
        seen = jitter.change(frames, draw(3))
        frames = seen if jitter.seen_by_losses else frames
    return _sample_of(frames, seen, intrinsics, stereo_from_target, camera, depth, flipped)


def _sample_of(frames, seen, intrinsics, stereo_from_target, camera, depth, mirrored):
    """A Batch without its batch axis, of frames [F, H, W, 3], the target first."""
    return Batch(frames[0], frames[1:], seen[0], seen[1:], intrinsics, depth, stereo_from_target,
                 camera, None if camera is None else mirrored)


def evaluation_batches(source, batch_size, limit=0, with_depth=False, cache_megabytes=0):
    """Every sample once, in order, as it is; the last batch may be smaller.

    Args:
      limit: samples at most, spread evenly; 0 = all.
      with_depth: whether to read `target_depth`, by nearest neighbour at the network's size; of a
        supervised source it is read always.

    Returns: iterable of Batch.
    Raises: UserError: if depth is asked for and a drive has none; while iterating, names a file
      that cannot be read.
    """
    read_sample = sample_reader(source, cache_megabytes)
    with_depth = with_depth or source.supervised
    if with_depth and not source.supervised and any(
            drive.depth_paths is None for drive in source.drives):
        raise UserError("depth was asked for; a drive has no depth maps.")
    read_depth = depth_reader(source) if with_depth else lambda index: None

    @tf.autograph.experimental.do_not_convert
    def sample(index):
        frames, *camera = read_sample(index)
        return _sample_of(frames, frames, *camera, read_depth(index), tf.constant(False))

    chosen = np.arange(source.num_samples)
    if 0 < limit < len(chosen):
        chosen = np.linspace(0, len(chosen) - 1, limit).round().astype(np.int64)
    batches = map_in_parallel(sample, tf.data.Dataset.from_tensor_slices(chosen)).batch(
        batch_size).prefetch(2)
    return Readable(batches, all_paths(source), depth_files(source) if with_depth else ())


class Readable(NamedTuple):
    """Batches that can be gone through again and again; see `readable`."""
    batches: tf.data.Dataset
    image_paths: Sequence[str]
    depth_files: Sequence[Tuple[str, Tuple[int, int]]]  # paths and (height, width)

    def __iter__(self):
        return readable(self.batches, self.image_paths, self.depth_files)


def frame_batches(paths, size, batch_size):
    """Single images in order, resized: tf.data.Dataset of float32 [B, H, W, 3] in [0, 1]."""
    paths = list(paths)
    read_files = file_reader(paths)

    @tf.autograph.experimental.do_not_convert
    def read(index):
        image = tf.io.decode_image(read_files(index[tf.newaxis])[0], channels=3,
                                   expand_animations=False)
        return tf.cast(tf.ensure_shape(resize_image(image, size), [*size, 3]), tf.float32) / 255.0

    return map_in_parallel(read, tf.data.Dataset.range(len(paths))).batch(batch_size).prefetch(2)


def images_of_files(paths):
    """Single images in order, as they are: yields uint8 [h, w, 3].

    Raises: UserError: names a file that cannot be read.
    """
    paths = list(paths)
    read_files = file_reader(paths)
    decode = lambda index: tf.io.decode_image(read_files(index[tf.newaxis])[0], channels=3,
                                              expand_animations=False)
    images = map_in_parallel(decode, tf.data.Dataset.range(len(paths))).prefetch(2)
    return (image.numpy() for image in readable(images, paths))


class SampleFiles(NamedTuple):
    """The samples of a training batch, in its order, and what they are read from: for messages."""
    names: Tuple[str, ...]         # B, as "drive frame 12"
    image_paths: Tuple[str, ...]
    depth_files: Tuple[Tuple[str, Tuple[int, int]], ...]  # as of Readable


def sample_files(source, batch_size, seed, step):
    """SampleFiles of the batch of a step."""
    positions = range(step * batch_size, (step + 1) * batch_size)
    names, paths, depth = [], [], []
    for position in positions:
        row = int(_shuffled(tf.constant(position, tf.int64), source.num_samples, seed))
        drive_index = source.table.drive_indices[row]
        drive = source.drives[drive_index]
        local = source.table.indices[row] - source.table.drive_starts[drive_index]
        names.append(f"{drive.name} frame {drive.frame_numbers[local[0]]}")
        paths += [drive.image_paths[frame] for frame in local]
        if source.config.stereo:
            paths.append(drive.stereo_paths[local[0]])
        if source.supervised:
            depth.append((drive.depth_paths[local[0]], drive.file_size or drive.size))
    return SampleFiles(tuple(names), tuple(dict.fromkeys(paths)), tuple(depth))


def _shuffled(position, count, seed):
    """The sample at a position: each epoch is another permutation, computed without a list."""
    epoch = position // count
    key = tf.stack([tf.constant(seed, tf.int64), epoch])
    return tf.random.experimental.index_shuffle(
        position % count, key, tf.constant(count - 1, tf.int64))
