"""The table of training methods; the type of a config chooses its row."""
import tensorflow as tf

from tfdepth.checks import check_choice
from tfdepth.networks.batch_norm import fold, synchronized_batch_norm
from tfdepth.systems.base import PRECISIONS, computing_in
from tfdepth.systems.bts import Bts, BtsConfig
from tfdepth.systems.geonet import GeoNet, GeoNetConfig
from tfdepth.systems.hma_depth import HmaDepth, HmaDepthConfig
from tfdepth.systems.idce_ham import IdceHam, IdceHamConfig
from tfdepth.systems.monodepth2 import Monodepth2, Monodepth2Config
from tfdepth.systems.sfmlearner import SfMLearner, SfMLearnerConfig

SYSTEMS = {
    SfMLearnerConfig: SfMLearner,
    GeoNetConfig: GeoNet,
    Monodepth2Config: Monodepth2,
    IdceHamConfig: IdceHam,
    BtsConfig: Bts,
    HmaDepthConfig: HmaDepth,
}


def build_system(config, offsets, stereo=False, precision="float32", sync_batch_norm=False):
    """The system of a config.

    Args: config: an instance of a key of SYSTEMS. offsets, stereo: its sources, see `System`.
      precision: of its networks, one of PRECISIONS. sync_batch_norm: whether statistics of batch
      normalisation are of all replicas' samples.
    Raises: TypeError: if no system has such a config. UserError: if the system refuses its values.
    """
    if type(config) not in SYSTEMS:
        known = ", ".join(sorted(kind.__name__ for kind in SYSTEMS))
        raise TypeError(f"No system for {type(config).__name__}; known: {known}.")
    check_choice("--config.train.precision", precision, PRECISIONS)
    return _build(config, offsets, stereo, precision, sync_batch_norm)


def for_inference(system, precision, size):
    """A system with the weights that another has now, to predict and not to train.

    Weights are stored in the type that networks compute in: half the memory, and no call has to
    round them. There, batch normalisation is folded into the convolutions before it, which
    TensorFlow itself does in float32 alone: predictions differ by the rounding of that type.

    Args: system: System of `build_system` with its variables created. precision: one of PRECISIONS,
      whatever it has itself. size: (height, width), as of `create_variables`.
    Returns: another System, or `system` where it stores them so.
    Raises: ValueError: if `system` is itself one that only predicts.
    """
    policy = precision.removeprefix("mixed_")
    if policy == system.policy:
        return system
    if system.policy not in PRECISIONS:
        raise ValueError(f"`system` must be one that can be trained; its weights are "
                         f"{system.policy}.")
    other = _build(system.config, system.offsets, system.stereo, policy)
    if system.cameras:
        other.learn_cameras(system.cameras.names)
    other.create_variables(size)
    values = {variable.ref(): tf.convert_to_tensor(trained)
              for variable, trained in zip(other.variables, system.variables)}
    if policy != "float32":
        fold(other, values)
    for variable in other.variables:
        variable.assign(tf.cast(values[variable.ref()], variable.dtype))
    return other


def _build(config, offsets, stereo, policy, sync_batch_norm=False):
    with computing_in(policy), synchronized_batch_norm(sync_batch_norm):
        system = SYSTEMS[type(config)](config, offsets, stereo)
    system.policy, system.sync_batch_norm = policy, sync_batch_norm
    return system
