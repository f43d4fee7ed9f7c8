"""Figures of odometry: what stands at which place, and what is refused."""
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfdepth.evaluation import odometry_plots as op
from tfdepth.evaluation.path_errors import PATH_PROTOCOLS, PathProtocol, path_errors
from tfdepth.evaluation.plots import PALETTE, write_figure
from tfdepth.evaluation.trajectories import rigid_transforms

SHORT = PathProtocol("short", "a few metres", (4, 8, 90), "none", step=2)


def straight(count, metres):
    return rigid_transforms(np.eye(3), np.outer(metres * np.arange(count), [0.0, 0.0, 1.0]))


def test_errors_by_length(tmp_path):
    truth = straight(11, 1.0)
    errors = {"long": path_errors(straight(11, 1.1), truth, SHORT),
              "exact": path_errors(truth, truth, SHORT),
              "stump": path_errors(truth[:3], truth[:3], SHORT)}
    figure = op.draw_errors_by_length(errors, "drive")
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.lines}
    np.testing.assert_allclose(lines["long"].get_xydata(), [[4, 12.5], [8, 11.25]])  # not 90 m
    np.testing.assert_allclose(lines["exact"].get_xydata(), [[4, 0], [8, 0]], atol=1e-9)
    assert lines["stump (not available)"].get_xydata().shape == (0, 2)
    assert [line.get_color() for line in left.lines] == list(PALETTE[:3])
    np.testing.assert_allclose(right.lines[0].get_ydata(), 0, atol=1e-9)
    assert (left.get_xlabel(), left.get_ylabel(), right.get_ylabel()) == (
        "path length [m]", "translation error [%]", "rotation error [deg / 100 m]")
    assert left.get_ylim()[0] == 0
    write_figure(tmp_path / "length.png", figure)
    assert Image.open(tmp_path / "length.png").size == (1170, 494)


def test_one_protocol_a_figure():
    truth = straight(200, 1.0)
    errors = {name: path_errors(truth, truth, PATH_PROTOCOLS[name])
              for name in ("odometry_kitti", "odometry_attention")}
    with pytest.raises(ValueError, match="all of one protocol; got .*'odometry_attention', "):
        op.draw_errors_by_length(errors)
    with pytest.raises(ValueError, match="one entry or more"):
        op.draw_errors_by_length({})


def test_more_methods_than_colours():
    truth = straight(11, 1.0)
    exact = path_errors(truth, truth, SHORT)
    axes = op.draw_errors_by_length({str(k): exact for k in range(7)}).axes[0]
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 7


def test_side_motion():
    snippets = np.stack([np.eye(4)] * 10).reshape(2, 5, 4, 4)
    snippets[0, :, 0, 3] = [0, 9, 9, 9, -0.5]
    snippets[1, -1, :3, 3] = [0.25, 7, 8]
    np.testing.assert_array_equal(op.side_motion(snippets), [-0.5, 0.25])
    with pytest.raises(ValueError, match="`first_from_camera` must have shape"):
        op.side_motion(snippets[0])


def test_ate_by_turning(tmp_path):
    turning = np.array([-1.5, -1.4, 0.0, 0.02, 0.04, 1.5])     # bins of 0.2 m: the ends, the middle
    ate = np.array([0.3, 0.5, 0.1, 0.1, 0.4, 0.9])
    figure = op.draw_ate_by_turning({"a": (turning, ate), "b": (turning[:1], ate[:1])}, "drive")
    axes, below = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[-1.45, 0.4], [0.02, 0.2], [1.5, 0.9]])
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[-1.5, 0.3]])
    np.testing.assert_array_equal([bar.get_height() for bar in below.patches],
                                  [2] + 6 * [0] + [3] + 6 * [0] + [1])
    assert "side motion" in below.get_xlabel() and axes.get_ylabel().endswith("[m]")
    write_figure(tmp_path / "turning.png", figure)
    straight_on = op.draw_ate_by_turning({"a": (np.zeros(3), ate[:3])}).axes[0]
    np.testing.assert_allclose(straight_on.lines[0].get_xydata(), [[0, 0.3]])
    with pytest.raises(ValueError, match="one snippet or more"):
        op.draw_ate_by_turning({"a": (np.zeros(0), np.zeros(0))})
    with pytest.raises(ValueError, match=r"`ate of a` must have shape \[6\]"):
        op.draw_ate_by_turning({"a": (turning, ate[:5])})


def test_imports_are_light():
    code = ("import sys, tfdepth.evaluation.odometry_plots, tfdepth.evaluation.trajectory_files; "
            "print([name for name in ('tensorflow', 'matplotlib') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
