"""The decoder of BTS, with local planar guidance at strides 8, 4 and 2.

Shape letters: B batch, H rows, W columns of the image, C channels.
"""
import math

import tensorflow as tf

from tfdepth.geometry.planes import depth_of_patches, planes_from_angles
from tfdepth.networks.dense_aspp import (
    DenseAspp, UpConvolution, convolution, output_convolution)
from tfdepth.networks.rematerialization import RecomputedLayer

MAX_SLOPE = math.pi / 3  # of a plane, against one that faces the camera


class Reduction(RecomputedLayer):
    """1x1 convolutions with ELU, each with half the channels of the one before, down to 8; then one
    to `outputs` channels, behind a sigmoid.

    Input: [B, h, w, C]. Output: [B, h, w, outputs], in (0, 1).
    """

    def __init__(self, first, outputs):
        """Args: first: channels of the first convolution."""
        super().__init__()
        self.inner = []
        while first >= 8:
            self.inner.append(convolution(first, 1))
            first //= 2
        self.last = output_convolution(outputs, 1)

    def call(self, features):
        for layer in self.inner:
            features = layer(features)
        return self.last(features)


class BtsDecoder(tf.keras.Model):
    """Features of an encoder -> depth over the largest depth.

    Input: five maps of strides 2 to 32, as encoders give them; H and W static.
    Output:
      depth: [B, H, W, 1], in (0, 1).
      cues: four maps [B, H, W, 1], what it was made of: the depth of the planes of 8 x 8, 4 x 4 and
        2 x 2 pixels, and of single pixels, in the same unit. Of planes it can be huge or below 0.
    Parameters at width 512: 23 973 936 behind a resnet50 or resnext50, 20 528 688 behind a
      densenet161, 14 214 192 behind a densenet121, running statistics left out.
    Source: Lee et al., From Big to Small, 2019, section 3; details of the released implementation
      for PyTorch.
    """

    def __init__(self, width=512):
        """Args: width: channels of the widest features, a multiple of 32."""
        super().__init__(name="depth_decoder")
        self.trunk = DenseAspp(width)
        self.planes8 = Reduction(width // 4, 3)
        self.upconv4, self.conv4 = UpConvolution(width // 4), convolution(width // 4)
        self.planes4 = Reduction(width // 8, 3)
        self.upconv2, self.conv2 = UpConvolution(width // 8), convolution(width // 8)
        self.planes2 = Reduction(width // 16, 3)
        self.upconv1, self.conv1 = UpConvolution(width // 16, norm=False), convolution(width // 16)
        self.cue1 = Reduction(width // 32, 1)
        self.depth = output_convolution(1)

    def call(self, encoded, training=False):
        _, features = self.trunk(encoded, training=training)
        cue8 = depth_of_patches(_planes(self.planes8(features)), 8)
        features = self.upconv4(features, training=training)
        # The next level sees the top left pixel of each of its cells.
        features = self.conv4(_join(features, encoded[1], cue8[:, ::4, ::4]))
        cue4 = depth_of_patches(_planes(self.planes4(features)), 4)
        features = self.upconv2(features, training=training)
        features = self.conv2(_join(features, encoded[0], cue4[:, ::2, ::2]))
        cue2 = depth_of_patches(_planes(self.planes2(features)), 2)
        features = self.upconv1(features, training=training)
        cue1 = self.cue1(features)
        features = self.conv1(_join(features, cue1, cue2, cue4, cue8))
        return self.depth(features), (cue8, cue4, cue2, cue1)


def _join(features, *others):
    """Features and maps behind one another, in the type of the first."""
    return tf.concat([features, *(tf.cast(each, features.dtype) for each in others)], axis=-1)


def _planes(shares):
    """Shares (0, 1) of the largest polar angle, azimuth and distance -> planes: 3 -> 4 channels."""
    polar, azimuth, distance = tf.unstack(shares, axis=-1)
    return planes_from_angles(MAX_SLOPE * polar, 2.0 * math.pi * azimuth, distance)
