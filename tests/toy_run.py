"""tools/train.py --config tests/toy_run.py: the toy system in a process of its own."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from toy_system import Toy, ToyConfig

from tfdepth.data.config import DataConfig
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig
from tfdepth.systems import SYSTEMS


def get_config():
    SYSTEMS[ToyConfig] = Toy
    return ExperimentConfig(
        ToyConfig(),
        DataConfig("kitti_odometry", size=(16, 32), scale_crop=1.2, flip=True),
        OptimizerConfig(learning_rate=1e-2),
        TrainConfig(batch_size=2, steps=6, log_every=1, save_every=1))
