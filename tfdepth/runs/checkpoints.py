"""Checkpoints of a run: the newest few and the best, each whole or absent.

A checkpoint is a folder "step-00001234" with TensorFlow's files and metric.json. It is written
under another name and renamed when complete, so that a crash or a full disk leaves the ones
before it as they were. TensorFlow's own checksums, and one in metric.json, show a damaged file on
reading. The number in its name alone says which is the newest: clocks may be wrong.
"""
import hashlib
import json
import os
import re
import shutil
import sys
import zlib

import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.files import write_atomically

PREFIX = "state"
NAME = re.compile(r"^step-(\d{8})$")


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder, keep, **parts):
        """Args: folder: pathlib.Path. keep: how many of the newest stay, besides the best.
        parts: {name: trackable}, what a checkpoint holds."""
        self.folder = folder
        self.keep = keep
        self.checkpoint = tf.train.Checkpoint(**parts)

    def save(self, step, metric=None):
        """Writes a checkpoint, then removes those that are neither new nor best.

        Args: step: optimiser steps done. metric: value to be small, or None where unknown.
        Raises: OSError: if it cannot be written; the checkpoints before it are untouched.
        """
        final = self.folder / f"step-{step:08d}"
        unfinished = self.folder / f".unfinished-{step:08d}"
        try:
            for stale in self.folder.glob(".unfinished-*"):
                shutil.rmtree(stale)
            unfinished.mkdir(parents=True)
            self.checkpoint.write(str(unfinished / PREFIX))
            (unfinished / "metric.json").write_text(_metric_json(metric))
            if final.exists():
                shutil.rmtree(final)
            unfinished.rename(final)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
            raise OSError(f"{final}: the checkpoint could not be written ({reason}); "
                          "the ones before it are intact") from error
        self._remove_old()

    def metric(self, step):
        """The metric of a checkpoint; None if it is unknown or damaged."""
        return _metric(self.folder, step)

    def set_metric(self, step, metric):
        """Notes what was measured of the checkpoint of a step only after it was saved.

        Raises: OSError: if it cannot be written.
        """
        write_atomically(self.folder / f"step-{step:08d}" / "metric.json", _metric_json(metric))

    def restore_newest(self):
        """Restores the newest checkpoint that is intact, with a warning for each that is not.

        Returns: its step, or None where the folder holds no checkpoint.
        Raises: UserError: if there are checkpoints and none is intact.
        """
        steps, damaged = list_steps(self.folder), []
        for step in reversed(steps):
            try:
                restore(self.checkpoint, self.folder, step)
            except UserError as error:
                print(f"warning: {error} The one before it is used.", file=sys.stderr)
                damaged.append(step)
                continue
            for each in damaged:  # out of the way, or they would count as newest or best
                name = f"step-{each:08d}"
                (self.folder / name).rename(self.folder / f".damaged-{name}-{os.getpid()}")
            return step
        if steps:
            raise UserError(f"{self.folder}: expected an intact checkpoint; all {len(steps)} are "
                            "damaged, or of other code. Give another --workdir to start anew.")
        return None

    def _remove_old(self):
        steps = list_steps(self.folder)
        keep = set(steps[-self.keep:]) | {best_step(self.folder)}
        for step in set(steps) - keep:
            shutil.rmtree(self.folder / f"step-{step:08d}", ignore_errors=True)


def list_steps(folder):
    """Steps of the checkpoints in `folder`, ascending."""
    if not folder.is_dir():
        return []
    matches = (NAME.match(path.name) for path in folder.iterdir())
    return sorted(int(match.group(1)) for match in matches if match)


def best_step(folder):
    """The step with the smallest metric; without metrics the newest; None without checkpoints."""
    steps = list_steps(folder)
    scored = [(metric, -step) for step in steps
              for metric in [_metric(folder, step)] if metric is not None]
    return -min(scored)[1] if scored else (steps[-1] if steps else None)


def restore_best(folder, **parts):
    """Restores parts of the best checkpoint, or, with a warning, of the newest that is intact.

    Args: folder: pathlib.Path. parts: {name: trackable} of the checkpoint; others are left out.
    Returns: its step.
    Raises: UserError: if there is no checkpoint or none is intact.
    """
    steps = sorted(list_steps(folder), key=lambda step: (step == best_step(folder), step))
    checkpoint = tf.train.Checkpoint(**parts)
    for step in reversed(steps):
        try:
            restore(checkpoint, folder, step, partial=True)
            return step
        except UserError as error:
            if len(steps) == 1:
                raise
            print(f"warning: {error} Another one is used.", file=sys.stderr)
    raise UserError(f"{folder.parent}: expected an intact checkpoint; found {len(steps)} damaged."
                    if steps else f"{folder.parent}: expected a checkpoint in {folder}; found none.")


def fingerprint(folder, step):
    """Tells the weights of a checkpoint from those of another: of TensorFlow's index of the file,
    which has a checksum of every tensor.

    Raises: UserError: if there is no such file.
    """
    path = folder / f"step-{step:08d}" / f"{PREFIX}.index"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path}: expected the index of a checkpoint; {error.strerror}.") from error


def stored_names(folder):
    """The names of all variables in the newest checkpoint that can be read, as "system/...".

    Raises: UserError: if there is none.
    """
    for step in reversed(list_steps(folder)):
        try:
            return sorted(tf.train.load_checkpoint(
                str(folder / f"step-{step:08d}" / PREFIX)).get_variable_to_shape_map())
        except (tf.errors.OpError, ValueError, RuntimeError):
            continue  # `restore` says why
    raise UserError(f"{folder.parent}: expected an intact checkpoint in {folder}; found none.")


def restore(checkpoint, folder, step, partial=False):
    """Restores a tf.train.Checkpoint from the checkpoint of `step`.

    Args: partial: whether variables of the file may be left out (a model without its optimiser).
    Raises: UserError: if the files are damaged, or do not fit the objects.
    """
    path = folder / f"step-{step:08d}"
    try:
        status = checkpoint.read(str(path / PREFIX))
        status.assert_existing_objects_matched()
        if not partial:
            status.assert_consumed()
        else:
            status.expect_partial()
    except AssertionError as error:
        raise UserError(f"{path}: expected all variables of the model; some are missing. A folder "
                        "of imported encoders is no model; --config.train.init_from takes it."
                        ) from error
    except (tf.errors.OpError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise UserError(f"{path}: expected an intact checkpoint; it cannot be read "
                        f"({reason}).") from error


def _metric(folder, step):
    try:
        found = json.loads((folder / f"step-{step:08d}" / "metric.json").read_text())
        metric = found["metric"]
        checksum = found.get("checksum", _checksum(metric))  # older ones have none
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # its weights may be intact all the same
    return metric if checksum == _checksum(metric) else None


def _metric_json(metric):
    return json.dumps({"metric": metric, "checksum": _checksum(metric)}) + "\n"


def _checksum(metric):
    return zlib.crc32(json.dumps(metric).encode())
