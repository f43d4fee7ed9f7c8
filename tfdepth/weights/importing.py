"""Makes a run folder from a published checkpoint."""
import dataclasses
import os

from tfdepth.checks import UserError, check_choice
from tfdepth.data.config import DataConfig
from tfdepth.runs.checkpoints import Checkpoints
from tfdepth.runs.config import ExperimentConfig
from tfdepth.runs.folder import open_run
from tfdepth.weights.sfmlearner import import_sfmlearner

# Name -> (reader of a source into a system, how the published program prepared its images).
FORMATS = {
    "sfmlearner": (import_sfmlearner, DataConfig(dataset="kitti_odometry", size=(128, 416))),
}


def import_run(source, format_name, output):
    """Writes a run folder with imported weights.

    Args: source: the checkpoint's path. format_name: a row of FORMATS. output: the folder to make.
    Returns: RunFolder.
    Raises: UserError: if the weights do not fit, or the folder holds something else.
    """
    check_choice("--format", format_name, FORMATS)
    reader, data = FORMATS[format_name]
    system = reader(os.path.expanduser(source))
    before = system.num_sources // 2
    offsets = tuple(k for k in range(-before, before + 1) if k)
    if len(offsets) != system.num_sources:
        raise UserError(f"{source}: expected as many sources before the target as after it; found "
                        f"a pose network of {system.num_sources}.")
    data = dataclasses.replace(data, offsets=offsets)
    run = open_run(output, ExperimentConfig(system.config, data))
    Checkpoints(run.checkpoints, keep=1, system=system).save(step=0)
    return run
