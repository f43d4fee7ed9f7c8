"""How fast samples come from files, against how fast a training step consumes them.

Each way of reading is measured in a process of its own, so that its memory is its own too. Files
are read more than once: what is measured is decoding, not the disk.
"""
import concurrent.futures
import dataclasses
import multiprocessing
import resource
import tempfile
import time

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import prepared, shards
from tfdepth.data.datasets import load_drives, split_drives

_MILLION = 1_000_000
_FRAMES = 2000           # whole drives up to about so many are prepared for the measurement


def benchmark_input(config, repeats):
    """Measures input from the files of a config, and from shards that are made for the occasion.

    Args:
      config: ExperimentConfig; its training drives are used, the first of them when there are more
        than 2000 frames. They must be files as published, not a prepared folder.
      repeats: training steps whose median counts, and quarters of a second a way of reading.

    Returns: {name: value}:
      step_samples_per_second: what a training step consumes;
      raw_, png_, jpeg_samples_per_second: from the original files, and shards of either form;
      raw_, png_, jpeg_per_step: the same as multiples of what a step consumes;
      raw_, png_, jpeg_memory_megabytes: the most that a process held that only read, Python and
        TensorFlow included;
      million_samples_per_second, million_memory_megabytes: the same for a list of a million
        frames, those of the JPEG shards over and over;
      million_start_seconds: from that list to its first batch.
    Raises: UserError: what data and config may raise, or data that are prepared already.
    """
    from tfdepth.data.prepare import FORMATS, prepare
    from tfdepth.systems import SYSTEMS
    from tfdepth.training.benchmark import measure_step
    drives = split_drives(config.data, load_drives(config.data)).train
    if any(shards.is_record(path) for drive in drives[:1] for path in drive.image_paths[:1]):
        raise UserError("--config.data.dataset: expected files as they were published, which this "
                        "measurement prepares by itself; found a prepared folder.")
    frames_before = np.cumsum([0] + [len(drive) for drive in drives[:-1]])
    drives = tuple(drive for drive, before in zip(drives, frames_before) if before < _FRAMES)
    results = {"step_samples_per_second": config.train.batch_size / measure_step(config, repeats)}
    supervised = SYSTEMS[type(config.system)].learns_from_depth
    run = lambda measure, frames: _in_process(
        measure, frames, config.data, config.train.batch_size, repeats / 4, supervised)
    with tempfile.TemporaryDirectory() as folder:
        ways = {"raw": drives}
        for image_format in FORMATS:
            prepare(drives, f"{folder}/{image_format}", config.data.size, image_format,
                    crop=config.data.crop)
            ways[image_format] = prepared.load(f"{folder}/{image_format}", config.data.size,
                                               config.data.stereo, config.data.crop)
        for way, frames in ways.items():
            speed, memory, _ = run(measure_input, frames)
            results[f"{way}_samples_per_second"] = speed
            results[f"{way}_per_step"] = speed / results["step_samples_per_second"]
            results[f"{way}_memory_megabytes"] = memory
        (results["million_samples_per_second"], results["million_memory_megabytes"],
         results["million_start_seconds"]) = run(measure_million, ways["jpeg"][:1])
    return results


def _in_process(measure, *arguments):
    """The result of `measure` in a new process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(measure, *arguments).result()


def measure_input(drives, data, batch_size, seconds, supervised=False):
    """Reads training batches for some seconds.

    Args: drives: their frames are read. data: DataConfig. batch_size: B. seconds: about so long.
      supervised: whether depth is read too.

    Returns: (samples a second, megabytes that this process ever held, seconds to the first batch).
    """
    import tensorflow as tf
    from tfdepth.data.pipeline import open_source, training_batches
    tf.config.set_visible_devices([], "GPU")
    begin = time.perf_counter()
    batches = iter(training_batches(open_source(drives, data, supervised), batch_size, seed=0))
    next(batches)
    start = time.perf_counter() - begin
    speed = batch_size * batches_per_second(batches, seconds)
    return speed, peak_megabytes(), start


def peak_megabytes():
    """The most memory that this process ever held."""
    try:  # ru_maxrss starts with the size of the process that started this one
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux


def measure_million(drives, data, batch_size, seconds, supervised=False):
    """`measure_input` of a drive of a million frames, those of the first drive over and over."""
    return measure_input([repeat_frames(drives[0], _MILLION, supervised)], data, batch_size,
                         seconds, supervised)


def repeat_frames(drive, count, with_depth=False):
    """A drive of `count` frames, those of `drive` over and over, one metre apart.

    Paths are as many strings as in a real list, not one string many times.
    """
    again = lambda paths: paths and tuple(
        paths[k % len(paths)][:1] + paths[k % len(paths)][1:] for k in range(count))
    return dataclasses.replace(
        drive, image_paths=again(drive.image_paths), stereo_paths=again(drive.stereo_paths),
        frame_numbers=tuple(range(count)), travel=np.ones(count), world_from_camera=None,
        depth_paths=again(drive.depth_paths) if with_depth else None, lidar_paths=None,
        moving_paths=None)


def batches_per_second(batches, seconds):
    """Speed of an iterator; in the first quarter of the time tf.data finds its parallelism."""
    for share in (0.25, 0.75):
        begin, count = time.perf_counter(), 0
        while time.perf_counter() < begin + share * seconds:
            next(batches)
            count += 1
        speed = count / (time.perf_counter() - begin)
    return speed
