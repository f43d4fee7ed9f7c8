"""tools/tune.py: searches with a toy system, as users start them, killed, in several processes."""
import contextlib
import csv
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import tensorflow as tf
import train
import tune
from data_folders import write_kitti
from PIL import Image
from toy_system import ToyConfig, ToyWeights

from tfdepth import console
from tfdepth.checks import UserError
from tfdepth.runs.config import ExperimentConfig, differences
from tfdepth.runs.folder import load_config
from tfdepth.systems.geonet import GeoNetConfig
from tfdepth.systems.idce_ham import IdceHamConfig
from tfdepth.systems.sfmlearner import SfMLearnerConfig
from tfdepth.training import loop
from tfdepth.tuning import oracles, plot, tuner
from tfdepth.tuning.ranges import Range, ranges_for, short_names

ROOT = pathlib.Path(__file__).resolve().parents[1]
RATE = "optimizer.learning_rate"
CONFIG = f"""import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from toy_system import Toy, ToyConfig
from tfdepth import systems
from tfdepth.data.config import DataConfig
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig


def get_config():
    systems.SYSTEMS[ToyConfig] = Toy
    return ExperimentConfig(
        ToyConfig(),
        DataConfig("kitti_odometry", "ROOT", size=(16, 32), validation_drives=("01",)),
        OptimizerConfig(learning_rate=1e-3),
        TrainConfig(batch_size=2, steps=4, save_every=2, log_every=1, keep_checkpoints=2))
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    for sequence in ("00", "01"):
        write_kitti(folder / "kitti", sequence, count=6)
    file = folder / "toy_config.py"
    file.write_text(CONFIG.replace("ROOT", str(folder / "kitti")))
    return file


@pytest.fixture(autouse=True)
def registered(toy):
    """The toy system is a row of SYSTEMS, and not behind the test."""


def arguments(config_file, folder, *more):
    return [f"--config={config_file}", f"--workdir={folder}", "--objective=validation/photometric",
            *more]


def rows_of(folder):
    with open(folder / "trials.csv", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def smallest(run):
    """The smallest photometric value, by what the loop wrote."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return min(line["validation/photometric"] for line in lines if "validation/photometric" in line)


def comparable(folder):
    """trials.csv as numbers that two searches must share."""
    return sorted(tuple(row.items()) for row in rows_of(folder).values())


def test_random_search(config_file, tmp_path, capsys):
    folder = tmp_path / "search"
    more = ["--algorithm=random", "--trials=3", "--range", f"{RATE}=1e-4:1e-1:log", "--range",
            "train.batch_size=1,2", "--range", "system.loss_weights.size=0.5"]
    assert tune.main(arguments(config_file, folder, *more)) == 0
    output = capsys.readouterr().out
    assert "Search:" not in output and "Reloading" not in output and "Trial " not in output
    assert "trial 1 of 3, trials/000: the config as it is" in output
    rows = rows_of(folder)
    assert list(sorted(rows)) == [f"trials/00{k}" for k in range(3)]
    given = load_config(folder / "trials" / "000")
    expected = console.load_config_file(str(config_file))
    expected.system.loss_weights.size = 0.5        # one value fixes a field
    expected.train.best_metric = "validation/photometric"
    assert not differences(given, expected)
    scores = {}
    for name, row in rows.items():
        config = load_config(folder / name)
        assert float(row[RATE]) == config.optimizer.learning_rate
        assert 1e-4 <= config.optimizer.learning_rate <= 1e-1
        assert int(row["train.batch_size"]) == config.train.batch_size
        assert config.system.loss_weights.size == 0.5 and row["steps"] == "4"
        scores[name] = smallest(folder / name)
        assert float(row["validation/photometric"]) == scores[name]
    assert len({row[RATE] for row in rows.values()}) == 3 and len(set(scores.values())) == 3
    best = min(scores, key=scores.get)             # the direction: smaller is better
    assert list(rows)[0] == best and list(rows)[-1] == max(scores, key=scores.get)
    assert f"validation/photometric {scores[best]:.4g}" in output.splitlines()[-2]
    found = console.load_config_file(f"{folder}/best.py")
    assert not differences(found, load_config(folder / best))

    # the same command does nothing more; the config of the best trial trains as it is
    before = (folder / "trials.csv").read_text()
    assert tune.main(arguments(config_file, folder, *more)) == 0
    assert " of 3, trials" not in capsys.readouterr().out
    assert (folder / "trials.csv").read_text() == before
    assert train.main([f"--config={folder}/best.py", f"--workdir={tmp_path / 'again'}"]) == 0
    assert smallest(tmp_path / "again") == scores[best]
    with Image.open(folder / "trials.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] > 400 and (np.abs(pixels - [0xd5, 0x5e, 0x00]).max(axis=-1) < 30).any()

    # another search in its folder is refused, more trials are not
    assert tune.main(arguments(config_file, folder, *more, "--config.train.seed=3")) == 2
    error = capsys.readouterr().err
    assert "holds another search" in error and "train.seed: 0, 3" in error
    assert tune.main(arguments(config_file, folder, *more[:-1], "train.batch_size=2")) == 2
    more[1] = "--trials=4"
    assert tune.main(arguments(config_file, folder, *more)) == 0
    assert len(rows_of(folder)) == 4 and "trial 4 of 4" in capsys.readouterr().out


def instead_of_training(config, workdir, share):
    """Writes a score that is best at a learning rate of 0.01."""
    value = abs(np.log10(config.optimizer.learning_rate) + 2)
    workdir.mkdir(parents=True)
    (workdir / "metrics.jsonl").write_text(
        json.dumps({"step": round(8 * share), config.train.best_metric: value}) + "\n")


def test_bayesian_search_goes_where_it_is_better(config_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tuner, "train", instead_of_training)
    folder = tmp_path / "search"
    assert tune.main(arguments(config_file, folder, "--trials=12", "--range",
                               f"{RATE}=1e-5:3e-1:log")) == 0
    scores = [float(row["validation/photometric"]) for _, row in sorted(rows_of(folder).items())]
    assert scores[0] == 1.0                        # the config as it is: 0.001
    state = json.loads((folder / "keras_tuner" / "trial_00" / "trial.json").read_text())
    assert state["hyperparameters"]["values"][RATE] == 1e-3    # and keras-tuner knows
    assert min(scores[6:]) < min(scores[:6]) and np.median(scores[6:]) < np.median(scores[:6])
    assert "% below the config as it was given (1 at step 8)" in capsys.readouterr().out


def test_hyperband_continues_runs(config_file, tmp_path, monkeypatch):
    """Rungs are paused runs: the whole ones equal runs that were never paused."""
    monkeypatch.setattr(oracles, "HYPERBAND_UNITS", 3)   # in place of 9: shares 1/3 and 1
    folder = tmp_path / "search"
    assert tune.main(arguments(config_file, folder, "--algorithm=hyperband", "--trials=5",
                               "--range", f"{RATE}=1e-4:1e-1:log", "--config.train.steps=6",
                               "--config.train.save_every=6")) == 0
    rows = rows_of(folder)
    steps = {name: int(row["steps"]) for name, row in rows.items()}
    assert steps.pop("trials/000") == 6            # the config as it is, whole
    assert sorted(steps.values()) == [2, 2, 6]
    first = {name: [json.loads(line) for line in (folder / name / "metrics.jsonl").open()]
             for name in steps}
    first = {name: next(line["validation/photometric"] for line in lines
                        if "validation/photometric" in line) for name, lines in first.items()}
    longest = max(steps, key=steps.get)
    assert longest == min(first, key=first.get)    # the best of the three went on
    config = load_config(folder / longest)
    assert config.train.steps == 6
    loop.train(config, tmp_path / "whole")
    last = [json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
            for run in (folder / longest, tmp_path / "whole")]
    assert last[0] == last[1] and last[0]["step"] == 6


def broken(*_, **__):
    raise tf.errors.ResourceExhaustedError(None, None, "the GPU\n  is full")


def test_failed_trials(config_file, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "search"
    more = arguments(config_file, folder, "--algorithm=random", "--range=system.poison=0.0,2.0",
                     "--range", f"{RATE}=1e-4:1e-1:log", "--trials=3")
    assert tune.main(more) == 0
    rows = rows_of(folder)
    failed = {name: row for name, row in rows.items() if row["system.poison"] == "0.0"}
    assert 0 < len(failed) < 3
    for name, row in rows.items():
        assert (row["status"] == "FAILED") == (name in failed)
    for row in failed.values():
        assert "loss term size is not finite" in row["message"]
        assert row["validation/photometric"] == "n/a"
    output = capsys.readouterr().out
    assert "failed: step 0: the loss term size" in output and "best.py" in output

    monkeypatch.setattr(tuner, "train", broken)
    bad = arguments(config_file, tmp_path / "bad", "--trials=9", "--algorithm=random", "--range",
                    f"{RATE}=1e-4:1e-1:log")
    assert tune.main(bad) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tune.py: ")]
    assert len(error) == 1 and "3 trials in a row failed, the last one" in error[0]
    assert error[0].endswith("trials/002: the GPU is full")
    assert len(rows_of(tmp_path / "bad")) == 3 and not (tmp_path / "bad" / "best.py").exists()
    assert tune.main(bad) == 1                     # asked to go on, it does: three more
    assert [row["status"] for row in rows_of(tmp_path / "bad").values()] == ["FAILED"] * 6


def test_minutes(config_file, tmp_path, monkeypatch):
    """No trial starts behind the budget, also where the search goes on."""
    clock = iter(range(0, 10**6, 25))
    monkeypatch.setattr(oracles, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(tuner, "train", instead_of_training)
    command = arguments(config_file, tmp_path / "search", "--minutes=1", "--range",
                        f"{RATE}=1e-4:1e-1:log")
    assert tune.main(command) == 0
    assert len(rows_of(tmp_path / "search")) == 3  # the first, and asked at 25 s, at 50 s, at 75 s
    assert tune.main(command) == 0
    assert len(rows_of(tmp_path / "search")) == 5  # a minute more


@contextlib.contextmanager
def started(command, **environment):
    with subprocess.Popen([sys.executable, ROOT / "tools" / "tune.py", *command],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **environment}) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(path, process):
    deadline = time.time() + 240
    while not path.exists() and time.time() < deadline and process.poll() is None:
        time.sleep(0.01)
    assert path.exists(), process.stdout.read() if process.poll() is not None else "too slow"


def test_a_killed_search_goes_on_within_its_trial(config_file, tmp_path, capsys):
    more = ["--algorithm=random", "--trials=2", "--range", f"{RATE}=1e-4:1e-1:log",
            "--config.train.steps=30", "--config.train.save_every=10"]
    assert tune.main(arguments(config_file, tmp_path / "whole", *more)) == 0
    parts = arguments(config_file, tmp_path / "parts", *more)
    with started(parts) as process:
        wait_for(tmp_path / "parts/trials/001/checkpoints/step-00000010", process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = tmp_path / "parts" / "trials" / "000" / "metrics.jsonl"
    before = finished.stat().st_mtime_ns
    capsys.readouterr()
    assert tune.main(parts) == 0
    assert finished.stat().st_mtime_ns == before
    output = capsys.readouterr().out
    assert "trials/000:" not in output and "trials/001: resumes at step" in output
    assert comparable(tmp_path / "parts") == comparable(tmp_path / "whole")


def test_chief_and_worker(config_file, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    folder = tmp_path / "search"
    command = arguments(config_file, folder, "--algorithm=random", "--trials=3", "--range",
                        f"{RATE}=1e-4:1e-1:log", "--range", "system.poison=0.0,2.0")
    with started(command, KERASTUNER_TUNER_ID="chief", **cluster) as chief, \
            started(command, KERASTUNER_TUNER_ID="worker0", **cluster) as worker:
        said = [process.communicate(timeout=240)[0] for process in (worker, chief)]
    assert worker.returncode == 0, said[0]
    assert chief.returncode == 0, said[1]
    assert "asks the chief" in said[0] and "training drives" in said[0] and "best" not in said[0]
    assert "trial 3 of 3" in said[1] and "best.py" in said[1] and "training drives" not in said[1]
    assert len(rows_of(folder)) == 3 and (folder / "trials.png").exists()
    for name, row in rows_of(folder).items():
        assert float(row[RATE]) == load_config(folder / name).optimizer.learning_rate
        assert ("not finite" in row["message"]) == (row["system.poison"] == "0.0")


@pytest.mark.parametrize("flags, message", [
    (["--range=optimizer.learningrate=1:2"], "'learningrate'.*Did you mean 'learning_rate'"),
    (["--range=system=1,2"], "--range system: expected one of its fields, loss_weights, poison"),
    (["--range=optimizer.learning_rate"], "found no '='"),
    ([f"--range={RATE}=low:high"], "expected numbers; found 'low'"),
    ([f"--range={RATE}=1e-3:1e-5:log"], "LOW below HIGH, both above 0; found 1e-3:1e-5:log"),
    ([f"--range={RATE}=0:1:log"], "both above 0"),
    ([f"--range={RATE}=1:2:linear"], "expected LOW:HIGH or LOW:HIGH:log"),
    ([f"--range={RATE}=-1:1"], f"--range {RATE}: --config.optimizer.learning_rate must be more"),
    ([f"--range={RATE}="], "different values with commas between; found none"),
    (["--range=train.batch_size=1.5,2"], "expected whole numbers; found '1.5'"),
    (["--range=data.flip=yes,no"], "expected true or false; found 'yes'"),
    (["--range=data.size=16,32"], r"expected tuples of int.*\(1, 2\),\(3, 4\); found 16,32"),
    (["--range=train.batch_size=2,2"], "different values"),
    (["--range=data.root=a,b"], "trials of different data.root cannot be compared"),
    ([f"--range={RATE}=1e-3"], "expected some field to vary"),
    ([f"--range={RATE}=1:2", f"--range=config.{RATE}=1:3"], "one range a field"),
    (["--objective=validation/abs_rel"], "must be one of validation/photometric, validation/size"),
    (["--objective=", "--range=system.loss_weights.size=0:1"],
     "expected one of validation/photometric, validation/size, as validation/total is another sum"),
    (["--config.data.validation_drives="], "validation_drives: expected names .* 0 and 2 of 2"),
    (["--config.data.validation_drives=00,01"], "and others to train on; found 2 and 0 of 2"),
    (["--algorithm=grid"], "--algorithm must be one of bayesian, hyperband, random"),
    (["--algorithm=hyperband", "--range=train.steps=2:4"], "other fields than train.steps"),
    (["--trials=0"], "--trials: expected more than 0; found 0"),
])
def test_mistakes(config_file, tmp_path, capsys, flags, message):
    code = tune.main(arguments(config_file, tmp_path / "search", "--trials=2", *flags))
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1, error
    assert re.search(message, error), error
    assert not (tmp_path / "search").exists()


def test_mistakes_of_surroundings(config_file, tmp_path, capsys, monkeypatch):
    assert tune.main(arguments(config_file, tmp_path)[:3]) == 2
    assert "--trials: expected it, or --minutes" in capsys.readouterr().err
    (tmp_path / "mine.txt").write_text("mine")
    assert tune.main(arguments(config_file, tmp_path, "--trials=1")) == 2
    assert "found other files" in capsys.readouterr().err
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    assert tune.main(arguments(config_file, tmp_path, "--trials=1")) == 2
    assert "expected all of KERASTUNER_TUNER_ID" in capsys.readouterr().err
    # what would end every trial ends the search: the first one is the config as it is
    monkeypatch.delenv("KERASTUNER_TUNER_ID")
    assert tune.main(arguments(config_file, tmp_path / "new", "--trials=3",
                               "--config.train.frozen=nothing")) == 2
    assert "--config.train.frozen" in capsys.readouterr().err


def test_default_ranges_by_type():
    names = lambda config, *texts: set(short_names(ranges_for(config, texts)[1]))
    short = lambda config, *texts: set(short_names(ranges_for(config, texts)[1]).values())
    config = ExperimentConfig(SfMLearnerConfig())
    assert short(config) == {"learning_rate", "smoothness", "explainability"}
    rate = ranges_for(config, [])[1][RATE]
    assert (rate.low, rate.high, rate.log) == (1e-5, 1e-3, True)
    # the constraint's c and lambda where there is one, or where one is searched for
    constrained = ExperimentConfig(SfMLearnerConfig(attention="constraint"))
    assert short(constrained) - short(config) == {"attention", "attention_mean"}
    found = ranges_for(config, ["system.attention=none,constraint"])[1]
    assert found["system.attention_mean"].conditions == {"system.attention": "constraint"}
    assert "system.loss_weights.predictive_mask" not in found
    with pytest.raises(UserError, match="in which the field counts, with system.attention='const"):
        ranges_for(config, ["system.attention_mean=0.2:0.4"])
    joint = ExperimentConfig(IdceHamConfig())
    assert {"idce", "pose_attention", "encoder", "smoothness"} < short(joint)
    assert "system.idce" not in names(ExperimentConfig(IdceHamConfig(pose_network="pose_cnn")))
    started_from = ExperimentConfig(GeoNetConfig())
    assert "system.depth_network" in names(started_from)
    started_from.train.init_from = "runs/imagenet"
    assert "system.depth_network" not in names(started_from)


def test_fields_that_count_only_with_others():
    """keras-tuner draws a conditional field where its condition holds alone."""
    from tfdepth.tuning.oracles import make_oracle
    from tfdepth.tuning.tuner import ConfigModel
    config, ranges = ranges_for(ExperimentConfig(IdceHamConfig()), [
        "system.attention=none,constraint", "data.offsets=(-1, 1),(-2, -1, 1, 2)",
        "train.batch_size=1:64:log", "system.pose_network=resnet,pose_cnn"])
    model = ConfigModel(config, ranges)
    oracle = make_oracle("random", "validation/abs_rel", None, None, 0)
    hp = oracle.get_space()
    model.build(hp)
    oracle.update_space(hp)
    seen = []
    for _ in range(40):
        hp = oracle.get_space()
        hp.values = oracle._random_values()
        built, values = model.build(hp.copy()), model.values(hp.copy())
        assert ("system.attention_mean" in values) == (built.system.attention == "constraint")
        assert ("system.idce" in values) == (built.system.pose_network == "resnet")
        assert 1 <= built.train.batch_size <= 64 and type(built.train.batch_size) is int
        seen.append((built.system.attention, built.system.pose_network, built.data.offsets,
                     built.system.idce))
    assert len(set(seen)) >= 10
    assert config == ExperimentConfig(IdceHamConfig())


def test_ranges_of_all_kinds():
    config = ExperimentConfig(ToyConfig(ToyWeights()))
    _, found = ranges_for(config, [
        "data.flip=true,false", "data.frame_gap=1:3", "data.train_drives=('a', 'b'),()",
        "data.color_jitter=,monodepth2"])
    assert found["data.flip"].choices == (True, False)
    assert found["data.frame_gap"] == Range("data.frame_gap", 1, 3)
    assert found["data.train_drives"].choices == (("a", "b"), ())
    assert found["data.color_jitter"].choices == ("", "monodepth2")
    assert str(found[RATE]) == "1e-05:0.001:log"
    assert short_names(["a.b.c", "a.d.c", "e"]) == {"a.b.c": "b.c", "a.d.c": "d.c", "e": "e"}


def test_scores_that_are_close_are_told_apart():
    for scores in ([0.51934, 0.51941], [0.5, 0.7]):
        numbers = [float(text) for _, text in plot._Axis(None, scores).ticks()]
        np.testing.assert_allclose(numbers, np.linspace(*scores, 5), atol=0.1 * np.ptp(scores))
    plot._Axis(None, [1.0, 1.0 + 3e-16]).ticks()  # no numbers lie between
