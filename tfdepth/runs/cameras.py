"""The cameras that a run learned, by its checkpoints and by its camera files."""
import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.data.intrinsics_file import read_intrinsics
from tfdepth.networks.learned_camera import LearnedCameras
from tfdepth.runs.checkpoints import list_steps, restore_best, stored_names

_PREFIX = "system/cameras/"


def learned_names(run):
    """The names of the cameras in the checkpoints of a run; () of one that learned none."""
    if not list_steps(run.checkpoints):
        return ()
    return tuple(sorted({name[len(_PREFIX):].split("/")[0]
                         for name in stored_names(run.checkpoints) if name.startswith(_PREFIX)}))


def load_cameras(run):
    """{name: [3, 3] float64, pixels of the camera's pictures} of a run's best checkpoint.

    Args: run: RunFolder.
    Raises: UserError: if no checkpoint is intact.
    """
    names = learned_names(run)
    if not names:
        return {}
    system = tf.Module()
    system.cameras = LearnedCameras(names)
    restore_best(run.checkpoints, system=system)
    return system.cameras.intrinsics()


def camera_of_size(run, size):
    """The camera [3, 3] that a run learned from pictures of this shape; None where there is none,
    or several.

    Args: run: RunFolder. size: (height, width).
    """
    found = []
    for path in run.camera_files():
        try:
            found.append(read_intrinsics(str(path), size))
        except UserError:  # of pictures of another shape
            continue
    return found[0] if len(found) == 1 else None
