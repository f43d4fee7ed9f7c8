"""Figures of odometry: errors by path length, and snippet errors by how much the camera turns."""
from typing import Mapping, Tuple

import numpy as np

from tfdepth.checks import check_shape
from tfdepth.evaluation.path_errors import PathErrors
from tfdepth.evaluation.plots import PALETTE

_MARKERS = "osD^v"      # as many as colours; a sixth method starts again with another line
_LINES = ("-", "--", ":")
_NUM_BINS = 15          # odd: one bin is straight ahead


def draw_errors_by_length(errors: Mapping[str, PathErrors], title: str = ""):
    """Draws mean translation (%) and rotation (deg / 100 m) errors over path length.

    Lengths without a segment have no point; the legend says so of who has none at all.

    Args:
      errors: name -> PathErrors, one or more, all of one protocol.
      title: above the figure, or nothing.

    Returns:
      A matplotlib Figure; see `plots.write_figure`.

    Raises:
      ValueError: there is nothing to draw, or the protocols differ.

    Source: figure 1 of the attention maps' paper (Mendoza and Pedrini).
    """
    from matplotlib.figure import Figure
    protocols = sorted({each.protocol for each in errors.values()})
    if len(protocols) != 1:
        raise ValueError("`errors` must hold one entry or more, all of one protocol; got "
                         f"{protocols}.")
    figure = Figure(figsize=(9.0, 3.8), layout="constrained", dpi=130)
    panels = figure.subplots(1, 2)
    labels = {"translation_percent": "translation error [%]",
              "rotation_deg_per_100m": "rotation error [deg / 100 m]"}
    for axes, (field, label) in zip(panels, labels.items()):
        for (name, each), style in zip(errors.items(), _styles()):
            points = [(row.length, getattr(row, field)) for row in each.per_length
                      if row.num_segments]
            axes.plot(*np.reshape(points, [-1, 2]).T,
                      label=name if points else f"{name} (not available)", **style)
        axes.set(xlabel="path length [m]", ylabel=label)
        axes.set_ylim(0, 1.05 * axes.dataLim.y1)
        _tidy(axes)
    panels[0].legend(fontsize=8, framealpha=0.9)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def side_motion(first_from_camera: np.ndarray) -> np.ndarray:
    """How far snippets turn: [S, n, 4, 4] -> [S] metres that the last camera stands to the right.

    Negative: to the left of the first camera.

    Raises:
      ValueError: the shape differs from the above.

    Source: figure 9 of Zhou et al., CVPR 2017 ("coordinate difference in the side-direction
    between the start and ending frame").
    """
    check_shape("first_from_camera", first_from_camera, ["S", "n", 4, 4])
    return first_from_camera[:, -1, 0, 3]


def draw_ate_by_turning(errors: Mapping[str, Tuple[np.ndarray, np.ndarray]], title: str = ""):
    """Draws the mean ATE of snippets over their side motion, and how many snippets there are.

    Bins are of one width for all; one without a snippet has no point. A point stands at the mean
    side motion of its snippets.

    Args:
      errors: name -> (side motion [S], see `side_motion`; ATE [S]), metres; one or more. The
        number of snippets is drawn for the first.
      title: above the figure, or nothing.

    Returns:
      A matplotlib Figure; see `plots.write_figure`.

    Raises:
      ValueError: there is nothing to draw, or a shape differs from the above.

    Source: figure 9 of Zhou et al., CVPR 2017.
    """
    from matplotlib.figure import Figure
    for name, (turning, ate) in errors.items():
        check_shape(f"turning of {name}", turning, ["S"])
        check_shape(f"ate of {name}", ate, [len(turning)])
    if not any(len(turning) for turning, _ in errors.values()):
        raise ValueError("`errors` must hold one snippet or more; got none.")
    widest = max(np.abs(turning).max(initial=1e-3) for turning, _ in errors.values())
    edges = np.linspace(-widest, widest, _NUM_BINS + 1)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained", dpi=130)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    for (name, (turning, ate)), style in zip(errors.items(), _styles()):
        bins = np.clip(np.digitize(turning, edges) - 1, 0, _NUM_BINS - 1)
        points = [(turning[bins == k].mean(), ate[bins == k].mean()) for k in np.unique(bins)]
        axes.plot(*np.reshape(points, [-1, 2]).T, label=name, **style)
    axes.set(ylabel="mean ATE of a snippet [m]")
    axes.set_title(title, fontsize=10)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, framealpha=0.9)
    below.hist(next(iter(errors.values()))[0], edges, color="0.6", edgecolor="white")
    below.set(yscale="log", ylabel="snippets", ylim=(0.7, None),
              xlabel="side motion from the first to the last frame [m]   (left < 0 < right)")
    for each in (axes, below):
        _tidy(each)
    return figure


def _styles():
    """Colour and marker of each method in turn; the line changes when the colours are used up."""
    while True:
        for line in _LINES:
            for colour, marker in zip(PALETTE, _MARKERS):
                yield {"color": colour, "marker": marker, "linestyle": line, "markersize": 4,
                       "linewidth": 1.6}


def _tidy(axes):
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
