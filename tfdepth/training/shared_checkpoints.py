"""Checkpoints of a run that several replicas and workers make together."""
import tempfile

import tensorflow as tf

from tfdepth.runs.checkpoints import PREFIX, Checkpoints, restore
from tfdepth.training.distribution import chiefs_number, is_chief


class SharedCheckpoints(Checkpoints):
    """Checkpoints in a folder that all workers see, and the chief writes. All workers call its
    methods together: a checkpoint holds means over the replicas of all."""

    def __init__(self, strategy, folder, keep, **parts):
        """Args: strategy: tf.distribute.Strategy. Others: as of Checkpoints."""
        super().__init__(folder, keep, **parts)
        self._strategy = strategy

    def save(self, step, metric=None):
        """As of Checkpoints; ends when the checkpoint is in its place."""
        if is_chief(self._strategy):
            super().save(step, metric)
        else:  # gives its share of the means
            with tempfile.TemporaryDirectory() as scratch:
                self.checkpoint.write(f"{scratch}/{PREFIX}")
        chiefs_number(self._strategy, step)

    def set_metric(self, step, metric):
        """As of Checkpoints; ends when it is noted."""
        if is_chief(self._strategy):
            super().set_metric(step, metric)
        chiefs_number(self._strategy, step)

    def restore_newest(self):
        """As of Checkpoints; all workers restore the one that the chief finds intact."""
        if is_chief(self._strategy):
            return chiefs_number(self._strategy, super().restore_newest() or 0) or None
        step = chiefs_number(self._strategy, 0)
        if step:
            restore(self.checkpoint, self.folder, step)
        return step or None


def merge_statistics(strategy, variables):
    """Sets what differs between replicas, the moving statistics of batch normalisation, to its
    mean, which a checkpoint holds. After saving training then goes on as a restored run would.

    Args: variables: of the system, in the same order on all workers.
    """
    if strategy.num_replicas_in_sync > 1:
        for variable in variables:
            if variable.synchronization == tf.VariableSynchronization.ON_READ:
                variable.assign(variable.read_value())
