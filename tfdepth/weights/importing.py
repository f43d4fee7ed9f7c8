"""Makes a run folder from a published checkpoint."""
import functools
import os

import tensorflow as tf

from tfdepth.checks import check_choice
from tfdepth.networks.encoders import ENCODERS
from tfdepth.runs.checkpoints import Checkpoints
from tfdepth.runs.config import ExperimentConfig
from tfdepth.runs.folder import open_run
from tfdepth.weights.bts import import_bts
from tfdepth.weights.imagenet import import_imagenet
from tfdepth.weights.monodepth2 import import_monodepth2
from tfdepth.weights.sfmlearner import import_sfmlearner

# Name -> function: path of the source -> Imported.
FORMATS = {
    "sfmlearner": import_sfmlearner,
    "monodepth2": import_monodepth2,
    "bts": import_bts,
    "bts_nyu": functools.partial(import_bts, trained_on="nyu"),
    **{f"imagenet_{kind}": functools.partial(import_imagenet, kind=kind) for kind in ENCODERS},
}


def import_run(source, format_name, output):
    """Writes a run folder with imported weights.

    Args: source: the checkpoint's path. format_name: a row of FORMATS. output: the folder to make.
    Returns: RunFolder.
    Raises: UserError: if the weights do not fit, or the folder holds something else.
    """
    check_choice("--format", format_name, FORMATS)
    imported = FORMATS[format_name](os.path.expanduser(source))
    stored = imported.system
    if imported.parts:  # under the names that they have in a whole system
        stored = tf.train.Checkpoint(**{name: getattr(stored, name) for name in imported.parts})
    run = open_run(output, ExperimentConfig(imported.system.config, imported.data))
    Checkpoints(run.checkpoints, keep=1, system=stored).save(step=0)
    return run
