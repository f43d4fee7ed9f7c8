"""Several replicas and workers: the same samples, the loss and gradients of one replica, and a
cluster of two processes of which one is killed."""
import json
import multiprocessing.pool
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import weakref
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from cluster_config import ToyWithStatistics
from data_folders import write_kitti
from toy_system import ToyConfig

from tfdepth import systems
from tfdepth.checks import UserError
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives
from tfdepth.data.pipeline import open_source, training_batches
from tfdepth.networks.batch_norm import (
    SynchronizedBatchNormalization, synchronized_batch_norm)
from tfdepth.networks.torch_layers import batch_normalization
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig
from tfdepth.structures import Batch
from tfdepth.systems import build_system
from tfdepth.systems.monodepth2 import Monodepth2Config
from tfdepth.systems.sfmlearner import SfMLearnerConfig, SfMLearnerWeights
from tfdepth.training import distribution
from tfdepth.training.distribution import (
    WorkerLostError, distributed_batches, make_strategy, naming_lost_workers, read_cluster,
    replica_slices)
from tfdepth.training.optimizers import build_optimizer
from tfdepth.training.shared_checkpoints import merge_statistics
from tfdepth.training.step import make_train_step

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti")
    for sequence in ("00", "01", "02"):
        write_kitti(root, sequence, count=9)
    return root


@pytest.fixture(scope="module")
def four_replicas():
    """Without collectives, whose keys those of `two_replicas` use."""
    return tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(4)],
                                          tf.distribute.ReductionToOneDevice())


def source_of(root, size=(16, 32)):
    data = DataConfig("kitti_odometry", str(root), size=size, scale_crop=1.2, flip=True,
                      color_jitter="monodepth2", train_drives=("00", "01"))
    return open_source(load_drives(data), data)


@pytest.mark.parametrize("batch_size, replicas, expected", [
    (8, 4, [2, 2, 2, 2]), (5, 2, [2, 3]), (6, 4, [1, 2, 1, 2]), (3, 3, [1, 1, 1])])
def test_slices_differ_by_one_at_most(batch_size, replicas, expected):
    slices = replica_slices(batch_size, replicas)
    assert [end - begin for begin, end in slices] == expected
    assert [k for begin, end in slices for k in range(begin, end)] == list(range(batch_size))


def test_more_replicas_than_samples():
    with pytest.raises(UserError, match="batch_size must be at least 1 a replica, of .* 4; g"):
        replica_slices(3, 4)


@pytest.mark.parametrize("replicas, batch_size", [(2, 4), (2, 5), (4, 6)])
def test_replicas_see_the_samples_of_one(root, two_replicas, four_replicas, replicas, batch_size):
    """Bit for bit, augmentation included, from the start and from a later step."""
    strategy = {2: two_replicas, 4: four_replicas}[replicas]
    source = source_of(root)
    for start in (0, 2):
        whole = iter(training_batches(source, batch_size, 5, start))
        parts = distributed_batches(strategy, source, TrainConfig(batch_size, seed=5), start)
        for _ in range(4):
            expected, found = next(whole), next(parts)
            for one, several in zip(expected, found):
                if one is not None:
                    pieces = strategy.experimental_local_results(several)
                    assert [len(piece) for piece in pieces] == [
                        end - begin for begin, end in replica_slices(batch_size, replicas)]
                    np.testing.assert_array_equal(np.concatenate(pieces), one)
    assert not isinstance(parts, tf.distribute.DistributedIterator)  # which has a tuner of its own


def test_a_worker_makes_its_own_slices_alone(root):
    source = source_of(root)
    whole = iter(training_batches(source, 6, 5, 3))
    parts = iter(training_batches(source, 6, 5, 3, slices=[(3, 4), (4, 6)]))
    for _ in range(2):
        found = [next(parts).target for _ in range(2)]
        assert [len(part) for part in found] == [1, 2]
        np.testing.assert_array_equal(np.concatenate(found), next(whole).target[3:])


def batch_of(size, height, width):
    random = np.random.default_rng(4)
    image = lambda *axes: random.random((*axes, height, width, 3))
    target, sources = image(size), image(size, 2)
    camera = np.broadcast_to(np.float64([[60, 0, 44], [0, 70, 33], [0, 0, 1]]), [size, 3, 3])
    return Batch(*map(tf.constant, (target, sources, target, sources, camera)))


class Step(NamedTuple):
    numbers: list    # loss terms, total, gradient norm
    gradients: list
    moving: list     # statistics of batch normalisation


def step_of(config, strategy, batch):
    """What the first Step on a batch gives."""
    tf.keras.utils.set_random_seed(3)
    size, replicas = len(batch.target), strategy.num_replicas_in_sync
    with strategy.scope():
        system = build_system(config, (-1, 1), sync_batch_norm=True)
        system.create_variables(batch.target.shape[1:3])
        optimizer = build_optimizer(OptimizerConfig(), 10, system.trainable_variables)
    norms = [layer for layer in system._flatten_layers()
             if isinstance(layer, tf.keras.layers.BatchNormalization)]
    assert norms and all((type(layer) is SynchronizedBatchNormalization) == (replicas > 1)
                         for layer in norms)

    def pieces(context):
        first, last = replica_slices(size, replicas)[context.replica_id_in_sync_group]
        return tf.nest.map_structure(lambda tensor: None if tensor is None else tensor[first:last],
                                     batch)

    parts = (batch if replicas == 1 else
             strategy.experimental_distribute_values_from_function(pieces))
    experiment = ExperimentConfig(config, train=TrainConfig(batch_size=size))
    result = make_train_step(strategy, system, optimizer, experiment)(parts)
    merge_statistics(strategy, system.variables)
    return Step(
        [float(value) for value in (*result.terms.values(), result.gradient_norm)],
        [10.0 * optimizer.get_slot(each, "m").numpy() for each in system.trainable_variables],
        [each.read_value().numpy() for each in system.variables if "moving_mean" in each.name])


def assert_steps_agree(several, one, tolerance):
    """Losses, gradients and moving means, up to parts of the largest number."""
    np.testing.assert_allclose(several.numbers[:-1], one.numbers[:-1], rtol=tolerance / 1000)
    np.testing.assert_allclose(several.numbers[-1], one.numbers[-1], rtol=tolerance)
    for found, expected in zip(several.gradients, one.gradients):
        assert np.linalg.norm(found - expected) <= tolerance * (
            np.linalg.norm(expected) + 1e-3 * one.numbers[-1])
    for found, expected in zip(several.moving, one.moving):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance / 1000)


def test_four_replicas_and_two_have_the_gradients_of_one(four_replicas, two_replicas, request,
                                                         monkeypatch):
    """Of five samples, which neither divides; the toy system, in float64, is exact."""
    request.addfinalizer(lambda: tf.keras.backend.set_floatx("float32"))
    tf.keras.backend.set_floatx("float64")
    monkeypatch.setitem(systems.SYSTEMS, ToyConfig, ToyWithStatistics)
    batch = batch_of(5, 64, 96)
    one = step_of(ToyConfig(), tf.distribute.get_strategy(), batch)
    for strategy in (two_replicas, four_replicas):
        assert_steps_agree(step_of(ToyConfig(), strategy, batch), one, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("config", [
    SfMLearnerConfig(loss_weights=SfMLearnerWeights(explainability=0.2), normalization="batch"),
    Monodepth2Config()], ids=["sfmlearner", "monodepth2"])
def test_two_replicas_have_the_gradients_of_one(config, two_replicas):
    """Rounding in float32 turns some signs and minima of noise, which moves gradients of single
    layers by up to a hundredth; other statistics or shares move them by much more."""
    batch = tf.nest.map_structure(lambda tensor: tensor if tensor is None else tf.cast(
        tensor, tf.float32), batch_of(5, 64, 96))
    one = step_of(config, tf.distribute.get_strategy(), batch)
    assert_steps_agree(step_of(config, two_replicas, batch), one, 2e-2)


def test_synchronized_normalization_against_that_of_the_whole_batch(two_replicas):
    """Also the unbiased variance that is averaged, and a mean that is large beside the spread."""
    images = (30.0 + np.random.default_rng(2).normal(size=(5, 4, 6, 3))).astype(np.float32)
    whole = batch_normalization()
    expected = whole(images, training=True)
    with two_replicas.scope(), synchronized_batch_norm():
        layer = batch_normalization()
        layer.build(images.shape)
    parts = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.split(images, [2])[context.replica_id_in_sync_group]))
    normalize = tf.function(lambda part: two_replicas.run(
        lambda x: layer(x, training=True), args=(part,)))
    found = np.concatenate(two_replicas.experimental_local_results(normalize(parts)))
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(layer.moving_mean.read_value(), whole.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.read_value(), whole.moving_variance, rtol=1e-5)


class Workers:
    """Two processes of tools/train.py on this machine, a cluster by TF_CONFIG."""

    def __init__(self, root, workdir):
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            addresses = [f"127.0.0.1:{port.getsockname()[1]}" for port in (one, two)]
        self.processes = []
        for index in range(2):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            self.processes.append(subprocess.Popen(
                [sys.executable, ROOT / "tools" / "train.py", "--devices=cpu",
                 f"--config={ROOT}/tests/cluster_config.py", f"--config.data.root={root}",
                 f"--workdir={workdir}"], env={**os.environ, "TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.communicate()

    def ends(self):
        """[(exit code, stdout, stderr)]."""
        texts = [process.communicate(timeout=600) for process in self.processes]
        return [(process.returncode, *text) for process, text in zip(self.processes, texts)]


def arrays_of(workdir, step):
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"step-{step:08d}" / "state"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if name.endswith("VARIABLE_VALUE") and not name.startswith("save_counter")}


def test_two_workers_of_which_one_is_killed(root, tmp_path):
    with Workers(root, tmp_path / "whole") as workers:
        (code, output, errors), (other_code, other_output, other_errors) = workers.ends()
    assert code == other_code == 0, errors + other_errors
    assert "view_synthesis" in output and other_output == ""
    assert (tmp_path / "whole" / "evaluation.json").exists()
    assert len(list((tmp_path / "whole" / "tensorboard").iterdir())) == 1

    with Workers(root, tmp_path / "parts") as workers:
        chief, other = workers.processes
        first = tmp_path / "parts" / "checkpoints" / "step-00000020"
        while not first.exists() and chief.poll() is None:
            time.sleep(0.01)
        other.send_signal(signal.SIGKILL)
        (code, _, errors), (killed, _, _) = workers.ends()
    assert killed == -signal.SIGKILL and code == 1 and "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("train.py: another worker ended or cannot be reached")
    done = max(path.name for path in (tmp_path / "parts" / "checkpoints").glob("step-*"))
    assert "step-00000020" <= done < "step-00000060"

    with Workers(root, tmp_path / "parts") as workers:
        (code, output, errors), (other_code, _, other_errors) = workers.ends()
    assert code == other_code == 0, errors + other_errors
    assert f"resumes at step {int(done[5:])} of 60" in output
    expected, found = (arrays_of(tmp_path / name, 60) for name in ("whole", "parts"))
    assert set(expected) == set(found) and any("moving_mean" in name for name in expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_lost_worker_leaves_no_pool(monkeypatch):
    """TensorFlow adds up over workers in a pool of threads, which it does not close on errors."""
    def lost(_):
        raise tf.errors.UnavailableError(None, None, "the other worker is gone")

    def add():
        pool = multiprocessing.pool.ThreadPool(1)
        pools.append(weakref.ref(pool))
        pool.map(lost, [0])

    pools = []
    monkeypatch.setattr(distribution, "num_workers", lambda strategy: 2)
    with pytest.raises(WorkerLostError, match="another worker ended") as raised:
        with naming_lost_workers(tf.distribute.get_strategy()):
            add()
    assert isinstance(raised.value.__cause__, tf.errors.UnavailableError)
    assert pools[0]() is None


@pytest.mark.parametrize("text", [
    "{", '{"cluster": {"ps": ["a:1"], "worker": ["b:1", "c:1"]}}',
    '{"cluster": {"worker": ["a:1", "b"]}, "task": {"type": "worker", "index": 0}}',
    '{"cluster": {"worker": ["a:1", "b:1"]}}',
    '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "[]",
    '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'])
def test_bad_clusters(text):
    with pytest.raises(UserError, match="TF_CONFIG: expected JSON as "):
        read_cluster(text)


def test_clusters():
    jobs = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    text = json.dumps({"cluster": jobs, "task": {"type": "worker", "index": "1"}})
    assert read_cluster(text) == (("a:1", "b:1", "c:1"), 2)
    alone = '{"cluster": {"worker": ["a:1"]}}', '{"task": {"type": "worker", "index": 0}}'
    assert all(read_cluster(text) is None for text in (
        "", *alone, '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'))


@pytest.mark.parametrize("devices", ["gpu", "gpu:x", "cpu:0", "cpu:1,2", "tpu", "gpu:99"])
def test_bad_devices(devices):
    with pytest.raises(UserError, match="--devices"):
        make_strategy(devices)
