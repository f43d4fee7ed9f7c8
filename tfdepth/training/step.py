"""One optimiser step of any system under any tf.distribute strategy."""
from typing import Dict, NamedTuple

import tensorflow as tf

from tfdepth.training.distribution import on_first_replica


class StepResult(NamedTuple):
    """What a step tells; scalars, means over the global batch."""
    terms: Dict[str, tf.Tensor]    # loss terms, unweighted, and "total", weighted
    gradient_norm: tf.Tensor       # global norm, before clipping
    inputs_finite: tf.Tensor       # bool. A convolution fused with a ReLU can turn NaN into 0, so
    #                                bad images need not show in the loss.
    applied: tf.Tensor             # bool, False where anything was not finite: nothing changed
    unmeasured: tf.Tensor          # [B] bool, samples whose depth map holds no measurement; [0] of
    #                                batches without depth


def make_train_step(strategy, system, optimizer, clip_norm=0.0, variables=None, batch_size=None):
    """Compiles a training step.

    Args:
      strategy: tf.distribute.Strategy in whose scope system and optimizer were made.
      system: System with its variables created.
      optimizer: as `build_optimizer` makes it.
      clip_norm: largest global gradient norm; 0 = not clipped.
      variables: that it changes; None: all trainable ones of the system.
      batch_size: samples of all replicas together, by which each counts with its share of them, so
        that means over samples are those of one replica; None: all replicas have as many.

    Returns: a function Batch (distributed) -> StepResult.
    """
    variables = system.trainable_variables if variables is None else variables
    replicas = strategy.num_replicas_in_sync

    def share_of(batch):
        if batch_size is None:
            return 1.0 / replicas
        return tf.cast(tf.shape(batch.target)[0], batch.target.dtype) / batch_size

    def gradients_of(batch):
        with tf.GradientTape() as tape:
            terms = system.loss_terms(batch, system.forward(batch, training=True))
            total = system.total_loss(terms)
            part = total if replicas == 1 else total * share_of(batch)
        gradients = tape.gradient(part, variables)
        # A number that is finite exactly when all images are.
        pixel_sum = tf.reduce_sum(batch.target_input) + tf.reduce_sum(batch.source_inputs)
        numbers = {**terms, "total": total}, pixel_sum
        if replicas > 1:  # they add up what they have
            numbers = tf.nest.map_structure(lambda value: value * share_of(batch), numbers)
            gradients, numbers = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, (gradients, numbers))
        norm = tf.linalg.global_norm(gradients)
        if clip_norm > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        return gradients, (*numbers, norm), unmeasured_samples(batch, system.min_true_depth)

    def apply(gradients):
        optimizer.apply_gradients(zip(gradients, variables), experimental_aggregate_gradients=False)

    @tf.function
    def step(batch):
        gradients, numbers, unmeasured = strategy.run(gradients_of, args=(batch,))
        terms, pixel_sum, norm = on_first_replica(strategy, numbers)  # all have the same
        inputs_finite = tf.math.is_finite(pixel_sum)
        applied = inputs_finite & tf.math.is_finite(norm) & tf.math.is_finite(terms["total"])
        if applied:
            strategy.run(apply, args=(gradients,))
        first = on_first_replica(strategy, unmeasured)
        # In the order of the global batch; an empty gathering would crash workers of a cluster.
        unmeasured = first if first.shape[0] == 0 else strategy.gather(unmeasured, axis=0)
        return StepResult(terms, norm, inputs_finite, applied, unmeasured > 0)

    return step


def unmeasured_samples(batch, nearest):
    """1 for samples of a Batch without measured depth beyond `nearest` metres, else 0: int32 [B],
    or [0] without depth."""
    if batch.target_depth is None:
        return tf.zeros([0], tf.int32)
    return tf.cast(~tf.reduce_any(batch.target_depth > nearest, axis=[1, 2, 3]), tf.int32)
