"""Tables, result files and pictures."""
import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfdepth.checks import UserError
from tfdepth.evaluation import plots, tables
from tfdepth.evaluation.depth_metrics import (
    HIGHER_IS_BETTER, PROTOCOLS, STANDARD_METRICS, evaluate_depth)
from tfdepth.evaluation.trajectories import rigid_transforms

ROWS = [("this run", {"abs_rel": 0.21234, "a1": 0.7, "images": 12}),
        ("mean depth", {"abs_rel": 0.4, "a1": float("nan"), "images": 3}),
        ("paper", {"abs_rel": np.float32(0.2121), "a1": 0.75, "images": None})]


def test_table():
    columns = [*tables.metric_columns(["abs_rel", "a1"], ["a1"]), tables.Column("images")]
    assert tables.format_table(ROWS, columns, "Depth") == "\n".join([
        "Depth",
        "            abs_rel ↓    a1 ↑  images",
        "-------------------------------------",
        "this run       0.212*  0.700       12",   # equal as printed: both are best
        "mean depth     0.400     n/a        3",
        "paper          0.212*  0.750*     n/a"])


def test_nothing_is_best_without_a_rival():
    for rows in (ROWS[:1], [("a", {"a1": None}), ("b", {"a1": 0.5})]):
        assert "*" not in tables.format_table(rows, tables.metric_columns(["a1"], ["a1"]))
    assert len(tables.format_table([], tables.metric_columns(["rmse"])).splitlines()) == 2


def test_json(tmp_path):
    truth = np.full([2, 3], 4.0)
    result = evaluate_depth([("a", truth, truth), ("b", truth, 0 * truth)], PROTOCOLS["depth"])
    tables.write_json(tmp_path / "run" / "evaluation.json", {
        "depth": result, "protocol": PROTOCOLS["eigen"], "bad": [float("inf"), np.nan],
        "array": np.arange(3), "number": np.float32(0.5), 7: (1, 2)})
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert found["depth"]["metrics"]["a1"] == 1 and found["depth"]["unmeasured"] == ["b"]
    assert found["depth"]["images"][1]["metrics"] is None
    assert found["protocol"]["crop"]["top"] == 0.40810811
    assert (found["bad"], found["array"], found["number"], found["7"]) == (
        [None, None], [0, 1, 2], 0.5, [1, 2])
    with pytest.raises(TypeError):
        tables.write_json(tmp_path / "evaluation.json", {"a": object()})
    assert not (tmp_path / "evaluation.json").exists()


def test_csv(tmp_path):
    rows = [("a, b", {"rmse": 1 / 3, "a1": None}), ("c", {"a1": 0.5, "new": "x"})]
    tables.write_csv(tmp_path / "evaluation.csv", rows)
    text = (tmp_path / "evaluation.csv").read_text()
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "rmse", "a1", "new"], ["a, b", repr(1 / 3), "n/a", "n/a"],
        ["c", "n/a", "0.5", "x"]]
    tables.write_csv(tmp_path / "evaluation.csv", rows, ["a1"])
    assert (tmp_path / "evaluation.csv").read_text() == 'name,a1\n"a, b",n/a\nc,0.5\n'


def test_metrics_make_columns():
    columns = {column.name: column.better
               for column in tables.metric_columns(STANDARD_METRICS, HIGHER_IS_BETTER)}
    assert columns["rmse"] == "lower" and columns["a3"] == "higher" and len(columns) == 7


def picture(**changes):
    frame = np.zeros([32, 104, 3], np.float32)
    frame[..., 0] = 1.0
    depth = np.tile(np.linspace(40, 4, 32)[:, np.newaxis], [1, 104])
    return plots.DepthPicture("drive/0", frame, depth)._replace(**changes)


def colours_near(path, colour, tolerance=12):
    """Share of the picture's pixels that have nearly this RGB."""
    pixels = np.asarray(Image.open(path).convert("RGB"), int)
    return np.mean(np.abs(pixels - colour).max(axis=2) <= tolerance)


def test_depth_panel(tmp_path):
    truth = np.zeros([64, 208])
    truth[:, :52] = 10.0
    green = np.zeros([32, 104, 3])
    green[..., 1] = 1.0
    full = picture(true_depth=truth, others={
        "warped": green, "all": np.ones([32, 104]), "nothing": np.zeros([32, 104])})
    plots.write_figure(tmp_path / "full.png", plots.draw_depth_panel([full, picture()], "Title"))
    plots.write_figure(tmp_path / "bare.png", plots.draw_depth_panel([picture()]))
    plots.write_figure(tmp_path / "again.png", plots.draw_depth_panel([picture()]))
    assert (tmp_path / "bare.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    size = Image.open(tmp_path / "full.png").size
    bare_size = Image.open(tmp_path / "bare.png").size
    assert size[0] > 1.7 * bare_size[0] and size[1] > 2 * bare_size[1]  # 2 columns, 7 rows
    cell = 1 / 14 / 1.35                          # of 2 x 7 images, with room for the margins
    assert colours_near(tmp_path / "full.png", [255, 0, 0]) > 2 * cell   # frames
    assert colours_near(tmp_path / "full.png", [0, 255, 0]) > cell       # warped source
    assert colours_near(tmp_path / "full.png", [64, 64, 64], 3) > 0.7 * cell  # unmeasured truth
    assert colours_near(tmp_path / "bare.png", [0, 255, 0]) == 0
    long = plots.draw_depth_panel([picture(others={"explainable in source 1": green})])
    assert "explainable in\nsource 1" in {text.get_text() for text in long.texts}


def test_predicted_and_true_depth_share_one_range():
    wrong = picture(true_depth=picture().depth, depth=3 * picture().depth)
    images = [axes.images[0] for axes in plots.draw_depth_panel([wrong]).axes if axes.images]
    (_, predicted, true, error) = images
    np.testing.assert_allclose(error.get_array(), 2, rtol=1e-6)
    assert predicted.get_clim() == true.get_clim()
    np.testing.assert_allclose(np.max(true.get_array()) / np.max(predicted.get_array()), 3)
    np.testing.assert_allclose(true.get_clim(), [1 / 40, 1 / 4], rtol=0.1)


def test_colour_bars_have_numbers_that_do_not_meet(tmp_path):
    """Of a narrow range too; those at the ends of a bar lie within it."""
    narrow = picture(depth=np.linspace(2.341, 2.345, 6656).reshape(64, 104),
                     others={"one": np.ones([32, 104])}, true_depth=np.full([64, 208], 2.35))
    for changes, wanted in (({}, ["1.57 m", "4.7 m"]), ({"true_depth": None}, ["2.341", "2.345"]),
                            ({"true_depth": narrow.depth}, ["2.341 m", "2.345 m"]),
                            ({"depth": 1e4 * narrow.depth, "true_depth": None},
                             ["23410", "23450"]),
                            ({"depth": np.linspace(0.849, 0.851, 64)[:, np.newaxis],
                              "true_depth": None}, ["0.849", "0.851"])):
        figure = plots.draw_depth_panel([narrow._replace(**changes)])
        plots.write_figure(tmp_path / "narrow.png", figure)
        bars = [axes for axes in figure.axes if axes.get_yticklabels()]
        labels = {label.get_text(): label.get_window_extent()
                  for axes in bars for label in axes.get_yticklabels()}
        assert set(wanted) <= set(labels)
        boxes = sorted((box.y0, box.y1) for box in labels.values())
        assert all(top <= bottom for (_, top), (bottom, _) in zip(boxes, boxes[1:]))


def test_sparse_truth_stays_visible():
    truth = np.zeros([375, 1242])
    truth[::3, ::3] = 20.0
    truth[0, 0] = 10.0
    figure = plots.draw_depth_panel([picture(true_depth=truth)])
    shown = [axes.images[0] for axes in figure.axes if axes.images][2].get_array()
    assert shown.shape == (125, 414) and not np.ma.getmaskarray(shown).any()
    np.testing.assert_allclose(shown[1, 1], 1 / 20)


def test_odd_depths_can_be_drawn(tmp_path):
    for changes in ({"depth": np.full([8, 8], 7.0)}, {"depth": np.zeros([8, 8])},
                    {"true_depth": np.zeros([32, 104])}):
        figure = plots.draw_depth_panel([picture(**changes)])
        plots.write_figure(tmp_path / "odd.png", figure)
        low, high = figure.axes[1].images[0].get_clim()
        assert 0 <= low < high - 0.02
    with pytest.raises(ValueError, match="one picture or more"):
        plots.draw_depth_panel([])
    with pytest.raises(ValueError, match=r"`mask` must have shape \[h, w, 3\]; got \[2, 2, 1\]"):
        plots.draw_depth_panel([picture(others={"mask": np.ones([2, 2, 1])})])


def test_trajectory_plot(tmp_path):
    angles = np.linspace(0, 2, 40)
    truth = rigid_transforms(np.eye(3), np.stack(
        [30 * (1 - np.cos(angles)), 0 * angles, 30 * np.sin(angles)], axis=1))
    half = truth.copy()
    half[:, :3, 3] *= 0.5
    half[:, :3, 3] += [100, 0, 7]                      # another world
    figure = plots.draw_trajectories(truth, {"prediction": half}, "drive")
    axes = figure.axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines["prediction (scale x2)"], lines["truth"], atol=1e-12)
    np.testing.assert_allclose(lines["truth"], truth[:, [0, 2], 3])
    assert axes.get_xlabel() == "x, right [m]" and axes.get_ylabel() == "z, forward [m]"
    assert axes.get_aspect() == 1
    plots.write_figure(tmp_path / "trajectory.png", figure)
    assert Image.open(tmp_path / "trajectory.png").format == "PNG"
    alone = plots.draw_trajectories(None, {"prediction": half}, unit="relative units").axes[0]
    assert alone.get_xlabel() == "x, right [relative units]"
    np.testing.assert_allclose(alone.lines[0].get_xydata(), truth[:, [0, 2], 3] / 2)


def test_plot_refusals(tmp_path):
    poses = np.stack([np.eye(4)] * 3)
    with pytest.raises(UserError, match="slam: poses must be finite; 1 numbers are not"):
        broken = poses.copy()
        broken[1, 0, 3] = np.nan
        plots.draw_trajectories(poses, {"slam": broken})
    with pytest.raises(ValueError, match=r"`slam` must have shape \[3, 4, 4\]"):
        plots.draw_trajectories(poses, {"slam": poses[:2]})
    with pytest.raises(ValueError, match="must hold a trajectory"):
        plots.draw_trajectories(None, {})
    with pytest.raises(UserError, match="expected a name ending in .png; got .*a.jpg"):
        plots.write_figure(tmp_path / "a.jpg", plots.draw_trajectories(poses, {}))


def test_imports_are_light():
    """Neither TensorFlow nor matplotlib is loaded before something is drawn."""
    code = ("import sys, tfdepth.evaluation.plots, tfdepth.evaluation.baselines, "
            "tfdepth.evaluation.tables, tfdepth.evaluation.snippet_files; "
            "print([name for name in ('tensorflow', 'matplotlib') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
