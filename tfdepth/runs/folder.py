"""A run folder: where the parts of a run lie, and whose run it is."""
import os
import pathlib

from tfdepth.checks import UserError
from tfdepth.files import write_atomically
from tfdepth.runs.config import ExperimentConfig, differences, from_json, to_json


class RunFolder:
    """Paths of a run.

    config.json, checkpoints/, metrics.jsonl, tensorboard/, evaluation.json, pictures/.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path).expanduser()
        self.config = self.path / "config.json"
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.pictures = self.path / "pictures"


def open_run(path, config) -> RunFolder:
    """The folder of a new run, or of this same run begun before.

    Args: path: the folder, made where it is missing. config: ExperimentConfig of the run.
    Raises: UserError: if the folder holds a run of another config, or cannot be written.
    """
    folder = RunFolder(path)
    if folder.config.exists():
        found = differences(load_config(path), config)
        if found:
            raise UserError(f"--workdir {path} holds a run of another config (field: its value, "
                            f"yours): {'; '.join(found)}. Give another folder, or the same config.")
        return folder
    try:
        if folder.path.is_dir() and os.listdir(folder.path):
            raise UserError(f"--workdir {path}: expected a new or empty folder, or one with the "
                            "config.json of a run; found other files.")
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomically(folder.config, to_json(config))
    except OSError as error:
        raise UserError(f"--workdir {path}: expected a folder that can be written; "
                        f"{error.strerror}.") from error
    return folder


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
