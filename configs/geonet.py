"""The rigid stage of GeoNet, and attention maps on it (Mendoza and Pedrini, Learning Attention Maps
for Unsupervised Depth Estimation in Monocular Videos, 2020).

Variants, as in `--config configs/geonet.py:depth_attention`:
  baseline (none), attention, normalise, predictive_mask
                 the synthetic drives with moving cars and people, minutes on two cores, with a
                 small depth network; normalise makes the constraint exact, predictive_mask is
                 Monodepth2's ablation
  quick          the baseline's settings for short runs on data of your own
  depth_<name>   table 1: ResNet-50, 3 frames, on KITTI raw, Eigen split
  pose_<name>    figure 1: with 5 frames, on KITTI odometry, tested on sequences 09 and 10
                 name: baseline; attention, attention_70, with means of 0.5 and 0.7; normalise;
                 predictive_mask

The paper leaves baseline, form of the constraint (weight 10) and training open. What stands here is
inferred from the authors' other program of that year. Attention in other systems:
--config.system.attention=constraint
Both of a table or figure by one command, tools/evaluate.py --workdir BASELINE,ATTENTION
"""
from tfdepth.checks import check_choice
from tfdepth.data.config import DataConfig
from tfdepth.runs.config import ExperimentConfig, TrainConfig
from tfdepth.runs.presets import (
    EIGEN_SPLIT, FIVE_FRAMES, ODOMETRY_SPLIT, quick_run, synthetic_run)
from tfdepth.systems.geonet import GeoNetConfig, GeoNetWeights

METHODS = {"baseline": {}, "attention": dict(attention="constraint"),
           "normalise": dict(attention="normalise"),
           "predictive_mask": dict(attention="predictive_mask")}
LEARNING_RATE = 5e-4  # of short runs


def get_config(variant="baseline"):
    check_choice("the variant of configs/geonet.py", variant, VARIANTS)
    return VARIANTS[variant]()


def quick_system(**method):
    """Settings that learn in minutes, from scratch, on a CPU; see configs/sfmlearner.py."""
    return GeoNetConfig(
        loss_weights=GeoNetWeights(smoothness=0.02), depth_network="dispnet",
        initial_disparity=1.2, norm_momentum=0.99, mask_outside=True, pyramid_intrinsics="exact",
        **method)


def published(method, data=EIGEN_SPLIT, offsets=(-1, 1)):
    """The settings of the paper, as far as they can be inferred; the last checkpoint is scored."""
    return ExperimentConfig(
        system=GeoNetConfig(**method),
        data=DataConfig(**{**data, "validation_drives": ()}, offsets=offsets,
                        scale_crop=1.15, color_jitter="geonet"),
        train=TrainConfig(steps=500_000, save_every=5_000))


VARIANTS = {
    "quick": lambda: quick_run(quick_system(), LEARNING_RATE),
    **{name: lambda method=method: synthetic_run(quick_system(**method), LEARNING_RATE, movers=True)
       for name, method in METHODS.items()},
    **{f"{task}_{name}": lambda method=method, data=data: published(method, *data)
       for name, method in {**METHODS, "attention_70": dict(attention="constraint",
                                                            attention_mean=0.7)}.items()
       for task, data in {"depth": (), "pose": (ODOMETRY_SPLIT, FIVE_FRAMES)}.items()},
}
