"""DenseNet encoders in the form of torchvision, whose weights they can take.

Attributes carry the names within torchvision's `features`, so that a variable's path is the name of
its weight.

Shape letters: B batch, H rows, W columns, F frames.
"""
from typing import NamedTuple, Tuple

import tensorflow as tf

from tfdepth.networks.image_statistics import MONODEPTH2_STATISTICS, normalized
from tfdepth.networks.rematerialization import RecomputedLayer
from tfdepth.networks.torch_layers import SymmetricConvolution, batch_normalization, max_pool


class _Kind(NamedTuple):
    counts: Tuple[int, ...]            # layers of the blocks
    growth: int                        # channels that a layer adds
    first: int                         # channels of the first convolution


DENSENETS = {"densenet121": _Kind((6, 12, 24, 16), growth=32, first=64),
             "densenet161": _Kind((6, 12, 36, 24), growth=48, first=96)}
BOTTLENECK = 4                         # growths that a layer's 1x1 convolution gives its 3x3


class DenseNet(tf.keras.Model):
    """Images -> features of five strides.

    Input: [B, H, W, 3 F] in [0, 1], F frames stacked; H and W multiples of 32.
    Output: five maps, strides 2, 4, 8, 16, 32; channels 64, 64, 128, 256, 1024 (densenet121) or
      96, 96, 192, 384, 2208 (densenet161). The first is taken before the pooling, the second after
      it, the next two behind the transitions and the last behind the last norm, which no ReLU
      follows.
    Source: Huang et al., CVPR 2017; the outputs: Lee et al., From Big to Small, 2019, section 3.1.
    """
    size_multiple = 32

    def __init__(self, kind, name, mean=MONODEPTH2_STATISTICS[0], std=MONODEPTH2_STATISTICS[1]):
        """Args: kind: a key of DENSENETS. mean, std: of images, see image_statistics."""
        super().__init__(name=name)
        counts, growth, first = DENSENETS[kind]
        self._mean, self._std = mean, std
        widths, before = [], first                                         # channels behind a block
        for count in counts:
            widths.append(before + count * growth)
            before = widths[-1] // 2
        self.channels = (first, first, widths[0] // 2, widths[1] // 2, widths[3])
        self.conv0 = _convolution(first, 7, 2)
        self.norm0 = batch_normalization(self.conv0)
        self.denseblock1, self.denseblock2, self.denseblock3, self.denseblock4 = (
            {f"denselayer{k + 1}": _DenseLayer(growth) for k in range(count)} for count in counts)
        self.transition1, self.transition2, self.transition3 = (
            _Transition(width // 2) for width in widths[:3])
        self.norm5 = batch_normalization()

    def call(self, images, training=False):
        features = self.conv0(normalized(images, self._mean, self._std))
        first = tf.nn.relu(self.norm0(features, training=training))
        pooled = max_pool(first, training)
        features, outputs = pooled, [first, pooled]
        for block, transition in ((self.denseblock1, self.transition1),
                                  (self.denseblock2, self.transition2),
                                  (self.denseblock3, self.transition3)):
            features = transition(_through(block, features, training), training=training)
            outputs.append(features)
        features = self.norm5(_through(self.denseblock4, features, training), training=training)
        return (*outputs[:4], features)


class _DenseLayer(RecomputedLayer):
    """All features so far, [B, H, W, C] -> the features to add, [B, H, W, growth]."""

    def __init__(self, growth):
        super().__init__()
        conv1 = _convolution(BOTTLENECK * growth, 1)
        self.norm1, self.norm2 = batch_normalization(), batch_normalization(conv1)
        self.conv1, self.conv2 = conv1, _convolution(growth, 3)

    def call(self, features, training=False):
        features = self.conv1(tf.nn.relu(self.norm1(features, training=training)))
        return self.conv2(tf.nn.relu(self.norm2(features, training=training)))


class _Transition(RecomputedLayer):
    """Fewer channels at half the size."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.conv = batch_normalization(), _convolution(channels, 1)

    def call(self, features, training=False):
        features = self.conv(tf.nn.relu(self.norm(features, training=training)))
        return tf.nn.avg_pool2d(features, 2, 2, "VALID")


def _through(block, features, training):
    """Features with those that the layers of a dense block add."""
    for layer in block.values():
        features = tf.concat([features, layer(features, training=training)], axis=-1)
    return features


def _convolution(channels, kernel, stride=1):
    he_normal = tf.keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
    return SymmetricConvolution(channels, kernel, stride, bias=False, initializer=he_normal)
