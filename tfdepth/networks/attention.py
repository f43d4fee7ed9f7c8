"""The attention decoder: maps of how much each pixel's error counts, from an encoder's features."""
from tfdepth.networks.unet import UpPath, constant_head

WIDEST = 256


class AttentionDecoder(UpPath):
    """Features of any encoder -> maps in (0, 1) of the levels 0 to `num_levels` - 1.

    The way up of a disparity network with half its channels, without joining the maps. At the
    start all maps are `start` everywhere, and send no gradient into the features.

    Input: `num_features` maps of strides 2, 4, 8, ...
    Output: tuple, level k: [B, H/2^k, W/2^k, num_maps].
    Source: Mendoza and Pedrini, Learning Attention Maps (2020), section 3; the layers are inferred,
      since the paper gives none.
    """
    feeds_back = False

    def __init__(self, num_features, num_maps=1, start=0.5, num_levels=4):
        super().__init__(name="attention_decoder")
        channels = [min(8 * 2**level, WIDEST) for level in range(num_features)]
        self.add_up_path(channels, dict(channels=num_maps, **constant_head(start)), "bilinear",
                         dict(activation="relu", normalization="batch"), num_levels)

    def call(self, encoded, training=False):
        return self.decode(encoded, training)
