"""Results that are computed again on the way back instead of being kept: less memory, more time.

A network names the parts whose inner results may be dropped: layers derive from `RecomputedLayer`,
other functions are called through `recomputed`. Within `rematerialization(True)` they are dropped.
Elsewhere such a call is a plain one. What costs next to nothing a network drops in any case.
"""
import tensorflow as tf

from tfdepth.tracing import Switch

_enabled, _again = Switch(), Switch()


def rematerialization(enabled):
    """A context in which calls through `recomputed` keep their inner results (False) or not."""
    return _enabled.turned(enabled)


def computing_again():
    """Whether the present computation is a repetition: what has an effect must not have it twice,
    as the running statistics of batch normalisation."""
    return _again.on


class RecomputedLayer(tf.keras.layers.Layer):
    """A layer that keeps no inner results, see `recomputed`; its inputs are positional."""

    def __call__(self, *inputs, **options):
        return recomputed(lambda *inputs: super(RecomputedLayer, self).__call__(
            *inputs, **options), *inputs)


def recomputed(function, *arguments):
    """function(*arguments), of which only arguments and results are kept for the gradient.

    Args: function: pure but for variables that it reads and running statistics that it moves.
      arguments: (structures of) tensors: all that a gradient shall go to, besides variables. None
      stays None.
    Returns: what `function` returns: a (structure of) tensors.
    Source: Chen et al., "Training deep nets with sublinear memory cost", 2016.
    """
    if not _enabled.on:
        return function(*arguments)
    leaves = tf.nest.flatten(arguments)
    places = [k for k, leaf in enumerate(leaves) if leaf is not None]

    def call(tensors):
        filled = list(leaves)
        for place, tensor in zip(places, tensors):
            filled[place] = tensor
        with rematerialization(False):  # within a part that is dropped nothing is to be gained
            return function(*tf.nest.pack_sequence_as(arguments, filled))

    @tf.custom_gradient
    def run(*tensors):
        def gradient(*upstream, variables=()):
            # Not before its turn: it needs what is known only once the way back has come here.
            with tf.control_dependencies([each for each in upstream if each is not None]):
                again = [tf.identity(tensor) for tensor in tensors]
            variables = list(variables)
            with tf.GradientTape() as tape, _again.turned(True):
                tape.watch(again)
                results = tf.nest.flatten(call(again))
            gradients = tape.gradient(results, again + variables, list(upstream))
            inputs = gradients[:len(again)]
            return (inputs, gradients[len(again):]) if variables else inputs

        return call(tensors), gradient

    return run(*(leaves[place] for place in places))
