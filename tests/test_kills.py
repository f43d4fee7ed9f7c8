"""The drill: a training is killed at 50 random moments, and ends with the weights it ends with."""
import json
import os
import random
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
from data_folders import write_kitti
from train_processes import TrainProcesses

from tfdepth.runs.checkpoints import best_step, list_steps
from tfdepth.runs.folder import RunFolder

pytestmark = pytest.mark.slow
KILLS, TERMINATIONS, STEPS = 50, 5, 400


def newest(run):
    return max([0, *list_steps(run.checkpoints)])


def unfinished(run):
    """What saves that were cut short left; the next save removes it."""
    return {(path.name, path.stat().st_mtime_ns)
            for path in run.checkpoints.glob(".unfinished-*")}


def arrays_of(run):
    path = run.checkpoints / f"step-{STEPS:08d}" / "state"
    reader = tf.train.load_checkpoint(str(path))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if "CHECKPOINTABLE" not in name and not name.startswith("save_counter")}


def lines_of(run):
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "samples_per_second"}
            for line in lines]


def test_killed_50_times_at_random_moments(tmp_path, capfd):
    """A tenth of the kills, and later a fifth, come while a process starts; all others after it
    has made a checkpoint and up to six more, every step of this run makes one."""
    root, draw = write_kitti(tmp_path / "kitti", count=9), random.Random(6)
    training = TrainProcesses(root, tmp_path / "messages")
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    steps = f"--config.train.steps={STEPS}"
    training.start(whole.path, steps)
    assert training.end() == 0, training.messages.read_text()
    begin = time.monotonic()
    training.start(tmp_path / "third", steps)
    while not newest(RunFolder(tmp_path / "third")):
        time.sleep(0.01)
    startup = time.monotonic() - begin
    training.end(signal.SIGKILL)

    signals = [signal.SIGKILL] * KILLS
    for place in sorted(draw.sample(range(10, KILLS), TERMINATIONS), reverse=True):
        signals.insert(place, signal.SIGTERM)
    killed = saving = unbegun = terminated = too_late = 0
    slowest = 0.0
    for count, number in enumerate(signals):
        before, left = newest(parts), unfinished(parts)
        training.start(parts.path, steps)
        starting = count < 5 or draw.random() < 0.2
        goal = min(before + (6 if starting else draw.randint(1, 6)), STEPS)
        limit = time.monotonic() + (draw.uniform(0.1, startup) if starting else 300)
        while newest(parts) < goal and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.1))
        begin = time.monotonic()
        code = training.end(number)
        if number == signal.SIGTERM:
            assert code == 0 and "ended by SIGTERM" in training.messages.read_text()
            assert unfinished(parts) <= left
            slowest, terminated = max(slowest, time.monotonic() - begin), terminated + 1
            continue
        assert code in (0, -number), training.messages.read_text()
        too_late += code == 0
        killed += code == -number
        saving += not unfinished(parts) <= left
        unbegun += not newest(parts)
    reached = newest(parts)
    training.start(parts.path, steps)
    assert training.end() == 0, training.messages.read_text()
    training.close()
    with capfd.disabled():
        print(f"\n{killed} kills ({saving} in a save, {unbegun} before the first checkpoint, "
              f"{too_late} came too late), {terminated} SIGTERMs (exit code 0 within "
              f"{slowest:.1f} s); step {reached} of {STEPS} was reached then")
    assert killed == KILLS and terminated == TERMINATIONS and saving >= 5 and slowest < 30

    expected, found = arrays_of(whole), arrays_of(parts)
    assert len(expected) > 10 and set(expected) == set(found)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert lines_of(parts) == lines_of(whole)
    assert list_steps(parts.checkpoints) == list_steps(whole.checkpoints)
    assert best_step(parts.checkpoints) == best_step(whole.checkpoints)
    assert sorted(os.listdir(parts.checkpoints)) == sorted(os.listdir(whole.checkpoints))
