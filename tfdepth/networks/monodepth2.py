"""The networks of Monodepth2 behind its encoders: disparity decoder, pose decoder, pose CNN.

Shape letters: B batch, H rows, W columns of the image.
"""
import tensorflow as tf

from tfdepth.networks.rematerialization import recomputed
from tfdepth.networks.torch_layers import SymmetricConvolution, upsample_nearest

DECODER = (16, 32, 64, 128, 256)                         # channels, level 0 to 4
POSE_CNN = ((16, 7), (32, 5), (64, 3), (128, 3), (256, 3), (256, 3), (256, 3))  # channels, kernel
POSE_SCALE = 0.01  # keeps the first motions small, so that the first warps stay in the picture


class DisparityDecoder(tf.keras.Model):
    """Features of an encoder -> maps in (0, 1) of the levels 0 to `num_levels` - 1.

    Input: five maps of strides 2 to 32, as `ResNet` gives them. The deepest one must be at least
      2 x 2: reflection needs a neighbour.
    Output: tuple, level k: [B, H/2^k, W/2^k, num_maps].
    3 152 724 parameters behind a resnet18, for one map.
    Source: Godard et al., ICCV 2019, section 4 and table 6 of the supplement.
    """

    def __init__(self, num_levels=4, num_maps=1, name="depth_decoder"):
        super().__init__(name=name)
        block = dict(padding="reflect", activation="elu")
        self.upconvs = [tuple(SymmetricConvolution(channels, 3, **block) for _ in range(2))
                        for channels in DECODER]                           # (before, after) a level
        self.heads = [SymmetricConvolution(num_maps, 3, padding="reflect", activation="sigmoid",
                                           dtype=tf.keras.backend.floatx())
                      for _ in range(num_levels)]

    def call(self, encoded, training=False):
        features, outputs = encoded[-1], [None] * len(self.heads)
        for level in reversed(range(len(DECODER))):
            features = recomputed(
                lambda features, skip, level=level: self._up(
                    features, skip, self.upconvs[level], training),
                features, encoded[level - 1] if level > 0 else None)
            if level < len(self.heads):
                outputs[level] = self.heads[level](features, training)
        return tuple(outputs)

    def _up(self, features, skip, convolutions, training):
        """Features at twice their size; `skip`: of the encoder at that size, or None."""
        before, after = convolutions
        features = upsample_nearest(before(features, training))
        features = features if skip is None else tf.concat([features, skip], axis=-1)
        return after(features, training)


class PoseDecoder(tf.keras.Model):
    """Features of a pair of frames -> map of motion numbers, before its mean over the image.

    Input: [B, H/32, W/32, C]. Output: [B, H/32, W/32, 12]; the first six are used, the others are
      left of a version for two motions and stay, as published weights have them.
    1 314 572 parameters behind a resnet18.
    Source: Godard et al., ICCV 2019, section 4 and table 6 of the supplement.
    """

    def __init__(self):
        super().__init__(name="pose_decoder")
        self.net = [SymmetricConvolution(256, kernel, activation="relu") for kernel in (1, 3, 3)]
        self.net.append(SymmetricConvolution(12, 1, dtype=tf.keras.backend.floatx()))

    def call(self, encoded):
        return self.prediction(self.features(encoded))

    def features(self, encoded):
        """What the last convolution sees: [B, H/32, W/32, 256]."""
        for layer in self.net[:-1]:
            encoded = layer(encoded)
        return encoded

    def prediction(self, features):
        """The last convolution: [B, H/32, W/32, 256] -> [B, H/32, W/32, 12]."""
        return self.net[-1](features)


class PoseCNN(tf.keras.Model):
    """A pair of frames -> map of motion numbers; the small pose network of SfMLearner's kind.

    Input: [B, H, W, 6] in [0, 1]. Output: [B, ceil(H/128), ceil(W/128), 6].
    1 586 774 parameters.
    Source: the other pose network of Monodepth2's released implementation, after Zhou et al., CVPR
      2017; used with the normalisation of the translation of Wang et al., CVPR 2018.
    """

    def __init__(self):
        super().__init__(name="pose_cnn")
        self.net = [SymmetricConvolution(channels, kernel, stride=2, activation="relu")
                    for channels, kernel in POSE_CNN]
        self.pose_conv = SymmetricConvolution(6, 1, dtype=tf.keras.backend.floatx())

    def call(self, pair):
        return self.prediction(self.features(pair))

    def features(self, pair):
        """What the last convolution sees: [B, ceil(H/128), ceil(W/128), 256]."""
        for layer in self.net:
            pair = layer(pair)
        return pair

    def prediction(self, features):
        """The last convolution: 256 -> 6 channels."""
        return self.pose_conv(features)


def motion_numbers(pose_map):
    """Map of motion numbers -> (axis-angle in radians, translation), [B, 3] each."""
    numbers = POSE_SCALE * tf.reduce_mean(pose_map, axis=[1, 2])
    return numbers[:, :3], numbers[:, 3:6]
