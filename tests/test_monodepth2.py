"""Monodepth2 against numbers computed by its published implementation (../shared/parity)."""
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from helpers import (
    PARITY, assert_forward, needs_shared, parity, reference_weights, tolerances)
from tfdepth.geometry import rotations, transforms
from tfdepth.geometry.sampling import bilinear_sample
from tfdepth.geometry.synthesis import synthesize_target
from tfdepth.losses.attention import predictive_mask_error
from tfdepth.losses.photometric import photometric_error
from tfdepth.losses.smoothness import edge_aware_smoothness, mean_normalized
from tfdepth.losses.ssim import ssim_error
from tfdepth.networks.monodepth2 import motion_numbers, upsample_nearest
from tfdepth.networks.resnet import ResNet
from tfdepth.networks.torch_layers import SymmetricConvolution
from tfdepth.runs.config import OptimizerConfig
from tfdepth.structures import Batch
from tfdepth.systems import build_system, monodepth2
from tfdepth.systems.monodepth2 import Monodepth2, Monodepth2Config
from tfdepth.training.optimizers import build_optimizer
from tfdepth.weights.matching import assign_weights
from tfdepth.weights.monodepth2 import published_variables, to_keras

pytestmark = needs_shared
FOLDER = "monodepth2"


@pytest.fixture(scope="module", autouse=True)
def no_noise():
    """The reference numbers were computed without noise on identity errors."""
    before, Monodepth2.tie_break = Monodepth2.tie_break, 0.0
    yield
    Monodepth2.tie_break = before


def reset(system, seeds):
    """Gives a system the reference weights; seeds: {spec name: seed}."""
    factors = json.loads((PARITY / FOLDER / "weight_factors.json").read_text())
    resnet50 = system.config.encoder == "resnet50"
    cnn = system.config.pose_network == "pose_cnn"
    specs = {"encoder": f"{system.config.encoder}_depth_encoder",
             "depth": "resnet50_depth_decoder" if resnet50 else "depth_decoder",
             "pose_encoder": "pose_encoder", "pose": "pose_cnn" if cnn else "pose_decoder",
             "predictive_mask": "predictive_mask"}
    for stem, variables in published_variables(system).items():
        spec = specs[stem]
        arrays = reference_weights(f"{FOLDER}/spec_{spec}.json", int(seeds[spec]))
        arrays.update({name: arrays[name] * np.float32(factor)
                       for name, factor in factors[spec].items()})
        arrays = to_keras(arrays)
        assign_weights(variables, {name: arrays[name] for name in
                                   (variables if system.config.num_levels < 4 else arrays)}, stem)


def seeds_of(arrays, prefix=""):
    start = f"{prefix}seed/"
    return {name[len(start):]: seed for name, seed in arrays.items() if name.startswith(start)}


def build(size=(64, 96), offsets=(-1, 1), stereo=False, **options):
    system = build_system(Monodepth2Config(**options), offsets, stereo)
    system.create_variables(size)
    return system


@pytest.mark.parametrize("prefix", ["a/", "b/"])
def test_forward(prefix):
    arrays, limits = parity(FOLDER, "forward_eval.npz"), tolerances(FOLDER, "forward_eval")
    check = lambda name, found: assert_forward(limits[prefix + name], found,
                                               arrays[prefix + name], name)
    image, following = arrays[prefix + "image"], arrays[prefix + "image_next"]
    system = build(image.shape[1:3])
    reset(system, seeds_of(arrays, prefix))
    features = system.depth_encoder(image)
    for level in range(5):
        check(f"feature{level}", features[level])
    prediction = system.predict_depth(image, image)
    for level in range(4):
        check(f"disp{level}", prediction.disparities[level])
    check("depth0", prediction.depth)
    pair = tf.concat([image, following], axis=-1)
    encoded = system.pose_encoder(pair)[-1]
    check("pose_feature4", encoded)
    numbers = system.pose_decoder(encoded)
    both = np.reshape(0.01 * tf.reduce_mean(numbers, axis=[1, 2]), [-1, 2, 6])
    check("axisangle", both[:, :, :3])
    check("translation", both[:, :, 3:])

    system = build(image.shape[1:3], pose_network="pose_cnn")
    reset(system, seeds_of(arrays, prefix))
    axis_angle, translation = motion_numbers(system.pose_decoder(pair))
    check("posecnn_axisangle", axis_angle)
    check("posecnn_translation", translation)


def test_forward_resnet50():
    arrays, limits = parity(FOLDER, "forward_eval.npz"), tolerances(FOLDER, "forward_eval")
    system = build(offsets=(), stereo=True, encoder="resnet50")
    reset(system, seeds_of(arrays, "r50/"))
    features = system.depth_encoder(arrays["r50/image"])
    for level, disparity in enumerate(system.depth_decoder(features)):
        assert_forward(limits[f"r50/disp{level}"], disparity, arrays[f"r50/disp{level}"], level)
    for level in range(5):
        assert_forward(limits[f"r50/feature{level}"], features[level],
                       arrays[f"r50/feature{level}"], level)


def test_parameter_counts():
    system = build()
    assert system.depth_decoder.count_params() == 3_152_724
    assert system.pose_decoder.count_params() == 1_314_572
    assert build(pose_network="pose_cnn").pose_decoder.count_params() == 1_586_774
    three_frames = ResNet("resnet18", "pose_encoder")
    three_frames(tf.zeros([1, 64, 64, 9]))
    for network, spec in ((system.depth_encoder, "resnet18_depth_encoder"),
                          (system.pose_encoder, "pose_encoder"),
                          (three_frames, "pose_encoder_3frames")):
        shapes = json.loads((PARITY / FOLDER / f"spec_{spec}.json").read_text())
        expected = sum(np.prod(shape) for name, shape in shapes
                       if ".fc." not in name and not name.endswith("num_batches_tracked"))
        assert network.count_params() == expected


class Case:
    """A training step of the reference."""

    def __init__(self, file, prefix="ac_true/", stereo=False, offsets=(-1, 1), inputs=None,
                 loss_tolerance=1e-5, **options):
        self.file, self.prefix, self.inputs = file, prefix, inputs or file
        self.stereo, self.offsets, self.options = stereo, offsets, options
        self.loss_tolerance = loss_tolerance


CASES = {
    "mono": Case("train_step"),
    "mono + stereo": Case("train_stereo", stereo=True),
    "stereo": Case("train_stereo", "stereo_only_ac_true/", True, ()),
    "pose CNN": Case("train_posecnn", pose_network="pose_cnn"),
    **{name: Case("train_variants", f"{name}/ac_true/", inputs="train_step", **options)
       for name, options in {
           "avg_reprojection": dict(reprojection="mean"),
           "disable_automasking": dict(automask=False),
           "avg_no_automask": dict(reprojection="mean", automask=False),
           "no_ssim": dict(ssim_weight=0.0),
           "v1_multiscale": dict(full_resolution=False),
           "predictive_mask": dict(attention="predictive_mask", automask=False),
           "scales_0_only": dict(num_levels=1)}.items()},
}


def batch_of(case, dtype="float32"):
    arrays = parity(FOLDER, f"{case.inputs}.npz")
    names = {-1: "m1", 1: "p1"}
    sources = [names[offset] for offset in case.offsets] + ["s"] * case.stereo
    seen = lambda name: arrays.get(f"input/color_aug_{name}", arrays[f"input/color_{name}"])
    tensors = (arrays["input/color_0"],
               np.stack([arrays[f"input/color_{name}"] for name in sources], axis=1), seen("0"),
               np.stack([seen(name) for name in sources], axis=1), arrays["input/K"][:, :3, :3])
    motion = tf.constant(arrays["input/stereo_T"]) if case.stereo else None
    return Batch(*(tf.cast(tensor, dtype) for tensor in tensors),
                 stereo_from_target=motion if motion is None else tf.cast(motion, dtype))


def published_pyramid(case, dtype):
    """The smaller images of the reference, made by PIL; ours are only nearly the same."""
    arrays = {**parity(FOLDER, f"{case.file}.npz"), **parity(FOLDER, f"{case.inputs}.npz")}
    levels = {}
    for name in ("0", "m1", "p1"):
        full = arrays[f"input/color_{name}"]
        levels[full.tobytes()] = [full] + [arrays[f"input/color_{name}_s{level}"]
                                           for level in range(1, 4)
                                           if f"input/color_{name}_s{level}" in arrays]
    return lambda image, count: [tf.cast(level, dtype) for level in
                                 levels[image.numpy().astype(np.float32).tobytes()][:count]]


def test_pyramid():
    arrays = parity(FOLDER, "train_step.npz")
    for level, image in enumerate(monodepth2._pyramid(arrays["input/color_0"], 4)):
        expected = arrays[f"input/color_0_s{level}" if level else "input/color_0"]
        difference = 255 * np.abs(image - expected)
        print(level, difference.max(), difference.mean())
        assert difference.max() < 8 and difference.mean() < 0.5


@pytest.fixture
def dtype(request):
    tf.keras.backend.set_floatx(request.param)
    yield request.param
    tf.keras.backend.set_floatx("float32")


@pytest.mark.parametrize("name, dtype", [
    *((name, "float64") for name in CASES if CASES[name].file == CASES[name].inputs),
    *((name, "float32") for name in CASES)], indirect=["dtype"])
def test_training_step(name, dtype, monkeypatch):
    case = CASES[name]
    arrays, limits = parity(FOLDER, f"{case.file}.npz"), tolerances(FOLDER, case.file)
    batch = batch_of(case, dtype)
    system = build(offsets=case.offsets, stereo=case.stereo, **case.options)
    reset(system, seeds_of(arrays))
    named = published_variables(system)
    flat = {f"{stem}/{key}": variable for stem, variables in named.items()
            for key, variable in variables.items() if variable.trainable}

    monkeypatch.setattr(monodepth2, "_pyramid", published_pyramid(case, dtype))
    with tf.GradientTape() as tape:
        prediction = system.forward(batch, training=True)
        total = system.total_loss(system.loss_terms(batch, prediction))
    gradients = tape.gradient(total, list(flat.values()))
    levels = system._terms_of_levels(batch, prediction)
    np.testing.assert_allclose(total, arrays[f"{case.prefix}loss"], rtol=1e-5)
    for level, (photometric, smoothness) in enumerate(levels):
        masks = (0.2 * np.mean(predictive_mask_error(system._attention(prediction, level)))
                 if prediction.scene.attention else 0.0)
        np.testing.assert_allclose(photometric + 1e-3 * smoothness + masks,
                                   arrays[f"{case.prefix}loss_scale{level}"], rtol=1e-5)
    # In float32 one or two pixels of these cases lie on the edge of the automask (margins of 3e-6
    # to 7e-6, where errors are exact to 7e-5) and fall to its other side, which moves the gradients
    # of a level by a per cent; float64 has the reference's.
    slack = 2e-2 if case.stereo and dtype == "float32" else 0.0
    check_gradients(case, dict(zip(flat, gradients)), arrays, limits, slack)
    if "common/disp0" in arrays and case.prefix == "ac_true/":
        check_maps(case, system, batch, prediction, levels, arrays, limits)
        # Keras' statistics of float64 are those of its unfused kernel, which divides by n.
        for key in arrays if dtype == "float32" else ():
            if not key.startswith("common/bn/"):
                continue
            _, _, stem, variable = key.split("/")
            assert_forward(limits[key], named[stem][variable], arrays[key], key)


def check_gradients(case, gradients, arrays, limits, slack):
    """Every gradient's norm, and some in full, to the stated tolerance."""
    start = f"{case.prefix}grad/"
    for key in (key for key in arrays if key.startswith(start)):
        found = gradients[key[len(start):]]
        expected = to_keras({"": arrays[key]})[""]
        difference = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert difference <= 4 * limits[key]["rel_l2"] + 2e-3 + slack, f"{key}: {difference}"
    norms = json.loads((PARITY / FOLDER / f"{case.file}_grad_norms.json").read_text())
    spread = tolerances(FOLDER, f"{case.file}_grad_norms")[case.prefix[:-1]]["max_rel"]
    compared = 0
    for stem, parameters in norms[case.prefix[:-1]].items():
        largest = max(norm for norm in parameters.values() if norm is not None)
        for name, norm in parameters.items():
            found = gradients.get(f"{stem}/{name}")
            assert (norm is None) == (found is None), name
            if norm is None:
                continue
            compared += 1
            # The biases of the heads are sums that nearly cancel: which cell a coordinate falls
            # into moves them by per cents (another rounding of the projection: 2 to 4).
            of_head = re.fullmatch(r"decoder\.1[0-3]\.conv\.bias", name)
            limit = max(4 * spread + 2e-3, 5e-2 if of_head else 0.0) + slack
            difference = abs(np.linalg.norm(found) - norm) / max(norm, 1e-3 * largest)
            assert difference <= limit, f"{stem}/{name}: {difference} > {limit}"
    assert compared == len(gradients)


def check_maps(case, system, batch, prediction, levels, arrays, limits):
    """Everything between the networks and the loss."""
    identity = system._identity_errors(batch, 0)
    names = [{-1: "m1", 1: "p1"}[offset] for offset in case.offsets] + ["s"] * case.stereo
    check = lambda key, found: assert_forward(limits[key], found, arrays[key], key)
    for level in range(4):
        check(f"common/disp{level}", prediction.scene.disparities[level])
        check(f"common/smooth_s{level}", levels[level][1] * 2.0**level)
        _, trains, views = system._reprojection(batch, prediction, level, identity)
        for k, source in enumerate(names):
            view = views[k][:, 0]
            key = f"ac_true/warped_{source}_s{level}"
            if key in arrays:
                check(key, view)
            key = f"ac_true/reproj_{source}_s{level}"
            if key in arrays:
                errors = photometric_error(view, batch.target)
                check(key, errors)
        if f"ac_true/automask_s{level}" in arrays:
            clear = np.abs(arrays[f"ac_true/automask_margin_s{level}"]) > 1e-4
            expected = arrays[f"ac_true/automask_s{level}"].astype(bool)
            np.testing.assert_array_equal(trains.numpy()[..., 0][clear], expected[clear])
    for k, source in enumerate(names):
        check(f"common/identity_{source}", identity[:, k])
        if source != "s" and system.config.pose_network == "resnet":
            check(f"common/T_{source}", prediction.source_from_target[:, k])


@pytest.mark.parametrize("run, rate, dtype, tolerance", [
    ("adam_1e-6_texture", 1e-6, "float32", 4e-5), ("adam_1e-4_texture", 1e-4, "float64", 2e-3)],
                         indirect=["dtype"])
def test_trajectory(run, rate, dtype, tolerance, monkeypatch):
    """Ten steps of one batch; at the larger rate they are chaotic but in float64."""
    arrays = parity(FOLDER, "trajectory.npz")
    case = Case("trajectory", inputs="train_posecnn")
    batch = batch_of(case, dtype)
    targets = published_pyramid(case, dtype)(batch.target, 4)
    monkeypatch.setattr(monodepth2, "_pyramid", lambda image, count: targets)
    system = build()
    reset(system, seeds_of(arrays))
    variables = system.trainable_variables
    optimizer = build_optimizer(OptimizerConfig(rate, epsilon_after_correction=True), 10, variables)
    named = published_variables(system)
    initial = {stem: {name: variable.numpy() for name, variable in each.items()}
               for stem, each in named.items()}

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            total = system.total_loss(system.loss_terms(batch, system.forward(batch, True)))
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables))
        return total

    losses = []
    for number in range(1, 11):
        losses.append(float(step()))
        if number == 1:
            check_parameters(named, arrays, f"{run}/ac_true/step1/", 2.05 * rate)
    expected = arrays[f"{run}/ac_true/losses_f64"]
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    for stem, variables_of_stem in named.items():
        moved = [np.linalg.norm(variable.numpy() - initial[stem][name])
                 for name, variable in variables_of_stem.items() if variable.trainable]
        np.testing.assert_allclose(np.linalg.norm(moved),
                                   arrays[f"{run}/ac_true/update_norm/{stem}"], rtol=2e-2)
    if dtype == "float32":
        depth = system.forward(batch, training=False).scene.disparities[0]
        np.testing.assert_allclose(depth, arrays[f"{run}/ac_true/step10/eval_disp0"], atol=1e-4)


def check_parameters(named, arrays, start, limit):
    keys = [key for key in arrays if key.startswith(start)]
    assert keys
    for key in keys:
        stem, name = key[len(start):].split("/")
        expected = to_keras({"": arrays[key]})[""]
        difference = np.abs(named[stem][name].numpy() - expected)
        assert difference.max() <= limit, key
        assert np.mean(difference > 0.05 * limit) < 0.02, key


def test_layers():
    arrays = parity(FOLDER, "layers.npz")
    limits = tolerances(FOLDER, "layers")
    check = lambda key, found: assert_forward(limits[key], found, arrays[key], key)
    check("ssim/out", ssim_error(arrays["ssim/x"], arrays["ssim/y"]))
    check("photometric/out", photometric_error(arrays["ssim/x"], arrays["ssim/y"]))
    image, disparity = arrays["smooth/image"], arrays["smooth/disp"]
    np.testing.assert_allclose(mean_normalized(disparity), arrays["smooth/normalised_disp"],
                               rtol=1e-6)
    for key, values in (("raw_disp", disparity), ("mean_normalised", mean_normalized(disparity))):
        np.testing.assert_allclose(np.mean(edge_aware_smoothness(values, image)),
                                   arrays[f"smooth/loss_{key}_f64"], rtol=1e-5)
    np.testing.assert_allclose(rotations.from_axis_angle(arrays["rot/axisangle"]),
                               arrays["rot/R"][:, :3, :3], atol=2e-6)
    rotation = rotations.from_axis_angle(arrays["rot/axisangle"])
    plain = transforms.from_rotation_translation(rotation, arrays["rot/translation"])
    np.testing.assert_allclose(plain, arrays["transform/plain"], atol=2e-6)
    np.testing.assert_allclose(transforms.inverse(plain), arrays["transform/inverted"], atol=1e-5)
    image = tf.constant(arrays["warp/image"])
    views = synthesize_target(
        image[:, tf.newaxis], tf.constant(arrays["warp/depth"][..., np.newaxis]),
        tf.constant(arrays["warp/K"][:, :3, :3]), tf.constant(arrays["warp/T"][:, np.newaxis]),
        border="border")
    check("warp/ac_true/out", views.images[:, 0])
    grid = arrays["sampler/grid"]
    last = np.array([19, 11], np.float32)
    pixels = tf.constant(((grid + 1) / 2 * last).reshape(2, -1, 2))
    samples, _ = bilinear_sample(image, pixels, "border")
    check("sampler/ac_true/out", samples)
    np.testing.assert_array_equal(upsample_nearest(arrays["upsample/x"]), arrays["upsample/out"])
    np.testing.assert_allclose(tf.image.resize(arrays["bilinear/x"], [12, 20]),
                               arrays["bilinear/out_x4"], atol=1e-6)
    for activation in ("linear", "elu"):
        layer = SymmetricConvolution(4, 3, padding="reflect", activation=activation)
        layer.build([2, 3, 4, 5])
        layer.set_weights([arrays["convblock/weight_oihw"].transpose(2, 3, 1, 0),
                           arrays["convblock/bias"]])
        np.testing.assert_allclose(layer(arrays["convblock/x"]),
                                   arrays[f"convblock/out_{activation}"], atol=1e-5)
