"""Runs of Monodepth2 and of the joint framework from the command line, small."""
import json

import evaluate
import numpy as np
import pytest
import tensorflow as tf
import train
from PIL import Image

from data_folders import write_frames, write_kitti
from tfdepth.data.datasets import load_drives
from tfdepth.data.pipeline import open_source, training_batches
from tfdepth.runs.checkpoints import PREFIX
from tfdepth.runs.config import OptimizerConfig
from tfdepth.runs.folder import load_config
from tfdepth.systems import build_system
from tfdepth.training.optimizers import build_optimizer
from tfdepth.training.step import make_train_step

CALIBRATION = "P2: 30 0 19 -1.8 0 32 12 0 0 0 1 0\nP3: 30 0 19 -16.8 0 32 12 0 0 0 1 0"
SMALL = ("--config.data.size=64,64", "--config.train.batch_size=2", "--config.train.log_every=1")
# In place of KITTI raw: a stereo sequence with masks of what moves.
SEQUENCE = ("--config.data.dataset=kitti_odometry", "--config.data.cameras=image_2,image_3",
            "--config.data.validation_drives=", "--config.data.test_drives=", *SMALL)


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory):
    """A stereo sequence with depth and masks of what moves."""
    root = tmp_path_factory.mktemp("kitti")
    write_kitti(root, count=7, camera="image_2", calibration=CALIBRATION)
    folder = root / "sequences" / "00"
    write_frames(folder / "image_3", [f"{k:06d}.png" for k in range(7)], seed=9)
    random = np.random.default_rng(4)
    for kind, dtype, high in (("depth", np.uint16, 20_000), ("moving", np.uint8, 2)):
        for camera in (2, 3):
            (folder / f"{kind}_{camera}").mkdir()
            for k in range(7):
                pixels = random.integers(0, high, (24, 40)).astype(dtype)
                Image.fromarray(pixels).save(folder / f"{kind}_{camera}" / f"{k:06d}.png")
    return root


def values_of(workdir, step):
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"step-{step:08d}" / PREFIX))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if name.endswith("VARIABLE_VALUE") and not name.startswith("save_counter")}


def test_both_stages_by_one_command(root, tmp_path, capsys):
    """Table V's last row with video and stereo: two runs, evaluated with all protocols."""
    workdir = tmp_path / "joint"
    assert train.main(["--config=configs/idce_ham.py:v_joint_k_ms", f"--workdir={workdir}",
                       f"--config.data.root={root}", "--config.train.steps=2", *SEQUENCE]) == 0
    output = capsys.readouterr().out
    assert output.index("first stage") < output.index("second stage") < output.index(
        "others, in idce, begin anew")
    first, second = load_config(f"{workdir}-stage1"), load_config(workdir)
    assert not first.system.idce and second.system.idce and first.data == second.data
    assert first.data.stereo_baseline == 0.1 and first.data.cameras == ("image_2", "image_3")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and lines[0]["photometric"] > 0
    assert evaluate.main([f"--workdir={workdir}"]) == 0
    protocols = json.loads((workdir / "evaluation.json").read_text())["protocols"]
    assert set(protocols) == {"depth", "depth_moving", "odometry_sfmlearner", "view_synthesis"}
    assert protocols["depth_moving"]["IdceHam"]["images"] == 14

    # Fine-tuning (the paper's CS+K): all parts go on from another run, without a first stage.
    assert train.main(["--config=configs/idce_ham.py:v_joint_k_m", f"--workdir={tmp_path}/fine",
                       f"--config.data.root={root}", f"--config.train.init_from={workdir}",
                       "--config.train.first_stage=", "--config.train.steps=1",
                       "--config.optimizer.learning_rate=1e-9", *SEQUENCE]) == 0
    assert "begin anew" not in capsys.readouterr().out
    before, after = values_of(workdir, 2), values_of(tmp_path / "fine", 1)
    name = "system/idce/blocks/0/convolutions/1/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_allclose(after[name], before[name], atol=1e-6)
    assert not (tmp_path / "fine-stage1").exists()
    assert (workdir / "pictures" / "depth.png").stat().st_size > 10_000


def test_stereo_alone_predicts_no_motion(root, tmp_path, capsys):
    assert train.main(["--config=configs/monodepth2.py:stereo_416x128", f"--workdir={tmp_path}/run",
                       f"--config.data.root={root}", "--config.train.steps=1", *SEQUENCE]) == 0
    assert evaluate.main([f"--workdir={tmp_path}/run"]) == 0
    assert "odometry_sfmlearner: not available; the model was trained on stereo" in (
        capsys.readouterr().out)
    assert evaluate.main([f"--workdir={tmp_path}/run", "--protocol=odometry_sfmlearner"]) == 2
    assert "predicts no motion" in capsys.readouterr().err


def test_a_resumed_run_has_the_same_bits(root, tmp_path):
    """With batch statistics, noise on identity errors and weight decay."""
    flags = ["--config=configs/idce_ham.py:v_ham_k_m", f"--config.data.root={root}",
             "--config.train.save_every=1", *SEQUENCE]
    assert train.main([*flags, f"--workdir={tmp_path}/whole", "--config.train.steps=3"]) == 0
    assert train.main([*flags, f"--workdir={tmp_path}/parts", "--config.train.steps=2"]) == 0
    for file in (tmp_path / "parts" / "config.json",):
        file.write_text(file.read_text().replace('"steps": 2', '"steps": 3'))
    assert train.main([*flags, f"--workdir={tmp_path}/parts", "--config.train.steps=3"]) == 0
    expected, found = values_of(tmp_path / "whole", 3), values_of(tmp_path / "parts", 3)
    assert set(expected) == set(found) and len(expected) > 300
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_two_replicas_train(root, tmp_path, two_replicas):
    """Batch norm normalises in each replica, so the weights agree, not their statistics."""
    assert train.main(["--config=configs/idce_ham.py:joint", f"--workdir={tmp_path}/run",
                       "--config.data.dataset=kitti_odometry", f"--config.data.root={root}",
                       "--config.data.validation_drives=", "--config.data.test_drives=",
                       "--config.train.steps=1", "--config.train.best_metric=validation/total",
                       *SMALL]) == 0
    config = load_config(tmp_path / "run")
    strategy = two_replicas
    with strategy.scope():
        system = build_system(config.system, config.data.offsets)
        system.create_variables(config.data.size)
        optimizer = build_optimizer(OptimizerConfig(1e-4), 10, system.trainable_variables)
    source = open_source(load_drives(config.data), config.data)
    batches = iter(strategy.experimental_distribute_dataset(training_batches(source, 4, 5)))
    step = make_train_step(strategy, system, optimizer, config)
    results = [step(next(batches)) for _ in range(2)]
    assert all(result.applied for result in results)
    for variable in system.trainable_variables:
        one, two = strategy.experimental_local_results(variable)
        np.testing.assert_array_equal(one, two, err_msg=variable.name)
    moving = [variable for variable in system.variables if "moving_variance" in variable.name]
    assert all(np.isfinite(variable).all() and (variable.numpy() > 0).all() for variable in moving)
