"""The training loop. It knows no method: it takes a system, data and an optimiser by config."""
import contextlib
import os
import sys
import zlib

import tensorflow as tf
from tqdm import tqdm

from tfdepth.checks import UserError
from tfdepth.data.pipeline import sample_files
from tfdepth.data.unreadable import unreadable
from tfdepth.runs.checkpoints import list_steps
from tfdepth.runs.config import check_config, first_stage_of, with_absolute_paths
from tfdepth.runs.environment import record_start
from tfdepth.runs.folder import RunFolder, locked_run, open_run
from tfdepth.stopping import Stopping
from tfdepth.tracing import gradients_released
from tfdepth.training.distribution import (
    any_worker, chiefs_number, distributed_batches, is_chief, num_workers, replica_slices)
from tfdepth.training.learned_cameras import write_cameras
from tfdepth.training.logs import RunLog, SilentLog
from tfdepth.training.preparation import prepare
from tfdepth.training.progress import Progress
from tfdepth.training.shared_checkpoints import SharedCheckpoints, merge_statistics
from tfdepth.training.step import make_train_step
from tfdepth.training.validation import Validation, pictures_of_first_replica
from tfdepth.training.watch import CollapseWatch, make_signs
from tfdepth.weights.starting import start_from


def train(config, workdir, strategy=None, share=1.0):
    """Trains as `config` says, from the newest checkpoint in `workdir` where there is one.

    A run that was stopped and started again gives the same weights, bit for bit on a CPU, as one
    that ran through: the checkpoint holds the optimiser and all counters, and data order and
    augmentation are functions of seed and step. (Of several replicas, statistics of batch
    normalisation are the same up to rounding where a signal stopped it between its regular
    checkpoints.) SIGTERM and Ctrl-C save and end it; see tfdepth.stopping.

    Args:
      config: ExperimentConfig.
      workdir: the run folder; made, or of the same run. A first stage has a folder of its own
        beside it, `workdir`-stage1.
      strategy: tf.distribute.Strategy; None = the current one. Of several workers all call this;
        the chief alone writes.
      share: of the run's steps, after which it pauses with a validation and a checkpoint; a call
        with a larger share goes on from there.

    Returns: RunFolder.
    Raises:
      UserError: if config, data or folder are not fit, or another process trains in the folder; at
        the end of a run that learns its cameras, if motion did not tell them.
      NonFiniteError: if more steps than config.train.max_bad_steps were not finite.
      OSError: if a checkpoint cannot be written.
      Terminated, KeyboardInterrupt: after SIGTERM and Ctrl-C.
    """
    with gradients_released(), contextlib.ExitStack() as stack:
        run = _train(config, workdir, strategy, share, stack)
    if share == 1.0 and is_chief(strategy or tf.distribute.get_strategy()):
        write_cameras(run)
    return run


def _train(config, workdir, strategy, share, stack):
    """`train`; what has to be closed at its end goes onto the ExitStack."""
    config = with_absolute_paths(config)
    check_config(config)
    strategy = strategy or tf.distribute.get_strategy()
    replica_slices(config.train.batch_size, strategy.num_replicas_in_sync, config.train.accumulate)
    chief = is_chief(strategy)
    tf.keras.utils.set_random_seed(config.train.seed)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()  # until the process ends
    if chief:  # before minutes are spent on data
        stack.enter_context(locked_run(workdir, config))
    parts = prepare(config, strategy)
    system, source, last = parts.system, parts.source, parts.num_steps
    if chief:
        print(describe(source))
    stop = max(1, round(share * last))
    with strategy.scope():
        bad_steps = tf.Variable(0, trainable=False, dtype=tf.int64)
        data = tf.Variable(fingerprint(source), trainable=False, dtype=tf.int64)
    first_stage = first_stage_of(config)
    begins = not list_steps(RunFolder(workdir).checkpoints)
    if (chief and begins and config.train.precision == "mixed_float16"
            and not tf.config.get_visible_devices("GPU")):
        print("warning: --config.train.precision: mixed_float16 is for GPUs; CPUs take up to a "
              "hundred times as long as in float32. Those with AVX512-BF16 are fast in "
              "mixed_bfloat16", file=sys.stderr)
    if begins and config.train.frozen and not (config.train.init_from or first_stage):
        print("warning: --config.train.frozen: variables keep random values, as "
              "--config.train.init_from names no run to start from", file=sys.stderr)
    if begins and config.train.init_from and not first_stage:
        print(start_from(config.train.init_from, system, config.train.init_except))
    validation = (Validation(system, parts.validation, config, strategy) if parts.validation
                  else None)
    run = open_run(workdir, config) if chief else RunFolder(workdir)
    if begins and first_stage:
        print("first stage:")
        first = train(first_stage, f"{os.path.normpath(workdir)}-stage1", strategy)
        print("second stage:", start_from(first.path, system))
    checkpoints = SharedCheckpoints(
        strategy, run.checkpoints, config.train.keep_checkpoints, system=system,
        optimizer=parts.optimizer, bad_steps=bad_steps, data=data)
    start = checkpoints.restore_newest() or 0
    if data.numpy() != fingerprint(source):
        raise UserError(f"--workdir {workdir}: expected the samples that the run began with; the "
                        "data have changed since. Give another folder to start anew.")
    if start and chief:
        print(f"{run.path}: {'resumes' if start < last else 'is complete'} at step {start} of "
              f"{last}")
    save_every = config.train.save_every or max(1, round(parts.steps_per_epoch))
    unmeasured_start = chiefs_number(strategy, int(bool(
        start and validation and (start % save_every == 0 or start == stop)
        and checkpoints.metric(start) is None)))  # as it was ended before it was
    if start >= stop and not unmeasured_start:
        return run
    if chief:
        record_start(run.environment, start)
    log = RunLog(run, start) if chief else SilentLog()
    stack.callback(log.close)
    batches = distributed_batches(strategy, source, config.train, start)
    train_step = make_train_step(strategy, system, parts.optimizer, config, parts.learned)
    progress = Progress(source, config.train, parts.optimizer, bad_steps)
    measure_signs, watch = make_signs(strategy, system), CollapseWatch(last)
    done = start

    def validate(step, batch=None):
        """Measures and logs; returns the metric that picks the best, None if there is none, or no
        time for it."""
        if not chief:
            return None
        if validation is None:
            log.pictures(step, pictures_of_first_replica(strategy, system, batch))
            return None
        found = validation(stopping.asked)
        if found is None:
            return None
        values, pictures = found
        log.scalars(step, values)
        log.pictures(step, pictures)
        summary = ", ".join(f"{name.split('/')[1]} {value:.4g}" for name, value in values.items())
        bar.write(f"step {step} of {last}: validation {summary}")
        return values[config.train.best_metric]

    def write_line(step, batch, result):
        """The line of the log for the steps since the last one."""
        signs = measure_signs(batch)
        if chief:
            watch.add(step, signs)
        values = progress.line(result.gradient_norm)
        log.scalars(step, {**values, **signs})
        shown = {name: f"{values[name]:.4g}" for name in (*result.terms, "samples_per_second")}
        bar.set_postfix(shown)
        if chief and not sys.stdout.isatty():  # a file, or the log of a cluster's job
            print(f"step {step} of {last}:", ", ".join(map(" ".join, shown.items())), flush=True)

    def save(step, metric):
        """All workers save, and go on as a run would that is restored from here."""
        merge_statistics(strategy, system.variables)
        checkpoints.save(step, metric() if metric else None)
        merge_statistics(strategy, system.variables)
        progress.skip_time()

    try:
        with Stopping() as stopping, tqdm(total=stop, initial=start, unit="step",
                                          disable=not sys.stderr.isatty(),
                                          dynamic_ncols=True) as bar:
            if unmeasured_start:
                checkpoints.set_metric(start, validate(start))
            for step in range(start, stop):
                batch = _next(batches, source, config.train, step)
                result = train_step(batch)
                progress.add(step, result)
                done = step + 1
                stopping.hold()
                bar.update()
                if done % config.train.log_every == 0 or done == stop:
                    write_line(done, batch, result)
                regular = done % save_every == 0 or done == stop
                if regular or any_worker(strategy, stopping.asked()):
                    save(done, (lambda: validate(done, batch)) if regular else None)
                    if any_worker(strategy, stopping.asked()):
                        # Of a cluster's job, exit code 0 would say that it is complete.
                        stopping.end(f"saved at step {done} of {last}; the same command goes on "
                                     "from there", code=int(num_workers(strategy) > 1))
    except UserError as error:  # of the data: what was learnt from them until now is sound
        if num_workers(strategy) > 1:  # the others do not know
            raise
        if done > max([0, *list_steps(run.checkpoints)]):
            checkpoints.save(done)
        saved = f" The run is saved at step {done}." if done else ""
        raise UserError(f"{error}{saved}") from error
    return run


def _next(batches, source, config, step):
    """The batch of a step; UserError names a file that cannot be read."""
    try:
        return next(batches)
    except tf.errors.OpError as error:
        found = sample_files(source, config.batch_size, config.seed, step)
        raise unreadable(error, found.image_paths, found.depth_files) from None


def describe(source):
    """One line on the samples of a source: counts of what is used and what is not, and why."""
    counts = source.table.counts
    unmeasured = f", {counts.without_depth} without a depth map" if source.supervised else ""
    return (f"{len(source.drives)} training drives, {counts.total} frames: {counts.kept} samples; "
            f"{counts.static} static frames left out, {counts.without_neighbours} without "
            f"neighbours in time{unmeasured}")


def fingerprint(source):
    """A number that changes when other samples are drawn from."""
    names = "\n".join(f"{drive.name} {drive.frame_numbers}" for drive in source.drives)
    return zlib.crc32(source.table.indices.tobytes(), zlib.crc32(names.encode()))
