"""The optimiser of a config."""
import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.weights.matching import select, variables_by_path


def optimizer_of(config, system, steps_per_epoch, num_steps):
    """The optimiser of a run, and what it changes.

    Args: config: ExperimentConfig. system: System with its variables created. steps_per_epoch:
      float. num_steps: of the whole run.
    Returns: (optimiser as `build_optimizer` makes it, the trainable variables that are not frozen).
    Raises: UserError: if a name in the config is of no variable, or all variables are frozen.
    """
    named = variables_by_path(system)
    frozen = _identities(select(named, config.train.frozen, "--config.train.frozen").values())
    learned = [each for each in system.trainable_variables if id(each) not in frozen]
    if not learned:
        raise UserError("--config.train.frozen: expected some variables that learn; found none.")
    chosen = config.optimizer.weight_decay_on
    decayed = select(named, chosen, "--config.optimizer.weight_decay_on").values()
    optimizer = build_optimizer(config.optimizer, steps_per_epoch, learned, num_steps,
                                decayed if chosen else None)
    if config.train.precision == "mixed_float16":
        # Gradients below 6e-8 would be 0: the loss is multiplied before, they are divided after.
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer, learned


def build_optimizer(config, steps_per_epoch, variables, num_steps=0, decayed=None):
    """Adam with a schedule of its learning rate, all of its state created.

    This is Keras' legacy class on purpose: it updates a variable by one fused kernel, where the
    newer one passes over the memory ten times (15 % of a training step on a CPU).

    Args:
      config: OptimizerConfig.
      steps_per_epoch: float, turns epochs into optimiser steps.
      variables: what it will update.
      num_steps: of the whole run, when the final learning rate is reached.
      decayed: the variables that have weight decay; None: all.

    Returns: tf.keras.optimizers.legacy.Adam; gradients are clipped by the training step, not here.
    """
    rate = config.learning_rate
    if config.decay_epochs:
        boundaries = [round(epoch * steps_per_epoch) for epoch in config.decay_epochs]
        rates = [rate * config.decay_factor**k for k in range(len(boundaries) + 1)]
        rate = tf.keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)
    elif config.final_learning_rate:
        rate = tf.keras.optimizers.schedules.PolynomialDecay(
            rate, num_steps, config.final_learning_rate, config.decay_power)
    optimizer = _Adam(rate, beta_1=config.beta_1, beta_2=config.beta_2, epsilon=config.epsilon)
    optimizer.weight_decay = config.weight_decay
    optimizer.decoupled_decay = config.decoupled_decay
    optimizer.decayed = _identities(variables if decayed is None else decayed)
    optimizer.corrects_epsilon = config.epsilon_after_correction
    # All state is created now, so that a checkpoint finds it; these two on first access.
    _ = optimizer.iterations, optimizer.beta_1
    for variable in variables:
        optimizer.add_slot(variable, "m")
        optimizer.add_slot(variable, "v")
    return optimizer


class _Adam(tf.keras.optimizers.legacy.Adam):
    """Adam with the details in which systems published in PyTorch differ from TensorFlow's."""
    weight_decay = 0.0          # added to the gradient, times the variable: L2 regularisation
    decoupled_decay = False     # or, times the rate too, taken off the variable before its update:
    #                             Loshchilov and Hutter, ICLR 2019, as PyTorch's AdamW does it
    decayed = frozenset()       # identities of the variables that have weight decay
    corrects_epsilon = False    # whether epsilon is added after the correction of the moments

    def _prepare_local(self, var_device, var_dtype, apply_state):
        super()._prepare_local(var_device, var_dtype, apply_state)
        if self.corrects_epsilon:
            state = apply_state[var_device, var_dtype]
            state["epsilon"] *= tf.sqrt(1.0 - state["beta_2_power"])

    def _resource_apply_dense(self, grad, var, apply_state=None):
        decays = self.weight_decay and id(var) in self.decayed
        if not decays:
            return super()._resource_apply_dense(grad, var, apply_state)
        if not self.decoupled_decay:
            grad += self.weight_decay * var
            return super()._resource_apply_dense(grad, var, apply_state)
        rate = apply_state[var.device, var.dtype.base_dtype]["lr_t"]
        with tf.control_dependencies([var.assign_sub(rate * self.weight_decay * var)]):
            return super()._resource_apply_dense(grad, var, apply_state)


def learning_rate(optimizer):
    """The rate of the next step, float."""
    rate = optimizer.learning_rate
    return float(rate(optimizer.iterations) if callable(rate) else tf.convert_to_tensor(rate))


def loss_scale(optimizer):
    """{"loss_scale": float} of mixed_float16, else {}."""
    if isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
        return {"loss_scale": float(optimizer.loss_scale)}
    return {}


def _identities(variables):
    """Of variables and of their copies on all replicas: an update sees one of these."""
    return frozenset(id(copy) for variable in variables
                     for copy in (variable, *getattr(variable, "values", ())))
