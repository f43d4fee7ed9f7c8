"""Drills: what can go wrong while a run trains. Whatever it is, no weight is lost or changed."""
import configparser
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import train
from data_folders import write_kitti
from helpers import interrupt_after
from test_training import config_of, lines_of, weights_of
from toy_system import Toy, ToyConfig
from train_processes import TrainProcesses

from tfdepth import systems
from tfdepth.checks import UserError
from tfdepth.data import synthetic
from tfdepth.runs import checkpoints, environment
from tfdepth.runs.folder import RunFolder
from tfdepth.stopping import Stopping, Terminated
from tfdepth.training import distribution, loop
from tfdepth.training.optimizers import optimizer_of
from tfdepth.training.progress import NonFiniteError
from tfdepth.training.validation import Validation

pytestmark = pytest.mark.usefixtures("toy")
ROOT = pathlib.Path(__file__).resolve().parents[1]
STATE = "state.data-00000-of-00001", "state.index"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti")
    for sequence in ("00", "01"):
        write_kitti(root, sequence, count=9)
    return root


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """A run of six steps to which nothing happened; saved at 2, 4 and 6."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(systems.SYSTEMS, ToyConfig, Toy)
        return loop.train(config_of(root), tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def processes(root, tmp_path_factory):
    started = TrainProcesses(root, tmp_path_factory.mktemp("processes") / "messages")
    yield started
    started.close()


def assert_same(run, whole, step=6):
    """Weights, counters, the checkpoints that are kept, the best, and all numbers of the log."""
    expected, found = weights_of(whole.path, step), weights_of(run.path, step)
    assert len(expected) > 10 and set(expected) == set(found)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    best = checkpoints.best_step
    assert best(run.checkpoints) == best(whole.checkpoints)
    timeless = lambda run: [{name: value for name, value in line.items()
                             if name != "samples_per_second"} for line in lines_of(run)]
    assert timeless(run) == timeless(whole)


def at_step(number, action, monkeypatch):
    """Calls `action` in the step of this number, counted from 1, of the next training."""
    real, count = loop.make_train_step, []

    def acting(*arguments):
        step = real(*arguments)

        def run(batch):
            count.append(0)
            if len(count) == number:
                action()
            return step(batch)
        return run
    monkeypatch.setattr(loop, "make_train_step", acting)


def send(*numbers):
    return lambda: [os.kill(os.getpid(), number) for number in numbers]


@pytest.mark.parametrize("number, error", [(signal.SIGTERM, Terminated),
                                           (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_saves_the_step_it_comes_in(number, error, root, whole, tmp_path, monkeypatch):
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with monkeypatch.context() as patch:
        at_step(3, send(number), patch)
        with pytest.raises(error, match="saved at step 3 of 6; the same command goes on") as end:
            loop.train(config_of(root), tmp_path / "run")
    assert getattr(end.value, "code", 0) == 0
    assert before == [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    assert checkpoints.list_steps(tmp_path / "run" / "checkpoints") == [2, 3]
    assert_same(loop.train(config_of(root), tmp_path / "run"), whole)
    starts = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert [start["start_step"] for start in starts] == [0, 3]


@pytest.mark.parametrize("step", [4, 6])
def test_validation_that_a_signal_cut_short_is_made_up_for(step, root, whole, tmp_path,
                                                           monkeypatch):
    real, calls = Validation.__call__, []

    def validate(self, stopped):
        calls.append(0)
        if len(calls) == step // 2:
            send(signal.SIGTERM)()
        return real(self, stopped)

    monkeypatch.setattr(Validation, "__call__", validate)
    with pytest.raises(Terminated, match=f"saved at step {step} of 6"):
        loop.train(config_of(root), tmp_path / "run")
    assert lines_of(RunFolder(tmp_path / "run"))[-1].keys() >= {"photometric", "gradient_norm"}
    run = loop.train(config_of(root), tmp_path / "run")
    assert_same(run, whole)
    assert len(calls) == 4
    for saved in (2, 4, 6):
        name = f"step-{saved:08d}/metric.json"
        assert (run.checkpoints / name).read_text() == (whole.checkpoints / name).read_text()


def test_signals_that_do_not_wait(root, tmp_path, monkeypatch):
    """In the first step, which is traced, there is nothing to save; nor after a second Ctrl-C."""
    for number, numbers in ((1, [signal.SIGTERM]), (3, [signal.SIGINT] * 2)):
        with monkeypatch.context() as patch:
            at_step(number, send(*numbers), patch)
            with pytest.raises((Terminated, KeyboardInterrupt), match="from the last checkpoint"):
                loop.train(config_of(root), tmp_path / f"run{number}")
    assert not (tmp_path / "run1" / "checkpoints").exists()
    assert checkpoints.list_steps(tmp_path / "run3" / "checkpoints") == [2]


def test_stopping_in_other_threads_and_muted_signals():
    ended = []

    def elsewhere():
        with Stopping() as stopping:
            ended.append(stopping.asked())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stopping() as stopping:
            send(signal.SIGINT)()
            ended.append(stopping.asked())
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [False, False]


def test_a_process_owns_its_folder_and_saves_on_sigterm(processes, root, tmp_path, capsys):
    path, steps = tmp_path / "run", "--config.train.steps=1000000"
    process = processes.start(path, steps)
    deadline = time.monotonic() + 240
    while not checkpoints.list_steps(path / "checkpoints") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert train.main(processes.arguments(path, steps)) == 2
    error = capsys.readouterr().err
    begin = time.monotonic()
    assert processes.end(signal.SIGTERM) == 0
    assert time.monotonic() - begin < 30
    assert error.count("\n") == 1 and f"--workdir {path}: " in error
    assert f"process {process} on {socket.gethostname()} trains in it" in error
    said = re.search(r"^train.py: ended by SIGTERM; saved at step (\d+) of 1000000; the same "
                     r"command goes on from there$", processes.messages.read_text(), re.MULTILINE)
    assert int(said.group(1)) == checkpoints.list_steps(path / "checkpoints")[-1]
    before = lines_of(RunFolder(path))
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:          # and nobody owns it any more
        interrupt_after(0, patch)
        assert train.main(processes.arguments(path, steps)) == 130
    assert lines_of(RunFolder(path)) == before


def test_same_seed_same_first_20_losses(processes, tmp_path):
    """In processes of their own; the mode that GPUs need changes nothing here."""
    losses = []
    for name, deterministic in (("a", True), ("b", True), ("c", False)):
        processes.start(tmp_path / name, "--config.train.steps=20", "--config.train.save_every=20",
                        f"--config.train.deterministic={deterministic}")
        assert processes.end() == 0, processes.messages.read_text()
        lines = lines_of(RunFolder(tmp_path / name))
        losses.append([(line["total"], line["gradient_norm"]) for line in lines])
    assert len(losses[0]) == 20 and len(set(losses[0])) == 20
    assert losses[0] == losses[1] == losses[2]


def test_deterministic_mode_is_switched_on(root, tmp_path, monkeypatch):
    class On(Exception):
        pass

    def switch():
        raise On

    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", switch)
    with pytest.raises(On):
        loop.train(config_of(root, deterministic=True), tmp_path / "run")


SCRIPT = """
import sys
from tfdepth import console
from tfdepth.data import synthetic
from tfdepth.stopping import ended_by_sigterm
with ended_by_sigterm():
    sys.exit(console.run("tool: makes a set", lambda flags: synthetic.ensure_synthetic(PATH) and 0))
"""


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_sigterm_while_the_synthetic_set_is_made(kill, tmp_path):
    script = SCRIPT.replace("PATH", repr(str(tmp_path / "sets" / "set")))
    with subprocess.Popen([sys.executable, "-c", script], text=True, stderr=subprocess.PIPE,
                          env={**os.environ, "PYTHONPATH": str(ROOT)},
                          start_new_session=True) as process:
        while not list(tmp_path.glob("sets/*.making-*/**/*.png")) and process.poll() is None:
            time.sleep(0.02)
        begin = time.monotonic()
        kill(process.pid, signal.SIGTERM)
        error = process.communicate()[1]
    assert process.returncode == 0 and time.monotonic() - begin < 30
    assert error == "tool: ended by SIGTERM; the same command goes on\n"
    assert not list((tmp_path / "sets").iterdir())


@pytest.mark.parametrize("number, message", [
    (signal.SIGKILL, r"drive 00 was ended by SIGKILL; is there enough memory\?$"),
    (signal.SIGTERM, r"drive 00 was ended by SIGTERM\.$")])
def test_a_renderer_that_is_killed_is_named(number, message, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "_WORKER",
                        f"import os; os.kill(os.getpid(), {int(number)})")
    with pytest.raises(UserError, match=message):
        synthetic.ensure_synthetic(str(tmp_path / "set"), (16, 48), frame_count=2,
                                   drives=synthetic.DRIVES[:2])
    assert not list(tmp_path.iterdir())


def test_flipped_bits_and_cut_files_never_restore_other_weights(root, whole, tmp_path, capsys):
    """Each damage gives the checkpoint before, with a warning, or changes nothing that is read."""
    config, draw, noticed = config_of(root), random.Random(4), 0
    system = systems.build_system(ToyConfig(), (-1, 1))
    system.create_variables(config.data.size)
    good = {step: weights_of(whole.path, step) for step in (4, 6)}
    damages = [(name, kind) for name in STATE for kind in ["cut"] * 4 + ["flip"] * 12 + ["gone"]]
    for count, (name, kind) in enumerate(damages):
        folder = tmp_path / str(count) / "checkpoints"
        shutil.copytree(whole.checkpoints, folder)
        file = folder / "step-00000006" / name
        content = bytearray(file.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content if kind == "flip" else content[:draw.randrange(len(content))])
        if kind == "gone":
            file.unlink()
        state = checkpoints.Checkpoints(
            folder, 9, system=system, optimizer=optimizer_of(config, system, 3.5, 6)[0],
            bad_steps=tf.Variable(-1, dtype=tf.int64), data=tf.Variable(-1, dtype=tf.int64))
        step = state.restore_newest()
        warned = "step-00000006" in capsys.readouterr().err
        assert step == (4 if warned else 6) and (warned or kind == "flip"), (name, kind)
        state.save(8)
        restored = weights_of(folder.parent, 8)
        assert set(restored) == set(good[step])
        for key, value in good[step].items():
            np.testing.assert_array_equal(restored[key], value, err_msg=f"{name} {kind} {key}")
        noticed += warned
    assert noticed >= len(damages) - 4      # some bytes of the index are padding


@pytest.mark.parametrize("name", [*STATE, "metric.json", None])
def test_a_damaged_checkpoint_costs_steps_not_weights(name, root, whole, tmp_path, capsys):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(whole.path, run.path)
    saved = run.checkpoints / "step-00000006"
    if name is None:
        shutil.rmtree(saved)
    else:
        content = bytearray((saved / name).read_bytes())
        # A digit of the metric would make it the best, or a line of the index another one.
        place = content.index(b"0.") + 2 if name == "metric.json" else len(content) // 2
        content[place] ^= 1
        (saved / name).write_bytes(content)
    run = loop.train(config_of(root), run.path)
    output = capsys.readouterr()
    assert ("warning" in output.err and "step-00000006" in output.err) == (name in STATE)
    assert ("is complete" in output.out) == (name == "metric.json")
    if name == "metric.json":        # measured anew
        assert (saved / name).read_text() == (
            whole.checkpoints / "step-00000006" / name).read_text()
        run.metrics.write_text("".join(run.metrics.read_text().splitlines(keepends=True)[:-1]))
    assert_same(run, whole)


def test_full_disk_and_space_again(root, whole, tmp_path, monkeypatch, capsys):
    """One line, the checkpoints before are intact, and the run goes on when there is space."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limit[1]))
    try:
        with monkeypatch.context() as patch:
            at_step(4, full, patch)
            with pytest.raises(OSError, match="not be written .*too large.* intact$"):
                loop.train(config_of(root), tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["step-00000002"]
    assert_same(loop.train(config_of(root), tmp_path / "run"), whole)


def reading_config(root):
    """Of a run that reads its frames anew in each epoch."""
    return config_of(root, steps=24, save_every=15, cache_megabytes=0)


@pytest.fixture(scope="module")
def reading(root, tmp_path_factory):
    """A longer run to which nothing happened."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(systems.SYSTEMS, ToyConfig, Toy)
        return loop.train(reading_config(root), tmp_path_factory.mktemp("reading") / "run")


@pytest.mark.parametrize("sequence", ["00", "01"])
def test_files_that_disappear_in_mid_epoch(sequence, root, reading, tmp_path, monkeypatch):
    """Of the training, and of the validation; what was learnt is saved, and the file is named."""
    frames = root / "sequences" / sequence / "image_0"
    away = frames.with_name("away")
    try:
        with monkeypatch.context() as patch:
            at_step(3, lambda: frames.rename(away), patch)
            with pytest.raises(UserError, match=rf"{frames}/\d+\.png.* The run is saved at step "
                               r"\d+\.$") as error:
                loop.train(reading_config(root), tmp_path / "run")
    finally:
        away.rename(frames)
    saved = int(re.search(r"step (\d+)\.$", str(error.value)).group(1))
    assert checkpoints.list_steps(tmp_path / "run" / "checkpoints") == [saved]
    assert "\n" not in str(error.value) and (saved == 15 if sequence == "01" else 3 <= saved < 15)
    assert_same(loop.train(reading_config(root), tmp_path / "run"), reading, 24)


class FusedToy(Toy):
    """Its disparity comes from a convolution with a ReLU, which can turn NaN into 0."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.hidden = tf.keras.layers.Conv2D(4, 3, padding="same", activation="relu",
                                             trainable=False)

    def predict_depth(self, image, previous, intrinsics=None):
        return super().predict_depth(self.hidden(image), previous)

    def predict_motion(self, target, sources):
        hidden = [self.hidden(image) for image in (target, *tf.unstack(sources, axis=1))]
        return super().predict_motion(hidden[0], tf.stack(hidden[1:], axis=1))


def test_nan_that_a_fused_convolution_hides(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(systems.SYSTEMS, ToyConfig, FusedToy)
    real_batches, real_step, results = distribution.training_batches, loop.make_train_step, []

    def with_nan(*arguments):
        poison = lambda number, batch: batch._replace(target_input=tf.where(
            number == 2, float("nan"), batch.target_input))
        return real_batches(*arguments).enumerate().map(poison)

    def recording(*arguments):
        step = real_step(*arguments)
        return lambda batch: results.append(step(batch)) or results[-1]

    monkeypatch.setattr(distribution, "training_batches", with_nan)
    monkeypatch.setattr(loop, "make_train_step", recording)
    with pytest.raises(NonFiniteError, match="step 2: the images is not finite; samples: 00"):
        loop.train(config_of(root), tmp_path / "stops")
    hidden = all(np.isfinite(value) for value in results[-1].terms.values())
    assert not results[-1].applied and not results[-1].inputs_finite
    run = loop.train(config_of(root, max_bad_steps=1), tmp_path / "skips")
    assert "step 2: the images is not finite" in capsys.readouterr().err
    assert all(np.isfinite(value).all() for value in weights_of(run.path, 6).values()
               if value.dtype.kind == "f")
    assert hidden, "the loss showed it; this test is of the case where it does not"


def test_a_clock_that_goes_backwards(root, whole, tmp_path, monkeypatch):
    """Between saves and starts the time of day falls by hours, and with it all times of files."""
    now = [1e9]

    def earlier():
        now[0] -= 3600.0
        return now[0]

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", earlier)
        for _ in range(2):
            with patch.context() as inner:
                interrupt_after(3, inner)
                with pytest.raises(KeyboardInterrupt):
                    loop.train(config_of(root), tmp_path / "run")
            for path in sorted((tmp_path / "run").rglob("*")):
                os.utime(path, (earlier(), now[0]))
        run = loop.train(config_of(root), tmp_path / "run")
    assert checkpoints.list_steps(run.checkpoints) == [2, 4, 6]
    assert_same(run, whole)
    assert all(0 < line.get("samples_per_second", 1) < 1e6 for line in lines_of(run))


def test_environment_names_code_and_machine(whole, tmp_path, capsys):
    (start,) = json.loads((whole.path / "environment.json").read_text())
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = re.findall(r"^([\w-]+)", setup["options"]["install_requires"], re.MULTILINE)
    assert listed == list(start["packages"])
    assert start["packages"]["tensorflow"] == tf.__version__
    assert start["start_step"] == 0 and start["process"] == os.getpid()
    assert "CPU:0" in start["devices"] and start["time_utc"].endswith("+00:00")
    git = lambda *arguments: subprocess.run(
        ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        check=True, capture_output=True, text=True).stdout.strip()
    assert environment.git_state(tmp_path) is None
    git("init")
    git("commit", "--allow-empty", "-m", "first")
    assert environment.git_state(tmp_path) == {"revision": git("rev-parse", "HEAD"),
                                               "changed": False}
    (tmp_path / "new.py").write_text("")
    assert environment.git_state(tmp_path)["changed"]
    (tmp_path / "site").mkdir()
    assert environment.git_state(tmp_path / "site") is None
    (tmp_path / "environment.json").write_text("[{")
    environment.record_start(tmp_path / "environment.json", 7)
    assert "cannot be read, and begins anew" in capsys.readouterr().err
    assert json.loads((tmp_path / "environment.json").read_text())[0]["start_step"] == 7


def test_a_start_that_was_killed_early_leaves_a_folder_to_start_in(root, whole, tmp_path):
    """Before config.json is whole."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").write_text("process 1 on mars\n")
    (tmp_path / "run" / ".config.json.1.tmp").write_text("{")
    assert_same(loop.train(config_of(root), tmp_path / "run"), whole)
