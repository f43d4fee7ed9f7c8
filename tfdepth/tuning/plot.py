"""Trials of a search as lines through parallel axes: one a field, the last one the score."""
import numpy as np

from tfdepth.evaluation.plots import PALETTE, tick_texts
from tfdepth.tuning.ranges import short_names

_BEST, _GIVEN = PALETTE[1], "black"
_COLOURS, _DARK = "viridis", 0.85
_AXIS, _HEIGHT, _DPI = 1.7, 4.4, 110   # inches an axis, inches, dots an inch


def draw_trials(rows, ranges, objective):
    """Draws the parallel axes.

    Args:
      rows: [tfdepth.tuning.results.Row] with a score, the best first.
      ranges: {field: Range}, an axis each; logarithmic where the range is.
      objective: name of the score.

    Returns: a matplotlib Figure. A line has no point where a field does not count for its trial.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    fields = list(ranges)
    scores = [row.score for row in rows]
    axes_of = [_Axis(ranges[field], [row.values.get(field) for row in rows]) for field in fields]
    axes_of.append(_Axis(None, scores))
    names = [*short_names(fields).values(), f"{objective}\n(smaller is better)"]
    figure = Figure(figsize=(_AXIS * len(axes_of) + 0.6, _HEIGHT), dpi=_DPI)
    axes = figure.add_axes([0.06, 0.13, 0.88, 0.7])
    axes.set_xlim(-0.1, len(axes_of) - 0.55)
    axes.set_ylim(-0.02, 1.02)
    axes.axis("off")
    for place, (axis, name) in enumerate(zip(axes_of, names)):
        axes.plot([place, place], [0, 1], color="0.3", linewidth=1, zorder=5)
        axes.text(place, 1.06, name, ha="center", va="bottom", fontsize=9, weight="bold")
        for height, text in axis.ticks():
            axes.plot([place - 0.02, place + 0.02], [height, height], color="0.3", linewidth=1)
            axes.text(place + 0.04, height, text, ha="left", va="center", fontsize=8, zorder=6,
                      bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6})
    spread = max(scores) - min(scores)  # colours end before they are too pale
    colour = ScalarMappable(Normalize(min(scores), min(scores) + spread / _DARK), _COLOURS)
    for row in reversed(rows):  # the best one above all
        best = row is rows[0]
        values = [*(row.values.get(field) for field in fields), row.score]
        places = [place for place, value in enumerate(values) if value is not None]
        heights = [axes_of[place].height(values[place]) for place in places]
        style = {"color": _BEST, "linewidth": 3.0} if best else {
            "color": _GIVEN, "linewidth": 1.6, "linestyle": "--"} if row.as_given else {
            "color": colour.to_rgba(row.score), "linewidth": 1.1, "alpha": 0.8}
        label = (f"best: {row.name}" + (", the config as given" if row.as_given else "") if best
                 else "the config as given" if row.as_given else None)
        axes.plot(places, heights, label=label, marker="o", markersize=4,
                  zorder=4 if best else 3, **style)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.04), ncol=2, frameon=False, fontsize=9)
    return figure


class _Axis:
    """Heights in [0, 1] of the values of a field, or of the score."""

    def __init__(self, found, values):
        """Args: found: Range; None: of the score. values: what has to find a place."""
        values = [value for value in values if value is not None]
        self._choices = list(found.choices) if found else []
        self._log = bool(found and found.log) and all(
            self._choices or value > 0 for value in values)
        if self._choices:  # the config as given may have another value
            self._choices += [value for value in dict.fromkeys(values)
                              if value not in self._choices]
            self._low, self._high = 0, max(1, len(self._choices) - 1)
        else:
            ends = [*values, *((found.low, found.high) if found else ())]
            self._low, self._high = self._scaled(min(ends)), self._scaled(max(ends))
            if self._low == self._high:
                self._low, self._high = self._low - 1e-3, self._high + 1e-3

    def _scaled(self, value):
        return np.log10(value) if self._log else float(value)

    def height(self, value):
        number = self._choices.index(value) if self._choices else self._scaled(value)
        return (number - self._low) / (self._high - self._low)

    def ticks(self):
        """[(height, text)]."""
        if self._choices:
            return [(self.height(choice), f"{choice:g}" if isinstance(choice, float) else
                     str(choice)) for choice in self._choices]
        if self._log:
            tens = [10.0**k for k in range(int(np.ceil(self._low - 1e-9)),
                                           int(np.floor(self._high + 1e-9)) + 1)]
            values = tens if len(tens) > 1 else [10**self._low, *tens, 10**self._high]
        else:
            values = np.linspace(self._low, self._high, 5)
        return [(self.height(value), text) for value, text in zip(values, tick_texts(values))]
