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
    _check_config(folder, config)
    if not folder.config.exists():
        with _worded(path):
            write_atomically(folder.config, to_json(config))
    return folder


@contextlib.contextmanager
def locked_run(path, config):
    """A context in which no other process can train in a folder, which it makes where it is
    missing. It is gone again unless `open_run` began a run there meanwhile.

    Raises: UserError: as `open_run`, and if another process has it.
    """
    made = not RunFolder(path).path.exists()
    with contextlib.ExitStack() as stack:
        folder = _folder_for_run(path)
        with _worded(path):
            stack.enter_context(held(folder.lock, f"--workdir {path}"))
        try:
            _check_config(folder, config)
            yield
        finally:
            if made and not folder.config.exists():
                with contextlib.suppress(OSError):
                    folder.lock.unlink()
                    folder.path.rmdir()


def _check_config(folder, config):
    """Raises UserError if a RunFolder holds a run of another config."""
    found = differences(load_config(folder.path), config) if folder.config.exists() else ()
    if found:
        raise UserError(
            f"--workdir {folder.path} holds a run of another config (field: its value, yours): "
            f"{'; '.join(found)}. Give the same config, or another folder, where "
            f"--config.train.init_from={folder.path} would start from its weights.")


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
