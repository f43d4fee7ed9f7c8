"""Monodepth2 (Godard et al., ICCV 2019).

Variants, as in `--config configs/monodepth2.py:mono_640x192`:
  (none)         the synthetic drives with moving cars and people, minutes on two cores
  quick          the same settings for short runs on data of your own
  <training>_<size>  as released on KITTI, 20 epochs from ImageNet weights, with
                 training: mono (frames -1 and +1), stereo (the other camera), mono_stereo (both)
                 size: 416x128, 640x192; or 1024x320, 5 epochs that go on from the 640x192 run in
                 its default folder, or in the one that --config.train.init_from names
  <training>_<size>_scratch  the same without ImageNet weights, 30 epochs

ImageNet weights: import a file by tools/import_weights.py, name the folder that it makes by
--config.train.init_from. Stereo pairs lie 0.1 units apart, as published; with
--config.data.stereo_baseline=0 depth is in metres.
"""
from tfdepth.checks import check_choice
from tfdepth.data.config import DataConfig
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig
from tfdepth.runs.presets import EIGEN_SPLIT, MONODEPTH2_KITTI_CAMERA, quick_run, synthetic_run
from tfdepth.systems.monodepth2 import Monodepth2Config

TRAININGS = {"mono": dict(), "mono_stereo": dict(stereo=True),
             "stereo": dict(stereo=True, offsets=())}
SIZES = {"416x128": (128, 416), "640x192": (192, 640), "1024x320": (320, 1024)}
# Of short runs from scratch. At twice the rate the disparity runs into its limit when the motion is
# found and the gradient grows tenfold; limited gradients cure that, but end with a larger error.
LEARNING_RATE = 1e-4


def get_config(variant="synthetic"):
    check_choice("the variant of configs/monodepth2.py", variant, VARIANTS)
    return VARIANTS[variant]()


def released(training, size, scratch=False):
    """The published settings."""
    optimizer = OptimizerConfig(learning_rate=1e-4, decay_epochs=(15.0,))
    epochs, init_from = 30.0 if scratch else 20.0, ""
    if size == (320, 1024) and not scratch:
        optimizer, epochs = OptimizerConfig(learning_rate=1e-5), 5.0
        init_from = f"runs/monodepth2-{training}_640x192"
    optimizer.epsilon_after_correction = True
    return ExperimentConfig(
        system=Monodepth2Config(),
        data=DataConfig(**EIGEN_SPLIT, intrinsics=MONODEPTH2_KITTI_CAMERA, size=size,
                        stereo_baseline=0.1, flip=True, color_jitter="monodepth2",
                        **TRAININGS[training]),
        optimizer=optimizer,
        train=TrainConfig(batch_size=12, epochs=epochs, init_from=init_from))


VARIANTS = {
    "synthetic": lambda: synthetic_run(Monodepth2Config(), LEARNING_RATE, movers=True),
    "quick": lambda: quick_run(Monodepth2Config(), LEARNING_RATE),
    **{f"{training}_{name}{'_scratch' * scratch}":
       lambda args=(training, size, scratch): released(*args)
       for training in TRAININGS for name, size in SIZES.items() for scratch in (False, True)},
}
