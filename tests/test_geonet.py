"""The rigid stage of GeoNet: its networks by counting and by NumPy, its loss at a known truth."""
import numpy as np
import pytest
import tensorflow as tf

from tfdepth.console import load_config_file
from tfdepth.data.synthetic import camera_intrinsics
from tfdepth.data.synthetic_render import render
from tfdepth.data.synthetic_world import build_world
from tfdepth.losses.photometric import photometric_error
from tfdepth.networks.convolutions import Convolution, aligned_bilinear
from tfdepth.networks.geonet import DispResNet50
from tfdepth.structures import Batch, DepthPrediction, TwoWayPrediction
from tfdepth.systems import build_system
from tfdepth.systems.geonet import GeoNetConfig
from tfdepth.systems.pyramid import shrink

SIZE = (64, 192)


@pytest.fixture(scope="module")
def network():
    tf.keras.utils.set_random_seed(0)
    return DispResNet50()


def test_sizes_and_parameters(network):
    """An odd side at stride 64; the parameters by counting, layer by layer."""
    disparities, encoded = network(tf.zeros([1, 64, 96, 3]))
    assert [each.shape[1:] for each in encoded] == [
        (32, 48, 64), (16, 24, 64), (8, 12, 256), (4, 6, 512), (2, 3, 1024), (1, 2, 2048)]
    assert [each.shape[1:] for each in disparities] == [
        (64, 96, 1), (32, 48, 1), (16, 24, 1), (8, 12, 1)]
    first, *_, last = network.stages[1]  # only the last unit of a stage has stride 2
    features = first(tf.zeros([1, 8, 12, 256]))
    assert features.shape[1:3] == (8, 12) and last(features).shape[1:3] == (4, 6)
    layer = lambda channels_in, channels, kernel: kernel**2 * channels_in * channels + channels
    count, below = layer(3, 64, 7), 64
    for width, units in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for _ in range(units):
            count += layer(below, width, 1) + layer(width, width, 3)
            count += layer(width, 4 * width, 1) + layer(below, 4 * width, 1)
            below = 4 * width
    skips = {512: 1024, 256: 512, 128: 256, 64: 64, 32: 64, 16: 0}
    for width, skip in skips.items():
        fed_back = 1 if width <= 64 else 0
        count += layer(below, width, 3) + layer(width + skip + fed_back, width, 3)
        count += layer(width, 1, 3) if width <= 128 else 0
        below = width
    found = sum(np.prod(each.shape) for each in network.trainable_variables)
    assert found == count == 58_448_836


def test_disparities_start_around_half_the_range_or_where_asked(network):
    image = tf.random.stateless_uniform([1, 64, 96, 3], [1, 2], -1, 1)
    disparities, _ = network(image, training=True)
    assert all(0.01 < each.numpy().min() and each.numpy().max() < 5.01 for each in disparities)
    assert 1.5 < np.mean(disparities[0]) < 3.5
    started = DispResNet50(initial_disparity=1.2)
    for each in started(image, training=True)[0]:
        np.testing.assert_allclose(each, np.full(each.shape, 1.2), rtol=1e-5)


def test_symmetric_convolution_and_aligned_resize():
    random = np.random.default_rng(0)
    image = random.normal(size=(1, 6, 8, 2)).astype(np.float32)
    layer = Convolution("x", 3, 3, stride=2, symmetric=True)
    found = layer(image).numpy()
    kernel = layer.convolution.kernel.numpy()
    padded = np.pad(image, [(0, 0), (1, 1), (1, 1), (0, 0)])
    for i, j in np.ndindex(3, 4):
        patch = padded[0, 2 * i:2 * i + 3, 2 * j:2 * j + 3]
        np.testing.assert_allclose(found[0, i, j], np.tensordot(patch, kernel, 3), atol=1e-5)
    rows = np.linspace(0, 5, 12)
    columns = np.linspace(0, 7, 16)
    expected = np.stack([np.interp(columns, range(8), row) for row in np.stack(
        [np.interp(rows, range(6), image[0, :, j, 1]) for j in range(8)], axis=1)])
    np.testing.assert_allclose(aligned_bilinear(image, [12, 16])[0, ..., 1], expected, atol=1e-5)


@pytest.fixture(scope="module", name="truth")
def _truth():
    """A batch of synthetic frames 0 to 2 with the prediction that is true of it, and a system."""
    world = build_world(seed=5, frame_count=3, with_movers=False)
    camera = camera_intrinsics(SIZE)
    views = [render(world, k, world.street_from_camera[k], camera, SIZE) for k in range(3)]
    images = np.float32([view.image for view in views]) / 255
    depths = np.float32([np.where(view.depth > 0, view.depth, 200.0) for view in views])[..., None]
    source_from_target = np.float32([np.linalg.inv(world.street_from_camera[k])
                                     @ world.street_from_camera[1] for k in (0, 2)])
    batch = Batch(*map(tf.constant, (images[1:2], images[[0, 2]][None], images[1:2],
                                     images[[0, 2]][None], np.float32(camera)[None])))
    scene = lambda depth: DepthPrediction(
        tf.constant(depth), tuple(shrink(tf.constant(1 / depth), 2**k) for k in range(4)))
    prediction = TwoWayPrediction(scene(depths[1:2]), tf.constant(source_from_target[None]),
                                  scene(depths[[0, 2]]))
    system = build_system(GeoNetConfig(depth_network="dispnet", mask_outside=True,
                                       pyramid_intrinsics="exact"), (-1, 1))
    return system, batch, prediction


def scaled(scene, factor):
    return DepthPrediction(factor * scene.depth,
                           tuple(each / factor for each in scene.disparities))


def test_loss_is_smallest_at_the_truth(truth):
    """Each of depth, depth of the sources, and motion moves it away, so both ways are warped."""
    system, batch, prediction = truth
    loss = lambda changed: float(system.loss_terms(batch, changed)["photometric"])
    least = loss(prediction)
    motion = prediction.source_from_target
    still = tf.tile(tf.eye(4)[None, None], [1, 2, 1, 1])
    changes = {
        "no motion": prediction._replace(source_from_target=still),
        "backwards": prediction._replace(source_from_target=tf.linalg.inv(motion)),
        "swapped": prediction._replace(source_from_target=motion[:, ::-1]),
        "turned": prediction._replace(source_from_target=motion @ tf.constant(
            [[0.9998, 0, 0.02, 0], [0, 1, 0, 0], [-0.02, 0, 0.9998, 0], [0, 0, 0, 1]])),
        "near": prediction._replace(scene=scaled(prediction.scene, 0.6)),
        "far": prediction._replace(scene=scaled(prediction.scene, 1.8)),
        "sources near": prediction._replace(source_scenes=scaled(prediction.source_scenes, 0.6)),
        "sources far": prediction._replace(source_scenes=scaled(prediction.source_scenes, 1.8)),
        "sources swapped": prediction._replace(source_scenes=tf.nest.map_structure(
            lambda maps: maps[::-1], prediction.source_scenes))}
    found = {name: loss(changed) / least for name, changed in changes.items()}
    print(least, found)
    assert found.pop("sources swapped") > 1.01  # two frames apart their depths are alike
    assert min(found.values()) > 1.25


def test_each_map_weighs_what_is_warped_to_its_own_image(truth):
    """With one map alone, the loss is that warp's; both ways and both sources make the whole."""
    plain, batch, prediction = truth
    system = build_system(GeoNetConfig(
        depth_network="dispnet", mask_outside=True, pyramid_intrinsics="exact",
        attention="constraint"), (-1, 1))
    sizes = [(64 // 2**k, 192 // 2**k) for k in range(4)]

    def loss(of_target, of_sources):
        with_maps = prediction._replace(
            scene=prediction.scene._replace(attention=tuple(
                tf.fill([1, *size, 1], of_target) for size in sizes)),
            source_scenes=prediction.source_scenes._replace(attention=tuple(
                tf.ones([2, *size, 1]) * tf.reshape(tf.constant(of_sources), [2, 1, 1, 1])
                for size in sizes)))
        return float(system.loss_terms(batch, with_maps)["photometric"])

    parts = [loss(0.5, [0.0, 0.0]), loss(0.0, [0.5, 0.0]), loss(0.0, [0.0, 0.5])]
    whole = float(plain.loss_terms(batch, prediction)["photometric"])
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-5)
    expected = [0.0, 0.0, 0.0]
    for level in range(4):
        target, sources, to_target, to_sources = plain._views(batch, prediction, level)
        for k in range(2):
            for place, views, image in ((0, to_target, target), (1 + k, to_sources, sources[:, k])):
                error = photometric_error(views.images[:, k], image, edge="cut").numpy()
                valid = views.valid[:, k].numpy()
                expected[place] += 0.5 * error[valid].mean()
    np.testing.assert_allclose(parts, expected, rtol=1e-4)


@pytest.mark.parametrize("network", ["dispnet", "resnet50"])
def test_contract(network):
    """Finite gradients of all variables; five frames; inference is the forward pass's depth."""
    system = build_system(GeoNetConfig(depth_network=network), (-2, -1, 1, 2))
    system.create_variables((64, 96))
    random = np.random.default_rng(0)
    target, sources = (tf.constant(random.random((2, *shape, 64, 96, 3), np.float32))
                       for shape in ((), (4,)))
    camera = np.broadcast_to(np.float32([[60, 0, 44], [0, 70, 33], [0, 0, 1]]), [2, 3, 3])
    batch = Batch(target, sources, target, sources, tf.constant(camera))

    def step(batch):
        with tf.GradientTape() as tape:
            terms = system.loss_terms(batch, system.forward(batch, training=True))
            total = system.total_loss(terms)
        return tape.gradient(total, system.trainable_variables)

    for gradient in (tf.function(step) if network == "dispnet" else step)(batch):
        assert np.isfinite(gradient).all() and np.any(gradient)
    prediction = system.forward(batch, training=False)
    alone = system.predict_depth(target, target)
    np.testing.assert_allclose(alone.depth, prediction.scene.depth, rtol=1e-3)
    of_source = system.predict_depth(sources[:, 3], target)
    np.testing.assert_allclose(of_source.depth[1], prediction.source_scenes.depth[7], rtol=1e-3)
    np.testing.assert_allclose(system.predict_motion(target, sources),
                               prediction.source_from_target, atol=1e-6)


def test_variants():
    kinds = {"baseline": "none", "attention": "constraint", "attention_70": "constraint",
             "normalise": "normalise", "predictive_mask": "predictive_mask"}
    for name, kind in kinds.items():
        for task, frames, data in (("depth", 3, "kitti_raw"), ("pose", 5, "kitti_odometry")):
            config = load_config_file(f"configs/geonet.py:{task}_{name}")
            assert (config.system.attention, config.system.depth_network) == (kind, "resnet50")
            assert config.system.attention_mean == (0.7 if name.endswith("70") else 0.5)
            assert config.system.loss_weights.attention == 10.0
            assert (len(config.data.offsets) + 1, config.data.dataset) == (frames, data)
            assert (config.train.steps, config.train.batch_size) == (500_000, 4)
            assert config.optimizer.learning_rate == 2e-4
        if name != "attention_70":
            quick = load_config_file(f"configs/geonet.py:{name}")
            assert quick.system.attention == kind and quick.data.dataset == "synthetic_movers"
