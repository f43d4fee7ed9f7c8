"""The encoders against numbers of the published BTS (../shared/parity/bts), and their parts."""
import json

import import_weights
import numpy as np
import pytest
import tensorflow as tf
from helpers import PARITY, needs_shared, parity, reference_weights
from torch_pickles import write_pth

from tfdepth.checks import UserError
from tfdepth.networks.encoders import ENCODERS, build_encoder
from tfdepth.networks.grouped_convolution import GroupedConvolution
from tfdepth.networks.image_statistics import IMAGENET_STATISTICS, normalized
from tfdepth.weights.importing import import_run
from tfdepth.weights.matching import assign_weights
from tfdepth.weights.starting import start_from
from tfdepth.weights.torch_layout import to_keras, torch_variables

START = "encoder.base_model."


def published_arrays(kind, seed):
    """The encoder's weights of a reference case, in PyTorch's layout; ResNets with classifier."""
    arrays = reference_weights(f"bts/spec_bts_{kind}.json", int(seed))
    factors = json.loads((PARITY / "bts" / "weight_factors.json").read_text())[f"bts_{kind}"]
    return {name[len(START):]: np.asarray(array * np.float32(factors.get(name, 1.0)))
            for name, array in arrays.items() if name.startswith(START)}


def reference_encoder(kind, seed):
    encoder = build_encoder(kind, "depth_encoder", *IMAGENET_STATISTICS)
    encoder(tf.zeros([1, 32, 32, 3]))
    assign_weights(torch_variables(encoder), to_keras(published_arrays(kind, seed)), kind)
    return encoder


def assert_near(found, arrays, file, key):
    """Within the limit that the reference's README states."""
    limits = json.loads((PARITY / "bts" / "tolerances.json").read_text())[file][key]
    limit = 10 * max(limits["f64"], limits["alt"]) + 1e-6 * limits["max_abs"]
    assert found.shape == arrays[key].shape, key
    difference = np.abs(found - arrays[key]).max()
    assert difference <= limit, f"{key}: {difference} > {limit}"


@needs_shared
@pytest.mark.parametrize("kind, parameters", [
    # Those of torchvision's classifiers, without the last layer's 1000 x (features + 1).
    ("densenet121", 7_978_856 - 1_025_000), ("densenet161", 28_681_000 - 2_209_000),
    ("resnet50", 25_557_032 - 2_049_000), ("resnext50", 25_028_904 - 2_049_000)])
def test_parity(kind, parameters):
    arrays = parity("bts", "forward_eval.npz")
    encoder = reference_encoder(kind, arrays[f"{kind}/seed"])
    assert sum(np.prod(variable.shape) for variable in encoder.trainable_variables) == parameters
    outputs = encoder(arrays[f"{kind}/image"], training=False)
    assert encoder.channels == tuple(output.shape[-1] for output in outputs)
    for level, output in enumerate(outputs):
        assert_near(output, arrays, "forward_eval", f"{kind}/skip{level}")


@needs_shared
@pytest.mark.parametrize("kind, norm", [("densenet121", "norm0"), ("resnet50", "bn1")])
def test_running_statistics_after_a_training_pass(kind, norm):
    arrays = parity("bts", "train_step.npz")
    encoder = reference_encoder(kind, arrays[f"{kind}/seed"])
    encoder(arrays[f"{kind}/image"], training=True)
    variables = torch_variables(encoder)
    for name in (f"{norm}.running_mean", f"{norm}.running_var"):
        assert_near(variables[name], arrays, "train_step", f"{kind}/bn_after/{START}{name}")


def test_image_statistics():
    mean, std = (np.array(values, np.float32) for values in IMAGENET_STATISTICS)
    images = np.random.default_rng(1).uniform(size=(2, 3, 5, 6)).astype(np.float32)
    expected = np.concatenate([(images[..., :3] - mean) / std, (images[..., 3:] - mean) / std], -1)
    np.testing.assert_allclose(normalized(images, mean, std), expected, rtol=1e-6)
    np.testing.assert_allclose(normalized(images, 0.45, 0.225), (images - 0.45) / 0.225, rtol=1e-5)


def test_an_unknown_encoder_is_refused():
    with pytest.raises(UserError, match="densenet161.* got 'densnet121'.* mean 'densenet121'"):
        build_encoder("densnet121", "encoder")


def grouped_by_loops(features, kernel, upstream, groups, stride):
    """Outputs, and gradients of sum(outputs * upstream): of the features and of the kernel."""
    rows, columns = upstream.shape[1:3]
    depth, channels = kernel.shape[2], kernel.shape[3] // groups
    padded = np.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]])
    outputs, back, of_kernel = (np.zeros(array.shape) for array in (upstream, padded, kernel))
    for group in range(groups):
        seen = slice(group * depth, (group + 1) * depth)
        made = slice(group * channels, (group + 1) * channels)
        for i in range(3):
            for j in range(3):
                place = (slice(None), slice(i, i + stride * (rows - 1) + 1, stride),
                         slice(j, j + stride * (columns - 1) + 1, stride), seen)
                weights = kernel[i, j, :, made]                            # [depth, channels]
                outputs[..., made] += padded[place] @ weights
                back[place] += upstream[..., made] @ weights.T
                of_kernel[i, j, :, made] = np.einsum(
                    "bhwc,bhwo->co", padded[place], upstream[..., made])
    return outputs, back[:, 1:-1, 1:-1], of_kernel


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups, depth, channels", [
    (32, 2, 64),   # two dense convolutions of 16 groups
    (6, 8, 12),    # three of two, and other numbers of channels in than out
    (2, 40, 6),    # one for each group
    (4, 2, 8)])    # one for all
def test_grouped_convolution(groups, depth, channels, stride, monkeypatch):
    random = np.random.default_rng(groups)
    features = random.normal(size=(2, 6, 9, groups * depth)).astype(np.float32)
    layer = GroupedConvolution(channels, 3, stride, groups, "zeros")
    layer.build(features.shape)
    kernel = random.normal(size=(3, 3, depth, channels)).astype(np.float32)
    layer.kernel.assign(kernel)

    @tf.function
    def gradients(features, upstream):
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = layer(features)
        return (outputs, *tape.gradient(outputs, [features, layer.kernel], upstream))

    upstream = random.normal(size=(2, -(-6 // stride), -(-9 // stride), channels))
    expected = grouped_by_loops(features, kernel, upstream, groups, stride)
    for found, wanted in zip(gradients(features, upstream.astype(np.float32)), expected):
        np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())
    # Where there is a GPU, TensorFlow's own convolution takes the same kernel.
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind])
    monkeypatch.setattr(layer, "_by_dense", None)
    np.testing.assert_allclose(layer(features), expected[0], atol=2e-5 * np.abs(expected[0]).max())


@needs_shared
@pytest.mark.parametrize("kind", ["densenet121", "resnext50"])
def test_imagenet_weights_start_a_depth_encoder(kind, tmp_path):
    """Of any system, also with other image statistics than Monodepth2's."""
    arrays = parity("bts", "forward_eval.npz")
    published = published_arrays(kind, arrays[f"{kind}/seed"])
    if kind == "densenet121":  # torchvision's names, as old as its files
        published = {f"features.{name}".replace(".norm1.", ".norm.1.").replace(
            ".conv1.", ".conv.1.").replace(".norm2.", ".norm.2.").replace(".conv2.", ".conv.2."):
            array for name, array in published.items()}
        published["classifier.weight"] = np.zeros([1000, 1024], np.float32)
    write_pth(tmp_path / "file.pth", published)
    import_run(tmp_path / "file.pth", f"imagenet_{kind}", tmp_path / "run")

    encoder = build_encoder(kind, "depth_encoder", *IMAGENET_STATISTICS)
    encoder(tf.zeros([1, 32, 32, 3]))
    pair_encoder = build_encoder(kind, "pose_encoder", *IMAGENET_STATISTICS)
    pair_encoder(tf.zeros([1, 32, 32, 6]))
    system = tf.train.Checkpoint(depth_encoder=encoder, pose_encoder=pair_encoder)
    count = len(encoder.variables)
    assert f"{2 * count} of {2 * count} variables" in start_from(tmp_path / "run", system)
    image = arrays[f"{kind}/image"]
    assert_near(encoder(image)[4], arrays, "forward_eval", f"{kind}/skip4")
    assert_near(pair_encoder(tf.concat([image, image], axis=-1))[4], arrays, "forward_eval",
                f"{kind}/skip4")
    other = {"densenet121": "densenet161", "resnext50": "resnet50"}[kind]
    with pytest.raises(UserError, match=r"file.pth: \d+ of its weights do not fit"):
        import_run(tmp_path / "file.pth", f"imagenet_{other}", tmp_path / "other")


def test_the_tool_names_every_format():
    for kind in ENCODERS:
        assert f"imagenet_{kind}" in import_weights.__doc__
