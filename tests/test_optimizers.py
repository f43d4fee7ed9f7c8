"""AdamW, which variables it concerns, what is frozen, and the rate that falls by every step."""
import numpy as np
import pytest
import tensorflow as tf
from toy_system import Toy, ToyConfig

from tfdepth.checks import UserError
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig, check_config
from tfdepth.training.optimizers import build_optimizer, learning_rate, optimizer_of
from tfdepth.weights.matching import select

STEPS = 6


def adamw(start, gradients, rates, decay, epsilon):
    """Loshchilov and Hutter, algorithm 2, with epsilon where PyTorch adds it."""
    weight, first, second = np.array(start), 0.0, 0.0
    for step, (gradient, rate) in enumerate(zip(gradients, rates), start=1):
        weight = weight - rate * decay * weight
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        first_mean, second_mean = first / (1 - 0.9**step), second / (1 - 0.999**step)
        weight = weight - rate * first_mean / (np.sqrt(second_mean) + epsilon)
    return weight


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("decoupled", [True, False])
def test_decay_of_some_variables_against_numpy(replicas, decoupled, two_replicas):
    strategy = two_replicas if replicas == 2 else tf.distribute.get_strategy()
    random = np.random.default_rng(2)
    starts, gradients = random.normal(size=(2, 3, 4)), random.normal(size=(STEPS, 2, 3, 4))
    config = OptimizerConfig(0.02, epsilon=1e-3, epsilon_after_correction=True, weight_decay=0.5,
                             decoupled_decay=decoupled, final_learning_rate=0.002)
    with strategy.scope():
        variables = [tf.Variable(start, dtype=tf.float32) for start in starts]
        optimizer = build_optimizer(config, 10, variables, STEPS, decayed=variables[1:])

    @tf.function
    def step(values):
        strategy.run(lambda: optimizer.apply_gradients(
            zip(values, variables), experimental_aggregate_gradients=False))

    rates = []
    for values in gradients:
        rates.append(learning_rate(optimizer))
        step([tf.constant(value, tf.float32) for value in values])
    np.testing.assert_allclose(
        rates, [0.018 * (1 - k / STEPS)**0.9 + 0.002 for k in range(STEPS)], rtol=1e-6)
    assert learning_rate(optimizer) == np.float32(0.002)
    plain = adamw(starts[0], gradients[:, 0], rates, 0.0, 1e-3)
    decayed = adamw(starts[1], gradients[:, 1], rates, 0.5, 1e-3)
    np.testing.assert_allclose(variables[0].numpy(), plain, rtol=1e-4)
    difference = np.abs(variables[1].numpy() - decayed).max()
    assert difference < 1e-5 if decoupled else difference > 1e-3


def config_of(optimizer, **train):
    return ExperimentConfig(ToyConfig(), optimizer=optimizer, train=TrainConfig(**train))


def test_names_choose_what_learns_and_what_decays():
    system = Toy(ToyConfig(), (-1, 1))
    system.create_variables((16, 32))
    disparity, motion = system.disparity, system.motion
    optimizer, learned = optimizer_of(
        config_of(OptimizerConfig(weight_decay=0.1, decoupled_decay=True,
                                  weight_decay_on=("motion",)), frozen=("*/bias",)), system, 1, 1)
    assert [id(each) for each in learned] == [id(disparity.kernel), id(motion.kernel)]
    before = [variable.numpy() for variable in learned]
    optimizer.apply_gradients([(tf.zeros_like(each), each) for each in learned])
    np.testing.assert_array_equal(disparity.kernel, before[0])
    np.testing.assert_allclose(motion.kernel, before[1] * (1 - 2e-4 * 0.1), rtol=1e-6)
    for train, optimizer, words in (
            (dict(frozen=("depth_net",)), {}, "train.frozen: expected the beginning of a variable"),
            (dict(frozen=("disparity", "motion")), {}, "some variables that learn"),
            ({}, dict(weight_decay_on=("motio",)), "optimizer.weight_decay_on: expected the beg")):
        with pytest.raises(UserError, match=words):
            optimizer_of(config_of(OptimizerConfig(**optimizer), **train), system, 1, 1)


def test_patterns():
    names = ("net/conv1/kernel", "net/conv10/kernel", "net/a/bn1/gamma", "net/a/bn1/beta",
             "net/a/down/1/gamma")
    find = lambda *patterns: [names.index(name) for name in
                              select(dict.fromkeys(names), patterns, "--flag")]
    assert find("net/conv1") == [0] and find("net/conv1/kernel") == [0]
    assert find("net/*bn?") == [2, 3] and find("net/a/", "net/conv1") == [2, 3, 4, 0]
    assert find() == []
    with pytest.raises(UserError, match="--flag: .*as net/conv1/kernel; got net/con"):
        find("net", "net/con")


def test_rates_that_exclude_each_other():
    for options in (dict(final_learning_rate=1e-5, decay_epochs=(3.0,)), dict(decay_power=0.0),
                    dict(final_learning_rate=-1.0)):
        with pytest.raises(UserError, match="optimizer.(final_learning_rate|decay_power) must be"):
            check_config(config_of(OptimizerConfig(**options)))
