"""How long a training step and a prediction take and where the time goes, on this machine."""
import dataclasses
import resource
import time

import numpy as np
import tensorflow as tf

from tfdepth.checks import check_choice
from tfdepth.data import synthetic, synthetic_render, synthetic_world
from tfdepth.inference import BATCH_SIZE, Predictor
from tfdepth.networks.rematerialization import rematerialization
from tfdepth.runs.config import check_config
from tfdepth.systems import for_inference
from tfdepth.systems.base import PRECISIONS
from tfdepth.training.distribution import distributed_batches
from tfdepth.training.input_benchmark import batches_per_second
from tfdepth.training.preparation import prepare
from tfdepth.training.step import losses_of, make_train_step


def benchmark(config, repeats, strategy=None):
    """Measures a config; medians over `repeats` rounds, after two that do not count.

    Args: config: ExperimentConfig. repeats: of every measurement. strategy: tf.distribute.Strategy;
      None: the current one.

    Returns: {name: value}:
      step_seconds: forward, losses, backward and update of one batch that is at hand;
      network_seconds: forward and backward of the networks alone, by the sum of their outputs;
      losses_seconds: view synthesis and losses of a prediction that is at hand, both ways;
      optimizer_seconds: the update alone;
      step_samples_per_second: of all replicas together; input_samples_per_second: what the pipeline
        delivers from files, without frames in memory;
      start_seconds: from here, with TensorFlow imported, to the end of the first step: variables,
        data, and tracing_seconds, the first step;
      peak_memory_megabytes: of the process up to here, and gpu_peak_memory_megabytes on GPUs;
      inference_seconds: depth of one picture that is at hand; inference_network_seconds: of its
        forward pass alone; inference_images_per_second: of forward passes of 8 pictures;
      render_frames_per_second: the synthetic world at 128 x 416 on one core, without encoding.
    """
    strategy = strategy or tf.distribute.get_strategy()
    begin = time.perf_counter()
    parts, step, batches = _prepare(config, strategy)
    batch = next(batches)
    traced = time.perf_counter()
    step(batch)
    results = {"tracing_seconds": time.perf_counter() - traced,
               "start_seconds": time.perf_counter() - begin}
    take_step = lambda: step(batch).applied.numpy()
    for _ in range(repeats):
        take_step()
    # Here, before the parts, which are traced apart, add theirs.
    results["peak_memory_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        results["gpu_peak_memory_megabytes"] = max(
            tf.config.experimental.get_memory_info(f"GPU:{k}")["peak"]
            for k in range(len(gpus))) / 2**20
    results.update(_median_seconds(
        {"step": take_step, **_parts_of_step(config, strategy, parts, batch)}, repeats))
    size = config.train.batch_size
    results["step_samples_per_second"] = size / results["step_seconds"]
    results["input_samples_per_second"] = size * batches_per_second(batches, repeats / 4)
    single = _predictions(parts.system, config)
    several = {"batch": single.pop("inference_batch")}  # in rounds of its own: caches stay warm
    results.update(_median_seconds(single, repeats))
    results["inference_images_per_second"] = (
        BATCH_SIZE / _median_seconds(several, repeats)["batch_seconds"])
    results["render_frames_per_second"] = 1.0 / _render_seconds(repeats)
    return results


def compare_precisions(config, precisions, repeats, strategy=None):
    """Measures steps and predictions of a config in several precisions, in turns, as a machine that
    is slower for a while is so for all of them then.

    Args: precisions: rows of systems.base.PRECISIONS, the first of which the others are divided by.
      The others: as of `benchmark`.
    Returns: {name: value}: PRECISION_step_seconds, PRECISION_inference_seconds and
      PRECISION_inference_network_seconds, as of `benchmark` but with caches that other work has
      used, and PRECISION_inference_batch_seconds of a forward pass of 8 pictures; of all but the
      first also PRECISION_step_share, PRECISION_inference_share and
      PRECISION_inference_batch_share of the first one's seconds.
    Raises: UserError: on an unknown precision, or what else `check_config` refuses.
    """
    strategy = strategy or tf.distribute.get_strategy()
    runs = {}
    for precision in precisions:
        check_choice("--precisions", precision, PRECISIONS)
    for precision in precisions:
        own = dataclasses.replace(
            config, train=dataclasses.replace(config.train, precision=precision))
        parts, step, batches = _prepare(own, strategy)
        runs[f"{precision}_step"] = lambda step=step, batch=next(batches): (
            step(batch).applied.numpy())
        for name, run in _predictions(parts.system, own).items():
            runs[f"{precision}_{name}"] = run
    results, first = _median_seconds(runs, repeats), precisions[0]
    for precision in precisions[1:]:
        for name in ("step", "inference", "inference_batch"):
            results[f"{precision}_{name}_share"] = (
                results[f"{precision}_{name}_seconds"] / results[f"{first}_{name}_seconds"])
    return results


def measure_step(config, repeats):
    """Median seconds of a training step on a batch that is at hand; see `benchmark`."""
    _, step, batches = _prepare(config, tf.distribute.get_strategy())
    batch = next(batches)
    return _median_seconds({"step": lambda: step(batch).applied.numpy()}, repeats)["step_seconds"]


def _prepare(config, strategy):
    """Parts, training step and iterator of batches of a config."""
    check_config(config)
    parts = prepare(config, strategy)
    return (parts, make_train_step(strategy, parts.system, parts.optimizer, config, parts.learned),
            distributed_batches(strategy, parts.source, config.train, start=0))


def _parts_of_step(config, strategy, made, batch):
    """{name: function that runs a part of the step}; each returns when its work is done."""
    system, optimizer, learned = made.system, made.optimizer, made.learned
    zeros = [tf.zeros_like(variable) for variable in learned]

    def total_of(gradients):
        """A number that keeps all gradients from being pruned; unused heads have none."""
        return tf.add_n([tf.reduce_sum(each) for each in gradients if each is not None])

    def network(batch):
        with rematerialization(config.train.rematerialize), tf.GradientTape() as tape:
            prediction = tf.nest.flatten(system.forward(batch, training=True))
            total = tf.add_n([tf.reduce_sum(tensor) for tensor in prediction])
        return total_of(tape.gradient(total, learned))

    loss = losses_of(system, config.train)

    def losses(batch, prediction):
        tensors = tf.nest.flatten(prediction)
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            total, _ = loss(system.with_cameras(batch), prediction)
        return total_of(tape.gradient(total, tensors))

    def update(_):
        optimizer.apply_gradients(zip(zeros, learned), experimental_aggregate_gradients=False)
        return optimizer.iterations

    def forward(batch):
        return system.forward(batch, training=True)

    on_replicas = lambda function: tf.function(
        lambda *arguments: strategy.run(function, args=arguments), autograph=False)
    prediction = on_replicas(forward)(batch)
    wait = lambda result: strategy.experimental_local_results(result)[0].numpy()
    parts = {"network": (network, batch), "losses": (losses, batch, prediction),
             "optimizer": (update, batch)}
    return {name: lambda run=on_replicas(function), arguments=arguments: wait(run(*arguments))
            for name, (function, *arguments) in parts.items()}


def _predictions(system, config):
    """{name: function} of one picture, of its forward pass alone, and of one of 8 pictures."""
    system = for_inference(system, config.train.precision, config.data.size)
    predictor = Predictor(system, config, step=0)
    picture = np.random.default_rng(0).integers(0, 256, (375, 1242, 3), np.uint8)  # as of KITTI
    return {"inference": lambda: predictor.depth_of_image(picture, intrinsics=np.eye(3)),
            "inference_network": _forward(predictor, 1),
            "inference_batch": _forward(predictor, BATCH_SIZE)}


def _forward(predictor, count):
    """A function that runs a forward pass of `count` pictures that are at hand."""
    images = tf.random.uniform([count, *predictor.size, 3], seed=1)
    cameras = tf.eye(3, batch_shape=[count])
    return lambda: predictor.depth_of_batch(images, images, cameras).numpy()


def _median_seconds(runs, repeats):
    """{name_seconds: median} of functions, {name: function}, each run in every round: where the
    machine is slower for a while, it is so for all of them."""
    seconds = {name: [] for name in runs}
    for _ in range(repeats + 2):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {f"{name}_seconds": float(np.median(each[2:])) for name, each in seconds.items()}


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
