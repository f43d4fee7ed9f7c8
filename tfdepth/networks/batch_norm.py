"""Batch normalisation, its statistics of one replica's samples or of all; and how it is folded into
the convolutions before it."""
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


def batch_norm(after=None, **options):
    """A batch normalisation with these options, made in the scope of the strategy that it will run
    under; one replica's is Keras' fused one, which is faster.

    Args: after: the convolution, without bias or activation, whose result goes to this layer and
      nowhere else, so that `fold` can make one of both; None: there is none.
    Raises: ValueError: if the convolution has a bias or an activation.
    """
    if (getattr(after, "use_bias", False)
            or getattr(after, "activation", None) not in (None, tf.keras.activations.linear)):
        raise ValueError("`after` must be a convolution without bias and activation.")
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    kind = (SynchronizedBatchNormalization if _synchronized[-1] and several
            else BatchNormalization)
    norm = kind(**options)
    norm.convolution = lambda: after  # in a function: it is no part of this layer
    return norm


def moving_statistics(model):
    """The running means and variances of all batch normalisations of a model, in a fixed order."""
    return [variable for layer in model.submodules
            if isinstance(layer, tf.keras.layers.BatchNormalization)
            for variable in (layer.moving_mean, layer.moving_variance)]


def fold(model, values):
    """Moves the scale of each normalisation into the kernel of the convolution before it; a number
    for each channel is left to be added. From then on the model can only predict.

    Args: model: with its variables created. values: {reference of a variable: tensor}, the values
      that its variables will be given, which are changed.
    """
    for norm in model.submodules:
        if not isinstance(norm, BatchNormalization) or norm.convolution() is None:
            continue
        kernel = norm.convolution().kernel.ref()
        scale = tf.math.rsqrt(values[norm.moving_variance.ref()] + norm.epsilon)
        if norm.scale:
            scale *= values[norm.gamma.ref()]
        values[norm.beta.ref()] -= scale * values[norm.moving_mean.ref()]
        transposed = isinstance(norm.convolution(), tf.keras.layers.Conv2DTranspose)
        values[kernel] *= scale[:, tf.newaxis] if transposed else scale
        norm.folded = True


class BatchNormalization(tf.keras.layers.BatchNormalization):
    """Keras' layer, whose running statistics stay when a result is computed again."""
    convolution = staticmethod(lambda: None)  # -> `after` of `batch_norm`
    folded = False  # whether the convolution does the rest, see `fold`

    def call(self, inputs, training=False):
        if self.folded:
            return tf.nn.bias_add(inputs, tf.cast(self.beta, inputs.dtype))
        return super().call(inputs, training=training)

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
