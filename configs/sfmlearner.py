"""SfMLearner (Zhou et al., CVPR 2017).

Variants, as in `--config configs/sfmlearner.py:release`:
  (none)        the built-in synthetic drive, minutes on two cores
  movers        the same with cars and people moving through every drive
  quick         the same settings for short runs on data of your own
  release       the released implementation on KITTI raw, Eigen split, 3 frames, for depth
  paper         as in the paper: batch normalisation, masks (0.2), border padding, no augmentation
  release_pose  release with 5 frames, on KITTI odometry, tested on sequences 09 and 10
  paper_pose    paper with 5 frames, on the same

Frames are resized with their camera, half pixels included; the published programs left these out.
"""
from tfdepth.checks import check_choice
from tfdepth.data.config import DataConfig
from tfdepth.runs.config import ExperimentConfig, TrainConfig
from tfdepth.runs.presets import (
    EIGEN_SPLIT, FIVE_FRAMES, ODOMETRY_SPLIT, quick_run, synthetic_run)
from tfdepth.systems.sfmlearner import SfMLearnerConfig, SfMLearnerWeights

LEARNING_RATE = 5e-4  # of short runs


def get_config(variant="synthetic"):
    check_choice("the variant of configs/sfmlearner.py", variant, VARIANTS)
    return VARIANTS[variant]()


def quick_system():
    """Settings that learn in minutes, from scratch, on a CPU.

    Against the release: weights that start larger, and a first depth (0.8) from which the sigmoid
    does not run into its limit before the motion is learnt; less smoothness, which acts on raw
    disparity and would flatten it first.
    """
    return SfMLearnerConfig(
        loss_weights=SfMLearnerWeights(smoothness=0.02, explainability=0.06),
        initializer="he_normal", initial_disparity=1.2, mask_outside=True,
        pyramid_intrinsics="exact")


def release(data=EIGEN_SPLIT, offsets=(-1, 1)):
    return ExperimentConfig(
        system=SfMLearnerConfig(),
        data=DataConfig(**data, offsets=offsets, scale_crop=1.15),
        train=TrainConfig(steps=200_000, save_every=5_000))


def paper(data=EIGEN_SPLIT, offsets=(-1, 1)):
    return ExperimentConfig(
        system=SfMLearnerConfig(loss_weights=SfMLearnerWeights(explainability=0.2),
                                normalization="batch", border="border"),
        data=DataConfig(**data, offsets=offsets),
        train=TrainConfig(steps=200_000, save_every=5_000))


VARIANTS = {
    "synthetic": lambda: synthetic_run(quick_system(), LEARNING_RATE),
    "movers": lambda: synthetic_run(quick_system(), LEARNING_RATE, movers=True),
    "quick": lambda: quick_run(quick_system(), LEARNING_RATE),
    "release": release,
    "paper": paper,
    "release_pose": lambda: release(ODOMETRY_SPLIT, FIVE_FRAMES),
    "paper_pose": lambda: paper(ODOMETRY_SPLIT, FIVE_FRAMES),
}
