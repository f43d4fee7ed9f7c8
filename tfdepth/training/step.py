"""One optimiser step of any system under any tf.distribute strategy."""
from typing import Dict, NamedTuple

import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.losses.in_turn import one_at_a_time
from tfdepth.networks.batch_norm import moving_statistics
from tfdepth.networks.rematerialization import rematerialization
from tfdepth.training.compiled_losses import compiled_losses
from tfdepth.training.distribution import on_first_replica, replica_slices


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


def make_train_step(strategy, system, optimizer, config, variables=None):
    """Compiles a training step.

    Every replica counts with its share of the batch's samples, so that means over samples, and
    their gradients, are those of one replica. train.accumulate: the batch of a replica is cut into so
    many parts, whose gradients are computed one after another, in the memory of one, and averaged;
    batch normalisation, and losses that are no means over samples (BTS, HMA-Depth), see a part at a
    time.

    Args:
      strategy: tf.distribute.Strategy in whose scope system and optimizer were made.
      system: System with its variables created.
      optimizer: as `optimizer_of` makes it.
      config: ExperimentConfig.
      variables: that it changes; None: all trainable ones of the system.

    Returns: a function Batch (distributed) -> StepResult.
    Raises: UserError: if the batch cannot be cut so.
    """
    variables = system.trainable_variables if variables is None else variables
    replicas, parts = strategy.num_replicas_in_sync, config.train.accumulate
    clip_norm = config.optimizer.clip_norm
    scaled = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
    losses = losses_of(system, config.train)
    statistics = moving_statistics(system)
    replica_slices(config.train.batch_size, replicas, parts)  # each can be cut into the parts
    if parts > 1 and replicas > 1 and config.train.sync_batch_norm:
        raise UserError("--config.train.sync_batch_norm: replicas cannot share statistics in "
                        f"parts of a step; expected --config.train.accumulate=1, got {parts}.")

    def gradients_of_part(batch, share):
        """Of the share of the global batch that it is."""
        with rematerialization(config.train.rematerialize), tf.GradientTape() as tape:
            batch = system.with_cameras(batch)
            prediction = system.forward(batch, training=True)
            total, terms = losses(batch, system.with_steady_flow(batch, prediction))
            # Before its gradient, which other replicas add to where they share statistics.
            part = total * share if replicas * parts > 1 else total
            part = optimizer.get_scaled_loss(part) if scaled else part
        weighted = tf.nest.map_structure(lambda value: value * share, {**terms, "total": total})
        return tape.gradient(part, variables), weighted

    def gradients_of_parts(batch, share):
        """Sums over all parts of the replica's share."""
        if parts == 1:
            return gradients_of_part(batch, share)
        size = batch.target.shape[0] // parts
        unreached = set()  # variables that the loss does not depend on have no gradient, not 0

        def body(part, sums, term_sums):
            rows = lambda tensor: None if tensor is None else tf.ensure_shape(
                tensor[part * size:(part + 1) * size], [size, *tensor.shape[1:]])
            gradients, terms = gradients_of_part(type(batch)(*map(rows, batch)), share / parts)
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
        return [None if k in unreached else total for k, total in enumerate(sums)], terms

    def gradients_of(batch):
        kept = [variable.value() for variable in statistics]
        share = tf.cast(tf.shape(batch.target)[0], batch.target.dtype) / config.train.batch_size
        gradients, terms = gradients_of_parts(batch, share)
        # A number that is finite exactly when all images are.
        pixel_sum = tf.reduce_sum(batch.target_input) + tf.reduce_sum(batch.source_inputs)
        if replicas > 1:
            gradients, terms, pixel_sum = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, (gradients, terms, pixel_sum))
        gradients = optimizer.get_unscaled_gradients(gradients) if scaled else gradients
        norm = tf.linalg.global_norm(gradients)
        if clip_norm > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        return gradients, (terms, pixel_sum, norm), kept, unmeasured_samples(
            batch, system.min_true_depth)

    def put_back(kept):
        """The forward pass has moved statistics already, by numbers that may not be finite."""
        for variable, value in zip(statistics, kept):
            variable.assign(value)

    def apply(gradients):
        optimizer.apply_gradients(zip(gradients, variables), experimental_aggregate_gradients=False)

    def on_replicas_if(condition, function, arguments):
        def run():
            strategy.run(function, args=(arguments,))
            return True
        tf.cond(condition, run, lambda: True)

    # AutoGraph would translate every function that is called, which is half of the tracing: a
    # condition on tensors is a tf.cond here.
    @tf.function(autograph=False)
    def step(batch):
        gradients, numbers, kept, unmeasured = strategy.run(gradients_of, args=(batch,))
        terms, pixel_sum, norm = on_first_replica(strategy, numbers)  # all have the same
        inputs_finite = tf.math.is_finite(pixel_sum)
        sound = inputs_finite & tf.math.is_finite(terms["total"])
        applied = sound & tf.math.is_finite(norm)
        # At a scale of 1 gradients are what they are.
        overflowed = (sound & ~applied & (optimizer.loss_scale > 1.0) if scaled
                      else tf.constant(False))
        # Where it overflowed, the optimiser halves its scale, and does no more.
        on_replicas_if(applied | overflowed, apply, gradients)
        on_replicas_if(~applied, put_back, kept)
        first = on_first_replica(strategy, unmeasured)
        # In the order of the global batch; an empty gathering would crash workers of a cluster.
        unmeasured = first if first.shape[0] == 0 else strategy.gather(unmeasured, axis=0)
        return StepResult(terms, norm, inputs_finite, applied, overflowed, unmeasured > 0)

    return step


def losses_of(system, config):
    """A function (Batch, prediction) -> (weighted total, {name: unweighted term}) of a System, as
    TrainConfig says."""
    if config.xla:
        return compiled_losses(system)

    def losses(batch, prediction):
        with one_at_a_time():
            terms = system.loss_terms(batch, prediction)
        return system.total_loss(terms), terms

    return losses


def unmeasured_samples(batch, nearest):
    """1 for samples of a Batch without measured depth beyond `nearest` metres, else 0: int32 [B],
    or [0] without depth."""
    if batch.target_depth is None:
        return tf.zeros([0], tf.int32)
    return tf.cast(~tf.reduce_any(batch.target_depth > nearest, axis=[1, 2, 3]), tf.int32)
