"""The weights of one run as the start of another."""
import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.runs.checkpoints import PREFIX, best_step
from tfdepth.runs.folder import RunFolder, load_config
from tfdepth.weights.matching import LISTED, select, variables_by_path

_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def start_from(path, system, keep=()):
    """Gives a system the weights of a run's best checkpoint, wherever it has variables of the name.

    Args:
      path: run folder, of training or of tools/import_weights.py.
      system: System with its variables created.
      keep: beginnings of names, as "pose_encoder/conv1", of variables that stay as they are; see
        `select`.

    Returns: one line for the user: how many variables were set, and which parts were not.
    Raises: UserError: if the run has no checkpoint that can be read, a name in `keep` is of no
      variable, no variable is in the checkpoint, or one has another shape there. Then no variable
      was changed.
    """
    load_config(path)
    folder = RunFolder(path).checkpoints
    step = best_step(folder)
    if step is None:
        raise UserError(f"--config.train.init_from {path}: expected a checkpoint in {folder}; "
                        "found none.")
    variables = variables_by_path(system)
    kept = select(variables, keep, "--config.train.init_except")
    file = folder / f"step-{step:08d}"
    try:
        reader = tf.train.load_checkpoint(str(file / PREFIX))
        stored = reader.get_variable_to_shape_map()
        taken = {name: f"system/{name}{_SUFFIX}" for name in variables if name not in kept}
        taken = {name: key for name, key in taken.items() if key in stored}
        arrays = {name: reader.get_tensor(key) for name, key in taken.items()}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise UserError(f"{file}: expected an intact checkpoint; it cannot be read "
                        f"({str(error).splitlines()[0][:160]}).") from error
    misshapen = [f"{name} is {list(array.shape)}, expected {list(variables[name].shape)}"
                 for name, array in arrays.items() if array.shape != tuple(variables[name].shape)]
    if misshapen:
        raise UserError(f"--config.train.init_from {path}: {len(misshapen)} of its variables have "
                        f"other shapes: {'; '.join(misshapen[:LISTED])}.")
    if not arrays:
        raise UserError(f"--config.train.init_from {path}: expected a run with networks of "
                        f"{type(system).__name__}; none of its variables is in it.")
    for name, array in arrays.items():
        variables[name].assign(array)
    anew = sorted({name.split("/")[0] for name in set(variables) - set(arrays)})
    rest = f"; others, in {', '.join(anew)}, begin anew" if anew else ""
    return f"{len(arrays)} of {len(variables)} variables from {path}, step {step}{rest}"
