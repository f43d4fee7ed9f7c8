"""Makes prepared folders (tfdepth.data.prepared): every picture once decoded, resized, encoded.

PNG keeps every bit, so training sees what it would see from the original files; JPEG, without
subsampling of colour, is smaller and faster. Shards are independent pieces of work: several
processes and several machines share them, and what is done is not done again.
"""
import concurrent.futures
import functools
import multiprocessing
import os
import signal
import threading
import zlib
from typing import NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfdepth.checks import UserError, check_choice, check_size
from tfdepth.data import images, motion, pictures, prepared, shards
from tfdepth.data.drives import Drive
from tfdepth.data.learned_camera import LEARNED
from tfdepth.files import write_atomically

FORMATS = ("png", "jpeg")
_TFRECORD_HEADER = 12  # bytes before a record: its length and that number's checksum
_TFRECORD_FOOTER = 4


class Prepared(NamedTuple):
    """What became of the shards that one call was asked to make."""
    made: Tuple[str, ...]
    kept: Tuple[str, ...]      # were there, with the right checksum
    remade: Tuple[str, ...]    # were there with a wrong checksum
    missing: Tuple[int, ...]   # numbers of those that other parts have to make
    manifest: dict


class _Frame(NamedTuple):
    drive: str
    number: int
    part: np.ndarray           # [3, 2], see pictures.file_part
    paths: Tuple[str, ...]     # of shards.KINDS; "" = none


class _Shard(NamedTuple):
    path: str                  # without suffix
    frames: Tuple[_Frame, ...]
    size: Tuple[int, int]
    image_format: str
    quality: int


def prepare(drives: Sequence[Drive], output: str, size: Tuple[int, int], image_format: str = "jpeg",
            quality: int = 95, processes: int = 0, part: Tuple[int, int] = (1, 1),
            frames_per_shard: int = 256, crop: str = "") -> Prepared:
    """Writes the frames of drives at `size` as shards, or what is missing of them.

    Depth maps and masks of what moves are resized by nearest neighbour. LiDAR scans stay behind.
    A drive without speed and poses gets thumbnails, so that motion is measured on them as on the
    original images. Interrupted at any time, the same call goes on with what is missing; shards
    that are there are read, and made anew where their checksum is wrong.

    Args:
      drives: what to prepare.
      output: the folder; made if missing.
      size: (height, width).
      image_format: "png" or "jpeg".
      quality: of JPEG, 1 to 100.
      processes: how many work at once; 0 = one a core, 1 = this one alone.
      part: (i, n): do the i-th of n shares of the work, i from 1 on.
      frames_per_shard: N; the last shard may have fewer.
      crop: DataConfig.crop with which the drives were loaded.

    Returns: Prepared.
    Raises:
      UserError: a value that cannot be, an unreadable picture, a folder that was begun with other
        values; OSError: a file cannot be written.
    """
    check_choice("--format", image_format, FORMATS)
    check_size("--size", size, 1)
    if not 1 <= quality <= 100:
        raise UserError(f"--quality: expected a number from 1 to 100; got {quality}.")
    if not 1 <= part[0] <= part[1]:
        raise UserError(f"--part: expected i/n with i from 1 to n; got {part[0]}/{part[1]}.")
    if any(drive.camera for drive in drives):  # a first guess would pass for the declared camera
        raise UserError(f"--intrinsics: shards hold the camera; expected a file, got {LEARNED}. A "
                        "training on the data set itself learns it.")
    output = os.path.abspath(os.path.expanduser(output))
    manifest = prepared.write_manifest(output, {
        "version": prepared.VERSION, "size": list(size), "format": image_format,
        "quality": quality if image_format == "jpeg" else None,
        "frames_per_shard": frames_per_shard, "parts": part[1], **({"crop": crop} if crop else {}),
        "drives": [_entry(drive, size) for drive in drives]}, _arrays(drives))
    frames = _frames(drives)
    names = prepared.shard_names(manifest)
    jobs = []
    for k, name in enumerate(names):
        chunk = tuple(frame for _, frame in zip(range(frames_per_shard), frames))
        if k % part[1] == part[0] - 1:
            jobs.append(_Shard(os.path.join(output, name), chunk, tuple(size), image_format,
                               quality))
    results = {"made": [], "kept": [], "remade": []}
    with tqdm(total=sum(len(job.frames) for job in jobs), desc="preparing", unit=" frames",
              disable=None) as bar:
        for result, job in zip(_work(jobs, processes or _cores()), jobs):
            name = os.path.basename(job.path)
            results[result].append(name)
            if result == "remade":
                bar.write(f"{name}: the checksum was wrong; made again")
            bar.update(len(job.frames))
    indexes = prepared.read_indexes(output, manifest)
    missing = tuple(k for k, index in enumerate(indexes) if index is None)
    return Prepared(*map(tuple, results.values()), missing, manifest)


def _cores():
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _work(jobs, processes):
    """Yields what became of each job, in order."""
    if processes <= 1 or len(jobs) <= 1:
        yield from map(_make_shard, jobs)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        min(processes, len(jobs)), multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield from pool.map(_make_shard, jobs)
    except concurrent.futures.process.BrokenProcessPool:
        raise UserError("a process ended before its work; is memory short? Give fewer --processes; "
                        "the same command goes on.") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker():
    """One core a process, no GPU, no message of its own on Ctrl-C, no life after its parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch():
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _entry(drive, size):
    """What the manifest says of a drive."""
    stereo = drive.stereo_from_camera
    return {"name": drive.name, "frames": len(drive), "original_size": list(drive.size),
            "intrinsics": pictures.intrinsics_at(drive, size).tolist(),
            "depth_divisor": drive.depth_divisor,
            "stereo_from_camera": None if stereo is None else stereo.tolist(),
            "kinds": [kind for kind, paths in zip(shards.KINDS, _paths(drive)) if paths],
            "per_frame": [field for field in prepared.PER_FRAME
                          if getattr(drive, field) is not None]}


def _arrays(drives):
    """What drives.npz holds."""
    arrays = {}
    for field in prepared.PER_FRAME:
        values = [np.asarray(getattr(drive, field)) for drive in drives
                  if getattr(drive, field) is not None]
        if values:
            arrays[field] = np.concatenate(values)
    return arrays


def _paths(drive):
    """The paths of each of shards.KINDS; None where the drive has none."""
    thumbnails = None if motion.measured_in_metres(drive) else (
        drive.thumbnail_paths or drive.image_paths)
    return (drive.image_paths, drive.stereo_paths, drive.depth_paths, drive.moving_paths,
            thumbnails)


def _frames(drives):
    """All frames, one drive after the other."""
    for drive in drives:
        part = pictures.file_part(drive)
        nothing = ("",) * len(drive)
        columns = zip(*(paths or nothing for paths in _paths(drive)))
        for number, paths in zip(drive.frame_numbers, columns):
            yield _Frame(drive.name, number, part, paths)


def _make_shard(job):
    """Writes a shard and its index unless they are there: "made", "kept" or "remade"."""
    index = shards.read_index(f"{job.path}.npz")
    record_file = f"{job.path}.tfrecord"
    if index is not None:
        found = shards.file_checksum(record_file)
        if found == index.file:
            return "kept"
    result = "remade" if index is not None and found[0] >= 0 else "made"
    folder, name = os.path.split(record_file)
    temporary = os.path.join(folder, f".{name}.tmp")  # a next attempt begins this file anew
    spans, offset = [], 0
    with tf.io.TFRecordWriter(temporary) as writer, tf.device("CPU:0"):
        for frame in job.frames:
            encoded = [_encode(kind, frame, path, job) if path else b""
                       for kind, path in zip(shards.KINDS, frame.paths)]
            record = _example(frame, encoded)
            writer.write(record)
            start = offset + _TFRECORD_HEADER
            spans.append([(start + record.index(data), len(data), zlib.crc32(data))
                          if data else (0, 0, 0) for data in encoded])
            offset = start + len(record) + _TFRECORD_FOOTER
    whole = shards.file_checksum(temporary)
    os.replace(temporary, record_file)
    # Last: a shard counts from the moment on when its index is there.
    write_atomically(f"{job.path}.npz", shards.pack(
        {"spans": np.array(spans, np.int64), "size_crc32": np.array(whole, np.int64)}))
    return result


def _example(frame, encoded):
    """The record of a frame: a serialized tf.train.Example."""
    text = lambda data: tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
    features = {"drive": text(frame.drive.encode()), "number": tf.train.Feature(
        int64_list=tf.train.Int64List(value=[frame.number]))}
    features.update({kind: text(data) for kind, data in zip(shards.KINDS, encoded) if data})
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _encode(kind, frame, path, job):
    """The bytes of one picture at the size of the shard."""
    if kind == "thumbnail":
        small = images.read_thumbnail(path, motion.THUMBNAIL_HEIGHT)         # [32, w]
        steps = np.rint(small * 255).astype(np.uint8)
        return tf.io.encode_png(steps[..., np.newaxis]).numpy()
    try:
        data = shards.frame_bytes(path)
        return _encoder(kind, job.size, job.image_format, job.quality)(
            data, tf.constant(frame.part)).numpy()
    except tf.errors.OpError as error:
        images.verify_image(path, frame=kind in ("image", "stereo"))
        height, width = images.read_size(path)
        raise UserError(f"{path}: expected {frame.part[0, 1]} x {frame.part[0, 0]} pixels (width x "
                        f"height); found {width} x {height}. "
                        f"({str(error).splitlines()[0][:100]})") from None


@functools.lru_cache(maxsize=None)
def _encoder(kind, size, image_format, quality):
    """A function of TensorFlow: (file, part) -> encoded picture of one of shards.KINDS."""
    @tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([3, 2], tf.int32)])
    def encode(data, part):
        if kind == "depth":
            return tf.io.encode_png(pictures.decode_depth(data, part, size))
        if kind == "moving":
            mask = tf.io.decode_image(data, channels=3, expand_animations=False)[..., :1]
            return tf.io.encode_png(pictures.resize_labels(pictures.crop(mask, part), size))
        pixels = pictures.decode_frame(data, part, size)
        if tf.reduce_all(pixels == pixels[..., :1]):  # one channel holds all of a grey picture
            return _encode_pixels(pixels[..., :1], image_format, quality)
        return _encode_pixels(pixels, image_format, quality)

    return encode


def _encode_pixels(pixels, image_format, quality):
    if image_format == "png":
        return tf.io.encode_png(pixels)
    return tf.io.encode_jpeg(pixels, quality=quality, chroma_downsampling=False)  # 4:4:4
