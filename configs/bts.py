"""BTS (Lee et al., From Big to Small, 2019): depth from one image, learned from measured depth.

Variants, as in `--config configs/bts.py:kitti_densenet161`:
  (none)         a small one on the synthetic drives, minutes on two cores
  quick          the same settings for short runs on KITTI with annotated depth
  kitti_<encoder>  as released on KITTI's Eigen split, 50 epochs from ImageNet weights, with
                 encoder: resnet50, resnext50, densenet121 or densenet161
  nyu_<encoder>  the same on NYU Depth v2, as BTS prepared it

ImageNet weights: import a file by tools/import_weights.py, name the folder that it makes by
--config.train.init_from; without them nothing should be frozen, --config.train.frozen=
A smaller decoder: --config.system.decoder_width=256
On KITTI all drives but those of test and validation train; the published list of 33 is not at hand.
Published, of KITTI's improved ground truth: resnet50 abs_rel 0.061, rmse 2.803; densenet161 0.060,
2.798 (its authors' table of models).
"""
from tfdepth.checks import check_choice
from tfdepth.runs.presets import (
    BTS_FROZEN, BTS_INDOORS, BTS_KITTI, BTS_NYU, bts_run, supervised_quick_run,
    supervised_synthetic_run)
from tfdepth.systems.bts import BtsConfig

LEARNING_RATE = 5e-4  # of short runs from scratch
BATCH_SIZE = 4        # of the released settings


def get_config(variant="synthetic"):
    check_choice("the variant of configs/bts.py", variant, VARIANTS)
    return VARIANTS[variant]()


def quick_system():
    """A network that learns in minutes, from scratch, on a CPU.

    All its images are of one focal length, by which nothing needs to be scaled then.
    """
    return BtsConfig(encoder="resnet18", decoder_width=128, reference_focal_length=0.0)


VARIANTS = {
    "synthetic": lambda: supervised_synthetic_run(quick_system(), LEARNING_RATE),
    "quick": lambda: supervised_quick_run(quick_system(), LEARNING_RATE),
    **{f"kitti_{encoder}": lambda encoder=encoder: bts_run(
        BtsConfig(encoder=encoder), BTS_KITTI, BATCH_SIZE) for encoder in BTS_FROZEN},
    **{f"nyu_{encoder}": lambda encoder=encoder: bts_run(
        BtsConfig(encoder=encoder, **BTS_INDOORS), BTS_NYU, BATCH_SIZE) for encoder in BTS_FROZEN},
}
