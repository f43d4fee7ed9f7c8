"""The learning proofs: minutes each, so they are run on request, with `pytest -m slow`."""
import json

import pytest
import train
import evaluate
from helpers import DATA, needs_shared

pytestmark = pytest.mark.slow


def scores(workdir):
    return json.loads((workdir / "evaluation.json").read_text())["protocols"]


def test_default_run_learns_depth_and_motion_of_other_worlds(tmp_path):
    """`python tools/train.py`: within 10 minutes on two cores."""
    assert train.main([f"--workdir={tmp_path / 'run'}"]) == 0
    found = scores(tmp_path / "run")
    depth, motion = found["depth"], found["odometry_sfmlearner"]
    assert depth["SfMLearner"]["abs_rel"] <= 0.6 * depth["per-pixel training mean"]["abs_rel"]
    assert (motion["SfMLearner"]["ate_sfmlearner_mean"]
            < motion["mean motion"]["ate_sfmlearner_mean"])


@needs_shared
def test_learns_motion_from_51_real_frames(tmp_path):
    """The README's command on KITTI's sequence 06, frames 0 to 50: within 20 minutes."""
    assert train.main([f"--workdir={tmp_path / 'run'}", *KITTI_FLAGS]) == 0
    assert evaluate.main([f"--workdir={tmp_path / 'run'}"]) == 0
    found = scores(tmp_path / "run")["view_synthesis"]["SfMLearner"]
    assert found["ratio"] <= 0.7 and found["direction_median_deg"] <= 8.0


@needs_shared
def test_monodepth2_learns_motion_from_51_real_frames(tmp_path):
    """The README's command on the same frames: within 10 minutes."""
    flags = [flag.replace("sfmlearner", "monodepth2") for flag in KITTI_FLAGS]
    flags += ["--config.optimizer.decay_epochs=(43.0,)", BFLOAT16]
    assert train.main([f"--workdir={tmp_path / 'run'}", *flags]) == 0
    assert evaluate.main([f"--workdir={tmp_path / 'run'}"]) == 0
    found = scores(tmp_path / "run")["view_synthesis"]["Monodepth2"]
    assert found["best_ratio"] <= 0.4 and found["direction_median_deg"] <= 2.0


def test_monodepth2_beats_sfmlearner_among_moving_things(tmp_path):
    """The same steps for both on the synthetic drives with movers: within an hour."""
    found = {name: scores_among_movers(tmp_path / name, config) for name, config in {
        "SfMLearner": "sfmlearner.py:movers", "Monodepth2": "monodepth2.py"}.items()}
    print(found)
    assert found["Monodepth2"][0] < found["SfMLearner"][0]


@pytest.mark.parametrize("variant", ["idce", "ham", "joint"])
def test_joint_framework_learns_among_moving_things(variant, tmp_path):
    """By the same steps as the two of above: within 50 minutes each."""
    found = scores_among_movers(tmp_path / variant, f"idce_ham.py:{variant}")
    print(variant, found)
    mean = scores(tmp_path / variant)["depth"]["per-pixel training mean"]["abs_rel"]
    assert found[0] < 0.8 * mean


def scores_among_movers(workdir, config):
    """(abs_rel, abs_rel over moving pixels) of a run on the drives with movers."""
    assert train.main([f"--workdir={workdir}", f"--config=configs/{config}", *BUDGET]) == 0
    return [next(round(row["abs_rel"], 4) for method, row in scores(workdir)[protocol].items()
                 if method != "per-pixel training mean") for protocol in ("depth", "depth_moving")]


@pytest.mark.parametrize("encoder", ["resnet50", "densenet121"])
def test_hma_depth_learns_measured_depth(encoder, tmp_path):
    """On the synthetic drives, scored on other worlds, in metres: within 20 minutes."""
    workdir = tmp_path / encoder
    assert train.main([f"--workdir={workdir}", "--config=configs/hma_depth.py",
                       f"--config.system.encoder={encoder}", "--config.train.steps=600",
                       "--config.optimizer.decay_epochs=(1.4,)", BFLOAT16]) == 0
    found = scores(workdir)["depth_metres"]
    assert found["HmaDepth"]["abs_rel"] <= 0.5 * found["per-pixel training mean"]["abs_rel"]


BFLOAT16 = "--config.train.precision=mixed_bfloat16"
BUDGET = ["--config.train.steps=5000", "--config.optimizer.decay_epochs=(23.6,)",
          "--config.train.save_every=500", BFLOAT16]
KITTI_FLAGS = ["--config=configs/sfmlearner.py:quick", "--config.data.dataset=kitti_odometry",
               f"--config.data.root={DATA / 'kitti_odometry'}", "--config.data.size=128,416",
               "--config.train.steps=600"]
