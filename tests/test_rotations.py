"""Rotations and rigid transforms: against SciPy and the published code; gradients at zero."""
import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.transform import Rotation

from helpers import needs_shared, parity
from tfdepth.geometry import rotations, transforms

RANDOM = np.random.default_rng(5)
ANGLES = RANDOM.uniform(-2, 2, [2, 4, 3])                        # any leading axes
AXIS_ANGLES = np.stack([[0.3, -1.2, 0.7], [0, 0, 0], [1e-5, -2e-5, 1e-5], [5e-4, 6e-4, 6e-4],
                        [6e-4, 6e-4, 6e-4], [0, np.pi, 0], [4.0, -5.0, 3.0]])
QUATERNIONS = RANDOM.normal(size=[3, 4])


@pytest.mark.parametrize("ours, values, judge", [
    (rotations.from_euler_xyz, ANGLES,
     lambda v: [Rotation.from_euler("XYZ", part).as_matrix() for part in v]),
    (rotations.from_axis_angle, AXIS_ANGLES, lambda v: Rotation.from_rotvec(v).as_matrix()),
    (rotations.from_quaternion, QUATERNIONS,
     lambda v: Rotation.from_quat(v[:, [1, 2, 3, 0]]).as_matrix())])
def test_equals_scipy_and_gradients_are_right(ours, values, judge):
    np.testing.assert_allclose(ours(tf.constant(values)), judge(values), atol=1e-12)
    np.testing.assert_allclose(ours(tf.constant(values, tf.float32)), judge(values), atol=2e-6)
    flat = values.reshape(-1, values.shape[-1])
    traced = tf.function(ours, input_signature=[tf.TensorSpec([None, values.shape[-1]])])
    np.testing.assert_allclose(traced(flat).numpy().ravel(), np.ravel(judge(values)), atol=2e-6)
    exact, numeric = tf.test.compute_gradient(
        tf.function(ours), [tf.constant(flat[:3])], delta=1e-5)
    np.testing.assert_allclose(exact[0], numeric[0], atol=1e-9)


def test_euler_applies_z_first():
    quarter_turns = rotations.from_euler_xyz(tf.constant([np.pi / 2, 0.0, np.pi / 2]))
    np.testing.assert_allclose(tf.linalg.matvec(quarter_turns, [1.0, 0.0, 0.0]), [0, 0, 1],
                               atol=1e-6)  # z turns x to y, then x turns y to z


@pytest.mark.parametrize("ours", [rotations.from_euler_xyz, rotations.from_axis_angle])
def test_gradient_at_zero_rotation_is_finite_and_right(ours):
    zero = tf.Variable(tf.zeros([3]))
    with tf.GradientTape() as tape:
        rotation = ours(zero)
    generators = tf.transpose(tape.jacobian(rotation, zero), [2, 0, 1])
    # d R / d angle k at zero is [e_k]x, so e_k x p for every p.
    for axis, generator in zip(np.eye(3), generators.numpy()):
        np.testing.assert_array_equal(generator @ [0.2, -0.7, 1.1],
                                      np.cross(axis, np.float64([0.2, -0.7, 1.1])))


def test_quaternion_length_and_sign_do_not_matter():
    quaternion = tf.constant(QUATERNIONS)
    rotation = rotations.from_quaternion(quaternion)
    np.testing.assert_allclose(rotations.from_quaternion(-7.0 * quaternion), rotation, atol=1e-14)


def test_transforms_compose_invert_and_move_points():
    rotation = Rotation.from_rotvec(AXIS_ANGLES[[0, 6]]).as_matrix()
    translation = np.array([[1.0, -2.0, 3.0], [0.0, 0.5, 0.0]])
    b_from_a = transforms.from_rotation_translation(tf.constant(rotation), tf.constant(translation))
    points = RANDOM.normal(size=[2, 5, 3])
    expected = [[rotation[i] @ point + translation[i] for point in points[i]] for i in range(2)]
    moved = transforms.transform_points(b_from_a, tf.constant(points))
    np.testing.assert_allclose(moved, expected, atol=1e-12)
    np.testing.assert_allclose(
        transforms.transform_points(transforms.inverse(b_from_a), moved), points, atol=1e-12)
    np.testing.assert_allclose(transforms.inverse(b_from_a) @ b_from_a,
                               np.broadcast_to(np.eye(4), [2, 4, 4]), atol=1e-12)


@needs_shared
def test_published_pose_vectors():
    expected = parity("sfmlearner", "geometry.npz")
    ours = transforms.from_translation_euler(tf.constant(expected["pose_vec"]))
    np.testing.assert_allclose(ours, expected["pose_vec2mat"], atol=1e-6)


@pytest.mark.parametrize("call, message", [
    (lambda: rotations.from_euler_xyz(tf.zeros([2, 4])), r"`angles` must have shape \[..., 3\]"),
    (lambda: rotations.from_axis_angle(tf.zeros([])), r"`axis_angle` must have shape \[..., 3\]"),
    (lambda: rotations.from_quaternion(tf.zeros([3])), r"`quaternion_wxyz` .*; got \[3\]"),
    (lambda: transforms.inverse(tf.eye(3)), r"`b_from_a` .*\[..., 4, 4\]; got \[3, 3\]"),
    (lambda: transforms.transform_points(tf.eye(4), tf.zeros([3])), r"`points_a` .*\[..., N, 3\]"),
    (lambda: transforms.from_translation_euler(tf.zeros([2, 3])), r"`vector` .*; got \[2, 3\]"),
    (lambda: transforms.from_rotation_translation(tf.eye(4), tf.zeros([3])), "`rotation` must"),
    (lambda: transforms.from_rotation_translation(tf.eye(3), tf.zeros([4])), "`translation` must"),
])
def test_wrong_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
