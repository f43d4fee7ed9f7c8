"""A config for processes of their own: the toy system with statistics that replicas differ in."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from toy_system import Toy, ToyConfig

from tfdepth import systems
from tfdepth.data.config import DataConfig
from tfdepth.networks.torch_layers import batch_normalization
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig


class ToyWithStatistics(Toy):
    """Its images are normalised by the statistics of their batch."""

    def __init__(self, config, offsets, stereo=False):
        super().__init__(config, offsets, stereo)
        self.norm = batch_normalization()

    def forward(self, batch, training):
        images = self.norm(batch.target_input, training=training)
        return super().forward(batch._replace(target_input=images), training)


def get_config():
    systems.SYSTEMS[ToyConfig] = ToyWithStatistics
    return ExperimentConfig(
        ToyConfig(),
        DataConfig("kitti_odometry", size=(16, 32), scale_crop=1.2, flip=True,
                   train_drives=("00",), validation_drives=("01",), test_drives=("02",)),
        OptimizerConfig(learning_rate=1e-2),
        TrainConfig(batch_size=3, steps=60, log_every=20, save_every=20))
