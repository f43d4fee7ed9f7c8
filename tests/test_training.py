"""The loop, with a toy system: resume, replicas, non-finite steps, logs, checkpoints."""
import dataclasses
import json
import resource
import shutil

import numpy as np
import pytest
import tensorflow as tf
from data_folders import write_kitti
from helpers import interrupt_after
from tensorflow.python.framework.ops import gradient_registry
from toy_system import ToyConfig

from tfdepth.checks import UserError
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives
from tfdepth.data.pipeline import open_source, training_batches
from tfdepth.runs import checkpoints
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig, from_json, to_json
from tfdepth.runs.folder import locked_run
from tfdepth.systems import build_system
from tfdepth.training import loop
from tfdepth.training.optimizers import build_optimizer, learning_rate
from tfdepth.training.progress import NonFiniteError
from tfdepth.training.step import make_train_step

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti")
    for sequence in ("00", "01"):
        write_kitti(root, sequence, count=9)
    return root


def config_of(root, steps=6, **train):
    train = {"batch_size": 2, "steps": steps, "log_every": 1, "save_every": 2, **train}
    return ExperimentConfig(
        ToyConfig(),
        DataConfig("kitti_odometry", str(root), size=(16, 32), scale_crop=1.2, flip=True,
                   color_jitter="monodepth2", validation_drives=("01",)),
        OptimizerConfig(learning_rate=1e-2), TrainConfig(**train))


def weights_of(workdir, step):
    prefix = workdir / "checkpoints" / f"step-{step:08d}" / "state"
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if "CHECKPOINTABLE" not in name and name != "save_counter/.ATTRIBUTES/VARIABLE_VALUE"}


def lines_of(run):
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


@pytest.mark.parametrize("optimizer, frozen", [
    (OptimizerConfig(1e-2), ()),
    (OptimizerConfig(1e-2, weight_decay=0.3, decoupled_decay=True, weight_decay_on=("motion",),
                     final_learning_rate=1e-3), ("*/bias",))])
def test_interrupted_run_equals_an_uninterrupted_one(root, tmp_path, monkeypatch, optimizer,
                                                     frozen):
    config = dataclasses.replace(config_of(root, frozen=frozen), optimizer=optimizer)
    whole = loop.train(config, tmp_path / "whole")

    # The second run dies in its fifth step: one step after the last checkpoint, of which a line
    # is in its log.
    with monkeypatch.context() as patch:
        interrupt_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, tmp_path / "parts")
    parts = loop.train(config, tmp_path / "parts")

    expected, found = weights_of(whole.path, 6), weights_of(parts.path, 6)
    assert len(expected) > 10 and set(expected) == set(found)
    biases = [value for name, value in expected.items() if "/bias/.ATTR" in name]
    assert len(biases) == 2 and all(np.any(bias) != bool(frozen) for bias in biases)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    timeless = lambda run: [{name: value for name, value in line.items()
                             if name != "samples_per_second"} for line in lines_of(run)]
    assert timeless(parts) == timeless(whole)
    assert [line["step"] for line in lines_of(whole)] == [1, 2, 2, 3, 4, 4, 5, 6, 6]


def test_finished_run_does_nothing_and_other_configs_are_refused(root, tmp_path, capsys):
    config = config_of(root, steps=2)
    run = loop.train(config, tmp_path / "run")
    before = run.metrics.read_text()
    loop.train(config, tmp_path / "run")
    assert run.metrics.read_text() == before and "complete" in capsys.readouterr().out
    other = config_of(root, steps=2)
    other.optimizer.learning_rate = 3e-2
    with pytest.raises(UserError, match=r"another config .*optimizer.learning_rate: 0.01, 0.03\."):
        loop.train(other, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="found other files"):
        loop.train(config, tmp_path / "mine")


def test_a_run_leaves_no_graph_in_memory(root, tmp_path):
    """A search makes one run after another in its process; see tracing.gradients_released."""
    before = set(gradient_registry._registry)
    loop.train(config_of(root, steps=2), tmp_path / "run")
    assert set(gradient_registry._registry) == before


def test_replicas_equal_one(root, two_replicas, request):
    """In float64: Adam divides by gradients, some of which are as small as float32's rounding."""
    request.addfinalizer(lambda: tf.keras.backend.set_floatx("float32"))
    tf.keras.backend.set_floatx("float64")
    exact = lambda batch: tf.nest.map_structure(
        lambda each: None if each is None else tf.cast(each, tf.float64), batch)
    config = dataclasses.replace(config_of(root, batch_size=4),
                                 optimizer=OptimizerConfig(1e-2, clip_norm=0.01))
    source = open_source(load_drives(config.data), config.data)
    results = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        tf.keras.utils.set_random_seed(3)
        with strategy.scope():
            system = build_system(ToyConfig(), (-1, 1))
            system.create_variables((16, 32))
            optimizer = build_optimizer(config.optimizer, 10, system.trainable_variables)
        batches = iter(strategy.experimental_distribute_dataset(
            training_batches(source, 4, 5).map(exact)))
        step = make_train_step(strategy, system, optimizer, config)
        outcomes = [step(next(batches)) for _ in range(3)]
        assert all(outcome.applied for outcome in outcomes)
        results.append([np.concatenate([[float(value) for value in outcome.terms.values()]
                                        + [float(outcome.gradient_norm)] for outcome in outcomes]),
                        *[variable.numpy() for variable in system.trainable_variables]])
    assert len(results[0]) == 5
    for one, two in zip(*results):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


def test_clipping_and_schedule():
    variable = tf.Variable([1.0, 2.0])
    optimizer = build_optimizer(OptimizerConfig(0.1, decay_epochs=(2.0, 3.0), decay_factor=0.5),
                                steps_per_epoch=2, variables=[variable])
    rates = []
    for _ in range(8):
        rates.append(learning_rate(optimizer))
        optimizer.apply_gradients([(tf.ones(2), variable)])
    np.testing.assert_allclose(rates, [0.1] * 5 + [0.05] * 2 + [0.025], rtol=1e-6)


@pytest.mark.parametrize("after", [False, True])
def test_adam_with_weight_decay_against_numpy(after):
    """L2 regularisation goes into the gradient, before the moments; epsilon in either place."""
    random = np.random.default_rng(2)
    start = random.normal(size=(3, 4))
    variable = tf.Variable(start)
    config = OptimizerConfig(0.01, epsilon=1e-3, weight_decay=0.3, epsilon_after_correction=after)
    optimizer = build_optimizer(config, 10, [variable])
    weight, first, second = start.copy(), 0.0, 0.0
    for step in range(1, 8):
        gradient = random.normal(size=(3, 4))
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
        gradient = gradient + 0.3 * weight
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        root = np.sqrt(second / (1 - 0.999**step))
        epsilon = 1e-3 if after else 1e-3 / np.sqrt(1 - 0.999**step)
        weight = weight - 0.01 * first / (1 - 0.9**step) / (root + epsilon)
    np.testing.assert_allclose(variable, weight, rtol=1e-6)  # its constants are float32


def staged(root):
    """Two stages that differ by one field of the system, without validation."""
    config = config_of(root, steps=4, first_stage=("system.loss_weights.size=0.0",))
    config.data.validation_drives = ()
    return config


class Dying:
    """Stands for make_train_step; the process "dies" in the step of this number, of all stages."""

    def __init__(self, real, last):
        self.real, self.left = real, last

    def __call__(self, *arguments):
        step = self.real(*arguments)

        def run_or_die(batch):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return step(batch)
        return run_or_die


@pytest.mark.parametrize("last", [3, 7])
def test_a_crash_in_either_stage_resumes_in_it(root, tmp_path, monkeypatch, capsys, last):
    whole = loop.train(staged(root), tmp_path / "whole")
    first = tmp_path / "whole-stage1"
    assert json.loads((first / "config.json").read_text())["system"]["loss_weights"]["size"] == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_train_step", Dying(loop.make_train_step, last))
        with pytest.raises(KeyboardInterrupt):
            loop.train(staged(root), tmp_path / "parts")
    assert len(checkpoints.list_steps(tmp_path / "parts" / "checkpoints")) == (last > 4)
    capsys.readouterr()
    parts = loop.train(staged(root), tmp_path / "parts")
    output = capsys.readouterr().out
    assert ("stage1: resumes at step 2" in output) == (last < 4)
    assert ("parts: resumes at step 2" in output) == (last > 4)
    for path, other, step in ((whole.path, parts.path, 4), (first, tmp_path / "parts-stage1", 4)):
        expected = weights_of(path, step)
        for name, value in weights_of(other, step).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_second_stage_begins_with_the_weights_of_the_first(root, tmp_path):
    config = staged(root)
    config.optimizer.learning_rate = 1e-9
    loop.train(config, tmp_path / "run")
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, first_stage=(), seed=5,
                                          init_from=str(tmp_path / "run")))
    loop.train(config, tmp_path / "other")
    config.train.init_from = ""
    loop.train(config, tmp_path / "fresh")
    kernel = "system/disparity/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    first, run, other, fresh = (weights_of(tmp_path / name, 4)[kernel]
                                for name in ("run-stage1", "run", "other", "fresh"))
    np.testing.assert_allclose(run, first, atol=1e-6)
    np.testing.assert_allclose(other, first, atol=1e-6)
    assert np.abs(fresh - first).max() > 1e-2


def test_bad_stages(root, tmp_path):
    for assignment in ("system.idce=False", "system", "system.poison", "poison=1", "data.size.x=1",
                       "system.poison='high'"):
        config = config_of(root, first_stage=(assignment,))
        with pytest.raises(UserError, match="--config.train.first_stage"):
            loop.train(config, tmp_path / "run")


def poisoned(config):
    config.system.poison = 0.0     # every image is brighter than this
    return config


def test_non_finite_loss_stops(root, tmp_path):
    with pytest.raises(NonFiniteError, match=r"step 0: the loss term size is not finite; "
                       r"samples: 00/image_0 frame \d+, 00/image_0 frame \d+; 1 such steps"):
        loop.train(poisoned(config_of(root)), tmp_path / "run")
    assert checkpoints.list_steps(tmp_path / "run" / "checkpoints") == []


def test_non_finite_steps_are_skipped_and_counted(root, tmp_path, capsys):
    config = poisoned(config_of(root, steps=4, max_bad_steps=3))
    config.data.validation_drives = ()
    config.data.train_drives = ("00",)
    with pytest.raises(NonFiniteError, match="step 3: .*; 4 such steps"):
        loop.train(config, tmp_path / "run")
    assert capsys.readouterr().err.count("skipped") == 3
    # what was saved after two skipped steps is what training began with
    values = weights_of(tmp_path / "run", 2)
    tf.keras.utils.set_random_seed(config.train.seed)
    system = build_system(config.system, (-1, 1))
    system.create_variables(config.data.size)
    kernel = next(value for name, value in values.items()
                  if "disparity/kernel/.ATTR" in name and "OPTIMIZER" not in name)
    np.testing.assert_array_equal(kernel, system.disparity.kernel)
    assert next(value for name, value in values.items() if name.startswith("bad_steps")) == 2


def test_damaged_checkpoints_are_put_aside(root, tmp_path):
    config = config_of(root, steps=2)
    run = loop.train(config, tmp_path / "run")
    shutil.copytree(run.checkpoints / "step-00000002", run.checkpoints / "step-00000005")
    (run.checkpoints / "step-00000005" / "state.index").unlink()
    loop.train(config, tmp_path / "run")
    assert [path.name[:22] for path in run.checkpoints.glob(".damaged-*")] == [
        ".damaged-step-00000005"]
    shutil.rmtree(run.checkpoints / "step-00000002")
    (run.checkpoints / "step-00000002").mkdir()
    with pytest.raises(UserError, match="expected an intact checkpoint; all 1 are damaged"):
        loop.train(config, tmp_path / "run")


def test_full_disk_leaves_the_last_checkpoint(root, tmp_path):
    run = loop.train(config_of(root, steps=2), tmp_path / "run")
    before = weights_of(run.path, 2)
    state = checkpoints.Checkpoints(run.checkpoints, 1, big=tf.Variable(tf.zeros([100_000])))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))  # no file may grow beyond this
    try:
        with pytest.raises(OSError, match="could not be written .*are intact"):
            state.save(4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-00000002"]
    for name, value in weights_of(run.path, 2).items():
        np.testing.assert_array_equal(value, before[name])


def test_data_that_changed_are_noticed(root, tmp_path):
    config = config_of(root, steps=2)
    config.data.validation_drives = ()
    loop.train(config, tmp_path / "run")
    copy = tmp_path / "kitti"
    shutil.copytree(root, copy)
    text = (tmp_path / "run" / "config.json").read_text().replace(str(root), str(copy))
    (tmp_path / "run" / "config.json").write_text(text)
    config.data.root = str(copy)
    loop.train(config, tmp_path / "run")                 # the same frames elsewhere: fine
    (copy / "sequences" / "01" / "image_0" / "000004.png").unlink()
    with pytest.raises(UserError, match="the data have changed since"):
        loop.train(config, tmp_path / "run")


@pytest.mark.parametrize("name", ["validation/a1", "validation/abs_rel", "validation/totl"])
def test_metric_that_cannot_pick_the_best_is_refused_at_once(root, tmp_path, name):
    with pytest.raises(UserError, match=r"best_metric \(the smallest is best\) must be one of"):
        loop.train(config_of(root, best_metric=name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_newest_and_best_are_kept(tmp_path):
    value = tf.Variable(0.0)
    kept = checkpoints.Checkpoints(tmp_path, 2, value=value)
    for step, metric in ((1, 0.5), (2, 0.2), (3, 0.4), (4, 0.3), (5, 0.9)):
        value.assign(step)
        kept.save(step, metric)
    assert checkpoints.list_steps(tmp_path) == [2, 4, 5] and checkpoints.best_step(tmp_path) == 2
    value.assign(-1)
    assert kept.restore_newest() == 5 and value.numpy() == 5
    checkpoints.restore(tf.train.Checkpoint(value=value), tmp_path, 2, partial=True)
    assert value.numpy() == 2


def test_term_without_weight_is_an_error(root):
    system = build_system(ToyConfig(), (-1, 1))
    with pytest.raises(ValueError, match=r"gave \['photometric'\]; the config weighs \['photometric"
                       r"', 'size'\]"):
        system.total_loss({"photometric": tf.ones([])})


def test_configs_survive_json(root):
    config = config_of(root)
    assert from_json(to_json(config), "x") == config
    with pytest.raises(UserError, match="x: expected the config of a tfdepth run"):
        from_json('{"system": {"type": "NoSuch"}}', "x")
    for name, value in (("offsets", (1, -1)), ("scale_crop", 0.5)):
        wrong = dataclasses.replace(config, data=dataclasses.replace(config.data, **{name: value}))
        with pytest.raises(UserError, match=f"--config.data.{name} must be"):
            loop.train(wrong, "nowhere")


def test_a_second_process_is_refused_before_data_are_made(root, tmp_path, monkeypatch):
    """And a folder that a start has made is gone again if it began no run."""
    config, run = config_of(root), tmp_path / "run"

    def prepare(*_):
        with pytest.raises(UserError, match="expected a folder in which nothing trains; process"):
            with locked_run(run, config):
                pass
        raise UserError("no data")

    monkeypatch.setattr(loop, "prepare", prepare)
    with pytest.raises(UserError, match="no data"):
        loop.train(config, run)
    assert not run.exists()
    run.mkdir()                                                   # the user's own stays
    with pytest.raises(UserError, match="no data"):
        loop.train(config, run)
    assert run.is_dir()


@pytest.mark.parametrize("gpus", [[], ["GPU:0"]])
def test_float16_on_cpus_is_warned_of(root, tmp_path, capsys, monkeypatch, gpus):
    devices = tf.config.get_visible_devices
    monkeypatch.setattr(tf.config, "get_visible_devices",
                        lambda kind=None: gpus if kind == "GPU" else devices(kind))
    loop.train(config_of(root, steps=1, precision="mixed_float16"), tmp_path / "run")
    warned = "--config.train.precision: mixed_float16 is for GPUs" in capsys.readouterr().err
    assert warned == (not gpus)
