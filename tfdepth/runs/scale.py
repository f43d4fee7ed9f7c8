"""The scale of a run: what makes metres of its model's depth, once it was measured.

RUN/scale.json is written by `tools/predict.py --calibrate`. Further training changes the unit of a
model, so a scale holds for the one checkpoint that it was measured with.
"""
import json
import math
import sys
from typing import NamedTuple, Optional

from tfdepth.checks import UserError
from tfdepth.files import write_atomically
from tfdepth.runs.checkpoints import fingerprint
from tfdepth.runs.folder import RunFolder


# What `describe_scale` calls the scale -> the unit of depth and of translations.
UNITS = {"metric": "metres", "relative": "relative units"}


class Scale(NamedTuple):
    """A measured scale."""
    factor: float             # metres = factor x depth, or translation, of the model
    origin: str               # "camera height of 1.65 m (40 frames, spread 3 %)"
    method: str               # as it was asked for: "camera_height=1.65"
    source: str               # the images that it was measured with; "" = none
    count: int                # frames, steps or pixels that were compared
    spread: Optional[float]   # median absolute deviation / median of the factors of these; None of
    #                           a single one, or where the factor is exact
    step: int                 # of the checkpoint
    weights: str              # the fingerprint of that checkpoint


_TYPES = {"factor": (float, int), "origin": (str,), "method": (str,), "source": (str,),
          "count": (int,), "spread": (float, int, type(None)), "step": (int,), "weights": (str,)}


def write_scale(path, scale: Scale):
    """Stores the scale of a run, in place of the one before.

    Args: path: run folder.
    Raises: UserError: if it cannot be written.
    """
    file = RunFolder(path).scale
    try:
        write_atomically(file, json.dumps(scale._asdict(), indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(f"{file}: expected a file that can be written; "
                        f"{error.strerror}.") from error


def read_scale(path) -> Optional[Scale]:
    """The scale that a run folder holds, whatever checkpoint it is of; None without any.

    Raises: UserError: if scale.json is damaged, or no such file.
    """
    file = RunFolder(path).scale
    if not file.exists():
        return None
    mend = "Calibrate anew (tools/predict.py --calibrate), or remove it: depth is then relative."
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{file}: expected JSON; found none that can be read. {mend}") from None
    if not isinstance(found, dict) or set(found) != set(Scale._fields):
        raise UserError(f"{file}: expected the fields {', '.join(Scale._fields)}; found "
                        f"{', '.join(map(str, found)) if isinstance(found, dict) else 'none'}. "
                        f"{mend}")
    for name, value in found.items():
        if type(value) not in _TYPES[name]:
            raise UserError(f"{file}: expected {name} to be "
                            f"{' or '.join(kind.__name__ for kind in _TYPES[name])}; "
                            f"found {str(value)[:40]!r}. {mend}")
    if not 0 < found["factor"] < math.inf or not 0 <= (found["spread"] or 0) < math.inf:
        raise UserError(f"{file}: expected a positive finite factor, and a finite spread; found "
                        f"{found['factor']} and {found['spread']}. {mend}")
    return Scale(**found)


def scale_of_checkpoint(path, step) -> Optional[Scale]:
    """The scale of a run if it is that of the checkpoint of this step; else None, with a warning.

    Raises: UserError: as `read_scale`.
    """
    scale = read_scale(path)
    if scale is None:
        return None
    run = RunFolder(path)
    if scale.step == step and scale.weights == fingerprint(run.checkpoints, step):
        return scale
    weights = "other weights" if scale.step == step else f"the model of step {scale.step}"
    print(f"warning: {run.scale} was measured with {weights}; that of step {step} may have another "
          "scale, so its depth counts as it is without calibration. Calibrate anew: "
          f"tools/predict.py --calibrate {scale.method}.", file=sys.stderr)
    return None


def describe_scale(data, learns_from_depth, scale: Optional[Scale] = None):
    """What is known of the unit of a model's depth: {"scale": "metric" or "relative",
    "scale_reason": a sentence}, with "scale_factor" of a calibrated one.

    Args: data: DataConfig of its training. learns_from_depth: whether from measured depth.
    """
    if scale is not None:
        return {"scale": "metric", "scale_factor": scale.factor, "scale_reason":
                f"metres, {scale.factor:.4g} times what the model predicts, calibrated by "
                f"{scale.origin}; true for that camera"}
    if learns_from_depth:
        return {"scale": "metric", "scale_reason":
                "metres, trained on measured depth; true for such scenes and cameras"}
    if not data.stereo:
        return {"scale": "relative", "scale_reason":
                "trained on video of one camera, so depth is known up to one unknown factor, which "
                "tools/predict.py --calibrate measures"}
    if data.stereo_baseline:
        return {"scale": "relative", "scale_reason":
                f"trained on stereo pairs at a distance of {data.stereo_baseline:g} units; metres "
                f"= depth x their true distance / {data.stereo_baseline:g} (tools/predict.py "
                "--calibrate stereo_baseline=METRES)"}
    return {"scale": "metric", "scale_reason":
            "metres, trained on stereo pairs of known distance; true for that camera"}
