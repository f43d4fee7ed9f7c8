"""Checkpoints of the published SfMLearner program (TensorFlow 1, slim).

Names are "depth_net/<layer>/weights", ".../biases" and, in versions with batch normalisation,
".../BatchNorm/beta" and its moving statistics; likewise "pose_exp_net/...". Kernels have Keras'
layout already. Models trained without masks have no "pose_exp_net/exp/" variables.
"""
import re
from typing import Dict

import numpy as np
import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.data.config import DataConfig
from tfdepth.systems.sfmlearner import SfMLearner, SfMLearnerConfig
from tfdepth.weights.imported import Imported
from tfdepth.weights.matching import assign_weights

NOT_WEIGHTS = re.compile(r"(^|/)global_step$|/Adam(_1)?$|^beta[12]_power$|^train_op/")
# Building a system needs a size; any legal one gives the same variables.
BUILD_SIZE = (32, 32)


def import_sfmlearner(source):
    """Reads a published checkpoint into a new system.

    Args: source: path prefix of the checkpoint, or its .index, .meta or .data file.
    Returns: Imported, with the options and the number of sources that the checkpoint implies.
    Raises: UserError: if it is no checkpoint, or its weights do not fit; lists those.
    """
    arrays = read_checkpoint(source)
    prediction = arrays.get("pose_exp_net/pose/pred/weights")
    if prediction is None or prediction.ndim != 4 or prediction.shape[-1] % 6:
        raise UserError(f"{source}: expected a SfMLearner checkpoint with the variable "
                        "pose_exp_net/pose/pred/weights [1, 1, 256, 6 x sources]; found "
                        f"{'no such variable' if prediction is None else list(prediction.shape)} "
                        f"among {len(arrays)}.")
    config = SfMLearnerConfig()
    if any("/exp/" in name for name in arrays):
        config.loss_weights.explainability = 0.2
    if any("/BatchNorm/" in name for name in arrays):
        config.normalization = "batch"
    num_sources = prediction.shape[-1] // 6
    before = num_sources // 2
    offsets = tuple(k for k in range(-before, before + 1) if k)
    if len(offsets) != num_sources:
        raise UserError(f"{source}: expected as many sources before the target as after it; found "
                        f"a pose network of {num_sources}.")
    system = SfMLearner(config, offsets)
    system.create_variables(BUILD_SIZE)
    assign_weights(published_variables(system), arrays, source)
    return Imported(system, DataConfig("kitti_odometry", size=(128, 416), offsets=offsets))


def read_checkpoint(source) -> Dict[str, np.ndarray]:
    """{name: array} of a TensorFlow checkpoint, without optimiser state and step counter.

    Raises: UserError: if there is no checkpoint or it is damaged.
    """
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(source))
    try:
        reader = tf.train.load_checkpoint(prefix)
        names = [name for name in reader.get_variable_to_shape_map() if not NOT_WEIGHTS.search(name)]
        return {name: reader.get_tensor(name) for name in names}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"{source}: expected a TensorFlow checkpoint (prefix of its .index and "
                        f".data files); found none that can be read ({reason}).") from error


def published_variables(system) -> Dict[str, tf.Variable]:
    """{published name: variable} of an SfMLearner system whose variables exist."""
    named = {}
    for network in (system.depth_net, system.pose_net):
        for layer in network.submodules:
            if not hasattr(layer, "convolution"):
                continue
            scope = f"{network.name}/{layer.name}"
            named[f"{scope}/weights"] = layer.convolution.kernel
            if layer.normalization is None:
                named[f"{scope}/biases"] = layer.convolution.bias
            else:
                named[f"{scope}/BatchNorm/beta"] = layer.normalization.beta
                named[f"{scope}/BatchNorm/moving_mean"] = layer.normalization.moving_mean
                named[f"{scope}/BatchNorm/moving_variance"] = layer.normalization.moving_variance
    return named
