"""Depth metrics and protocols: published numbers, a slow definition, hand-worked maps."""
import dataclasses
import json
import math

import numpy as np
import pytest
from helpers import PARITY, needs_shared, parity

from tfdepth.checks import UserError
from tfdepth.evaluation import depth_metrics as dm
from tfdepth.evaluation import resizing
from tfdepth.evaluation.baselines import PerPixelMeanDepth


@pytest.fixture(scope="module")
def lidar():
    arrays = parity("evaluation", "depth_gt.npz")
    truths = {}
    for frame in ("000000", "000001"):
        truth = np.zeros(arrays[f"f{frame}_shape"], np.float32)
        truth[arrays[f"f{frame}_rows"], arrays[f"f{frame}_cols"]] = arrays[f"f{frame}_x"]
        truths[frame] = truth
    return arrays, truths


def synthetic_prediction(kind, height, width):
    """The formulas of the fixtures' README."""
    v = (np.arange(height)[:, np.newaxis] + 0.5) / height
    u = (np.arange(width)[np.newaxis] + 0.5) / width
    wave = 1 + 0.1 * np.sin(2 * np.pi * u)
    return {"row": (3 + 40 * (1 - v)**1.5) * wave,
            "plane": 2.2 / np.maximum(v - 0.42, 0.008) * wave}[kind]


def protocol_of_key(key):
    """"000000/monodepth2/cap50/noscale/garg/row/low" -> frame, protocol, prediction, size."""
    frame, project, cap, *options, kind, size = key.split("/")
    name = {"sfmlearner": "eigen", "monodepth2": "eigen_monodepth2"}[project]
    if "nocrop" in options:
        name = "improved"
    protocol = dm.PROTOCOLS[name + ("_50m" if cap == "cap50" else "")]
    if "noscale" in options:
        stereo = "improved_stereo" if "nocrop" in options else "eigen_stereo"
        protocol = (dm.PROTOCOLS[stereo] if cap == "cap80" else
                    dataclasses.replace(protocol, median_scaling=False))
    return frame, protocol, kind, size


@needs_shared
def test_published_numbers(lidar):
    arrays, truths = lidar
    published = json.loads((PARITY / "evaluation" / "depth_metrics.json").read_text())["metrics"]
    assert len(published) == 66
    for key, expected in published.items():
        frame, protocol, kind, size = protocol_of_key(key)
        names = sorted(truths) if frame == "all" else [frame]
        predictions = [arrays[f"pred_low_{kind}"] if size == "low" else
                       synthetic_prediction(kind, *truths[name].shape) for name in names]
        result = dm.evaluate_depth(zip(names, predictions, map(truths.get, names)), protocol)
        assert result.num_images == len(names) and result.unmeasured == ()
        for metric in protocol.metrics:
            np.testing.assert_allclose(getattr(result.metrics, metric), expected[metric],
                                       rtol=1e-4, err_msg=key)
        if "scale" in expected and protocol.median_scaling:
            np.testing.assert_allclose(result.ratio_median, expected["scale"], rtol=1e-4)
        if "num_pixels" in expected:
            assert result.images[0].num_pixels == expected["num_pixels"]


def metrics_by_loops(depth, truth, low, high):
    """The definition, one pixel at a time; shares no code with tfdepth."""
    sums = dict.fromkeys(dm.DepthMetrics._fields, 0.0)
    count, log_ratios = 0, []
    for p, t in zip(depth.ravel(), truth.ravel()):
        if not low < t < high:
            continue
        p = min(max(p, low), high)
        ratio = p / t if p > t else t / p
        count += 1
        sums["abs_rel"] += abs(p - t) / t
        sums["sq_rel"] += (p - t) * (p - t) / t
        sums["rmse"] += (p - t) * (p - t)
        sums["rmse_log"] += (math.log(p) - math.log(t))**2
        sums["log10"] += abs(math.log10(p / t))
        sums["log10_rms"] += math.log10(p / t)**2
        log_ratios.append(math.log(p / t))
        for power, name in enumerate(("a1", "a2", "a3"), start=1):
            sums[name] += ratio < 1.25**power
    means = {name: value / count for name, value in sums.items()}
    means.update({name: math.sqrt(means[name]) for name in ("rmse", "rmse_log", "log10_rms")})
    squares = sum(each**2 for each in log_ratios) / count
    means["silog"] = 100 * math.sqrt(squares - (sum(log_ratios) / count)**2)
    return means


def test_metrics_against_loops():
    random = np.random.default_rng(3)
    truth = random.uniform(0.5, 100, [7, 11]) * (random.random([7, 11]) < 0.6)
    depth = random.uniform(0.5, 1.6, [7, 11]) * (truth + 20 * (truth == 0))
    protocol = dataclasses.replace(dm.PROTOCOLS["depth"], median_scaling=False)
    image = dm.evaluate_image("a", depth, truth, protocol)
    assert image.num_pixels == np.sum((truth > 0) & (truth < 80))
    expected = metrics_by_loops(depth, truth, 1e-3, 80.0)
    assert 0 < expected["a1"] < expected["a2"] < expected["a3"] < 1
    assert set(expected) == set(dm.DepthMetrics._fields)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(image.metrics, name), value, rtol=1e-12)


def test_metrics_by_hand():
    found = dm.depth_metrics(np.array([2.0, 5.0]), np.array([1.0, 4.0]))
    np.testing.assert_allclose(found[:4], [
        (1 + 0.25) / 2, (1 + 0.25) / 2, 1.0,
        math.sqrt((math.log(2)**2 + math.log(1.25)**2) / 2)], rtol=1e-12)
    assert found[4:7] == (0.0, 0.5, 0.5)  # 1.25 is not below 1.25
    found = dm.depth_metrics(np.array([10.0, 1.0, 0.1]), np.array([1.0, 1.0, 1.0]))
    np.testing.assert_allclose([found.log10, found.log10_rms, found.silog],
                               [2 / 3, math.sqrt(2 / 3), 100 * math.log(10) * math.sqrt(2 / 3)])
    truth = np.array([1.0, 3.0, 70.0])
    assert dm.depth_metrics(3 * truth, truth).silog < 1e-12  # a global factor costs nothing


def test_a_global_factor_costs_nothing_and_the_ratio_is_told():
    random = np.random.default_rng(1)
    truths = random.uniform(2, 60, [2, 4, 6])
    samples = [("a", truths[0] / 2, truths[0]), ("b", truths[1] / 4, truths[1])]
    scaled = dm.evaluate_depth(samples, dm.PROTOCOLS["depth"])
    assert scaled.metrics.abs_rel < 1e-12 and scaled.metrics.a1 == 1
    np.testing.assert_allclose([image.ratio for image in scaled.images], [2, 4])
    np.testing.assert_allclose([scaled.ratio_median, scaled.ratio_spread], [3, 1 / 3])
    plain = dataclasses.replace(dm.PROTOCOLS["depth"], median_scaling=False)
    unscaled = dm.evaluate_depth(iter(samples), plain)
    np.testing.assert_allclose(unscaled.metrics.abs_rel, (0.5 + 0.75) / 2)
    assert unscaled.ratio_spread == scaled.ratio_spread


def test_the_mean_is_over_images_not_pixels():
    many, few = np.full([4, 4], 10.0), np.zeros([4, 4])
    few[1, 2] = 10.0
    protocol = dataclasses.replace(dm.PROTOCOLS["depth"], median_scaling=False)
    result = dm.evaluate_depth([("many", many, many), ("few", 2 * many, few)], protocol)
    np.testing.assert_allclose(result.metrics.abs_rel, 0.5)


def test_unmeasured_images_are_named():
    ones = np.ones([2, 3])
    samples = [("x", ones, ones), ("y", ones, 0 * ones), ("z", ones, 90 * ones)]
    result = dm.evaluate_depth(samples, dm.PROTOCOLS["depth"])
    assert (result.num_images, result.unmeasured) == (1, ("y", "z"))
    assert result.metrics.abs_rel == 0
    nothing = dm.evaluate_depth(samples[1:], dm.PROTOCOLS["depth"])
    assert nothing.metrics is None and nothing.ratio_spread is None
    assert [image.num_pixels for image in nothing.images] == [0, 0]


@pytest.mark.parametrize("size, rows, columns", [
    ((375, 1242), (153, 371), (44, 1197)), ((370, 1226), (151, 366), (44, 1181)),
    ((376, 1241), (153, 372), (44, 1196))])
def test_garg_crop(size, rows, columns):
    found = dm.counted_pixels(np.ones(size), dm.PROTOCOLS["eigen"])
    np.testing.assert_array_equal(found, block(rows, columns))


def test_nyu_crop():
    found = dm.counted_pixels(np.ones([480, 640]), dm.PROTOCOLS["nyu"])
    np.testing.assert_array_equal(found, block((45, 471), (41, 601)))


def block(rows, columns):
    """Rows and columns of all pixels of a rectangle, in reading order."""
    return np.stack(np.mgrid[slice(*rows), slice(*columns)]).reshape(2, -1)


def test_what_counts_at_the_limits():
    truth = np.array([[0.0, 5e-4, 1e-3, 2e-3, 69.9, 70.0, 80.0, 200.0]])
    for name, expected in [("depth", [3, 4, 5]), ("improved", [1, 2, 3, 4, 5, 6, 7]),
                           ("make3d", [1, 2, 3, 4])]:
        _, columns = dm.counted_pixels(truth, dm.PROTOCOLS[name])
        np.testing.assert_array_equal(columns, expected, err_msg=name)


@pytest.mark.parametrize("name", ["eigen", "eigen_monodepth2", "improved", "nyu", "make3d"])
def test_sampling_where_truth_is_changes_no_bit(name):
    random = np.random.default_rng(8)
    truth = random.uniform(0.1, 90, [60, 83]) * (random.random([60, 83]) < 0.3)
    depth = random.uniform(1, 60, [16, 26]).astype(np.float32)
    protocol = dm.PROTOCOLS[name]
    whole = resizing.RESIZINGS[protocol.resized](depth, truth.shape)
    assert whole.shape == truth.shape
    pixels = dm.counted_pixels(truth, protocol)
    ratio = np.median(truth[pixels]) / np.median(whole[pixels])
    scaled = whole[pixels] * (ratio if protocol.median_scaling else 1)
    image = dm.evaluate_image("a", depth, truth.astype(np.float64), protocol)
    assert image.ratio == ratio and image.num_pixels == len(pixels[0]) > 100
    clamped = np.clip(scaled, protocol.min_depth, protocol.max_depth)
    assert image.metrics == dm.depth_metrics(clamped, truth[pixels])


@pytest.mark.parametrize("size, corner", [
    ((375, 1242), (23, 13)), ((370, 1226), (18, 5)), ((376, 1241), (24, 12)),
    ((352, 1216), (0, 0))])
def test_kb_crop(size, corner):
    assert dm.kb_crop(size) == (*corner, 352, 1216)


def test_images_too_small_for_the_kb_crop():
    with pytest.raises(UserError, match="1216 x 352 pixels .* or more; got 1242 x 351"):
        dm.kb_crop((351, 1242))


def test_bts_pastes_the_kb_crop_into_zeros():
    random = np.random.default_rng(2)
    truth = random.uniform(0.5, 90, [376, 1241]) * (random.random([376, 1241]) < 0.05)
    depth = random.uniform(0.5, 100, [352, 1216])
    pasted = np.zeros(truth.shape)
    pasted[24:, 12:1228] = depth
    protocol = dm.PROTOCOLS["bts"]
    for protocol, rows, columns in [
            (protocol, slice(153, 372), slice(44, 1196)),
            (dataclasses.replace(protocol, crop=None), slice(None), slice(None))]:
        image = dm.evaluate_image("a", depth, truth, protocol)
        expected = metrics_by_loops(pasted[rows, columns], truth[rows, columns], 1e-3, 80.0)
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(image.metrics, name), value, rtol=1e-9)
    small = np.linspace(1, 9, 22 * 38).reshape(22, 38)  # a network of another size
    image = dm.evaluate_image("a", small, truth, protocol)
    whole = dm.evaluate_image("a", resizing.resize_bilinear(small, (352, 1216)), truth, protocol)
    np.testing.assert_allclose(image.metrics, whole.metrics, rtol=1e-12)


def test_make3d_clips_from_above_only():
    truth = np.array([[0.0, 1e-4, 10.0, 40.0], [69.0, 70.0, 20.0, 0.0]])
    depth = np.array([[9.0, 4e-5, 1.0, 2.0], [90.0, 5.0, 2.0, 9.0]])
    image = dm.evaluate_image("a", depth, truth, dm.PROTOCOLS["make3d"])
    assert (image.num_pixels, image.ratio) == (5, 10.0)
    predicted, measured = [4e-4, 10, 20, 70, 20], [1e-4, 10, 40, 69, 20]
    np.testing.assert_allclose(image.metrics, dm.depth_metrics(
        np.array(predicted, float), np.array(measured, float)), rtol=1e-12)


def test_nyu_is_scored_in_metres_up_to_ten():
    truth, depth = np.zeros([480, 640]), np.full([480, 640], 4.0)
    truth[[44, 45, 470, 471], [300, 41, 600, 300]] = [1, 2, 8, 1]
    truth[200, 300:302] = [9.9, 10.0]
    depth[200, 300] = 12.0
    image = dm.evaluate_image("a", depth, truth, dm.PROTOCOLS["nyu"])
    assert image.num_pixels == 3
    np.testing.assert_allclose(image.metrics.abs_rel, (1 + 0.5 + 0.1 / 9.9) / 3)


def test_moving_pixels_are_scored_with_the_scale_of_all():
    truth = np.array([[2.0, 4.0, 8.0, 0.0], [10.0, 10.0, 10.0, 90.0]])
    depth = truth / 5 + (truth == 0) + np.array([[0.4, 0, 0, 0], [0, 0, 0, 0]])
    moving = np.array([[True, False, True, True], [False, False, False, True]])
    image = dm.evaluate_image("x", depth, truth, dm.find_protocol("depth_moving"), moving)
    assert image.num_pixels == 2 and image.ratio == pytest.approx(9 / 1.8)
    assert image.metrics.abs_rel == pytest.approx((2.0 / 2 + 0) / 2)
    nothing = dm.evaluate_image("x", depth, truth, dm.find_protocol("depth_moving"), moving & False)
    assert nothing.metrics is None
    with pytest.raises(ValueError, match="`scored`"):
        dm.evaluate_image("x", depth, truth, dm.find_protocol("depth_moving"), moving[:1])


def test_resize_bilinear():
    ramp = 2.0 * np.arange(3)[:, np.newaxis] + 10.0 * np.arange(4)
    rows = np.clip((np.arange(9) + 0.5) / 3 - 0.5, 0, 2)        # half-pixel centres, clamped
    columns = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    expected = 2.0 * rows[:, np.newaxis] + 10.0 * columns       # exact for a ramp
    np.testing.assert_allclose(resizing.resize_bilinear(ramp, (9, 8)), expected, atol=1e-12)
    np.testing.assert_array_equal(resizing.resize_bilinear(ramp, (3, 4)), ramp)
    # down by 2 samples between the two middle pixels, without further smoothing
    np.testing.assert_allclose(resizing.resize_bilinear(np.array([[0.0, 1, 5, 7]]), (1, 2)),
                               [[0.5, 6.0]])


def test_resize_nearest_keeps_holes():
    values = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 5.0]])
    np.testing.assert_array_equal(resizing.resize_nearest(values, (4, 6)),
                                  values.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(resizing.resize_nearest(values, (1, 3)), [[3, 0, 5]])


def test_make3d_takes_the_corner_pixel():
    depth = np.add.outer(1.0 + np.arange(192), 1000.0 * np.arange(640))
    found = resizing.RESIZINGS["nearest"](depth, (21, 305))
    for i, j in [(0, 0), (1, 1), (7, 100), (20, 304)]:
        assert found[i, j] == 1 + math.floor(i * 192 / 21) + 1000 * math.floor(j * 640 / 305)


def test_disparity_is_resized_before_inverting():
    depth = np.array([[1.0, 4.0]])
    truth = np.full([1, 4], 1.0)
    for resized, expected in [("depth", [1, 1.75, 3.25, 4]),
                              ("disparity", [1, 1 / 0.8125, 1 / 0.4375, 4])]:
        protocol = dataclasses.replace(dm.PROTOCOLS["depth"], resized=resized,
                                       median_scaling=False)
        found = dm.evaluate_image("a", depth, truth, protocol).metrics.abs_rel
        np.testing.assert_allclose(found, np.mean(np.array(expected) - 1))


@pytest.mark.parametrize("depth, truth, message", [
    (np.array([[1, np.nan, np.inf]]), np.ones([1, 3]),
     "06/3: predicted depth must be positive and finite; 2 of 3 pixels are not, the first is nan."),
    (np.array([[1.0, 0.0]]), np.ones([1, 2]), "1 of 2 pixels are not, the first is 0."),
    (np.ones([1, 2]), np.array([[1.0, -2.0]]),
     "06/3: measured depth must be finite, 0 or more; 1 of 2 pixels are not, the first is -2."),
    (np.ones([1, 2, 1]), np.ones([1, 2]), "`depth` must have shape [h, w]; got [1, 2, 1].")])
def test_refusals(depth, truth, message):
    with pytest.raises(ValueError) as error:
        dm.evaluate_image("06/3", depth, truth, dm.PROTOCOLS["depth"])
    assert message in str(error.value)


def test_protocol_table():
    assert all(name == protocol.name for name, protocol in dm.PROTOCOLS.items())
    assert all(protocol.resized in resizing.RESIZINGS for protocol in dm.PROTOCOLS.values())
    assert set(dm.HIGHER_IS_BETTER) < set(dm.STANDARD_METRICS)
    assert len(dm.STANDARD_METRICS) == 7 and dm.STANDARD_METRICS[-1] == "a3"
    for protocol in dm.PROTOCOLS.values():
        assert protocol.frames in ("", "eigen", "improved", "make3d", "nyu")
        assert set(protocol.metrics) <= set(dm.DepthMetrics._fields)
        unscaled = protocol.name in ("depth_metres", "eigen_stereo", "improved_stereo", "bts",
                                     "nyu")
        assert protocol.median_scaling != unscaled
    with pytest.raises(UserError, match="protocol must be one of .*Did you mean 'eigen'"):
        dm.find_protocol("eigne")


def test_per_pixel_mean_depth():
    maps = [np.array([[2.0, 0.0, 0.0, 8.0]]), np.array([[4.0, 0.0, 0.0, 0.0]])]
    mean = PerPixelMeanDepth.fit(iter(maps))
    np.testing.assert_array_equal(mean.predict(), [[3, 3, 8, 8]])  # holes: nearest measured
    assert mean.num_measured == 3
    np.testing.assert_allclose(mean.scalar_mean, 14 / 3)
    np.testing.assert_array_equal(maps[0], [[2, 0, 0, 8]])
    resized = PerPixelMeanDepth.fit([np.ones([2, 4]), np.full([4, 8], 3.0)], size=(4, 8))
    np.testing.assert_array_equal(resized.predict(), np.full([4, 8], 2.0))
    for wrong, text in [([], "got no map"), ([np.zeros([2, 2])], "all pixels are 0"),
                        ([np.ones([1, 2]), np.array([[1, -1.0]])], "training depth map 1")]:
        with pytest.raises(UserError, match=text):
            PerPixelMeanDepth.fit(wrong)
