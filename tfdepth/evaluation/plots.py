"""Pictures of results as PNG files: depth panels and trajectories seen from above.

matplotlib is imported when something is drawn, and only its Figure: the user's own backend and
open figures stay as they are.
"""
import io
import textwrap
from typing import Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError, check_shape
from tfdepth.evaluation.odometry import fit_scale
from tfdepth.evaluation.resizing import resize_bilinear
from tfdepth.evaluation.trajectories import rebase
from tfdepth.files import Path, write_atomically

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")  # apart for the colour-blind
_DEPTH_COLOURS = "magma"                    # near is bright
_NO_DATA = "0.25"       # grey of pixels that were not measured
_LARGEST_ERROR = 0.5    # of the error's colours
_DPI = 130
_CELL, _GAP = 3.2, 0.05                     # inches: width of one image of a panel, between two
_LEFT, _RIGHT, _TOP = 0.35, 0.6, 0.45       # inches: for labels, colour bars and titles
_TICKS = np.outer(10.0 ** np.arange(-3, 4), [1, 2, 5]).ravel()  # metres on a colour bar


class DepthPicture(NamedTuple):
    """One column of a depth panel: an image and what is known of it. Sizes may differ."""
    label: str
    frame: np.ndarray                           # [H, W, 3] RGB in [0, 1]
    depth: np.ndarray                           # [h, w] metres, > 0; scaled to the truth already
    true_depth: Optional[np.ndarray] = None     # [H, W] metres, 0 = not measured
    others: Mapping[str, np.ndarray] = {}       # by title: [h, w] in [0, 1], as masks, or
    #                                             [h, w, 3] RGB, as warped sources


def draw_depth_panel(pictures: Sequence[DepthPicture], title: str = ""):
    """Draws one column a picture: frame, predicted and true depth, error, others.

    The error is |predicted - true| / true, 0 to 0.5 and more. Depth is shown as inverse depth (near
    is bright); the predicted and the true one of all pictures share one colour range, with a bar
    in metres (without truth: in the model's unit). Pixels that were not measured are grey. A row
    that no picture has is left out.

    Args:
      pictures: one or more.
      title: above the panel, or nothing.

    Returns:
      A matplotlib Figure; see `write_figure`.

    Raises:
      ValueError: there is no picture, or a shape differs from that of DepthPicture.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    if not pictures:
        raise ValueError("`pictures` must hold one picture or more; got none.")
    for picture in pictures:
        _check_picture(picture)
    rows = _panel_rows(pictures)
    height, width = pictures[0].frame.shape[:2]
    across, down = _CELL, _CELL * height / width          # inches of one image
    top = _TOP if title else _TOP / 2
    size = (_LEFT + len(pictures) * (across + _GAP) + _RIGHT, top + len(rows) * (down + _GAP))
    figure = Figure(figsize=size, dpi=_DPI)

    def place(row, column, wide=across, num_rows=1):
        """Axes with the top left corner of a cell, that span `num_rows` cells downwards."""
        tall = num_rows * (down + _GAP) - _GAP
        return figure.add_axes([(_LEFT + column * (across + _GAP)) / size[0],
                                1 - (top + row * (down + _GAP) + tall) / size[1],
                                wide / size[0], tall / size[1]])

    colours = {"rgb": {}, "mask": {"cmap": "gray", "vmin": 0.0, "vmax": 1.0},
               "error": {"cmap": "viridis", "vmin": 0.0, "vmax": _LARGEST_ERROR},
               "depth": _depth_colours(pictures)}
    for row, (label, images, kind) in enumerate(rows):
        figure.text(0.6 * _LEFT / size[0], 1 - (top + row * (down + _GAP) + down / 2) / size[1],
                    textwrap.fill(label, 15), rotation=90, fontsize=8, ha="center", va="center")
        for column, image in enumerate(images):
            if image is not None:
                axes = place(row, column)
                axes.set(xticks=[], yticks=[], facecolor=_NO_DATA)
                axes.spines[:].set_visible(False)
                axes.imshow(image, aspect="auto", **colours[kind])
    for column, picture in enumerate(pictures):
        figure.text((_LEFT + column * (across + _GAP) + across / 2) / size[0],
                    1 - (top - 0.06) / size[1], picture.label, fontsize=8, ha="center")
    unit = " m" if any(picture.true_depth is not None for picture in pictures) else ""
    ticks_of = {"depth": _depth_ticks(colours["depth"], unit), "mask": {0: "0", 1: "1"},
                "error": {0: "0", _LARGEST_ERROR: f"{_LARGEST_ERROR:g}"}}
    for kind, ticks in ticks_of.items():
        of_kind = [row for row, (_, _, row_kind) in enumerate(rows) if row_kind == kind]
        if of_kind:
            axes = place(of_kind[0], len(pictures), wide=0.12, num_rows=len(of_kind))
            shades = ScalarMappable(Normalize(colours[kind]["vmin"], colours[kind]["vmax"]),
                                    colours[kind]["cmap"])
            figure.colorbar(shades, cax=axes, ticks=list(ticks))
            for tick, label in zip(ticks, axes.set_yticklabels(list(ticks.values()), fontsize=7)):
                # At an end, not to meet the next bar's.
                label.set_va({shades.norm.vmin: "bottom", shades.norm.vmax: "top"}.get(
                    tick, "center_baseline"))
    if title:
        figure.text(0.5, 1 - 0.05 / size[1], title, fontsize=10, ha="center", va="top")
    return figure


def _check_picture(picture: DepthPicture):
    check_shape("frame", picture.frame, ["H", "W", 3])
    check_shape("depth", picture.depth, ["h", "w"])
    for title, image in picture.others.items():
        check_shape(title, image, ["h", "w"] if np.ndim(image) == 2 else ["h", "w", 3])
    if picture.true_depth is not None:
        check_shape("true_depth", picture.true_depth, ["H", "W"])


def _panel_rows(pictures):
    """(label, one image or None a picture, kind) of every row that some picture has."""
    titles = dict.fromkeys(title for picture in pictures for title in picture.others)
    others = [(title, [picture.others.get(title) for picture in pictures]) for title in titles]
    is_rgb = lambda images: any(image is not None and np.ndim(image) == 3 for image in images)
    rows = [("frame", [np.clip(picture.frame, 0, 1) for picture in pictures], "rgb"),
            ("predicted depth", [_inverse(picture.depth) for picture in pictures], "depth"),
            ("true depth", [None if picture.true_depth is None else _visible(picture.true_depth)
                            for picture in pictures], "depth"),
            ("error", [None if picture.true_depth is None else
                       _relative_error(picture.depth, picture.true_depth)
                       for picture in pictures], "error"),
            *((title, images, "mask") for title, images in others if not is_rgb(images)),
            *((title, [None if image is None else np.clip(image, 0, 1) for image in images], "rgb")
              for title, images in others if is_rgb(images))]
    return [row for row in rows if any(image is not None for image in row[1])]


def _inverse(depth: np.ndarray) -> np.ma.MaskedArray:
    """1 / depth, masked where depth is not a positive finite number."""
    known = np.isfinite(depth) & (depth > 0)
    return np.ma.masked_array(1.0 / np.where(known, depth, 1.0), ~known)


def _visible(true_depth: np.ndarray) -> np.ma.MaskedArray:
    """Inverse depth at the size in which it is drawn; see `_block_means`."""
    return _block_means(_inverse(true_depth))


def _relative_error(depth: np.ndarray, true_depth: np.ndarray) -> np.ma.MaskedArray:
    """|predicted - true| / true at the size in which it is drawn; see `_block_means`."""
    truth = np.ma.masked_array(true_depth, ~(true_depth > 0))
    return _block_means(np.abs(resize_bilinear(depth, true_depth.shape) - truth) / truth)


def _block_means(values: np.ma.MaskedArray) -> np.ma.MaskedArray:
    """Means of blocks of about a drawn pixel, over measured pixels.

    Else most points of a LiDAR map would fall between the pixels of the picture.
    """
    block = -(-values.shape[1] // int(_CELL * _DPI))
    rows, columns = (-(-side // block) for side in values.shape)
    padded = np.ma.masked_all((rows * block, columns * block))
    padded[:values.shape[0], :values.shape[1]] = values
    return padded.reshape(rows, block, columns, block).mean(axis=(1, 3))


def _depth_colours(pictures) -> Mapping[str, object]:
    """One colour range for all: the 1st to 99th percentile of the truth, else of predictions."""
    truths = [picture.true_depth for picture in pictures if picture.true_depth is not None]
    for depths in (truths, [picture.depth for picture in pictures]):
        values = np.concatenate([np.zeros(0), *(_inverse(depth).compressed()
                                                for depth in depths)])
        if values.size:
            low, high = inverse_depth_range(values)
            return {"cmap": _DEPTH_COLOURS, "vmin": low, "vmax": high}
    return {"cmap": _DEPTH_COLOURS, "vmin": 0.0, "vmax": 1.0}


def inverse_depth_range(inverse_depths: np.ndarray) -> Tuple[float, float]:
    """The range that colours span: from the 1st to the 99th percentile of inverse depths > 0."""
    low, high = np.percentile(inverse_depths, [1, 99])
    spare = 0.0 if high > 1.001 * low else 0.5 * low  # one depth only: a range around it
    return float(low - spare), float(high + spare)


def colour_depth(depth: np.ndarray, low: float, high: float) -> np.ndarray:
    """Depth as a picture of inverse depth, near is bright.

    Args:
      depth: [H, W], > 0.
      low, high: inverse depths of the darkest and of the brightest colour; what lies beyond has
        the same colour.

    Returns:
      uint8 [H, W, 3], RGB.
    """
    import matplotlib
    shares = (1.0 / depth - low) / (high - low)
    return matplotlib.colormaps[_DEPTH_COLOURS](shares, bytes=True)[..., :3]


def _depth_ticks(colours, unit: str) -> Mapping[float, str]:
    """Inverse depth -> depth as text, near first; none too close to the one before. Of a range that
    has not two of `_TICKS`, its ends."""
    low, high = colours["vmin"], colours["vmax"]
    ticks = {}
    for metres in _TICKS:
        if low <= 1 / metres <= high and (
                not ticks or min(ticks) - 1 / metres >= 0.06 * (high - low)):
            ticks[1 / metres] = f"{metres:g}{unit}"
    if len(ticks) < 2:
        ends = [end for end in (high, low) if end > 0]
        texts = tick_texts([1 / end for end in ends])
        ticks = {end: text + unit for end, text in zip(ends, texts)}
    return ticks


def tick_texts(values: Sequence[float]) -> Sequence[str]:
    """Ascending numbers as texts of as few significant digits, three at least, as keep each to a
    tenth of the smallest distance between two."""
    tenth = 0.1 * np.min(np.diff(values)) if len(values) > 1 else np.inf
    for digits in range(3, 18):
        texts = [np.format_float_positional(value, digits, fractional=False, trim="-")
                 for value in values]
        if np.all(np.abs(np.subtract([float(text) for text in texts], values)) <= tenth):
            break
    return texts


def draw_trajectories(true_world_from_camera: Optional[np.ndarray],
                      predictions: Mapping[str, np.ndarray], title: str = "",
                      unit: str = "unit of the prediction"):
    """Draws trajectories from above: x right, z forward, from a common first camera.

    Every prediction is scaled to the truth by least squares over all its positions; the legend
    tells the factor.

    Args:
      true_world_from_camera: [N, 4, 4], metres, or None.
      predictions: name -> world_from_camera [N, 4, 4] of the same frames.
      title: above the plot, or nothing.
      unit: of the predictions, for the axes where there is no truth; else these are in metres.

    Returns:
      A matplotlib Figure; see `write_figure`.

    Raises:
      ValueError: nothing to draw, or a shape differs from the above.
      UserError: a position is not finite.
    """
    from matplotlib.figure import Figure
    truth = true_world_from_camera
    if truth is None and not predictions:
        raise ValueError("`predictions` must hold a trajectory when there is no truth; got none.")
    figure = Figure(figsize=(6.4, 6.0), layout="constrained", dpi=120)
    axes = figure.subplots()
    unit = unit if truth is None else "m"
    axes.set(xlabel=f"x, right [{unit}]", ylabel=f"z, forward [{unit}]", title=title)
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    if truth is not None:
        check_shape("true_world_from_camera", truth, ["N", 4, 4])
        truth = _positions("true trajectory", truth)
        axes.plot(truth[:, 0], truth[:, 2], color="0.55", linewidth=4, label="truth")
    for (name, trajectory), colour in zip(predictions.items(), _cycle(PALETTE)):
        check_shape(name, trajectory, ["N" if truth is None else len(truth), 4, 4])
        positions = _positions(name, trajectory)
        label = name
        if truth is not None:
            scale = float(fit_scale(positions, truth))
            positions, label = scale * positions, f"{name} (scale x{scale:.3g})"
        axes.plot(positions[:, 0], positions[:, 2], color=colour, linewidth=1.6, label=label)
        axes.plot(*positions[-1, [0, 2]], color=colour, marker="o", markersize=4)
    axes.plot(0, 0, color="black", marker="^", markersize=8, linestyle="none", label="start")
    axes.legend(fontsize=8, loc="best", framealpha=0.9)
    return figure


def _positions(name: str, world_from_camera: np.ndarray) -> np.ndarray:
    if not np.isfinite(world_from_camera).all():
        raise UserError(f"{name}: poses must be finite; "
                        f"{int((~np.isfinite(world_from_camera)).sum())} numbers are not.")
    return rebase(world_from_camera)[:, :3, 3]


def _cycle(items):
    while True:
        yield from items


def write_figure(path: Path, figure):
    """Writes a matplotlib Figure as PNG, in one go.

    Raises:
      UserError: `path` does not end in ".png".
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    if not str(path).lower().endswith(".png"):
        raise UserError(f"pictures are written as PNG: expected a name ending in .png; got {path}.")
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    write_atomically(path, content.getvalue())
