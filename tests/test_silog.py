"""The scale-invariant losses against their definition, and where nothing was measured."""
import numpy as np
import pytest
import tensorflow as tf

from tfdepth.losses.silog import root_silog_loss, silog_loss


def maps(seed=3):
    random = np.random.default_rng(seed)
    depth, truth = random.uniform(1.0, 80.0, (2, 2, 3, 5, 1))
    valid = random.random([2, 3, 5, 1]) < 0.5
    valid[1, 1:] = False                       # the images have different numbers of pixels
    return depth, np.where(valid, truth, 0.0), valid


def by_loops(depth, truth, valid, focus):
    """Paper 001, eq. 6, one pixel at a time; n counts the pixels of all images."""
    logs = [np.log(y) - np.log(t) for y, t, v in zip(depth.flat, truth.flat, valid.flat) if v]
    return (sum(g * g for g in logs) / len(logs)
            - focus / len(logs)**2 * sum(logs)**2)


@pytest.mark.parametrize("focus", [0.0, 0.85, 1.0])
def test_definition(focus):
    depth, truth, valid = maps()
    expected = by_loops(depth, truth, valid, focus)
    np.testing.assert_allclose(silog_loss(depth, truth, valid, focus), expected, rtol=1e-12)
    np.testing.assert_allclose(root_silog_loss(depth, truth, valid, focus),
                               10.0 * np.sqrt(expected), rtol=1e-12)
    scaled = float(silog_loss(3.0 * depth, truth, valid, focus))
    assert (scaled == pytest.approx(expected, rel=1e-9)) == (focus == 1.0)


def test_gradients_against_differences():
    depth, truth, valid = map(tf.constant, maps())
    for loss in (silog_loss, root_silog_loss):
        exact, numeric = tf.test.compute_gradient(lambda d: loss(d, truth, valid), [depth], 1e-5)
        np.testing.assert_allclose(exact[0], numeric[0], atol=1e-8)
        assert np.abs(exact[0]).max() > 1e-4


@pytest.mark.parametrize("loss", [silog_loss, root_silog_loss])
@pytest.mark.parametrize("case", ["empty", "perfect"])
def test_nothing_to_learn_is_0_without_nan(loss, case):
    depth, truth, valid = maps()
    if case == "empty":
        valid, truth = np.zeros_like(valid), np.zeros_like(truth)
        depth = np.where(np.arange(5)[:, np.newaxis] > 2, depth, 0.0)  # whatever is predicted
    else:
        truth = np.where(valid, depth, 0.0)
    depth = tf.constant(depth, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(depth)
        value = loss(depth, tf.constant(truth, tf.float32), tf.constant(valid))
    assert value == 0.0
    np.testing.assert_array_equal(tape.gradient(value, depth), tf.zeros_like(depth))


def test_other_shapes_are_refused():
    depth, truth, valid = maps()
    with pytest.raises(ValueError, match="`true_depth` must have shape"):
        silog_loss(depth, truth[:, :2], valid)
    with pytest.raises(ValueError, match="`valid` must have shape"):
        silog_loss(depth, truth, valid[..., 0])
