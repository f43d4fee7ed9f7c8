"""The optimiser of a config."""
import tensorflow as tf


def build_optimizer(config, steps_per_epoch, variables):
    """Adam with a step schedule, all of its state created.

    This is Keras' legacy class on purpose: it updates a variable by one fused kernel, where the
    newer one passes over the memory ten times (15 % of a training step on a CPU).

    Args:
      config: OptimizerConfig.
      steps_per_epoch: float, turns epochs into optimiser steps.
      variables: what it will update.

    Returns: tf.keras.optimizers.legacy.Adam; gradients are clipped by the training step, not here.
    """
    rate = config.learning_rate
    if config.decay_epochs:
        boundaries = [round(epoch * steps_per_epoch) for epoch in config.decay_epochs]
        rates = [rate * config.decay_factor**k for k in range(len(boundaries) + 1)]
        rate = tf.keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)
    optimizer = _Adam(rate, beta_1=config.beta_1, beta_2=config.beta_2, epsilon=config.epsilon)
    optimizer.weight_decay = config.weight_decay
    optimizer.corrects_epsilon = config.epsilon_after_correction
    # All state is created now, so that a checkpoint finds it; these two on first access.
    _ = optimizer.iterations, optimizer.beta_1
    for variable in variables:
        optimizer.add_slot(variable, "m")
        optimizer.add_slot(variable, "v")
    return optimizer


class _Adam(tf.keras.optimizers.legacy.Adam):
    """Adam with the two details in which systems published in PyTorch differ from TensorFlow's."""
    weight_decay = 0.0          # added to the gradient, times the variable: L2 regularisation
    corrects_epsilon = False    # whether epsilon is added after the correction of the moments

    def _prepare_local(self, var_device, var_dtype, apply_state):
        super()._prepare_local(var_device, var_dtype, apply_state)
        if self.corrects_epsilon:
            state = apply_state[var_device, var_dtype]
            state["epsilon"] *= tf.sqrt(1.0 - state["beta_2_power"])

    def _resource_apply_dense(self, grad, var, apply_state=None):
        if self.weight_decay:
            grad += self.weight_decay * var
        return super()._resource_apply_dense(grad, var, apply_state)


def learning_rate(optimizer):
    """The rate of the next step, float."""
    rate = optimizer.learning_rate
    return float(rate(optimizer.iterations) if callable(rate) else rate)
