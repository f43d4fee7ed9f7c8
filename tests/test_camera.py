"""The pinhole camera: projection, and intrinsics that follow what happens to the image."""
import numpy as np
import pytest
import tensorflow as tf

from helpers import needs_shared, parity
from tfdepth.geometry import camera, transforms
from tfdepth.geometry.sampling import bilinear_sample

HEIGHT, WIDTH = 20, 32
INTRINSICS = np.array([[30.0, 1.5, 14.2], [0.0, 24.0, 11.3], [0.0, 0.0, 1.0]])
POINTS = np.random.default_rng(2).uniform([-0.3, -0.3, 1.0], [0.3, 0.3, 3.0], [1, 9, 3])


def position_image():
    """[1, HEIGHT, WIDTH, 2]: every pixel holds its own (u, v)."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([u, v], -1)[np.newaxis].astype(np.float64)


def seen(image, intrinsics, points):
    """What a camera shows at the places where the points appear."""
    pixels, in_front = camera.project(tf.constant(points), tf.constant(intrinsics)[tf.newaxis])
    samples, valid = bilinear_sample(tf.constant(image), pixels)
    assert np.all(valid) and np.all(in_front)
    return samples.numpy()


def test_position_image_shows_projection():
    by_hand = [(INTRINSICS @ point / point[2])[:2] for point in POINTS[0]]
    np.testing.assert_allclose(seen(position_image(), INTRINSICS, POINTS)[0], by_hand)


@pytest.mark.parametrize("scale_yx", [(0.5, 0.5), (0.5, 1.5), (2.0, 1.0)])
def test_resized_image_and_camera_show_the_same(scale_yx):
    size = [int(HEIGHT * scale_yx[0]), int(WIDTH * scale_yx[1])]
    resized = tf.image.resize(tf.constant(position_image()), size).numpy().astype(np.float64)
    intrinsics = camera.resize_intrinsics(tf.constant(INTRINSICS), scale_yx).numpy()
    np.testing.assert_allclose(seen(resized, intrinsics, POINTS),
                               seen(position_image(), INTRINSICS, POINTS), atol=1e-5)


def test_cropped_image_and_camera_show_the_same():
    intrinsics = camera.crop_intrinsics(tf.constant(INTRINSICS), (3, 5.0)).numpy()
    np.testing.assert_allclose(seen(position_image()[:, 3:, 5:], intrinsics, POINTS),
                               seen(position_image(), INTRINSICS, POINTS), atol=1e-12)


def test_flipped_camera_shows_the_mirrored_world():
    image, intrinsics = camera.flip_left_right(
        tf.constant(position_image()), tf.constant(INTRINSICS))
    np.testing.assert_allclose(seen(image.numpy(), intrinsics.numpy(), POINTS * [-1, 1, 1]),
                               seen(position_image(), INTRINSICS, POINTS), atol=1e-12)
    np.testing.assert_allclose(intrinsics[0], [30.0, -1.5, WIDTH - 1 - 14.2])
    twice = camera.flip_left_right(image, intrinsics)
    np.testing.assert_array_equal(twice[0], position_image())
    np.testing.assert_allclose(twice[1], INTRINSICS, atol=1e-14)


def test_inverse_and_leading_axes():
    stack = tf.constant(np.stack([INTRINSICS, INTRINSICS @ np.diag([2.0, 3.0, 1.0])])[:, None])
    np.testing.assert_allclose(camera.inverse_intrinsics(stack), np.linalg.inv(stack), atol=1e-15)
    for change in (lambda k: camera.resize_intrinsics(k, (0.5, 0.25)),
                   lambda k: camera.crop_intrinsics(k, (2.0, 1.0)),
                   lambda k: camera.flip_left_right(tf.zeros([4, 6, 1]), k)[1]):
        np.testing.assert_array_equal(change(stack)[1, 0], change(stack[1, 0]))


def test_projection_undoes_unprojection_at_unknown_batch_size():
    @tf.function(input_signature=[
        tf.TensorSpec([None, None, None, 1]), tf.TensorSpec([None, 3, 3])])
    def round_trip(depth, intrinsics):
        return camera.project(camera.unproject(depth, intrinsics), intrinsics)

    for batch in (1, 3):
        depth = np.random.default_rng(batch).uniform(0.5, 80, [batch, 6, 9, 1]).astype(np.float32)
        intrinsics = np.float32([INTRINSICS * [[1 + i], [1], [1]] for i in range(batch)])
        for call in (round_trip, round_trip.python_function):
            pixels, in_front = call(tf.constant(depth), tf.constant(intrinsics))
            grid = np.stack(np.meshgrid(range(9), range(6)), -1).reshape(1, -1, 2)
            np.testing.assert_allclose(pixels, np.repeat(grid, batch, 0), atol=1e-5)
            assert np.all(in_front)


def test_points_behind_the_camera_have_no_picture():
    depths = np.float32([[2.0, 1e-3, 9e-4, 0.0, -1e-9, -2.0, np.nan, -np.inf]])
    points = tf.Variable(np.stack([np.full([1, 8], 0.1), np.full([1, 8], 0.2), depths], -1),
                         dtype=tf.float32)
    with tf.GradientTape() as tape:
        pixels, in_front = camera.project(points, tf.constant(INTRINSICS, tf.float32)[tf.newaxis])
    np.testing.assert_array_equal(in_front[0], [True] * 2 + [False] * 6)
    np.testing.assert_array_equal(pixels[0, 2:], np.full([6, 2], -2.0))
    gradient = tape.gradient(pixels, points)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[0, 2:], np.zeros([6, 3]))
    with tf.GradientTape() as tape:
        u, v, _ = camera.divide_by_depth(*tf.unstack(points, axis=-1))
    nothing = np.full([1, 8], np.nan, np.float32)  # whatever comes from above
    np.testing.assert_array_equal(tape.gradient([u, v], points, [nothing, nothing])[0, 2:],
                                  np.zeros([6, 3]))


def test_gradients_against_finite_differences():
    for call, arguments in (
            (lambda *a: camera.project(*a)[0], [POINTS[:, :3], INTRINSICS[np.newaxis]]),
            (camera.unproject, [np.full([1, 2, 3, 1], 1.7), INTRINSICS[np.newaxis]])):
        exact, numeric = tf.test.compute_gradient(call, list(map(tf.constant, arguments)), 1e-5)
        for ours, theirs in zip(exact, numeric):
            upper = np.arange(ours.shape[1]) if ours.shape[1] != 9 else [0, 1, 2, 4, 5]
            np.testing.assert_allclose(ours[:, upper], theirs[:, upper], atol=1e-6)


@needs_shared
def test_published_projection():
    expected = parity("sfmlearner", "geometry.npz")
    intrinsics = tf.constant(expected["intrinsics"])
    points = camera.unproject(tf.constant(expected["depth"][..., np.newaxis]), intrinsics)
    planes = lambda array: array.reshape(*array.shape[:2], -1).transpose(0, 2, 1)
    np.testing.assert_allclose(camera.pixel_grid(48, 80), planes(expected["meshgrid"])[0].T,
                               atol=1e-5)
    for key in ("pixel2cam", "pixel2cam_inhom"):
        np.testing.assert_allclose(points, planes(expected[key])[..., :3], rtol=1e-4, atol=1e-3)
    behind = expected["warp_behind"].reshape(2, -1)
    for suffix, rtol in (("", 1e-4), ("_far", 1e-3)):
        pose = tf.constant(expected[f"pose{suffix}"])
        source_from_target = transforms.from_translation_euler(pose)
        np.testing.assert_allclose(intrinsics @ source_from_target[:, :3],
                                   expected[f"proj{suffix}"][:, :3], rtol=1e-6, atol=1e-5)
        pixels, in_front = camera.project(
            transforms.transform_points(source_from_target, points), intrinsics)
        published = expected[f"cam2pixel{suffix}"].reshape(2, -1, 2)
        compare = in_front.numpy() & (np.abs(published) < 1e4).all(-1)
        np.testing.assert_allclose(pixels[compare], published[compare], rtol=rtol, atol=1e-3)
        if suffix:
            assert behind.any() and not (in_front & behind).numpy().any()
            assert np.mean(in_front.numpy() | behind) > 0.999  # the rest lies within MIN_DEPTH
        else:
            assert np.all(in_front)


@needs_shared
def test_published_intrinsics():
    expected = parity("sfmlearner", "geometry.npz")
    for level in range(4):
        ours = camera.resize_intrinsics(tf.constant(expected["intrinsics"]), (0.5**level,) * 2,
                                        keep_pixel_centres=False)
        np.testing.assert_allclose(ours, expected["multi_scale_intrinsics"][:, level], rtol=1e-6)
    fx, fy, cx, cy = expected["make_intrinsics_in"].T
    pixels, _ = camera.project(tf.constant([[[0.2, 0.3, 2.0]]] * 2),
                               tf.constant(expected["make_intrinsics_out"]))
    np.testing.assert_allclose(pixels[:, 0], np.stack([0.1 * fx + cx, 0.15 * fy + cy], -1),
                               rtol=1e-6)


@pytest.mark.parametrize("call, message", [
    (lambda: camera.unproject(tf.ones([1, 4, 4]), tf.eye(3)[None]), r"`depth` .*\[B, H, W, 1\]"),
    (lambda: camera.unproject(tf.ones([1, 4, 4, 1]), tf.eye(3)), r"`intrinsics` .*; got \[3, 3\]"),
    (lambda: camera.project(tf.ones([1, 4, 2]), tf.eye(3)[None]), r"`points` .*\[B, N, 3\]"),
    (lambda: camera.project(tf.ones([1, 4, 3]), tf.eye(4)[None]), r"`intrinsics` must"),
    (lambda: camera.inverse_intrinsics(tf.eye(4)), r"`intrinsics` .*; got \[4, 4\]"),
    (lambda: camera.resize_intrinsics(tf.eye(4), (1.0, 1.0)), r"`intrinsics` .*; got \[4, 4\]"),
    (lambda: camera.crop_intrinsics(tf.eye(4), (1.0, 1.0)), r"`intrinsics` .*; got \[4, 4\]"),
    (lambda: camera.flip_left_right(tf.ones([4, 4, 1]), tf.eye(4)), r"`intrinsics` .*got \[4, 4\]"),
])
def test_wrong_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
