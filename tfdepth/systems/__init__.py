"""The table of training methods; the type of a config chooses its row."""
from tfdepth.systems.sfmlearner import SfMLearner, SfMLearnerConfig

SYSTEMS = {
    SfMLearnerConfig: SfMLearner,
}


def build_system(config, num_sources):
    """The system of a config.

    Args: config: an instance of a key of SYSTEMS. num_sources: sources a sample has.
    Raises: TypeError: if no system has such a config.
    """
    if type(config) not in SYSTEMS:
        known = ", ".join(sorted(kind.__name__ for kind in SYSTEMS))
        raise TypeError(f"No system for {type(config).__name__}; known: {known}.")
    return SYSTEMS[type(config)](config, num_sources)
