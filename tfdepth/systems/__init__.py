"""The table of training methods; the type of a config chooses its row."""
from tfdepth.systems.geonet import GeoNet, GeoNetConfig
from tfdepth.systems.idce_ham import IdceHam, IdceHamConfig
from tfdepth.systems.monodepth2 import Monodepth2, Monodepth2Config
from tfdepth.systems.sfmlearner import SfMLearner, SfMLearnerConfig

SYSTEMS = {
    SfMLearnerConfig: SfMLearner,
    GeoNetConfig: GeoNet,
    Monodepth2Config: Monodepth2,
    IdceHamConfig: IdceHam,
}


def build_system(config, offsets, stereo=False):
    """The system of a config.

    Args: config: an instance of a key of SYSTEMS. offsets, stereo: its sources, see `System`.
    Raises: TypeError: if no system has such a config. UserError: if the system refuses its values.
    """
    if type(config) not in SYSTEMS:
        known = ", ".join(sorted(kind.__name__ for kind in SYSTEMS))
        raise TypeError(f"No system for {type(config).__name__}; known: {known}.")
    return SYSTEMS[type(config)](config, offsets, stereo)
