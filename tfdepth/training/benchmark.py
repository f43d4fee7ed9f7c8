"""How long a training step takes and where the time goes, measured on this machine."""
import resource
import time

import numpy as np
import tensorflow as tf

from tfdepth.data import synthetic, synthetic_render, synthetic_world
from tfdepth.data.datasets import load_drives, split_drives
from tfdepth.data.pipeline import open_source, training_batches
from tfdepth.runs.config import check_config
from tfdepth.systems import build_system
from tfdepth.training.loop import check_sizes
from tfdepth.training.input_benchmark import batches_per_second
from tfdepth.training.optimizers import optimizer_of
from tfdepth.training.step import make_train_step


def benchmark(config, repeats):
    """Measures a config; medians over `repeats`, after two runs that do not count.

    Args: config: ExperimentConfig. repeats: of every measurement.

    Returns: {name: value}:
      step_seconds: forward, losses, backward and update of one batch that is at hand;
      network_seconds: forward and backward of the networks alone, by the sum of their outputs;
      optimizer_seconds: the update alone;
      losses_seconds: what remains of the step: view synthesis and losses, both ways;
      input_samples_per_second: what the pipeline delivers from files, without frames in memory;
      step_samples_per_second; tracing_seconds: the first step; peak_memory_megabytes;
      render_frames_per_second: the synthetic world at 128 x 416 on one core, without encoding.
    """
    system, optimizer, learned, step, batches = _prepare(config)
    batch = next(batches)

    @tf.function
    def network():
        with tf.GradientTape() as tape:
            prediction = system.forward(batch, training=True)
            total = tf.add_n([tf.reduce_sum(tensor) for tensor in tf.nest.flatten(prediction)])
        # Unused heads have no gradient; sums keep the others from being pruned.
        return [tf.reduce_sum(gradient) for gradient in
                tape.gradient(total, learned) if gradient is not None]

    zeros = [tf.zeros_like(variable) for variable in learned]

    @tf.function
    def update():
        optimizer.apply_gradients(zip(zeros, learned))

    begin = time.perf_counter()
    step(batch)
    results = {"tracing_seconds": time.perf_counter() - begin}
    results["step_seconds"] = _median_seconds(lambda: step(batch), repeats)
    results["network_seconds"] = _median_seconds(network, repeats)
    results["optimizer_seconds"] = _median_seconds(update, repeats)
    results["losses_seconds"] = (results["step_seconds"] - results["network_seconds"]
                                 - results["optimizer_seconds"])
    size = config.train.batch_size
    results["step_samples_per_second"] = size / results["step_seconds"]
    results["input_samples_per_second"] = size * batches_per_second(batches, repeats / 4)
    results["render_frames_per_second"] = 1.0 / _render_seconds(repeats)
    results["peak_memory_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return results


def measure_step(config, repeats):
    """Median seconds of a training step on a batch that is at hand; see `benchmark`."""
    *_, step, batches = _prepare(config)
    batch = next(batches)
    return _median_seconds(lambda: step(batch), repeats)


def _prepare(config):
    """System, optimizer, learned variables, training step and iterator of batches of a config."""
    check_config(config)
    system = build_system(config.system, config.data.offsets, config.data.stereo,
                          config.train.precision)
    check_sizes(config.data, system)
    system.create_variables(config.data.size)
    optimizer, learned = optimizer_of(config, system, steps_per_epoch=1, num_steps=1)
    drives = split_drives(config.data, load_drives(config.data)).train
    source = open_source(drives, config.data, system.learns_from_depth)
    batches = iter(training_batches(source, config.train.batch_size, config.train.seed))
    step = make_train_step(tf.distribute.get_strategy(), system, optimizer,
                           config.optimizer.clip_norm, learned, config.train.accumulate,
                           config.train.rematerialize)
    return system, optimizer, learned, step, batches


def _median_seconds(run, repeats):
    seconds = []
    for _ in range(repeats + 2):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[2:]))


def _render_seconds(repeats):
    """CPU seconds of this thread for one rendered frame."""
    world = synthetic_world.build_world(synthetic.DRIVES[0].seed, 3, with_movers=False)
    camera = synthetic.camera_intrinsics(synthetic.SIZE)
    seconds = []
    for _ in range(repeats):
        begin = time.thread_time()
        synthetic_render.render(world, 1, world.street_from_camera[1], camera, synthetic.SIZE)
        seconds.append(time.thread_time() - begin)
    return float(np.median(seconds))
