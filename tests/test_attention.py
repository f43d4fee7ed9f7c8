"""Attention maps: their losses, their decoder, and what they do in every system they attach to."""
import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from helpers import random_batch
from tfdepth.checks import UserError
from tfdepth.losses.attention import (
    LEAST_ATTENTION, attention_error, attention_weights, normalized_weights, predictive_mask_error)
from tfdepth.networks.attention import AttentionDecoder
from tfdepth.systems import build_system
from tfdepth.systems.geonet import GeoNetConfig
from tfdepth.systems.idce_ham import IdceHamConfig
from tfdepth.systems.monodepth2 import Monodepth2Config
from tfdepth.systems.sfmlearner import SfMLearnerConfig

SIZE = (64, 96)
BASELINES = {"GeoNet": GeoNetConfig(depth_network="dispnet"), "SfMLearner": SfMLearnerConfig(),
             "Monodepth2": Monodepth2Config()}
IMAGES = {"GeoNet": 3, "SfMLearner": 1, "Monodepth2": 1 / 4}  # of a sample; a term is a mean there


@functools.lru_cache(maxsize=None)
def built(name, kind="none", mean=0.5):
    """A system from seed 7 with its terms and gradients: {path: gradient}."""
    config = dataclasses.replace(BASELINES[name], attention=kind, attention_mean=mean)
    if name == "Monodepth2" and kind == "predictive_mask":
        config.automask = False
    tf.keras.utils.set_random_seed(7)
    system = build_system(config, (-1, 1))
    system.create_variables(SIZE)
    with tf.GradientTape() as tape:
        terms = system.loss_terms(random_batch(), system.forward(random_batch(), training=True))
        total = system.total_loss(terms)
    gradients = tape.gradient(total, system.trainable_variables)
    return system, terms, dict(zip(names_of(system), gradients))


@pytest.fixture(scope="module", params=BASELINES)
def name(request):
    """Of a baseline; its tests follow each other, and share what is `built`."""
    yield request.param
    built.cache_clear()


def names_of(system):
    """Names of trainable variables, those of the decoder after all others."""
    count = 0 if system.attention.decoder is None else len(
        system.attention.decoder.trainable_variables)
    own = len(system.trainable_variables) - count
    return [*range(own), *(f"attention {k}" for k in range(count))]


def test_losses_against_numpy():
    maps = np.random.default_rng(3).uniform(0.01, 0.99, [3, 4, 5, 2])
    maps[1] = 0.2
    tensor = tf.constant(maps)
    np.testing.assert_allclose(attention_weights(tensor, 0.7), maps / 0.7)
    # of every image by itself: another image's mean does not make good for its own
    expected = [[(maps[b, :, :, k].sum() / 20 - 0.7)**2 for k in range(2)] for b in range(3)]
    np.testing.assert_allclose(attention_error(tensor, 0.7), expected)
    weights = normalized_weights(tensor).numpy()
    np.testing.assert_allclose(weights.mean(axis=(1, 2)), 1.0)
    raised = LEAST_ATTENTION + (1 - LEAST_ATTENTION) * maps
    np.testing.assert_allclose(weights[2, 1, 2, 0] / weights[2, 3, 4, 0],
                               raised[2, 1, 2, 0] / raised[2, 3, 4, 0])
    np.testing.assert_allclose(predictive_mask_error(tensor), -np.log(maps))
    dead = tf.zeros([1, 1, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(dead)
        error = predictive_mask_error(dead)
    assert np.isfinite(error).all() and np.isfinite(tape.gradient(error, dead)).all()
    assert normalized_weights(tf.one_hot([[0] * 1], 999)[..., tf.newaxis]).numpy().max() < (
        1 / LEAST_ATTENTION)
    with pytest.raises(ValueError, match="attention"):
        attention_error(tf.zeros([2, 3, 4]), 0.5)


@pytest.mark.parametrize("mean", [0.5, 0.7])
def test_the_constraint_holds_above_the_bound_and_only_there(mean):
    """Maps of free logits on equal errors, by gradient descent, against the formula."""
    error = 0.2
    bound = error / (2 * mean**2)
    for weight, collapses in ((0.5 * bound, True), (0.9 * bound, True), (1.5 * bound, False),
                              (10 * bound, False)):
        logits = tf.Variable(tf.random.stateless_normal([2, 3, 4, 1], [1, 2]))
        optimizer = tf.keras.optimizers.Adam(0.2)

        @tf.function
        def step(logits=logits, optimizer=optimizer, weight=weight):
            with tf.GradientTape() as tape:
                maps = tf.sigmoid(logits)
                loss = (tf.reduce_mean(attention_weights(maps, mean) * error)
                        + weight * tf.reduce_mean(attention_error(maps, mean)))
            optimizer.apply_gradients([(tape.gradient(loss, logits), logits)])

        for _ in range(800):
            step()
        found = tf.reduce_mean(tf.sigmoid(logits), axis=[1, 2, 3])
        expected = 0.0 if collapses else mean - error / (2 * mean * weight)
        np.testing.assert_allclose(found, [expected] * 2, atol=0.01)


def test_maps_leave_out_what_is_hard():
    """With unequal errors the best map of a given mean is 1 where errors are small."""
    errors = tf.reshape(tf.linspace(0.0, 1.0, 20), [1, 4, 5, 1])
    logits = tf.Variable(tf.zeros([1, 4, 5, 1]))
    optimizer = tf.keras.optimizers.Adam(0.2)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            maps = tf.sigmoid(logits)
            loss = (tf.reduce_mean(attention_weights(maps, 0.5) * errors)
                    + 10.0 * tf.reduce_mean(attention_error(maps, 0.5)))
        optimizer.apply_gradients([(tape.gradient(loss, logits), logits)])

    for _ in range(600):
        step()
    maps = tf.sigmoid(logits).numpy().ravel()
    assert maps[:8].min() > 0.9 and maps[-8:].max() < 0.1


@pytest.mark.parametrize("features, sides", [(7, (64, 104)), (6, (64, 96)), (5, (32, 64))])
def test_decoder_of_any_encoder(features, sides):
    """Sizes, the constant start, and the number of parameters by counting."""
    channels = [3 + level for level in range(features)]
    encoded, size = [], sides
    for width in channels:
        size = [-(-side // 2) for side in size]
        encoded.append(tf.random.stateless_normal([2, *size, width], [4, width]))
    decoder = AttentionDecoder(features, num_maps=2, start=0.7)
    maps = decoder(tuple(encoded))
    assert [tuple(each.shape) for each in maps] == [
        (2, sides[0] // 2**k, sides[1] // 2**k, 2) for k in range(4)]
    for each in maps:
        np.testing.assert_allclose(each, np.full(each.shape, 0.7), rtol=1e-6)
    widths = [min(8 * 2**k, 256) for k in range(features)]
    count, below = 0, channels[-1]
    for step in reversed(range(features)):
        skip = channels[step - 1] if step else 0
        count += 9 * below * widths[step] + widths[step]                   # kernel, offset
        count += 9 * (widths[step] + skip) * widths[step] + widths[step]
        below = widths[step]
    count += sum(9 * 2 * width + 2 for width in widths[:4])
    assert sum(np.prod(each.shape) for each in decoder.trainable_variables) == count


def test_at_the_start_it_is_the_baseline(name):
    """The same seed gives the same loss and the same gradients of all variables, exactly."""
    baseline, expected, gradients = built(name)
    system, found, own = built(name, "constraint")
    for variable, other in zip(baseline.trainable_variables, system.trainable_variables):
        np.testing.assert_array_equal(variable, other)
    assert {key: float(value) for key, value in found.items()} == {
        key: float(value) for key, value in expected.items()}
    assert float(found["attention"]) == 0.0
    for key, gradient in gradients.items():
        np.testing.assert_array_equal(own[key], gradient)
    heads = [gradient for key, gradient in own.items() if key not in gradients]
    assert len(heads) > 0 and all(np.isfinite(each).all() for each in heads)
    assert np.linalg.norm(heads[-2]) > 0                                   # a head's kernel learns


@pytest.mark.parametrize("kind, mean", [("constraint", 0.7), ("normalise", 0.5)])
def test_other_forms_start_as_the_baseline_up_to_rounding(name, kind, mean):
    _, expected, gradients = built(name)
    _, found, own = built(name, kind, mean)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=2e-11)  # (1e-6)^2 a map
    for key, gradient in gradients.items():
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(own[key], gradient, atol=1e-4 * scale + 1e-12)


def test_every_variable_gets_a_finite_gradient(name):
    for kind in ("normalise", "predictive_mask"):
        _, _, gradients = built(name, kind)
        assert all(gradient is not None and np.isfinite(gradient).all()
                   for gradient in gradients.values())


def with_flat_maps(system, prediction, value):
    """The prediction with maps that are one value, or one a source, everywhere."""
    def flat(scene):
        if np.ndim(value):
            return scene._replace(attention=tuple(tf.zeros_like(each) + tf.constant(value)
                                                  for each in scene.attention))
        return scene._replace(attention=tuple(tf.fill(each.shape, value)
                                              for each in scene.attention))
    changed = prediction._replace(scene=flat(prediction.scene))
    if hasattr(prediction, "source_scenes"):
        changed = changed._replace(source_scenes=flat(prediction.source_scenes))
    return changed


def test_flat_maps_by_hand(name):
    """a / c times the baseline's error, and (a - c)^2 for each level and image."""
    baseline, _, _ = built(name)
    frames = random_batch()
    system, _, _ = built(name, "constraint")
    prediction = system.forward(frames, training=True)
    expected = baseline.loss_terms(frames, with_flat_maps(system, prediction, 0.5))
    terms = system.loss_terms(frames, with_flat_maps(system, prediction, 0.25))
    without = system.loss_terms(frames, with_flat_maps(system, prediction, 0.5))
    np.testing.assert_allclose(terms["photometric"], 0.5 * without["photometric"], rtol=1e-5)
    np.testing.assert_allclose(terms["attention"], 4 * 0.25**2 * IMAGES[name], rtol=1e-5)
    np.testing.assert_array_equal(terms["smoothness"], without["smoothness"])
    if name != "GeoNet":  # whose baseline asks for no map
        assert set(expected) == set(terms)

    system, _, _ = built(name, "predictive_mask")
    prediction = system.forward(frames, training=True)
    one, other, both = (system.loss_terms(frames, with_flat_maps(system, prediction, value))
                        for value in ((0.2, 1.0), (1.0, 0.2), (0.2, 0.2)))
    full = system.loss_terms(frames, with_flat_maps(system, prediction, (1.0, 1.0)))
    np.testing.assert_allclose(both["photometric"], 0.2 * full["photometric"], rtol=1e-4)
    if name != "Monodepth2":  # sums over the sources; the minimum is none
        np.testing.assert_allclose(one["photometric"] + other["photometric"],
                                   both["photometric"] + full["photometric"], rtol=1e-5)
    assert abs(float(one["photometric"] - other["photometric"])) > 1e-4
    np.testing.assert_allclose(both["predictive_mask"], 4 * -np.log(0.2) * IMAGES[name], rtol=1e-5)
    np.testing.assert_allclose(full["predictive_mask"], 0.0, atol=1e-6)


def test_depth_at_test_time_asks_for_no_map():
    system, _, _ = built("GeoNet", "constraint")
    system.attention.decoder, decoder = None, system.attention.decoder
    depth = system.predict_depth(random_batch().target, random_batch().target)
    system.attention.decoder = decoder
    assert depth.attention == () and depth.depth.shape == (2, *SIZE, 1)


def test_pictures():
    for name, kind, titles in (("GeoNet", "constraint", {"attention"}),
                               ("Monodepth2", "predictive_mask", {"predictive mask of source 1",
                                                                  "predictive mask of source 2"})):
        system, _, _ = built(name, kind)
        frames = random_batch()
        pictures = system.pictures(frames, system.forward(frames, training=False))
        assert {title for title, image in pictures.items() if image.shape[-1] == 1} == titles
        assert all(image.shape[:3] == (2, *SIZE) for image in pictures.values())


def test_what_cannot_be_built_is_refused():
    for config, words in (
            (SfMLearnerConfig(attention="constrain"), "attention must be .*'constraint'"),
            (GeoNetConfig(attention_mean=1.0), "attention_mean must be between 0 and 1; got 1.0"),
            (Monodepth2Config(attention="predictive_mask"), "automask: .*expected false"),
            (GeoNetConfig(depth_network="resnet18"), "depth_network .*resnet50, dispnet"),
            (GeoNetConfig(initial_disparity=5.5), "between it and 5.01"),
            (GeoNetConfig(norm_momentum=1.0), "norm_momentum must be"),
            (GeoNetConfig(min_disparity=0.0), "min_disparity must be above 0")):
        with pytest.raises(UserError, match=words):
            build_system(config, (-1, 1))


def test_the_joint_framework_takes_attention_too():
    system = build_system(IdceHamConfig(attention="constraint"), (-1, 1))
    system.create_variables(SIZE)
    frames = random_batch()
    prediction = system.forward(frames, training=True)
    assert [each.shape[1] for each in prediction.scene.attention] == [64, 32, 16, 8]
    assert float(system.loss_terms(frames, prediction)["attention"]) == 0.0
