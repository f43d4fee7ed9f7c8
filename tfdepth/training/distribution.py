"""On what a run computes: the devices of this machine, and the workers of a cluster.

A replica is a copy of the networks on one device. All replicas take the same step together, each
on its consecutive slice of the batch. Workers are processes, each on a machine or a part of one;
the first of them, the chief, alone writes the run folder. Everything that all workers have to do
together, as reading statistics that differ between replicas, must be done by all in one order.
"""
import contextlib
import functools
import itertools
import json
import os
import re
import sys
import traceback
from typing import NamedTuple, Tuple

import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.data.pipeline import training_batches

JOBS = ("chief", "worker")
TF_CONFIG = ('{"cluster": {"worker": ["host0:12345", "host1:12345"]}, '
             '"task": {"type": "worker", "index": 0}}')


class WorkerLostError(RuntimeError):
    """Another worker ended, or cannot be reached."""


class Cluster(NamedTuple):
    """The workers of TF_CONFIG."""
    addresses: Tuple[str, ...]     # "host:port", the chief's first
    index: int                     # of this worker among them


def make_strategy(devices=""):
    """The tf.distribute.Strategy of a run; to be called before TensorFlow computes anything.

    Args: devices: "": every GPU there is, without any the CPU; "cpu"; "cpu:4": four replicas on
      the CPU, for trials and tests; "gpu:0,1": GPUs by their numbers. Of a cluster, which the
      environment variable TF_CONFIG describes, the devices of this worker; all have as many.

    Returns: MultiWorkerMirroredStrategy of more than one worker, MirroredStrategy of more than one
      device, otherwise the default strategy.
    Raises: UserError: if there are no such devices, or TF_CONFIG cannot be read.
    """
    cluster = read_cluster(os.environ.get("TF_CONFIG", ""))
    if not re.fullmatch(r"|cpu(:\d+)?|gpu:\d+(,\d+)*", devices):
        raise UserError("--devices: expected nothing, cpu, cpu:4 (replicas) or gpu:0,1; got "
                        f"{devices}.")
    kind, _, text = devices.partition(":")
    numbers = [int(number) for number in text.split(",") if number]
    if kind == "cpu":
        return _cpu_strategy(numbers[0] if numbers else 1, cluster)
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "gpu":
        chosen = sorted(set(numbers))
        if chosen[-1] >= len(gpus):
            raise UserError(f"--devices {devices}: expected GPUs that TensorFlow finds; there are "
                            f"{len(gpus)}, counted from 0.")
        gpus = [gpus[number] for number in chosen]
        tf.config.set_visible_devices(gpus, "GPU")
    if cluster is not None:
        return _cluster_strategy(cluster, with_gpus=bool(gpus))
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def _cpu_strategy(replicas, cluster):
    if replicas < 1 or replicas > 1 and cluster is not None:
        raise UserError("--devices: expected cpu with 1 or more replicas, in a cluster 1 a worker; "
                        f"got {replicas}.")
    tf.config.set_visible_devices([], "GPU")
    if cluster is not None:
        return _cluster_strategy(cluster, with_gpus=False)
    if replicas == 1:
        return tf.distribute.get_strategy()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * replicas)
    return tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(replicas)])


def read_cluster(text):
    """The Cluster of a TF_CONFIG; None where it is empty or names no more than one worker.

    Raises: UserError: if it is not of the form of TF_CONFIG above.
    """
    try:
        fields = json.loads(text or "{}")
        jobs = fields.get("cluster", {})
        addresses = [address for job in JOBS for address in jobs.get(job, [])]
        if set(jobs) - set(JOBS) or not all(":" in address for address in addresses):
            raise ValueError
        index = 0
        if len(addresses) > 1 or addresses and "task" in fields:  # which one alone may leave out
            kind, index = fields["task"]["type"], int(fields["task"]["index"])
            index = _place(jobs, kind, range(len(jobs[kind]))[index])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise UserError(f"TF_CONFIG: expected JSON as {TF_CONFIG}, with jobs chief and worker "
                        f"alone; found {text[:200]}") from None
    return Cluster(tuple(addresses), index) if len(addresses) > 1 else None


def _place(jobs, kind, index):
    """Of a task among all workers of {job: addresses}, the chief first."""
    return index + (kind == "worker") * len(jobs.get("chief", ()))


def _cluster_strategy(cluster, with_gpus):
    kinds = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=kinds.AUTO if with_gpus else kinds.RING)
    print(f"worker {cluster.index} of {len(cluster.addresses)} waits for the others",
          file=sys.stderr, flush=True)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except tf.errors.OpError as error:
        raise WorkerLostError(
            f"the workers of TF_CONFIG, {', '.join(cluster.addresses)}, do not come together "
            f"({str(error).splitlines()[0][:160]})") from error


def num_workers(strategy):
    """The workers of a cluster; 1 without one."""
    if strategy.cluster_resolver is None:
        return 1
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(len(jobs.get(job, ())) for job in JOBS) or 1


def _worker_index(strategy):
    """The number of this worker among them, as of `_place`."""
    resolver = strategy.cluster_resolver
    if num_workers(strategy) == 1:
        return 0
    return _place(resolver.cluster_spec().as_dict(), resolver.task_type, resolver.task_id)


def is_chief(strategy):
    """Whether this worker writes the run folder; True where there is no other."""
    return _worker_index(strategy) == 0


def chiefs_number(strategy, number):
    """The chief's whole number >= 0, on all workers; each of them waits for all others here."""
    return _sum_over_workers(strategy, number if is_chief(strategy) else 0)


def any_worker(strategy, flag):
    """Whether the flag is True on any worker; each of them waits for all others here."""
    return _sum_over_workers(strategy, int(flag)) > 0


def _sum_over_workers(strategy, number):
    workers = num_workers(strategy)
    if workers == 1:
        return number
    total = _adder(strategy)(tf.constant(number, tf.int64))
    return int(on_first_replica(strategy, total)) // (strategy.num_replicas_in_sync // workers)


@functools.lru_cache(maxsize=1)
def _adder(strategy):
    """A compiled sum over all replicas."""
    add = lambda number: tf.distribute.get_replica_context().all_reduce(
        tf.distribute.ReduceOp.SUM, tf.identity(number))  # which is on the replica's device
    return tf.function(lambda number: strategy.run(add, args=(number,)), autograph=False)


def on_first_replica(strategy, values):
    """Of values of all replicas those of this worker's first one; any structure."""
    return tf.nest.map_structure(
        lambda value: strategy.experimental_local_results(value)[0], values)


@contextlib.contextmanager
def naming_lost_workers(strategy):
    """Raises WorkerLostError in place of TensorFlow's errors about a cluster."""
    try:
        yield
    except tf.errors.OpError as error:
        if num_workers(strategy) == 1 or isinstance(error, (
                tf.errors.ResourceExhaustedError, tf.errors.InvalidArgumentError)):
            raise
        # They hold a pool of TensorFlow's threads, which would complain when Python ends.
        traceback.clear_frames(error.__traceback__)
        raise WorkerLostError(
            "another worker ended or cannot be reached; the same command, given to all workers, "
            "goes on from the last checkpoint") from error


def replica_slices(batch_size, replicas, parts=1):
    """[(begin, end)] of the replicas in a batch, their sizes at most one apart.

    Args: parts: into which each of them is cut.
    Raises: UserError: if there are more replicas than samples, or it cannot be cut so.
    """
    if parts > 1 and batch_size % (replicas * parts):
        raise UserError("--config.train.batch_size must be a multiple of "
                        "--config.train.accumulate times the replicas, "
                        f"{parts} x {replicas}; got {batch_size}.")
    if batch_size < replicas:
        raise UserError(f"--config.train.batch_size must be at least 1 a replica, of which "
                        f"--devices and TF_CONFIG make {replicas}; got {batch_size}.")
    ends = [k * batch_size // replicas for k in range(replicas + 1)]
    return list(zip(ends, ends[1:]))


def distributed_batches(strategy, source, config, start):
    """Iterator of the batches of a run, as `make_train_step` takes them.

    Data are sharded by samples, so also by the files or records that these are read from: each
    worker reads what its own replicas see, and no more. (Frames that fit in cache_megabytes are
    held whole by each worker.)

    Args: source: Source. config: TrainConfig. start: steps that are done.
    Raises: UserError: as `replica_slices`.
    """
    slices = replica_slices(config.batch_size, strategy.num_replicas_in_sync)
    count = len(slices) // num_workers(strategy)
    first = count * _worker_index(strategy)
    batches = iter(training_batches(source, config.batch_size, config.seed, start,
                                    config.cache_megabytes, slices[first:first + count]))
    # TensorFlow's own distributed iterators tune themselves, see `map_in_parallel`.
    return batches if count == 1 else (
        _of_replicas(strategy, list(itertools.islice(batches, count))) for _ in itertools.count())


def _of_replicas(strategy, parts):
    """What `strategy.run` gives to this worker's replicas: one of the structures each."""
    def distributed(leaves):
        return None if leaves[0] is None else strategy.experimental_distribute_values_from_function(
            lambda context: leaves[context.replica_id_in_sync_group % len(leaves)])

    return tf.nest.pack_sequence_as(
        parts[0], [distributed(leaves) for leaves in zip(*map(tf.nest.flatten, parts))])
