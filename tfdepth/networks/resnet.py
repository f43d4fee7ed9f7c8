"""ResNet encoders in the form of torchvision, whose weights they can take.

Attributes carry torchvision's names, so that a variable's path is the name of its weight.

Shape letters: B batch, H rows, W columns, F frames.
"""
from typing import NamedTuple, Tuple

import tensorflow as tf

from tfdepth.networks.grouped_convolution import GroupedConvolution
from tfdepth.networks.image_statistics import MONODEPTH2_STATISTICS, normalized
from tfdepth.networks.rematerialization import RecomputedLayer, recomputed
from tfdepth.networks.torch_layers import SymmetricConvolution, batch_normalization, max_pool


class _Kind(NamedTuple):
    counts: Tuple[int, ...]            # blocks of the stages
    bottleneck: bool                   # is a block one?
    groups: int = 1                    # of a bottleneck's 3x3 convolution,
    widening: int = 1                  # and how many times wider than a ResNet's it is


RESNETS = {"resnet18": _Kind((2, 2, 2, 2), bottleneck=False),
           "resnet50": _Kind((3, 4, 6, 3), bottleneck=True),
           "resnext50": _Kind((3, 4, 6, 3), bottleneck=True, groups=32, widening=2)}  # 32x4d
WIDTHS = (64, 128, 256, 512)


class ResNet(tf.keras.Model):
    """Images -> features of five strides.

    Input: [B, H, W, 3 F] in [0, 1], F frames stacked; H and W multiples of 32.
    Output: five maps, strides 2, 4, 8, 16, 32; channels 64 and then 64, 128, 256, 512 (resnet18)
      or 256, 512, 1024, 2048 (resnet50, resnext50). The first is taken before the pooling.
    Source: He et al., CVPR 2016; Xie et al., CVPR 2017 (resnext50); the use as an encoder: Godard
      et al., ICCV 2019, section 4.
    """
    size_multiple = 32

    def __init__(self, kind, name, mean=MONODEPTH2_STATISTICS[0], std=MONODEPTH2_STATISTICS[1]):
        """Args: kind: a key of RESNETS. mean, std: of images, see image_statistics."""
        super().__init__(name=name)
        kind = RESNETS[kind]
        self._mean, self._std = mean, std
        self.channels = (64, *(width * (4 if kind.bottleneck else 1) for width in WIDTHS))
        self.conv1 = _convolution(64, 7, 2)
        self.bn1 = batch_normalization(self.conv1)
        stages = []
        before = 64
        for stage, (count, width) in enumerate(zip(kind.counts, WIDTHS)):
            blocks = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(_Block(kind, width, stride, before))
                before = self.channels[stage + 1]
            stages.append(blocks)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

    def call(self, images, training=False):
        outputs = [recomputed(lambda images: self._stem(images, training), images)]
        features = max_pool(outputs[0], training)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                features = block(features, training=training)
            outputs.append(features)
        return tuple(outputs)

    def _stem(self, images, training):
        features = self.conv1(normalized(images, self._mean, self._std))
        return tf.nn.relu(self.bn1(features, training=training))


class _Block(RecomputedLayer):
    """A residual block: two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1."""

    def __init__(self, kind, width, stride, channels_in):
        super().__init__()
        channels = 4 * width if kind.bottleneck else width
        if kind.bottleneck:
            width *= kind.widening
            self.conv1 = _convolution(width, 1)
            self.conv2 = _convolution(width, 3, stride, kind.groups)
            self.conv3 = _convolution(channels, 1)
            self.bn3 = batch_normalization(self.conv3)
        else:
            self.conv1, self.conv2 = _convolution(width, 3, stride), _convolution(width, 3)
        self.bn1, self.bn2 = batch_normalization(self.conv1), batch_normalization(self.conv2)
        self.bottleneck = kind.bottleneck
        self.downsample = []                                               # convolution, norm
        if stride > 1 or channels_in != channels:
            convolution = _convolution(channels, 1, stride)
            self.downsample = [convolution, batch_normalization(convolution)]

    def call(self, features, training=False):
        shortcut = features
        if self.downsample:
            convolution, norm = self.downsample
            shortcut = norm(convolution(features), training=training)
        features = tf.nn.relu(self.bn1(self.conv1(features), training=training))
        features = self.bn2(self.conv2(features), training=training)
        if self.bottleneck:
            features = self.bn3(self.conv3(tf.nn.relu(features)), training=training)
        return tf.nn.relu(features + shortcut)


def _convolution(channels, kernel, stride=1, groups=1):
    he_normal = tf.keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    if groups > 1:
        return GroupedConvolution(channels, kernel, stride, groups, he_normal)
    return SymmetricConvolution(channels, kernel, stride, bias=False, initializer=he_normal)
