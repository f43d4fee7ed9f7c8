"""View synthesis: identity, an independent warp, the published warp, a real RGB-D recording."""
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.spatial.transform import Rotation

from helpers import DATA, needs_shared, parity
from tfdepth.checks import UserError
from tfdepth.geometry import transforms
from tfdepth.geometry.synthesis import source_pixels, synthesize_target

pytestmark = pytest.mark.usefixtures("either_way")
BATCH, SOURCES, HEIGHT, WIDTH = 3, 2, 9, 13


@tf.function(input_signature=[
    tf.TensorSpec([None, None, None, None, 3]), tf.TensorSpec([None, None, None, 1]),
    tf.TensorSpec([None, 3, 3]), tf.TensorSpec([None, None, 4, 4])])
def traced(sources, depth, intrinsics, source_from_target):
    """All sizes unknown while traced."""
    return synthesize_target(sources, depth, intrinsics, source_from_target)


@pytest.fixture(scope="module")
def scene():
    """sources, depth, intrinsics, source_from_target in float64: nothing symmetric or aligned."""
    random = np.random.default_rng(21)
    cameras = [[[11.0, 0.8, 5.1], [0, 8.5, 4.7], [0, 0, 1]],
               [[9.0, -0.5, 7.2], [0, 12.5, 3.4], [0, 0, 1]],
               [[7.0, 0.3, 6.2], [0, 9.5, 4.1], [0, 0, 1]]]
    moves = np.tile(np.eye(4), [BATCH, SOURCES, 1, 1])
    turns = Rotation.from_rotvec(random.uniform(-0.3, 0.3, [BATCH * SOURCES, 3])).as_matrix()
    moves[..., :3, :3] = turns.reshape(BATCH, SOURCES, 3, 3)
    moves[..., :3, 3] = random.uniform(-0.4, 0.4, [BATCH, SOURCES, 3])
    moves[1, 1, 2, 3] = -2.0     # a part of the scene comes to lie behind the camera
    return (random.uniform(-1, 1, [BATCH, SOURCES, HEIGHT, WIDTH, 3]),
            random.uniform(1, 4, [BATCH, HEIGHT, WIDTH, 1]), np.array(cameras), moves)


def to_float32(arrays):
    return [tf.constant(array, tf.float32) for array in arrays]


def warp_slowly(sources, depth, intrinsics, source_from_target, border):
    """Eq. 2 of Zhou et al., one pixel at a time, in NumPy."""
    images, valid = np.zeros_like(sources), np.zeros([*sources.shape[:4], 1], bool)
    for b, s, row, column in np.ndindex(*sources.shape[:4]):
        point = np.linalg.inv(intrinsics[b]) @ [column, row, 1] * depth[b, row, column]
        x, y, z = intrinsics[b] @ (source_from_target[b, s] @ [*point, 1])[:3]
        if z <= 0:
            continue
        u, v = x / z, y / z
        valid[b, s, row, column] = 0 <= u <= WIDTH - 1 and 0 <= v <= HEIGHT - 1
        if valid[b, s, row, column] or border == "border":
            u, v = np.clip(u, 0, WIDTH - 1), np.clip(v, 0, HEIGHT - 1)
            weights = (np.clip(1 - abs(v - np.arange(HEIGHT)), 0, 1)[:, np.newaxis]
                       * np.clip(1 - abs(u - np.arange(WIDTH)), 0, 1))
            images[b, s, row, column] = np.tensordot(weights, sources[b, s], 2)
    return images, valid


@pytest.mark.parametrize("border", ["zeros", "border"])
def test_equals_an_independent_warp(scene, border):
    images, valid = warp_slowly(*scene, border)
    views = synthesize_target(*map(tf.constant, scene), border)
    *_, in_front = source_pixels(*map(tf.constant, scene[1:]))
    in_front = in_front.numpy()
    assert in_front.shape == (BATCH, SOURCES, HEIGHT, WIDTH)
    assert 0.3 < valid.mean() < 0.9 and not in_front.all()
    np.testing.assert_array_equal(views.valid, valid)
    np.testing.assert_allclose(views.images[in_front], images[in_front], atol=1e-12)


def test_several_sources_any_batch_size_eager_and_traced(scene):
    scene = to_float32(scene)
    together = synthesize_target(*scene)
    assert together.images.shape == scene[0].shape
    for views in (traced(*scene), traced.python_function(*scene)):
        np.testing.assert_array_equal(views.valid, together.valid)
        np.testing.assert_allclose(views.images, together.images, atol=1e-5)
    sources, depth, intrinsics, source_from_target = scene
    for b in range(BATCH):
        for s in range(SOURCES):
            alone = traced(sources[b:b + 1, s:s + 1], depth[b:b + 1], intrinsics[b:b + 1],
                           source_from_target[b:b + 1, s:s + 1])
            np.testing.assert_array_equal(alone.valid[0, 0], together.valid[b, s])
            np.testing.assert_allclose(alone.images[0, 0], together.images[b, s], atol=1e-5)


@pytest.mark.parametrize("size, batch", [((48, 80), 3), ((37, 124), 1), ((128, 416), 2)])
def test_identity_returns_every_pixel(size, batch):
    height, width = size
    random = np.random.default_rng(width)
    intrinsics = np.tile(np.eye(3), [batch, 1, 1])
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = random.uniform(0.5, 1.9, [2, batch]) * width
    intrinsics[:, 0, 1] = random.uniform(-2, 2, batch)
    intrinsics[:, :2, 2] = random.uniform(0.3, 0.7, [batch, 2]) * [width, height]
    sources = random.uniform(-1, 1, [batch, 2, height, width, 3])
    depth = random.uniform(0.1, 100, [batch, height, width, 1])
    identity = np.tile(np.eye(4), [batch, 2, 1, 1])
    views = traced(*to_float32([sources, depth, intrinsics, identity]))
    assert np.all(views.valid)
    np.testing.assert_allclose(views.images, sources, atol=5e-4)


def test_gradients_against_finite_differences(scene):
    sources, depth, intrinsics, _ = (tf.constant(array[:1]) for array in scene)
    poses = tf.constant(np.random.default_rng(3).uniform(-0.1, 0.1, [1, SOURCES, 6]))
    weights = np.random.default_rng(4).uniform(-1, 1, sources.shape)

    def loss(depth, intrinsics, poses, border):
        views = synthesize_target(sources, depth, intrinsics,
                                  transforms.from_translation_euler(poses), border)
        return tf.reduce_sum(weights * views.images, axis=[-1, -2, -3])

    for border in ("zeros", "border"):
        exact, numeric = tf.test.compute_gradient(
            tf.function(lambda *inputs: loss(*inputs, border)), [depth, intrinsics, poses],
            delta=1e-7)
        parameters = [0, 1, 2, 4, 5]  # the entries of intrinsics that are not constants
        for ours, theirs, part in zip(exact, numeric, (np.s_[:], parameters, np.s_[:])):
            assert np.abs(ours[:, part]).max() > 1e-3
            np.testing.assert_allclose(ours[:, part], theirs[:, part], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pose", [
    [0, 0, 0, 0, 0, 0], [0, 0, 0, 0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0, 0, 0],
    [0, 0, -2.0, 0, 0, 0], [0, 0, -1e4, 0, 0, 0], [1e9, -1e9, 0, 0, 0, 0], [0, 0, 0, 0, 3.14, 0]],
    ids=["zero", "zero translation", "zero rotation", "at and behind the camera", "behind",
         "far outside", "turned round"])
def test_gradients_are_finite(scene, pose):
    sources, depth, intrinsics, _ = (tf.Variable(array) for array in to_float32(scene))
    depth[:, 4, 6].assign(tf.fill([BATCH, 1], 2.0))
    vector = tf.Variable(tf.tile(tf.constant([[pose]], tf.float32), [BATCH, SOURCES, 1]))
    for border in ("zeros", "border"):
        with tf.GradientTape() as tape:
            views = synthesize_target(sources, depth, intrinsics,
                                      transforms.from_translation_euler(vector), border)
            total = tf.reduce_sum(views.images**2)
        assert np.isfinite(views.images).all()
        for gradient in tape.gradient(total, [sources, depth, intrinsics, vector]):
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize("nowhere", [np.inf, np.nan, 3e38, 0.0, -1.0])
def test_a_pixel_without_a_place_spoils_no_gradient(scene, nowhere):
    sources, depth, intrinsics, moves = to_float32(scene)
    pixel = np.zeros(depth.shape, bool)
    pixel[0, 4, 6] = True
    depth = tf.where(pixel, nowhere, depth)
    with tf.GradientTape() as tape:
        tape.watch([depth, intrinsics, moves])
        views = synthesize_target(sources, depth, intrinsics, moves)
        total = tf.reduce_sum(tf.where(views.valid, views.images, 0.0))
    assert not np.any(views.valid[:, 0][pixel])
    by_depth, *others = tape.gradient(total, [depth, intrinsics, moves])
    assert by_depth[pixel] == 0 and np.abs(by_depth).max() > 0
    for gradient in (by_depth, *others):
        assert np.all(np.isfinite(gradient))


def test_camera_arithmetic_avoids_reduced_precision():
    # GPUs compute matrix products in TensorFloat-32, too coarse for pixel coordinates.
    kinds = {operation.type for operation in traced.get_concrete_function().graph.get_operations()}
    assert not [kind for kind in kinds if "MatMul" in kind or "Einsum" in kind]


@needs_shared
def test_published_warp_and_gradients():
    expected = parity("sfmlearner", "geometry.npz")
    sources = tf.constant(expected["img_uint8"] / np.float32(255) * 2 - 1)[:, np.newaxis]
    depth = tf.Variable(expected["depth"][..., np.newaxis])
    intrinsics = tf.Variable(expected["intrinsics"])

    def warp(pose):
        views = synthesize_target(sources, depth, intrinsics,
                                  transforms.from_translation_euler(pose[:, np.newaxis]))
        return views.images[:, 0], views.valid[:, 0, ..., 0].numpy()

    pose = tf.Variable(expected["pose"])
    with tf.GradientTape() as tape:
        image, _ = warp(pose)
        total = tf.reduce_sum(expected["warp_weight"] * image)
    stable = expected["warp_stable"]
    np.testing.assert_allclose(image[stable], expected["warp"][stable], atol=1e-4)
    by_depth, by_pose, by_intrinsics = tape.gradient(total, [depth, pose, intrinsics])
    stable = expected["warp_grad_stable"]
    np.testing.assert_allclose(by_depth[..., 0][stable], expected["warp_grad_depth"][stable],
                               atol=5e-3)
    for ours, key, part in ((by_pose, "warp_grad_pose", np.s_[:]),
                            (by_intrinsics, "warp_grad_intrinsics", np.s_[:, [0, 1, 0, 1],
                                                                           [0, 1, 2, 2]])):
        published = expected[key][part]  # of intrinsics: fx, fy, cx, cy
        np.testing.assert_allclose(ours.numpy()[part], published,
                                   atol=1e-3 * np.abs(published).max())

    # The published code shows points behind the camera; here they are not valid.
    image, valid = warp(tf.constant(expected["pose_far"]))
    behind = expected["warp_behind"]
    assert behind.any() and not valid[behind].any() and not image.numpy()[behind].any()
    compare = expected["warp_far_stable"] & ~behind
    np.testing.assert_allclose(image[compare], expected["warp_far"][compare], atol=1e-4)

    # It loses the last row and column of an identity warp, and rounding the first.
    image, _ = warp(tf.zeros([2, 6]))
    np.testing.assert_allclose(image[:, 1:-1, 1:-1], expected["warp_identity"][:, 1:-1, 1:-1],
                               atol=1e-4)
    np.testing.assert_allclose(image, sources[:, 0], atol=1e-4)


def read_room(index):
    """Colour [H, W, 3] in [0, 1], depth [H, W, 1] in metres, world_from_camera of a frame."""
    folder = DATA / "rgbd_room"
    color = np.asarray(Image.open(folder / "color" / f"{index + 1}.png").convert("RGB")) / 255
    depth = np.asarray(Image.open(folder / "depth" / f"{index + 1}.pgm"))[..., np.newaxis] / 1000
    pose = np.loadtxt(folder / "poses.txt")[index]
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = Rotation.from_quat(pose[3:]).as_matrix()
    world_from_camera[:3, 3] = pose[:3]
    return color, depth, world_from_camera


@needs_shared
@pytest.mark.parametrize("target, source, warped, unwarped", [
    (3, 2, 0.042, 0.100), (4, 3, 0.027, 0.079), (2, 1, 0.056, 0.162)])
def test_rgbd_recording(target, source, warped, unwarped):
    target_color, depth, world_from_target = read_room(target)
    source_color, _, world_from_source = read_room(source)
    source_from_target = np.linalg.inv(world_from_source) @ world_from_target
    intrinsics = [[518.0, 0, 325.5], [0, 519.0, 253.5], [0, 0, 1]]
    views = traced(*to_float32([source_color[np.newaxis, np.newaxis], depth[np.newaxis],
                                [intrinsics], source_from_target[np.newaxis, np.newaxis]]))
    seen = views.valid.numpy()[0, 0, ..., 0] & (depth[..., 0] > 0)
    difference = lambda image: np.abs(image - target_color)[seen].mean()
    assert abs(difference(views.images[0, 0].numpy()) - warped) < 0.002
    assert abs(difference(source_color) - unwarped) < 0.002


def test_wrong_arguments_are_named(scene):
    sources, depth, intrinsics, source_from_target = to_float32(scene)
    for arguments, message in (
            ((sources[:, 0], depth, intrinsics, source_from_target), r"`sources` .*\[B, S, H,"),
            ((sources, depth[:, :-1], intrinsics, source_from_target),
             r"`depth` must have shape \[B, 9, 13, 1\]; got \[3, 8, 13, 1\]"),
            ((sources, tf.reshape(depth, [3, WIDTH, HEIGHT, 1]), intrinsics, source_from_target),
             r"`depth` .*; got \[3, 13, 9, 1\]"),
            ((sources, depth, intrinsics[0], source_from_target), r"`intrinsics` .*\[B, 3, 3\]"),
            ((sources, depth, intrinsics, source_from_target[0]), "`source_from_target` .*4, 4")):
        with pytest.raises(ValueError, match=message):
            synthesize_target(*arguments)
    with pytest.raises(UserError, match="border must be one of zeros, border; got 'reflect'"):
        synthesize_target(sources, depth, intrinsics, source_from_target, "reflect")
