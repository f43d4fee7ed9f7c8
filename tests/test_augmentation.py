"""Scale and crop, and TensorFlow 1's resizes, against the published code; drawing."""
import numpy as np
import pytest
import tensorflow as tf

from helpers import needs_shared, parity
from tfdepth.data import augmentation
from tfdepth.geometry import camera
from tfdepth.networks.convolutions import legacy_bilinear, legacy_nearest


@needs_shared
@pytest.mark.parametrize("case", ["case0", "case1", "case2", "case3"])
def test_published_scale_and_crop(case):
    expected = parity("sfmlearner", "augmentation.npz")
    scale_yx, offset_yx = expected[f"{case}_scale_xy"][::-1].copy(), expected[f"{case}_offset_yx"]
    for sample in range(2):
        frames = np.stack(np.split(expected["image_uint8"][sample], 3, axis=-1))
        images, intrinsics = augmentation.scale_and_crop(
            tf.constant(frames, tf.float32), tf.constant(expected["intrinsics"][sample]), scale_yx,
            offset_yx, keep_pixel_centres=False)
        images = np.concatenate(images, axis=-1)                             # [H, W, 9]
        if case == "case3":
            np.testing.assert_allclose(images, expected["case3_float_before_cast"][sample],
                                       atol=1e-3)
        difference = np.abs(np.floor(images) - expected[f"{case}_out_uint8"][sample])
        ambiguous = expected[f"{case}_ambiguous"][sample] & (case != "case0")  # that is the input
        assert ambiguous.mean() < 0.5
        assert not difference[~ambiguous].any() and difference.max() <= 1
        np.testing.assert_allclose(intrinsics, expected[f"{case}_out_intrinsics"][sample],
                                   rtol=1e-6)
        for level in range(4):
            np.testing.assert_allclose(
                camera.resize_intrinsics(intrinsics, (0.5**level,) * 2, keep_pixel_centres=False),
                expected[f"{case}_out_multi_scale_intrinsics"][sample, level], rtol=1e-6)
    zoomed = augmentation.zoomed_size([64, 160], scale_yx)
    np.testing.assert_array_equal(zoomed, expected[f"{case}_scaled_size"])
    np.testing.assert_array_equal(zoomed - [64, 160] + 1,
                                  expected[f"{case}_offset_range_exclusive"])


def test_exact_camera_follows_the_picture():
    # Every pixel holds its own (u, v); area averages keep positions in the mean.
    v, u = np.mgrid[:64, :160]
    positions = np.stack([u, v], -1)[np.newaxis].astype(np.float32)
    before = tf.constant([[70.0, 0, 81.3], [0, 55.0, 30.2], [0, 0, 1]])
    images, after = augmentation.scale_and_crop(
        tf.constant(positions), before, tf.constant([1.14, 1.09]), tf.constant([5, 9]))
    assert images.shape == positions.shape
    grid = np.stack([u, v, np.ones_like(u)]).reshape(3, -1)
    expected = (before.numpy() @ np.linalg.inv(after) @ grid)[:2].T.reshape(64, 160, 2)
    assert np.abs((images[0] - expected).numpy().mean(axis=(0, 1))).max() < 0.01
    assert np.abs(images[0] - expected).max() < 0.51


def test_draws_stay_inside_and_reach_every_offset():
    @tf.function(input_signature=[tf.TensorSpec([2], tf.int64)])
    def draw(seed):
        return augmentation.draw_scale_and_crop((40, 80), 1.15, seed)

    scales, offsets = zip(*[draw([3, position]) for position in range(300)])
    scales, offsets = np.array(scales), np.array(offsets)
    assert scales.min() >= 1 and scales.max() < 1.15 and np.ptp(scales, axis=0).min() > 0.14
    assert np.abs(np.corrcoef(scales.T)[0, 1]) < 0.2
    room = (np.float32([40, 80]) * scales).astype(int) - [40, 80]
    assert (offsets >= 0).all() and (offsets <= room).all()
    assert (offsets == room)[room > 0].any() and (offsets == 0)[room > 0].any()
    again = draw([3, 7])
    np.testing.assert_array_equal(again[0], scales[7])
    np.testing.assert_array_equal(again[1], offsets[7])


@needs_shared
def test_published_resizes():
    expected = parity("sfmlearner", "augmentation.npz")
    image = tf.constant(expected["resize_area_in"])
    compared = 0
    for key, published in expected.items():
        for name, resize in (("bilinear", legacy_bilinear), ("nearest", legacy_nearest)):
            if key.startswith(f"resize_{name}_legacy_out_"):
                np.testing.assert_allclose(resize(image, like=published), published, atol=1e-3)
                compared += 1
    assert compared == 5
    zoomed, _ = augmentation.scale_and_crop(
        image, tf.eye(3), tf.constant([13.5 / 12, 22.5 / 20]), [0, 0])
    np.testing.assert_allclose(zoomed, expected["resize_area_out_13x22"][:, :12, :20], atol=1e-3)
