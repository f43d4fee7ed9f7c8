"""DispNet: the disparity network of SfMLearner, an encoder-decoder with four outputs.

Shape letters: B batch, H rows, W columns.
"""
import math

import tensorflow as tf

from tfdepth.networks.convolutions import Convolution, legacy_bilinear, legacy_nearest

ENCODER = ((32, 7), (64, 5), (128, 3), (256, 3), (512, 3), (512, 3), (512, 3))  # channels, kernel
DECODER = (16, 32, 64, 128, 256, 512, 512)                                      # channels, level 1-7
NUM_OUTPUTS = 4


class DispNet(tf.keras.Model):
    """Image -> disparities of the levels 0 to 3.

    Layers carry the names of the published checkpoint (cnv1 ... disp1). Without normalisation it
    has 31 596 900 parameters.

    Input: [B, H, W, 3] in [-1, 1], H and W multiples of 16.
    Output: tuple, level k: [B, H/2^k, W/2^k, 1], min_disparity + 10 * (0, 1).
    Source: Zhou et al., CVPR 2017, section 3.4; Mayer et al., CVPR 2016.
    """
    size_multiple = 16

    def __init__(self, min_disparity=0.01, normalization="none", initializer="glorot_uniform",
                 initial_disparity=0.0):
        """Args: min_disparity: > 0, bounds the depth by 1 / min_disparity.
        normalization: "none" or "batch", see `Convolution`. initializer: of the kernels before a
        ReLU. initial_disparity: of every pixel at the start; 0 = random around 5, as published."""
        super().__init__(name="depth_net")
        self.min_disparity = min_disparity
        block = dict(activation="relu", normalization=normalization, initializer=initializer)
        head = dict(activation="sigmoid", dtype=tf.keras.backend.floatx())
        if initial_disparity > 0:
            start = (initial_disparity - min_disparity) / 10.0
            head.update(initializer="zeros", initial_bias=math.log(start / (1.0 - start)))
        self.encoder = []                                                  # (cnv, cnvb) a level
        for level, (channels, kernel) in enumerate(ENCODER, start=1):
            self.encoder.append((
                Convolution(f"cnv{level}", channels, kernel, stride=2, **block),
                Convolution(f"cnv{level}b", channels, kernel, **block)))
        self.decoder = []                                                  # (upcnv, icnv) a level
        for level, channels in enumerate(DECODER, start=1):
            self.decoder.append((
                Convolution(f"upcnv{level}", channels, 3, stride=2, transposed=True, **block),
                Convolution(f"icnv{level}", channels, 3, **block)))
        self.heads = [Convolution(f"disp{level}", 1, 3, **head)
                      for level in range(1, NUM_OUTPUTS + 1)]

    def call(self, image, training=False):
        features, skips = image, []
        for cnv, cnvb in self.encoder:
            features = cnvb(cnv(features, training=training), training=training)
            skips.append(features)
        disparities = [None] * NUM_OUTPUTS
        for level in range(len(DECODER), 0, -1):
            upcnv, icnv = self.decoder[level - 1]
            inputs = [upcnv(features, training=training)]
            if level > 1:
                skip = skips[level - 2]
                # An odd side was rounded up on the way down; doubling it overshoots by one.
                inputs = [legacy_nearest(inputs[0], skip), skip]
            if level < NUM_OUTPUTS:
                larger = legacy_bilinear(disparities[level], inputs[0])
                inputs.append(tf.cast(larger, inputs[0].dtype))
            features = icnv(tf.concat(inputs, axis=-1), training=training)
            if level <= NUM_OUTPUTS:
                disparities[level - 1] = 10.0 * self.heads[level - 1](features) + self.min_disparity
        return tuple(disparities)
