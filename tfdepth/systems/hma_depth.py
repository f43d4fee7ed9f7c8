"""HMA-Depth: depth from one image as a mixture of scales (Niu, A new method for monocular depth
estimation; HMA-Depth, MVA 2021).

Every scale predicts depth, and all but the finest an attention map, from which masks follow that
add up to 1 at every pixel. What the paper leaves open is as in BTS.
"""
import dataclasses

from tfdepth.checks import UserError
from tfdepth.networks.dense_aspp import STRIDES
from tfdepth.networks.hma import HmaDecoder
from tfdepth.systems.bts import Bts, BtsConfig


@dataclasses.dataclass
class HmaDepthConfig(BtsConfig):
    """The published system on KITTI; scales and attention are the ablations that it announces."""
    silog_form: str = "plain"              # the paper's; "root": BTS's, 10 sqrt(.)
    num_scales: int = 4                    # 1/8, 1/4, 1/2 and 1; 3: without 1/8; 5: 1/16 as well
    attention: bool = True                 # False: the mean of all scales


class HmaDepth(Bts):
    """See the module's docstring."""

    def _build_decoder(self):
        scales = self.config.num_scales
        if not 1 <= scales <= len(STRIDES):
            raise UserError(f"--config.system.num_scales must be 1 to {len(STRIDES)}; got "
                            f"{scales}.")
        if scales == 1 and self.config.attention:
            raise UserError("--config.system.attention chooses between scales; expected false with "
                            "num_scales 1, found true.")
        return HmaDecoder(self.config.decoder_width, scales, self.config.attention)

    def _decode(self, encoded, training):
        return self.depth_decoder(encoded, training=training)
