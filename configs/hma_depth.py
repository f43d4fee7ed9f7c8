"""HMA-Depth (Niu, A new method for monocular depth estimation; HMA-Depth, MVA 2021): depth from one
image as a mixture of scales, learned from measured depth.

Variants, as in `--config configs/hma_depth.py:kitti_densenet161`:
  (none)         a small one on the synthetic drives, minutes on two cores
  quick          the same settings for short runs on KITTI with annotated depth
  kitti_<encoder>  the paper's table I: KITTI's Eigen split, 50 epochs from ImageNet weights, with
                 encoder: resnet50, resnext50, densenet121 or densenet161
  nyu_<encoder>  the same on NYU Depth v2, which the paper announces
  kitti_<encoder>_<ablation>, nyu_<encoder>_<ablation>
                 the ablations that it announces: 3_scales, 5_scales, no_attention
  3_scales, 5_scales, no_attention   these on the synthetic drives

ImageNet weights as for configs/bts.py. What the paper leaves open is as published for BTS, but for
its batch of 16 images; the loss in BTS's form: --config.system.silog_form=root
Published: densenet161 abs_rel 0.060, rmse 2.850.
"""
from tfdepth.checks import check_choice
from tfdepth.runs.presets import (
    BTS_FROZEN, BTS_INDOORS, BTS_KITTI, BTS_NYU, bts_run, supervised_quick_run,
    supervised_synthetic_run)
from tfdepth.systems.hma_depth import HmaDepthConfig

ABLATIONS = {"3_scales": dict(num_scales=3), "5_scales": dict(num_scales=5),
             "no_attention": dict(attention=False)}
LEARNING_RATE = 5e-4  # of short runs from scratch
BATCH_SIZE = 16


def get_config(variant="synthetic"):
    check_choice("the variant of configs/hma_depth.py", variant, VARIANTS)
    return VARIANTS[variant]()


def quick_system(**options):
    """A network that learns in minutes, from scratch, on a CPU.

    All its images are of one focal length, by which nothing needs to be scaled then.
    """
    return HmaDepthConfig(encoder="resnet18", decoder_width=128, reference_focal_length=0.0,
                          **options)


def _variants():
    rows = {"quick": lambda: supervised_quick_run(quick_system(), LEARNING_RATE)}
    for ablation, options in {"synthetic": {}, **ABLATIONS}.items():
        rows[ablation] = lambda options=options: supervised_synthetic_run(
            quick_system(**options), LEARNING_RATE)
    for ablation, options in {"": {}, **ABLATIONS}.items():
        for encoder in BTS_FROZEN:
            name = f"{encoder}_{ablation}".rstrip("_")
            rows[f"kitti_{name}"] = lambda encoder=encoder, options=options: bts_run(
                HmaDepthConfig(encoder=encoder, **options), BTS_KITTI, BATCH_SIZE)
            rows[f"nyu_{name}"] = lambda encoder=encoder, options=options: bts_run(
                HmaDepthConfig(encoder=encoder, **BTS_INDOORS, **options), BTS_NYU, BATCH_SIZE)
    return rows


VARIANTS = _variants()
