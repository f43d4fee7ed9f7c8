"""Batch normalisation, its statistics of one replica's samples or of all."""
import contextlib

import tensorflow as tf

from tfdepth.networks.rematerialization import computing_again

_synchronized = [False]  # the innermost context's


@contextlib.contextmanager
def synchronized_batch_norm(synchronized=True):
    """Layers that are made in this context take their statistics over all replicas."""
    _synchronized.append(synchronized)
    try:
        yield
    finally:
        _synchronized.pop()


def batch_norm(**options):
    """A batch normalisation with these options, made in the scope of the strategy that it will run
    under; one replica's is Keras' fused one, which is faster."""
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    kind = (SynchronizedBatchNormalization if _synchronized[-1] and several
            else BatchNormalization)
    return kind(**options)


def moving_statistics(model):
    """The running means and variances of all batch normalisations of a model, in a fixed order."""
    return [variable for layer in model.submodules
            if isinstance(layer, tf.keras.layers.BatchNormalization)
            for variable in (layer.moving_mean, layer.moving_variance)]


class BatchNormalization(tf.keras.layers.BatchNormalization):
    """Keras' layer, whose running statistics stay when a result is computed again."""

    @property
    def momentum(self):
        return 1.0 if computing_again() else self._momentum

    @momentum.setter
    def momentum(self, momentum):
        self._momentum = momentum


class SynchronizedBatchNormalization(BatchNormalization):
    """Batch normalisation over the last axis as one replica with the whole batch would have it.

    Keras' own with synchronized=True takes the variance as E[x^2] - E[x]^2, which cancels where
    a mean is large, and can fall below zero; and it averages the biased variance over steps, where
    one replica averages the unbiased one.
    """

    def call(self, inputs, training=False):
        if not training:
            return super().call(inputs, training=False)
        context = tf.distribute.get_replica_context()
        total_of = lambda *values: context.all_reduce(tf.distribute.ReduceOp.SUM, values)
        axes = list(range(inputs.shape.rank - 1))
        features = tf.cast(inputs, self.variable_dtype)
        count = tf.cast(tf.size(features) / tf.shape(features)[-1], features.dtype)
        total, count = total_of(tf.reduce_sum(features, axes), count)
        mean = total / count
        squares, = total_of(tf.reduce_sum(tf.square(features - mean), axes))
        variance = squares / count
        self._average(self.moving_mean, mean)
        self._average(self.moving_variance, squares / tf.maximum(count - 1.0, 1.0))
        normalized = tf.nn.batch_normalization(features, mean, variance, self.beta, self.gamma,
                                               self.epsilon)
        return tf.cast(normalized, inputs.dtype)

    def _average(self, moving, value):
        value = tf.stop_gradient(value)
        moving.assign_sub((moving - value) * (1.0 - self.momentum))
