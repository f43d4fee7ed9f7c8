"""Blending of a prediction with that of the mirrored image."""
import numpy as np
import pytest

from tfdepth.evaluation.post_process import post_process


def test_weights_of_the_mirrored_prediction():
    width = 101  # column k lies at k %
    weights = post_process(np.zeros([3, width]), np.ones([3, width]))
    expected = {0: 1, 5: 1, 6: 0.9, 7.5: None, 9: 0.6, 10: 0.5, 50: 0.5, 90: 0.5, 91: 0.4,
                94: 0.1, 95: 0, 100: 0}
    for column, weight in expected.items():
        if weight is not None:
            np.testing.assert_allclose(weights[:, int(column)], weight, atol=1e-12)


def test_the_second_prediction_is_mirrored_back():
    random = np.random.default_rng(0)
    disparity, other = random.uniform(0.1, 1, [2, 2, 4, 60])
    np.testing.assert_allclose(post_process(disparity, disparity[..., ::-1]), disparity)
    blended = post_process(disparity, other)
    np.testing.assert_array_equal(blended[..., 0], other[..., -1])
    np.testing.assert_array_equal(blended[..., -1], disparity[..., -1])
    np.testing.assert_allclose(blended[..., 20:40],
                               (disparity[..., 20:40] + other[..., 39:19:-1]) / 2)
    # an image and its mirror image have mirrored results
    np.testing.assert_allclose(post_process(other, disparity)[..., ::-1][..., 6:-6],
                               blended[..., 6:-6])
    np.testing.assert_array_equal(post_process(disparity[0], other[0]), blended[0])


def test_shapes():
    with pytest.raises(ValueError, match="`disparity_of_mirrored` must have shape"):
        post_process(np.ones([4, 6]), np.ones([4, 5]))
