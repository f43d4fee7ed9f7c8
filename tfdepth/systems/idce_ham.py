"""The joint framework of IDCE and HAM on the baseline Monodepth2 (Wang et al., Self-Supervised
Joint Learning Framework of Depth Estimation via Implicit Cues, 2020).

IDCE gives the depth network what the pose encoder found in the frame before and the target; HAM
attends to the map of motion numbers before they are averaged over the image. Losses are the
baseline's. CAM in HAM's place is the comparison of its table VI.
"""
import dataclasses

from tfdepth.checks import UserError, check_choice
from tfdepth.networks.idce_ham import IDCE, build_attention
from tfdepth.systems.monodepth2 import Monodepth2, Monodepth2Config

PLACES = ("pose_map", "features")


@dataclasses.dataclass
class IdceHamConfig(Monodepth2Config):
    """The joint framework; each part can be left out."""
    idce: bool = True
    pose_attention: str = "ham"        # "none", "ham" or "cam"
    attention_at: str = "pose_map"     # "pose_map": behind the pose decoder's last convolution;
    #                                    "features": before it


class IdceHam(Monodepth2):
    """See the module's docstring."""

    def __init__(self, config, offsets, stereo=False):
        super().__init__(config, offsets, stereo)
        check_choice("--config.system.attention_at", config.attention_at, PLACES)
        if not self.offsets:
            raise UserError("--config.data.offsets: IDCE and HAM work on pairs of frames; expected "
                            "offsets as (-1, 1), found none.")
        self.pose_attention = build_attention(config.pose_attention)
        self.needs_previous = config.idce
        if config.idce and -1 not in self.offsets:
            raise UserError("--config.data.offsets: IDCE needs the frame before the target, -1; "
                            f"found {self.offsets}.")
        if config.idce and config.pose_network != "resnet":
            raise UserError("--config.system.idce needs the features of a pose encoder; expected "
                            f"pose_network resnet, found {config.pose_network}.")
        if config.idce:
            self.idce = IDCE()

    def _pose_map(self, encoded_pair, training):
        features = self.pose_decoder.features(encoded_pair)
        if self.config.attention_at == "features":
            return self.pose_decoder.prediction(self._attend(features, training))
        return self._attend(self.pose_decoder.prediction(features), training)

    def _attend(self, features, training):
        if self.pose_attention is None:
            return features
        return self.pose_attention(features, training=training)

    def _before(self, encoded_pairs):
        return encoded_pairs[self.offsets.index(-1)] if self.config.idce else None

    def _encode_previous(self, image, previous):
        if not self.config.idce:
            return None
        return self._encode_pair(self._pair(image, previous, -1), training=False)

    def _encode(self, image, before, training):
        encoded = super()._encode(image, before, training)
        if self.config.idce:
            encoded = (*encoded[:-1], encoded[-1] + self.idce(before, training=training))
        return encoded
