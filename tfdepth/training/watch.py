"""Signs of collapse."""
import collections
import math
import sys

import numpy as np
import tensorflow as tf


def make_signs(strategy, system):
    """Compiles the measurement of a system's signs, see `System.signs`.

    The networks run as in training, by the statistics of the batch itself: running ones lag behind
    for hundreds of steps. What batch normalisation keeps of that run is put back, so that a run
    learns the same, bit for bit, however often it is measured.

    Args: strategy: tf.distribute.Strategy in whose scope the system was made. system: System with
      its variables created.
    Returns: a function Batch (distributed) -> {name: scalar}, means over the replicas.
    """
    def signs_of(batch):
        kept = [(variable, tf.identity(variable)) for variable in system.non_trainable_variables]
        signs = system.signs(batch, system.forward(batch, training=True))
        for variable, value in kept:
            variable.assign(value)
        return signs

    @tf.function
    def measure(batch):
        signs = strategy.run(signs_of, args=(batch,))
        return {name: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
                for name, value in signs.items()}

    return measure


class CollapseWatch:
    def __init__(self, strategy, system):
        self._measure = make_signs(strategy, system)

    def __call__(self, step, batch):
        return {f"watch/{name}": float(value) for name, value in self._measure(batch).items()}
