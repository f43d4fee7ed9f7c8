"""A run folder: where the parts of a run lie, and whose run it is."""
import contextlib
import os
import pathlib

from tfdepth.checks import UserError
from tfdepth.files import write_atomically
from tfdepth.runs.config import ExperimentConfig, differences, from_json, to_json
from tfdepth.runs.lock import held


class RunFolder:
    """Paths of a run.

    config.json, environment.json (each start of it), lock (who trains), checkpoints/,
    metrics.jsonl, tensorboard/, evaluation.json, pictures/, scale.json (of a calibrated model); of
    a run that learned its cameras intrinsics.json, or, of several, intrinsics-<name>.json.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path).expanduser()
        self.config = self.path / "config.json"
        self.environment = self.path / "environment.json"
        self.lock = self.path / "lock"
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.pictures = self.path / "pictures"
        self.scale = self.path / "scale.json"

    def camera_file(self, name=""):
        """Where the only camera that a run learned is written, or, by its name, one of several."""
        return self.path / (f"intrinsics-{name}.json" if name else "intrinsics.json")

    def camera_files(self):
        """Those that are there."""
        return sorted(self.path.glob("intrinsics*.json"))


def open_run(path, config) -> RunFolder:
    """The folder of a new run, or of this same run begun before.

    Args: path: the folder, made where it is missing. config: ExperimentConfig of the run.
    Raises: UserError: if the folder holds a run of another config, or cannot be written.
    """
    folder = _folder_for_run(path)
    if folder.config.exists():
        found = differences(load_config(path), config)
        if found:
            raise UserError(f"--workdir {path} holds a run of another config (field: its value, "
                            f"yours): {'; '.join(found)}. Give another folder, or the same config.")
        return folder
    with _worded(path):
        write_atomically(folder.config, to_json(config))
    return folder


@contextlib.contextmanager
def locked_run(path, config):
    """A context of `open_run` in which no other process can open the folder so.

    Yields: RunFolder.
    Raises: UserError: as `open_run`, and if another process has it.
    """
    with contextlib.ExitStack() as stack:
        with _worded(path):
            stack.enter_context(held(_folder_for_run(path).lock, f"--workdir {path}"))
        yield open_run(path, config)


def _folder_for_run(path):
    """RunFolder of a folder that is new, of a run, or left by a start that was killed."""
    folder = RunFolder(path)
    with _worded(path):
        if folder.path.is_dir() and not folder.config.exists():
            half_written = f".{folder.config.name}."
            if any(name != folder.lock.name and not name.startswith(half_written)
                   for name in os.listdir(folder.path)):
                raise UserError(f"--workdir {path}: expected a new or empty folder, or one with "
                                "the config.json of a run; found other files.")
        folder.path.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _worded(path):
    """Words the OSError of a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"--workdir {path}: expected a folder that can be written; "
                        f"{error.strerror}.") from error


def load_config(path) -> ExperimentConfig:
    """The config of the run in a folder.

    Raises: UserError: if there is none or it cannot be read.
    """
    file = RunFolder(path).config
    try:
        return from_json(file.read_text(encoding="utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected a run folder with a config.json, as tools/train.py "
                        f"and tools/import_weights.py write; found none that can be read.") from error
