"""What a run writes down while it trains: metrics.jsonl and TensorBoard."""
import contextlib
import json
import math
import sys

import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.files import write_atomically


class RunLog:
    """Scalars as one JSON object a line, and the same in TensorBoard, with pictures."""

    def __init__(self, folder, step):
        """Args: folder: RunFolder. step: steps that are done; lines of later ones, left by a run
        that was stopped after its last checkpoint, are removed, since they will be done again."""
        self._metrics, self._tensorboard = folder.metrics, folder.tensorboard
        if self._metrics.exists():
            write_atomically(self._metrics, "".join(_lines_up_to(self._metrics, step)))
        try:
            self._writer = tf.summary.create_file_writer(str(folder.tensorboard))
        except tf.errors.OpError as error:
            raise UserError(f"{folder.tensorboard}: expected a folder that can be written; "
                            f"{str(error).splitlines()[0][:120]}.") from error

    def scalars(self, step, values):
        """Writes {name: float} of a step; what is not finite is null in metrics.jsonl.

        Raises: OSError: if the disk is full.
        """
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            with open(self._metrics, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **finite}) + "\n")
        except OSError as error:
            raise OSError(f"{self._metrics}: cannot be written ({error.strerror}); the last "
                          "checkpoint is intact") from error
        with self._events(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def pictures(self, step, images):
        """Writes {title: [B, H, W, 1 or 3] in [0, 1]} to TensorBoard.

        Raises: OSError: if the disk is full.
        """
        with self._events(step):
            for title, image in images.items():
                tf.summary.image(title, image, max_outputs=2)

    def close(self):
        try:
            self._writer.close()
        except tf.errors.OpError as error:  # no reason to hide why the run ends
            print(f"warning: {self._tensorboard}: cannot be written ({_reason(error)})",
                  file=sys.stderr)

    @contextlib.contextmanager
    def _events(self, step):
        """A context whose tf.summary calls go to TensorBoard's file."""
        try:
            with self._writer.as_default(step=step):
                yield
        except tf.errors.OpError as error:
            raise OSError(f"{self._tensorboard}: cannot be written ({_reason(error)}); the last "
                          "checkpoint is intact") from error


def _reason(error):
    """TensorFlow's words for what the system said, without its own place names."""
    return str(error).splitlines()[0].split("; ")[-1][:120]


class SilentLog:
    """Of workers that write nothing."""

    def scalars(self, step, values):
        pass

    def pictures(self, step, images):
        pass

    def close(self):
        pass


def _lines_up_to(path, step):
    """The lines of whole objects whose step is at most `step`."""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step:
                yield line
        except (ValueError, KeyError, TypeError):
            return  # the process died while it wrote this line
