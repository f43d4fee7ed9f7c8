"""The unit of what is written: metres, or up to one unknown factor, and why."""
from typing import Mapping, NamedTuple


class Unit(NamedTuple):
    """What depth and translations are written in."""
    factor: float              # x what the model predicts
    facts: Mapping[str, str]   # for descriptions: "scale", "scale_reason"

    @property
    def name(self):
        return "metres" if self.facts["scale"] == "metric" else "relative units"


def unit_of(predictor) -> Unit:
    """The unit of a Predictor's depth; the one place that decides it."""
    return Unit(1.0, scale_facts(predictor.config.data, predictor.system.learns_from_depth))


def scale_facts(data, learns_from_depth=False):
    """What is known of the unit of the depth of a model that was trained on such data."""
    if learns_from_depth:
        return {"scale": "metric", "scale_reason":
                "metres, trained on measured depth; true for such scenes and cameras"}
    if not data.stereo:
        return {"scale": "relative", "scale_reason":
                "trained on video of one camera, so depth is known up to one unknown factor"}
    if data.stereo_baseline:
        return {"scale": "relative", "scale_reason":
                f"trained on stereo pairs at a distance of {data.stereo_baseline:g} units; metres "
                f"= depth x their true distance / {data.stereo_baseline:g}"}
    return {"scale": "metric", "scale_reason":
            "metres, trained on stereo pairs of known distance; true for that camera"}
