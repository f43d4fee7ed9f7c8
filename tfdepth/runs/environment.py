"""environment.json of a run: by what code, on what machine, each of its starts was made."""
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import socket
import subprocess
import sys

import tensorflow as tf

import tfdepth
from tfdepth.files import write_atomically

PACKAGES = ("tensorflow", "tensorflow-graphics", "keras-tuner", "numpy", "absl-py",
            "ml_collections", "scipy", "pillow", "safetensors", "h5py", "imageio",
            "imageio-ffmpeg", "matplotlib", "tqdm")  # as setup.cfg lists them


def record_start(path, step):
    """Appends a start of the run, at `step`, to the list in the file `path`.

    Raises: OSError: if it cannot be written.
    """
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        starts = []
    except ValueError:
        print(f"warning: {path}: expected a JSON list of the run's starts; it cannot be read, and "
              "begins anew", file=sys.stderr)
        starts = []
    write_atomically(path, json.dumps([*starts, environment(step)], indent=1) + "\n")


def environment(step):
    """What surrounds this process, as JSON: versions, git revision, machine, command line."""
    return {
        "start_step": step,
        "time_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "tfdepth": tfdepth.__version__,
        "git": git_state(pathlib.Path(tfdepth.__file__).resolve().parents[1]),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "host": socket.gethostname(),
        "process": os.getpid(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": [_describe(device) for device in tf.config.list_physical_devices()],
    }


def git_state(root):
    """{"revision", "changed"} of the checkout whose top folder is `root`; None if it is none.

    changed: whether files differ from the revision, or are new and not ignored.
    """
    def git(*arguments):
        return subprocess.run(["git", "-C", str(root), *arguments], check=True, text=True,
                              capture_output=True, timeout=10).stdout.strip()
    try:
        if pathlib.Path(git("rev-parse", "--show-toplevel")) != root:
            return None     # installed within somebody else's checkout
        return {"revision": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _describe(device):
    name = tf.config.experimental.get_device_details(device).get("device_name", "")
    return f"{device.name.split(':', 1)[1]} {name}".strip()
