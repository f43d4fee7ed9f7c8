"""The losses of a step and their gradient as one program of XLA.

View synthesis and photometric errors are many small operations on whole images; XLA makes a few
kernels of them, and keeps no inner result in memory. Networks stay with cuDNN and oneDNN.
"""
import tensorflow as tf

from tfdepth.tracing import without_programs


def compiled_losses(system):
    """Compiles the loss terms of a System.

    Returns: a function (Batch, prediction) -> (total, terms) as total_loss and loss_terms say. The
      gradient of `total` goes to the prediction and, where they are learned, to batch.intrinsics;
      terms have none.
    """
    @tf.function(jit_compile=True, autograph=False)
    def with_gradients(batch, *inputs):
        with without_programs(), tf.GradientTape() as tape:
            tape.watch(inputs)
            prediction, *learned = inputs
            if learned:
                batch = batch._replace(intrinsics=learned[0])
            terms = system.loss_terms(batch, prediction)
            total = system.total_loss(terms)
        return total, terms, tape.gradient(
            total, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    names = sorted(system.loss_weights)

    def losses(batch, prediction):
        inputs = (prediction,) if batch.camera is None else (prediction, batch.intrinsics)

        @tf.custom_gradient
        def total_and_terms(*leaves):
            total, terms, gradients = with_gradients(
                batch, *tf.nest.pack_sequence_as(inputs, leaves))

            def gradient(upstream, *_):
                return [upstream * each for each in tf.nest.flatten(gradients)]

            return (total, *(terms[name] for name in names)), gradient

        total, *terms = total_and_terms(*tf.nest.flatten(inputs))
        return total, dict(zip(names, terms))

    return losses
