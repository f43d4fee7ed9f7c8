"""IDCE, HAM and CAM, and the joint framework that they make with Monodepth2."""
import numpy as np
import pytest
import tensorflow as tf

from helpers import random_batch, random_images
from tfdepth.checks import UserError
from tfdepth.console import load_config_file
from tfdepth.networks.idce_ham import CAM, DELTA, HAM, IDCE, gaussian_similarity
from tfdepth.runs.config import first_stage_of
from tfdepth.systems import build_system
from tfdepth.systems.idce_ham import IdceHamConfig
from tfdepth.systems.monodepth2 import Monodepth2Config

SIZE = (64, 96)


def build(config, offsets=(-1, 1)):
    tf.keras.utils.set_random_seed(7)
    system = build_system(config, offsets)
    system.create_variables(SIZE)
    return system


@pytest.fixture(scope="module")
def joint():
    return build(IdceHamConfig())


@pytest.mark.parametrize("channels, expected", [(12, 3961), (6, 1009), (256, 1_771_009)])
def test_ham_parameters(channels, expected):
    layer = HAM()
    layer.build([1, 2, 3, channels])
    layer(tf.zeros([1, 2, 3, channels]))
    assert sum(np.prod(weight.shape) for weight in layer.trainable_weights) == expected


def test_idce_parameters_and_identity():
    layer = IDCE()
    features = tf.nn.relu(tf.random.stateless_normal([2, 2, 3, 512], [1, 2]))
    np.testing.assert_array_equal(layer(features), features)
    assert sum(np.prod(weight.shape) for weight in layer.trainable_weights) == 1_120_256
    # Once the last scales are not zero, the blocks add what their convolutions find.
    for block in layer.blocks:
        block.norms[-1].gamma.assign(tf.ones([512]))
    changed = layer(features).numpy()
    assert (changed >= 0).all() and np.abs(changed - features).max() > 0.1


def test_similarity():
    key, query = np.random.default_rng(0).normal(size=(2, 2, 3, 4, 5)).astype(np.float32)
    found = gaussian_similarity(key, query).numpy()
    np.testing.assert_allclose(found, np.exp(-(key - query)**2 / (2 * DELTA**2)), rtol=1e-5)
    assert (found > 0).all() and (found <= 1).all()
    np.testing.assert_array_equal(gaussian_similarity(key, key), np.ones_like(key))


def test_ham_adds_what_is_similar():
    """beta (s * V) by hand, with the layer's own K, Q and V."""
    layer = HAM()
    features = tf.random.stateless_normal([2, 3, 4, 6], [3, 4])
    np.testing.assert_array_equal(layer(features), features)
    layer.beta.assign(0.7)
    key, query, value = (np.maximum(norm(convolution(features)), 0.0)
                         for convolution, norm in (layer.key, layer.query, layer.value))
    expected = features + 0.7 * np.exp(-2.0 * (key - query)**2) * value
    np.testing.assert_allclose(layer(features), expected, rtol=1e-5, atol=1e-6)


def test_ham_begins_as_identity_and_beta_learns():
    layer = HAM()
    features = tf.random.stateless_normal([2, 3, 4, 6], [3, 4])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(features, training=True)**3)
    others = [weight for weight in layer.trainable_weights if weight is not layer.beta]
    beta, *gradients = tape.gradient(loss, [layer.beta, *others])
    assert abs(float(beta)) > 1e-3
    assert len(gradients) == 9 and not any(np.any(value) for value in gradients)


def test_cam_against_numpy():
    layer = CAM()
    features = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(layer(features), features)
    layer.gamma.assign(0.7)
    expected = np.empty_like(features)
    for b, image in enumerate(features):
        channels = image.reshape(12, 5).T                                  # [C, H W]
        energy = channels @ channels.T
        weights = np.exp(energy.max(1, keepdims=True) - energy
                         - (energy.max(1, keepdims=True) - energy).max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        expected[b] = image + 0.7 * (weights @ channels).T.reshape(3, 4, 5)
    np.testing.assert_allclose(layer(features), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", ["resnet", "pose_cnn"])
@pytest.mark.parametrize("place", ["pose_map", "features"])
@pytest.mark.parametrize("attention", ["ham", "cam"])
def test_attention_leaves_the_first_pose_unchanged_and_changes_it_later(network, place, attention):
    config = IdceHamConfig(idce=False, pose_network=network, pose_attention=attention,
                           attention_at=place)
    system = build(config)
    frames, sources = random_images(2), random_images(2, 2, seed=1)
    first = system.predict_motion(frames, sources).numpy()
    strength = system.pose_attention.beta if attention == "ham" else system.pose_attention.gamma
    strength.assign(0.5)
    changed = system.predict_motion(frames, sources).numpy()
    assert np.abs(changed - first).max() > 1e-6
    system.pose_attention = None
    np.testing.assert_array_equal(system.predict_motion(frames, sources), first)


def test_baseline_variant_is_monodepth2():
    plain = build(IdceHamConfig(idce=False, pose_attention="none"))
    published = build(Monodepth2Config())
    for ours, theirs in zip(plain.variables, published.variables):
        ours.assign(theirs)
    terms = [system.loss_terms(random_batch(), system.forward(random_batch(), training=False))
             for system in (plain, published)]
    assert {name: float(value) for name, value in terms[0].items()} == {
        name: float(value) for name, value in terms[1].items()}


def test_idce_adds_features_of_the_pair_before(joint):
    """At the start the decoder sees the sum of both encoders' deepest features."""
    frames = random_batch()
    encoded = joint.depth_encoder(frames.target_input)
    pair = tf.concat([frames.source_inputs[:, 0], frames.target_input], axis=-1)
    deepest = encoded[-1] + joint.pose_encoder(pair)[-1]
    expected = joint.depth_decoder((*encoded[:-1], deepest))[0]
    prediction = joint.forward(frames, training=False)
    np.testing.assert_allclose(prediction.scene.disparities[0], expected, atol=1e-6)
    alone = joint.predict_depth(frames.target_input, frames.source_inputs[:, 0])
    np.testing.assert_allclose(alone.disparities[0], expected, atol=1e-6)
    still = joint.predict_depth(frames.target_input, frames.target_input)
    assert np.abs(still.disparities[0] - expected).max() > 1e-5


def test_depth_sends_gradients_into_the_pose_encoder(joint):
    frames = random_batch()
    with tf.GradientTape() as tape:
        prediction = joint.forward(frames, training=True)
        total = tf.reduce_sum(prediction.scene.disparities[0])
    gradients = tape.gradient(total, joint.pose_encoder.trainable_variables)
    assert all(gradient is not None and np.any(gradient) for gradient in gradients)


def test_what_cannot_be_built_is_refused():
    for config, offsets, words in (
            (IdceHamConfig(pose_network="pose_cnn"), (-1, 1), "idce needs .* pose encoder"),
            (IdceHamConfig(), (1,), "IDCE needs the frame before the target, -1"),
            (IdceHamConfig(idce=False), (), "pairs of frames"),
            (IdceHamConfig(pose_attention="hams"), (-1, 1), "pose_attention .*'ham'"),
            (IdceHamConfig(attention_at="pose"), (-1, 1), "attention_at .*pose_map, features"),
            (IdceHamConfig(encoder="resnet34"), (-1, 1), "encoder .*resnet18, resnet50"),
            (Monodepth2Config(num_levels=5), (-1, 1), "num_levels must be 1 to 4"),
            (Monodepth2Config(min_depth=200.0), (-1, 1), "min_depth must be above 0 and below")):
        with pytest.raises(UserError, match=words):
            build_system(config, offsets, stereo=not offsets)


def test_every_row_of_the_tables_is_a_variant():
    """Tables V, VI and VII: what the name says is what is trained."""
    names = ([f"v_{method}_{data}" for method in ("baseline", "idce", "ham", "joint")
              for data in ("k_m", "k_ms", "cs_m")]
             + [f"vi_{network}_{attention}" for network in ("respose", "pose_cnn")
                for attention in ("none", "cam", "ham")]
             + [f"vii_{training}_{size}" for training in ("m", "ms")
                for size in ("416x128", "640x192", "1024x320")])
    for name in names:
        config = load_config_file(f"configs/idce_ham.py:{name}")
        system, data, train = config.system, config.data, config.train
        assert system.idce == ("joint" in name or "_idce" in name or name.startswith("vii"))
        expected = "cam" if name.endswith("_cam") else "none" if (
            "baseline" in name or "_idce" in name or name.endswith("_none")) else "ham"
        assert system.pose_attention == expected
        assert system.pose_network == ("pose_cnn" if "pose_cnn" in name else "resnet")
        assert data.stereo == ("_ms" in name or "respose" in name)
        assert data.dataset == ("cityscapes" if "_cs_" in name else "kitti_raw")
        assert data.frame_gap == (2 if "_cs_" in name else 1)
        assert (train.batch_size, train.epochs) == (8, 20.0)
        assert config.optimizer.weight_decay == 1e-4 and config.optimizer.decay_epochs == (15.0,)
        width = int(name.split("_")[-1].split("x")[0]) if name.startswith("vii") else 640
        assert data.size[1] == width
        if system.idce:
            assert not first_stage_of(config).system.idce
            assert first_stage_of(config).system.pose_attention == expected
        else:
            assert not train.first_stage
