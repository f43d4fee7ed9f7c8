"""Colours of a clip that flicker less. Shape letters: H rows, W columns."""
import numpy as np

from tfdepth.checks import UserError


class Smoothing:
    """Exponential mean of inverse depth over time, a pixel at a time.

    It takes out noise and the flicker of the scale, which a model of one camera's video chooses
    anew in every frame; what moves leaves a trail, the longer the more is smoothed.
    """

    def __init__(self, strength: float):
        """Args: strength: share of the frames before in what is shown, 0 (none) to below 1.
        Raises: UserError: it is not."""
        if not 0.0 <= strength < 1.0:
            raise UserError("--smooth: expected the share of the frames before in the colours, "
                            f"from 0 to below 1; got {strength:g}.")
        self.strength = strength
        self._mean = None  # inverse depth

    def show(self, depth: np.ndarray, follows: bool) -> np.ndarray:
        """The depth to show in the place of a frame's depth.

        Args: depth: [H, W], > 0. follows: whether it is the frame after the one of the last call;
          if not, it is shown as it is, and a new mean starts.
        Returns: [H, W].
        """
        if not self.strength:
            return depth
        inverse_depth = 1.0 / depth
        if follows and self._mean is not None:
            inverse_depth = self.strength * self._mean + (1.0 - self.strength) * inverse_depth
        self._mean = inverse_depth
        return 1.0 / inverse_depth

    def facts(self, follows: bool):
        """What a description of a frame says of its colours; nothing where nothing was done."""
        if not self.strength:
            return {}
        return {"colour_smoothing": {
            "share_of_frames_before": self.strength, "starts_anew": not follows,
            "what": "colours alone: exponential mean of inverse depth over frames that follow one "
                    "another; the depth file is not smoothed"}}
