"""One optimiser step of any system under any tf.distribute strategy."""
from typing import Dict, NamedTuple

import tensorflow as tf

from tfdepth.networks.rematerialization import rematerialization


class StepResult(NamedTuple):
    """What a step tells; scalars, means over the global batch."""
    terms: Dict[str, tf.Tensor]    # loss terms, unweighted, and "total", weighted
    gradient_norm: tf.Tensor       # global norm, before clipping
    inputs_finite: tf.Tensor       # bool. A convolution fused with a ReLU can turn NaN into 0, so
    #                                bad images need not show in the loss.
    applied: tf.Tensor             # bool, False where anything was not finite: nothing changed
    overflowed: tf.Tensor          # bool, not applied as the loss scale of float16 was too large,
    #                                which has been halved: no fault of the data or of the run
    unmeasured: tf.Tensor          # [B] bool, samples whose depth map holds no measurement; [0] of
    #                                batches without depth


def make_train_step(strategy, system, optimizer, clip_norm=0.0, variables=None, parts=1,
                    rematerialize=False):
    """Compiles a training step.

    Args:
      strategy: tf.distribute.Strategy in whose scope system and optimizer were made.
      system: System with its variables created.
      optimizer: as `build_optimizer` makes it.
      clip_norm: largest global gradient norm; 0 = not clipped.
      variables: that it changes; None: all trainable ones of the system.
      parts: into so many the batch of a replica is cut, whose gradients are computed one after
        another, in the memory of one, and averaged. A loss that is a mean over samples gives the
        same update as undivided, but for batch normalisation, which sees a part at a time.
      rematerialize: whether inner results are computed again instead of kept, see `recomputed`.

    Returns: a function Batch (distributed) -> StepResult.
    """
    variables = system.trainable_variables if variables is None else variables
    replicas = strategy.num_replicas_in_sync
    scaled = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)

    def gradients_of_part(batch):
        with rematerialization(rematerialize), tf.GradientTape() as tape:
            terms = system.loss_terms(batch, system.forward(batch, training=True))
            total = system.total_loss(terms)
            share = total / (replicas * parts)  # replicas and parts add their gradients up
            share = optimizer.get_scaled_loss(share) if scaled else share
        return tape.gradient(share, variables), {**terms, "total": total}

    def gradients_of_parts(batch):
        """Of all parts: the sum of gradients, the means of terms."""
        if parts == 1:
            return gradients_of_part(batch)
        size = batch.target.shape[0] // parts
        unreached = set()  # variables that the loss does not depend on have no gradient, not 0

        def body(part, sums, term_sums):
            rows = lambda tensor: None if tensor is None else tf.ensure_shape(
                tensor[part * size:(part + 1) * size], [size, *tensor.shape[1:]])
            gradients, terms = gradients_of_part(type(batch)(*map(rows, batch)))
            unreached.update(k for k, gradient in enumerate(gradients) if gradient is None)
            return (part + 1,
                    [total if gradient is None else total + gradient
                     for total, gradient in zip(sums, gradients)],
                    {name: term_sums[name] + value for name, value in terms.items()})

        zero = tf.zeros([], variables[0].dtype)
        _, sums, terms = tf.while_loop(
            lambda part, *_: part < parts, body, parallel_iterations=1,
            loop_vars=(0, [tf.zeros_like(variable) for variable in variables],
                       {name: zero for name in [*system.loss_weights, "total"]}))
        return ([None if k in unreached else total for k, total in enumerate(sums)],
                {name: value / parts for name, value in terms.items()})

    def gradients_of(batch):
        gradients, terms = gradients_of_parts(batch)
        if replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        gradients = optimizer.get_unscaled_gradients(gradients) if scaled else gradients
        norm = tf.linalg.global_norm(gradients)
        if clip_norm > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        # A number that is finite exactly when all images are.
        pixel_sum = tf.reduce_sum(batch.target_input) + tf.reduce_sum(batch.source_inputs)
        return gradients, terms, norm, pixel_sum, unmeasured_samples(batch, system.min_true_depth)

    def apply(gradients):
        optimizer.apply_gradients(zip(gradients, variables), experimental_aggregate_gradients=False)

    @tf.function
    def step(batch):
        gradients, terms, norm, pixel_sum, unmeasured = strategy.run(gradients_of, args=(batch,))
        mean = lambda value: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
        terms, norm = {name: mean(value) for name, value in terms.items()}, mean(norm)
        inputs_finite = tf.math.is_finite(mean(pixel_sum))
        sound = inputs_finite & tf.math.is_finite(terms["total"])
        applied = sound & tf.math.is_finite(norm)
        # At a scale of 1 gradients are what they are.
        overflowed = sound & ~applied & (optimizer.loss_scale > 1.0) if scaled else tf.constant(False)
        if applied | overflowed:  # the optimiser leaves variables alone where its scale is too large
            strategy.run(apply, args=(gradients,))
        if batch.target_depth is not None:
            unmeasured = strategy.gather(unmeasured, axis=0)  # in the order of the global batch
        return StepResult(terms, norm, inputs_finite, applied, overflowed, unmeasured > 0)

    return step


def unmeasured_samples(batch, nearest):
    """1 for samples of a Batch without measured depth beyond `nearest` metres, else 0: int32 [B],
    or [0] without depth."""
    if batch.target_depth is None:
        return tf.zeros([0], tf.int32)
    return tf.cast(~tf.reduce_any(batch.target_depth > nearest, axis=[1, 2, 3]), tf.int32)
