"""Parts of a loss that are differentiated one after another, in the memory of one of them.

Usually the way back begins when all parts are known, and until then what each of them needs for its
gradient stays in memory, on top of what the networks keep for theirs. Within `one_at_a_time` the
gradient of a part follows the part at once, and the next part waits for it.
"""
import tensorflow as tf

from tfdepth.tracing import Switch

_gradients_wanted = Switch()


def one_at_a_time():
    """A context for losses whose gradient is wanted, and is computed in any case. Without it the
    parts are plain calls: no gradient is computed where nobody asks for one."""
    return _gradients_wanted.turned(True)


def in_turn(part, count, *arguments):
    """[part(k, *arguments) for k in range(count)], scalars.

    Args: part: function without variables of k and the arguments -> scalar. count: of parts.
      arguments: (structures of) float tensors of any shape: all that a gradient shall go to. None
      stays None.
    Returns: list of scalars.
    """
    if not _gradients_wanted.on:
        return [part(k, *arguments) for k in range(count)]
    leaves = tf.nest.flatten(arguments)
    places = [place for place, leaf in enumerate(leaves) if leaf is not None]
    done = []

    def run(k):
        @tf.custom_gradient
        def with_gradient(*tensors):
            with tf.control_dependencies(done):
                tensors = [tf.identity(tensor) for tensor in tensors]
            filled = list(leaves)
            for place, tensor in zip(places, tensors):
                filled[place] = tensor
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                result = part(k, *tf.nest.pack_sequence_as(arguments, filled))
            gradients = tape.gradient(result, tensors)
            done[:] = [each for each in gradients if each is not None] or [result]
            return result, lambda upstream: [None if each is None else upstream * each
                                             for each in gradients]

        return with_gradient(*(leaves[place] for place in places))

    return [run(k) for k in range(count)]
