"""The optimiser of a config."""
import tensorflow as tf


def build_optimizer(config, steps_per_epoch):
    """Adam with a step schedule.

    Args: config: OptimizerConfig. steps_per_epoch: float, turns epochs into optimiser steps.
    Returns: tf.keras.optimizers.Adam; gradients are clipped by the training step, not here.
    """
    rate = config.learning_rate
    if config.decay_epochs:
        boundaries = [round(epoch * steps_per_epoch) for epoch in config.decay_epochs]
        rates = [rate * config.decay_factor**k for k in range(len(boundaries) + 1)]
        rate = tf.keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)
    return tf.keras.optimizers.Adam(rate, beta_1=config.beta_1, beta_2=config.beta_2,
                                    epsilon=config.epsilon)
