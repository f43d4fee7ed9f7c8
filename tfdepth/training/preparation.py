"""From a config to what a step of training needs: system, optimiser and samples."""
import math
from typing import NamedTuple, Sequence, Tuple

import tensorflow as tf

from tfdepth.checks import check_size
from tfdepth.data.crops import training_size
from tfdepth.data.datasets import load_drives, split_drives
from tfdepth.data.depth_check import check_depth
from tfdepth.data.drives import Drive
from tfdepth.data.pipeline import Source, open_source
from tfdepth.systems import build_system
from tfdepth.systems.base import System
from tfdepth.training.learned_cameras import learn_cameras
from tfdepth.training.optimizers import optimizer_of


class Parts(NamedTuple):
    """What a config says that training needs, made in the scope of a strategy."""
    system: System                  # with its variables
    optimizer: tf.keras.optimizers.Optimizer
    learned: Sequence[tf.Variable]  # of the system, that the optimizer changes
    source: Source                  # of the training samples
    validation: Tuple[Drive, ...]   # drives; () = none
    steps_per_epoch: float
    num_steps: int                  # of the whole run


def prepare(config, strategy) -> Parts:
    """Makes the parts of a run.

    Args: config: ExperimentConfig, checked. strategy: tf.distribute.Strategy.
    Raises: UserError: if the system cannot see such data, or there are none.
    """
    with strategy.scope():
        system = build_system(config.system, config.data.offsets, config.data.stereo,
                              config.train.precision, config.train.sync_batch_norm)
        check_sizes(config.data, system)
        split = split_drives(config.data, load_drives(config.data))
        if system.learns_from_depth:
            check_depth(split.train + split.validation)
        source = open_source(split.train, config.data, system.learns_from_depth)
        steps_per_epoch = source.num_samples / config.train.batch_size
        num_steps = config.train.steps or math.ceil(config.train.epochs * steps_per_epoch)
        learn_cameras(system, split, config.data)
        system.create_variables(config.data.size)
        optimizer, learned = optimizer_of(config, system, steps_per_epoch, num_steps)
    return Parts(system, optimizer, learned, source, split.validation, steps_per_epoch, num_steps)


def check_sizes(data, system):
    """Raises UserError unless a System can see the sizes of training and of prediction."""
    limits = system.size_multiple, system.smallest_side
    check_size("--config.data.size", data.size, *limits)
    check_size("--config.data.random_crop" if data.random_crop else
               "--config.data.random_crop is not given; what --config.data.crop leaves",
               training_size(data), *limits)
