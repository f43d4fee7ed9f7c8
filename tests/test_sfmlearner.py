"""SfMLearner against numbers computed by its published implementation (../shared/parity)."""
import numpy as np
import pytest
import tensorflow as tf

from helpers import needs_shared, parity, reference_weights
from tfdepth.structures import Batch
from tfdepth.systems import build_system
from tfdepth.systems.sfmlearner import SfMLearnerConfig, SfMLearnerWeights
from tfdepth.weights.matching import assign_weights
from tfdepth.weights.sfmlearner import published_variables

pytestmark = needs_shared


OFFSETS = {2: (-1, 1), 4: (-2, -1, 1, 2)}


def build(num_sources, explainability=0.2, smoothness=0.5):
    """A system with the reference weights."""
    weights = SfMLearnerWeights(smoothness=smoothness, explainability=explainability)
    system = build_system(SfMLearnerConfig(loss_weights=weights), OFFSETS[num_sources])
    system.create_variables((64, 96))
    reset(system)
    return system


def reset(system):
    spec = f"sfmlearner/spec_pose_exp_net_{system.num_sources + 1}frame.json"
    arrays = {**reference_weights("sfmlearner/spec_disp_net.json"), **reference_weights(spec)}
    variables = published_variables(system)
    assign_weights(variables, {name: arrays[name] for name in variables}, "reference weights")


@pytest.fixture(scope="module")
def systems():
    """One system with masks a number of sources."""
    return {2: build(2), 4: build(4)}


def to_batch(target_uint8, sources_uint8, intrinsics=None):
    target = target_uint8 / np.float32(255)
    sources = np.stack(np.split(sources_uint8, sources_uint8.shape[-1] // 3, axis=-1), axis=1)
    sources = sources / np.float32(255)
    if intrinsics is None:
        intrinsics = np.broadcast_to(np.eye(3, dtype=np.float32), [len(target), 3, 3])
    return Batch(*map(tf.constant, (target, sources, target, sources, intrinsics)))


@pytest.mark.parametrize("num_sources, masks, expected", [
    (2, False, 1_590_668), (2, True, 2_639_180), (4, False, 1_598_456), (4, True, 2_660_232)])
def test_parameter_counts(num_sources, masks, expected):
    weights = SfMLearnerWeights(explainability=0.2 if masks else 0.0)
    system = build_system(SfMLearnerConfig(loss_weights=weights), OFFSETS[num_sources])
    system.create_variables((32, 32))
    assert system.pose_net.count_params() == expected
    assert system.depth_net.count_params() == 31_596_900


@pytest.mark.parametrize("prefix, num_sources", [("a3", 2), ("b3", 2), ("c5", 4), ("d5", 4)])
def test_forward(systems, prefix, num_sources):
    expected = parity("sfmlearner", "forward.npz")
    batch = to_batch(expected[f"{prefix}_tgt_uint8"], expected[f"{prefix}_src_uint8"])
    system = systems[num_sources]
    prediction = system.forward(batch, training=False)
    for level in range(4):
        np.testing.assert_allclose(prediction.scene.disparities[level],
                                   expected[f"{prefix}_disp{level + 1}"], atol=1e-4)
        logits = prediction.mask_logits[level].numpy()
        np.testing.assert_allclose(logits.reshape(*logits.shape[:3], -1),
                                   expected[f"{prefix}_exp_logits{level + 1}"], atol=1e-5)
    np.testing.assert_allclose(prediction.scene.depth, expected[f"{prefix}_depth1"], rtol=1e-4)
    poses, _ = system.pose_net(2 * batch.target - 1, 2 * batch.sources - 1)
    np.testing.assert_allclose(poses, expected[f"{prefix}_pose"], rtol=1e-3, atol=1e-6)


CASES = {"a": (0.2, 0.5, "in3"), "b": (0.0, 0.5, "in3"), "c": (0.2, 0.5, "in5"),
         "e": (0.0, 0.0, "in5")}


def case_inputs(expected, case):
    explainability, smoothness, name = CASES[case]
    batch = to_batch(expected[f"{name}_tgt_uint8"], expected[f"{name}_src_uint8"],
                     expected[f"{name}_intrinsics"])
    return build(batch.sources.shape[1], explainability, smoothness), batch


@pytest.mark.parametrize("case", CASES)
def test_losses_gradients_and_adam(case):
    expected = parity("sfmlearner", "loss.npz")
    system, batch = case_inputs(expected, case)
    variables = published_variables(system)
    optimizer = tf.keras.optimizers.Adam(2e-4, epsilon=1e-8)
    optimizer.build(list(variables.values()))

    @tf.function
    def losses_and_gradients():
        with tf.GradientTape() as tape:
            terms = system.loss_terms(batch, system.forward(batch, training=True))
            total = system.total_loss(terms)
        return terms, total, tape.gradient(total, list(variables.values()))

    terms, total, gradients = losses_and_gradients()
    weights = system.loss_weights
    for ours, theirs in (("photometric", "pixel"), ("smoothness", "smooth"),
                         ("explainability", "exp")):
        np.testing.assert_allclose(weights[ours] * terms[ours], expected[f"{case}_{theirs}_loss"],
                                   rtol=1e-5)
    np.testing.assert_allclose(total, expected[f"{case}_total_loss"], rtol=1e-5)

    gradients = dict(zip(variables, gradients))
    assert set(expected[f"{case}_grad_names"]) == set(gradients)
    for name, norm in zip(expected[f"{case}_grad_names"], expected[f"{case}_grad_norms"]):
        np.testing.assert_allclose(np.linalg.norm(gradients[name]), norm, rtol=5e-3, err_msg=name)
    full = [key for key in expected if key.startswith(f"{case}_grad:")]
    assert full
    for key in full:
        reference = expected[key]
        difference = np.linalg.norm(gradients[key.split(":")[1]] - reference)
        assert difference < 1e-2 * np.linalg.norm(reference), key

    initial = {name: variable.numpy() for name, variable in variables.items()}
    trajectory = [float(total)]
    for _ in range(10):
        _, _, gradients = losses_and_gradients()
        optimizer.apply_gradients(zip(gradients, variables.values()))
        trajectory.append(float(losses_and_gradients()[1]))
    tolerance = np.array([1e-5, 1e-4, 2e-3, 2e-3] + [1e-2] * 7)
    reference = expected[f"{case}_adam_losses"][:, 0]
    assert (np.abs(trajectory / reference - 1) <= tolerance).all(), (trajectory, reference)
    norms = dict(zip(expected[f"{case}_var_names"], expected[f"{case}_adam_update_norms"]))
    for name, variable in variables.items():
        np.testing.assert_allclose(np.linalg.norm(variable - initial[name]), norms[name], rtol=0.1,
                                   err_msg=name)


def test_warped_pyramid_and_masks():
    expected = parity("sfmlearner", "loss.npz")
    system, batch = case_inputs(expected, "a")
    prediction = system.forward(batch, training=True)
    for level in (2, 3):
        target, sources, views = system._views(batch, prediction, level)
        merge = lambda images: np.concatenate(np.moveaxis(np.asarray(images), 1, 0), axis=-1)
        np.testing.assert_allclose(target, expected[f"a_tgt_scale{level}"], atol=1e-5)
        np.testing.assert_allclose(merge(sources), expected[f"a_src_scale{level}"], atol=1e-5)
        np.testing.assert_allclose(merge(views.images), expected[f"a_warp_scale{level}"], atol=1e-3)
        logits = prediction.mask_logits[level]
        np.testing.assert_allclose(tf.nn.softmax(logits)[..., 1],
                                   expected[f"a_exp_mask_scale{level}"], atol=1e-5)
