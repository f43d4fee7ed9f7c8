"""HMA-Depth: masks, decoder, ablations; and what holds for it and BTS as systems."""
import numpy as np
import pytest
import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.console import load_config_file
from tfdepth.networks.hma import HmaDecoder, hierarchical_masks
from tfdepth.structures import Batch
from tfdepth.systems import build_system
from tfdepth.systems.bts import BtsConfig
from tfdepth.systems.hma_depth import HmaDepthConfig

SIZE = (64, 96)
SMALL = dict(encoder="resnet18", decoder_width=64)
VARIANTS = {"bts": BtsConfig(**SMALL), "bts plain": BtsConfig(silog_form="plain", **SMALL),
            "hma": HmaDepthConfig(**SMALL), "3 scales": HmaDepthConfig(num_scales=3, **SMALL),
            "5 scales": HmaDepthConfig(num_scales=5, silog_form="root", **SMALL),
            "no attention": HmaDepthConfig(attention=False, **SMALL)}
SYSTEMS = {}


def build(variant):
    """The system of a variant, once."""
    if variant not in SYSTEMS:
        tf.keras.utils.set_random_seed(7)
        SYSTEMS[variant] = build_system(VARIANTS[variant], offsets=())
        SYSTEMS[variant].create_variables(SIZE)
    return SYSTEMS[variant]


def batch(measured=True):
    random = np.random.default_rng(5)
    image = tf.constant(random.random((2, *SIZE, 3)), tf.float32)
    depth = random.uniform(0.5, 60.0, (2, *SIZE, 1)) * (random.random((2, *SIZE, 1)) < 0.1)
    camera = tf.constant([[[fx, 0, 50], [0, 90, 30], [0, 0, 1]] for fx in (715.0873, 500.0)])
    return Batch(image, image[:, tf.newaxis][:, :0], image, image[:, tf.newaxis][:, :0], camera,
                 tf.constant(measured * depth, tf.float32))


@pytest.mark.parametrize("scales", [2, 3, 4, 5])
def test_masks_add_up_to_one(scales):
    attentions = np.random.default_rng(scales).random((scales - 1, 2, 5, 7, 1)).astype(np.float32)
    masks = hierarchical_masks(tuple(attentions))
    assert len(masks) == scales and min(np.min(mask) for mask in masks) >= 0
    np.testing.assert_allclose(sum(masks), np.ones((2, 5, 7, 1)), atol=1e-6)


def test_masks_are_the_papers_and_the_blend_of_scales():
    """Eqs. 1 to 5, and the same depth by blending from the finest scale upwards."""
    random = np.random.default_rng(1)
    a8, a4, a2 = random.random((3, 2, 5, 7, 1)).astype(np.float32)
    d8, d4, d2, d1 = random.random((4, 2, 5, 7, 1)).astype(np.float32)
    masks = hierarchical_masks((a8, a4, a2))
    expected = (a8, a4 * (1 - a8), a2 * (1 - a8) * (1 - a4), (1 - a8) * (1 - a4) * (1 - a2))
    for mask, paper in zip(masks, expected):
        np.testing.assert_allclose(mask, paper, rtol=1e-6)
    blend = a8 * d8 + (1 - a8) * (a4 * d4 + (1 - a4) * (a2 * d2 + (1 - a2) * d1))
    np.testing.assert_allclose(sum(m * d for m, d in zip(masks, (d8, d4, d2, d1))), blend,
                               rtol=1e-5)
    one, zero = np.ones_like(a8), np.zeros_like(a8)
    for attention, place in ((one, 0), (zero, 3)):
        for k, mask in enumerate(hierarchical_masks((attention,) * 3)):
            np.testing.assert_array_equal(mask, one if k == place else zero)


def test_decoder_follows_its_attention():
    system = build("hma")
    decoder, encoded = system.depth_decoder, system.depth_encoder(batch().target)
    depth, depths, masks = decoder(encoded)
    assert depth.shape == (2, *SIZE, 1) and len(depths) == len(masks) == 4
    np.testing.assert_allclose(sum(masks), np.ones((2, *SIZE, 1)), atol=1e-6)
    np.testing.assert_allclose(depth, sum(m * d for m, d in zip(masks, depths)), rtol=1e-5)
    assert min(np.abs(one - other).max() for k, one in enumerate(depths) for other in depths[:k]
               ) > 1e-4
    biases = [attention.last.bias for attention in decoder.attentions]
    assert not any(np.any(bias) for bias in biases)
    for bias in biases:
        bias.assign([100.0])
    np.testing.assert_allclose(decoder(encoded)[0], depths[0], rtol=1e-6)
    for bias in biases:
        bias.assign([-100.0])
    np.testing.assert_allclose(decoder(encoded)[0], depths[3], rtol=1e-6)
    for bias in biases:
        bias.assign([0.0])


def test_without_attention_all_scales_count_alike():
    depth, depths, masks = build("no attention").depth_decoder(
        build("no attention").depth_encoder(batch().target))
    assert masks == () and len(depths) == 4
    np.testing.assert_allclose(depth, np.mean(depths, axis=0), rtol=1e-5)


def parameters(width, encoder, scales, attention):
    """Trainable parameters of a decoder, counted from the paper's and BTS's layer lists."""
    f2, f4, f8, f16, f32 = encoder
    n2, n4, n8, n16 = width // 2, width // 4, width // 8, width // 16
    conv = lambda channels, out, kernel=3: kernel**2 * channels * out
    total = (conv(f32, width) + 2 * width + conv(width + f16, width)       # to 1/16
             + conv(width, n2) + 2 * n2 + conv(n2 + f8, n2) + 2 * n2)      # to 1/8
    for k in range(5):
        channels = n2 if k == 0 else n2 + f8 + k * n4
        total += conv(channels, n2, 1) + 2 * n2 + conv(n2, n4) + (2 * channels if k else 0)
    total += conv(n2 + 5 * n4, n4)
    total += conv(n4, n4) + 2 * n4 + conv(n4 + f4, n4)                     # to 1/4
    total += conv(n4, n8) + 2 * n8 + conv(n8 + f2, n8)                     # to 1/2
    total += conv(n8, n16) + conv(n16, n16)                                # to 1
    channels = (width, n4, n4, n8, n16)[-scales:]
    total += sum(conv(c, c // 2) + conv(c // 2, 1) for c in channels)
    if attention:
        total += sum(2 * (conv(c, c) + 2 * c) + c + 1 for c in channels[:-1])
    return total


@pytest.mark.parametrize("variant", ["hma", "3 scales", "5 scales", "no attention"])
def test_parameter_counts(variant):
    config, decoder = VARIANTS[variant], build(variant).depth_decoder
    found = sum(np.prod(variable.shape) for variable in decoder.trainable_variables)
    assert found == parameters(64, (64, 64, 128, 256, 512), config.num_scales, config.attention)


def test_published_width():
    decoder, channels = HmaDecoder(), (64, 256, 512, 1024, 2048)
    decoder([tf.zeros([1, 64 // 2**k, 64 // 2**k, c]) for k, c in enumerate(channels, start=1)])
    found = sum(np.prod(variable.shape) for variable in decoder.trainable_variables)
    assert found == parameters(512, channels, 4, True) == 24_766_451


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_trainable_variable_learns(variant):
    system, frames = build(variant), batch()
    with tf.GradientTape() as tape:
        terms = system.loss_terms(frames, system.forward(frames, training=True))
        total = system.total_loss(terms)
    assert set(terms) == {"silog"} and total > 0
    for variable, gradient in zip(system.trainable_variables,
                                  tape.gradient(total, system.trainable_variables)):
        assert gradient is not None and np.all(np.isfinite(gradient)), variable.name
        assert np.any(gradient), variable.name


@pytest.mark.parametrize("variant", ["bts", "hma"])
def test_a_batch_without_measured_depth_changes_nothing(variant):
    system, frames = build(variant), batch(measured=False)
    with tf.GradientTape() as tape:
        total = system.total_loss(system.loss_terms(frames, system.forward(frames, training=True)))
    assert total == 0.0
    for gradient in tape.gradient(total, system.trainable_variables):
        assert not np.any(gradient)  # NaN would be any


@pytest.mark.parametrize("variant", ["bts", "hma"])
def test_loss_compares_measured_points_beyond_a_metre(variant):
    system, frames = build(variant), batch()
    prediction = system.forward(frames, training=False)
    truth, depth = frames.target_depth.numpy(), prediction.scene.depth.numpy()
    assert ((truth > 0) & (truth < 1)).any()
    gap = np.log(depth[truth > 1.0]) - np.log(truth[truth > 1.0])
    expected = np.mean(gap**2) - 0.85 * np.mean(gap)**2
    expected = expected if variant == "hma" else 10 * np.sqrt(expected)
    np.testing.assert_allclose(system.loss_terms(frames, prediction)["silog"], expected, rtol=1e-5)


@pytest.mark.parametrize("variant", ["bts", "hma"])
def test_depth_grows_with_the_focal_length(variant):
    system, frames = build(variant), batch()
    prediction = system.forward(frames, training=False)
    alone = system.predict_depth(frames.target, frames.target, frames.intrinsics)
    np.testing.assert_array_equal(alone.depth, prediction.scene.depth)
    assert alone.disparities == () and system.needs_intrinsics and not system.predicts_motion
    like_reference = system.predict_depth(
        frames.target, frames.target, tf.repeat(frames.intrinsics[:1], 2, axis=0)).depth
    np.testing.assert_allclose(alone.depth[0], like_reference[0], rtol=1e-6)
    np.testing.assert_allclose(alone.depth[1], like_reference[1] * 500.0 / 715.0873, rtol=1e-6)
    with pytest.raises(UserError, match="focal length; expected the camera .* found none"):
        system.predict_depth(frames.target, frames.target)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures(variant):
    system, frames = build(variant), batch()
    prediction = system.forward(frames, training=False)
    pictures = system.pictures(frames, prediction)
    strides = {"3 scales": (4, 2, 1), "5 scales": (16, 8, 4, 2, 1)}.get(variant, (8, 4, 2, 1))
    titles = [f"depth, scale 1/{stride}" for stride in strides]
    if VARIANTS[variant] in (VARIANTS["hma"], VARIANTS["3 scales"], VARIANTS["5 scales"]):
        titles += [f"mask, scale 1/{stride}" for stride in strides]
    assert list(pictures) == titles
    for title, image in pictures.items():
        assert image.shape == (2, *SIZE, 1) and np.all((image >= 0) & (image <= 1)), title
    depth, near = prediction.depths[0].numpy(), pictures[titles[0]].numpy()
    inside = (depth > 0.8) & (depth < 80)
    np.testing.assert_allclose(near[inside], np.log(80 / depth[inside]) / np.log(100), atol=1e-5)


def test_what_cannot_be_built_is_refused():
    for config, words in (
            (BtsConfig(encoder="resnet34"), "encoder .*resnet18"),
            (BtsConfig(silog_form="squared"), "silog_form .*root"),
            (BtsConfig(decoder_width=100), "decoder_width must be a positive multiple of 32"),
            (BtsConfig(max_depth=0.0), "max_depth must be more than 0"),
            (BtsConfig(reference_focal_length=-1.0), "reference_focal_length must be 0"),
            (BtsConfig(variance_focus=1.5), "variance_focus must be from 0 to 1"),
            (BtsConfig(min_true_depth=90.0), "min_true_depth must be .* less than max_depth"),
            (HmaDepthConfig(num_scales=6), "num_scales must be 1 to 5; got 6"),
            (HmaDepthConfig(num_scales=1), "attention .* expected false")):
        with pytest.raises(UserError, match=words):
            build_system(config, offsets=())
    for sources, words in ((((), True), "learns from one camera"),
                           (((-1, 1), False), "sees single images; expected .., found .-1, 1.")):
        with pytest.raises(UserError, match=words):
            build_system(BtsConfig(), *sources)


def test_every_row_of_the_table_and_every_ablation_is_a_variant():
    """Table I of paper 001, on its data and on NYU; ablations as its conclusion lists them."""
    ablations = {"": {}, "_3_scales": dict(num_scales=3), "_5_scales": dict(num_scales=5),
                 "_no_attention": dict(attention=False)}
    for method, batch_size in (("bts", 4), ("hma_depth", 16)):
        for encoder in ("resnet50", "resnext50", "densenet121", "densenet161"):
            for ablation, options in (ablations if method == "hma_depth" else {"": {}}).items():
                for data in ("kitti", "nyu"):
                    config = load_config_file(f"configs/{method}.py:{data}_{encoder}{ablation}")
                    system, optimizer = config.system, config.optimizer
                    assert system.encoder == encoder and system.decoder_width == 512
                    for name, value in options.items():
                        assert getattr(system, name) == value
                    assert system.silog_form == ("root" if method == "bts" else "plain")
                    assert system.max_depth == (80.0 if data == "kitti" else 10.0)
                    assert (system.reference_focal_length > 0) == (data == "kitti")
                    assert config.data.random_crop == ((352, 704) if data == "kitti"
                                                       else (416, 544))
                    assert config.train.batch_size == batch_size and config.train.epochs == 50
                    assert optimizer.decoupled_decay and optimizer.final_learning_rate == 1e-5
