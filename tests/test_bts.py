"""BTS against numbers computed by its published implementation (../shared/parity)."""
import json

import numpy as np
import pytest
import tensorflow as tf

from helpers import (
    PARITY, assert_forward, needs_shared, parity, reference_weights, tolerances)
from tfdepth.console import load_config_file
from tfdepth.geometry.planes import depth_of_patches
from tfdepth.losses.silog import root_silog_loss
from tfdepth.networks.bts import Reduction, _planes
from tfdepth.networks.dense_aspp import RATES, AtrousBlock, UpConvolution
from tfdepth.structures import Batch
from tfdepth.systems import build_system
from tfdepth.systems.bts import BtsConfig
from tfdepth.weights.bts import published_variables
from tfdepth.weights.matching import assign_weights, select, variables_by_path
from tfdepth.weights.monodepth2 import to_keras

pytestmark = needs_shared
FOLDER = "bts"
PARAMETERS = {"resnet50": 23_973_936, "resnext50": 23_973_936, "densenet161": 20_528_688,
              "densenet121": 14_214_192}


def published_arrays(net, seed):
    """{published name: array} of a reference case."""
    arrays = reference_weights(f"{FOLDER}/spec_bts_{net}.json", int(seed))
    factors = json.loads((PARITY / FOLDER / "weight_factors.json").read_text())[f"bts_{net}"]
    return {name: np.asarray(array * np.float32(factors.get(name, 1)))
            for name, array in arrays.items()}


def build(net, seed=None, size=(64, 96), **options):
    encoder, _, width = net.partition("_size")
    system = build_system(BtsConfig(encoder=encoder, decoder_width=int(width or 512), **options),
                          offsets=())
    system.create_variables(size)
    if seed is not None:
        assign_weights(published_variables(system), to_keras(published_arrays(net, seed)), net)
    return system


def cameras(focal):
    """[B, 3, 3]; only fx counts."""
    return tf.constant([[[fx, 0, 50], [0, 2 * fx, 30], [0, 0, 1]] for fx in focal], tf.float32)


def recorded(layers):
    """Makes layers keep what they give: returns {name: output} that fills when they are called."""
    outputs = {}

    def record(name, layer):
        call = layer.call

        def recording(*args, **kwargs):
            outputs[name] = call(*args, **kwargs)
            return outputs[name]
        layer.call = recording

    for name, layer in layers.items():
        record(name, layer)
    return outputs


@pytest.mark.parametrize("net", ["densenet161", "densenet121", "resnet50", "resnext50",
                                 "densenet121_size256"])
def test_forward(net):
    arrays = parity(FOLDER, "forward_eval.npz")
    system = build(net, arrays[f"{net}/seed"], arrays[f"{net}/image"].shape[1:3])
    decoder, trunk = system.depth_decoder, system.depth_decoder.trunk
    if net in PARAMETERS:
        assert sum(np.prod(variable.shape) for variable in
                   decoder.trainable_variables) == PARAMETERS[net]
        check_frozen(system, net)
    inner = recorded({
        "upconv5_bn": trunk.upconv16, "iconv4_bn": trunk.norm8, "daspp_3": trunk.atrous[0],
        "daspp_24": trunk.atrous[4], "daspp_out": trunk.joined,
        **{f"plane_{k}x{k}": getattr(decoder, f"planes{k}") for k in (8, 4, 2)}})
    check_outputs(system, net, arrays, inner)
    if net == "densenet121":  # the same weights for indoors
        other = build_system(BtsConfig(encoder=net, max_depth=10.0, reference_focal_length=0.0), ())
        other.depth_encoder, other.depth_decoder = system.depth_encoder, decoder
        check_outputs(other, f"{net}_nyu", arrays, {})


def check_frozen(system, net):
    """What BTS's training script freezes, by published names: everything of the encoder whose name
    holds one of these."""
    marks = ("conv0", "norm") if net.startswith("dense") else ("base_model.conv1", ".bn")
    named = published_variables(system)
    expected = {name for name, variable in named.items() if variable.trainable
                and name.startswith("encoder.") and any(mark in name for mark in marks)}
    config = load_config_file(f"configs/bts.py:kitti_{net}")
    frozen = select(variables_by_path(system), config.train.frozen, "--flag").values()
    found = {name for name, variable in named.items()
             if variable.trainable and any(variable is each for each in frozen)}
    assert found == expected and len(found) > 90
    assert not any("downsample" in name for name in found)
    decayed = select(variables_by_path(system), config.optimizer.weight_decay_on, "--flag")
    assert len(decayed) == len(system.depth_encoder.variables)


def check_outputs(system, case, arrays, inner):
    limits, checked = tolerances(FOLDER, "forward_eval"), {"image", "focal", "seed"}

    def check(name, found):
        if f"{case}/{name}" in arrays:
            assert_forward(limits[f"{case}/{name}"], found, arrays[f"{case}/{name}"], name)
            checked.add(name)

    image, camera = arrays[f"{case}/image"], cameras(arrays[f"{case}/focal"])
    for k, features in enumerate(system.depth_encoder(image)):
        check(f"skip{k}", features)
    batch = Batch(image, image[:, :0], image, image[:, :0], camera)
    prediction = system.forward(batch, training=False)
    check("depth", prediction.scene.depth)
    scaled = [depth / system.config.max_depth for depth in prediction.depths]
    for name, found in zip((*(f"depth_{k}x{k}_scaled" for k in (8, 4, 2)), "reduc1x1"), scaled):
        check(name, found)
    for name, found in inner.items():
        if name.startswith("plane"):
            found = _planes(found) * [1, 1, 1, system.config.max_depth]
        check(name, found)
    expected = {key.split("/")[1] for key in arrays if key.startswith(f"{case}/")}
    assert checked == expected


@pytest.mark.parametrize("case", ["densenet121", "resnet50", "densenet121_frozen_bn"])
def test_training_step(case):
    arrays, limits = parity(FOLDER, "train_step.npz"), tolerances(FOLDER, "train_step")
    image = arrays[f"{case}/image"]
    system = build(case.replace("_frozen_bn", ""), arrays[f"{case}/seed"], image.shape[1:3])
    batch = Batch(image, image[:, :0], image, image[:, :0], cameras(arrays[f"{case}/focal"]),
                  arrays[f"{case}/depth_gt"])
    named = published_variables(system)
    trainable = {name: variable for name, variable in named.items() if variable.trainable}
    with tf.GradientTape() as tape:
        prediction = system.forward(batch, training="frozen" not in case)
        total = system.total_loss(system.loss_terms(batch, prediction))
    gradients = tape.gradient(total, trainable)
    key = f"{case}/depth"
    assert_forward(limits[key], prediction.scene.depth, arrays[key], key)
    np.testing.assert_allclose(total, arrays[f"{case}/loss"], rtol=1e-5)
    start, compared = f"{case}/grad/", 0
    for key in (key for key in arrays if key.startswith(start)):
        found, expected = gradients[key[len(start):]], to_keras({"": arrays[key]})[""]
        difference = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert difference <= 4 * limits[key]["rel_l2"] + 2e-3, f"{key}: {difference}"
        compared += 1
    assert compared
    norms = json.loads((PARITY / FOLDER / "train_step_grad_norms.json").read_text())[case]
    spread = tolerances(FOLDER, "train_step_grad_norms")[case]["max_rel"]
    assert {name for name, norm in norms.items() if norm is not None} == set(gradients)
    largest = max(norm for norm in norms.values() if norm is not None)
    for name, gradient in gradients.items():
        difference = abs(np.linalg.norm(gradient) - norms[name]) / max(norms[name], 1e-3 * largest)
        assert difference <= 4 * spread + 2e-3, f"{name}: {difference}"
    for key in (key for key in arrays if key.startswith(f"{case}/bn_after/")):
        assert_forward(limits[key], named[key.split("/")[-1]], arrays[key], key)


def weights_of(arrays, prefix):
    start = f"{prefix}/weights/"
    return to_keras({key[len(start):]: array for key, array in arrays.items()
                     if key.startswith(start)})


def test_layers():
    arrays, limits = parity(FOLDER, "layers.npz"), tolerances(FOLDER, "layers")
    check = lambda key, found: assert_forward(limits[key], found, arrays[key], key)
    for patch in (8, 4, 2):
        check(f"lpg{patch}/out", depth_of_patches(arrays[f"lpg{patch}/plane"], patch))
    for name, first, outputs, distance in (("plane80", 32, 3, 80), ("plane10", 16, 3, 10),
                                           ("final", 16, 1, 0)):
        layer = Reduction(first, outputs)
        layer(arrays[f"reduc_{name}/x"])
        layer.set_weights(list(weights_of(arrays, f"reduc_{name}").values()))
        found = layer(arrays[f"reduc_{name}/x"])
        check(f"reduc_{name}/out", _planes(found) * [1, 1, 1, distance] if distance else found)
    layer = UpConvolution(4, norm=False)
    layer(arrays["upconv/x"])
    layer.set_weights([arrays["upconv/weight_oihw"].transpose(2, 3, 1, 0)])
    check("upconv/out", layer(arrays["upconv/x"]))


@pytest.mark.parametrize("rate", RATES)
def test_atrous_block(rate):
    arrays, limits = parity(FOLDER, "layers.npz"), tolerances(FOLDER, "layers")
    check = lambda key, found: assert_forward(
        limits[f"atrous{rate}/{key}"], found, arrays[f"atrous{rate}/{key}"], key)
    layer = AtrousBlock(4, rate, leading_norm=rate > 3)
    # So near to each other that the numbers below cannot tell them apart.
    assert layer.inner_norm.epsilon == 1e-5
    assert layer.leading_norm is None if rate == 3 else layer.leading_norm.epsilon == 1.1e-5
    layer(arrays["atrous/x"])
    sequence = "atrous_conv.aconv_sequence"
    names = {"kernel": "weight", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
             "moving_variance": "running_var"}
    named = {}
    for part, published in ((layer.leading_norm, "atrous_conv.first_bn"),
                            (layer.inner, f"{sequence}.1"), (layer.inner_norm, f"{sequence}.2"),
                            (layer.dilated, f"{sequence}.4")):
        for variable in part.variables if part else ():
            last = variable.name.split("/")[-1].split(":")[0]
            named[f"{published}.{names[last]}"] = variable
    assign_weights(named, weights_of(arrays, f"atrous{rate}"), "layers.npz")
    check("out_eval", layer(arrays["atrous/x"], training=False))
    check("out_train", layer(arrays["atrous/x"], training=True))
    for name in named:
        if "running" in name:
            check(f"after_train/{name}", named[name])


def test_dilations_that_leave_the_map():
    """Taps that see zeros alone are left out: the same as with all of them."""
    layer = AtrousBlock(4, 12, leading_norm=False)
    features = tf.random.stateless_normal([2, 9, 14, 6], [1, 2])
    found = layer(features)
    inner = tf.nn.relu(layer.inner_norm(layer.inner(tf.nn.relu(features))))
    padded = np.pad(inner, [(0, 0), (12, 12), (12, 12), (0, 0)])
    expected = sum(padded[:, i:i + 9, j:j + 14] @ layer.dilated.kernel[i // 12, j // 12].numpy()
                   for i in (0, 12, 24) for j in (0, 12, 24))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("focus", [0.85, 0.5, 0.0])
def test_silog(focus):
    arrays = parity(FOLDER, "layers.npz")
    depth = tf.constant(arrays["silog/est"])
    with tf.GradientTape() as tape:
        tape.watch(depth)
        loss = root_silog_loss(depth, arrays["silog/gt"], arrays["silog/mask"], focus)
    np.testing.assert_allclose(loss, arrays[f"silog/loss_vf{focus:.2f}"], rtol=1e-6)
    limit = tolerances(FOLDER, "layers")[f"silog/grad_vf{focus:.2f}"]
    assert_forward(limit, tape.gradient(loss, depth),
                   arrays[f"silog/grad_vf{focus:.2f}"], "gradient")
