"""The disparity network of GeoNet: a ResNet-50 with the way up of monodepth's first version.

Shape letters: B batch, H rows, W columns.
"""
import tensorflow as tf

from tfdepth.networks.convolutions import Convolution
from tfdepth.networks.rematerialization import RecomputedLayer
from tfdepth.networks.torch_layers import max_pool
from tfdepth.networks.unet import DisparityNet

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))   # channels inside a unit, units
DECODER = (16, 32, 64, 128, 256, 512)              # channels, level 1-6


class DispResNet50(DisparityNet):
    """Image -> disparities of the levels 0 to 3, see `DisparityNet`; H and W multiples of 32.

    Two things differ from a ResNet-50, as in the published programs: the last unit of a stage, not
    the first, has stride 2, so that features reach stride 64, and every unit has a projection
    as its shortcut. 58 448 836 trainable parameters.

    Source: Yin and Shi, CVPR 2018, section 4.1; Godard et al., CVPR 2017, supplement.
    """
    size_multiple = 32
    disparity_range = 5.0

    def __init__(self, min_disparity=0.01, initializer="glorot_uniform", initial_disparity=0.0,
                 momentum=0.999):
        """Args: min_disparity, initial_disparity: as for `DisparityNet`. initializer: of the
        kernels before a ReLU. momentum: of batch normalisation, see `Convolution`."""
        super().__init__(min_disparity, initial_disparity)
        block = dict(activation="relu", normalization="batch", initializer=initializer,
                     momentum=momentum)
        self.conv1 = Convolution("conv1", 64, 7, stride=2, symmetric=True, **block)
        self.stages = [[_Unit(width, 2 if unit == count - 1 else 1, block)
                        for unit in range(count)] for width, count in STAGES]
        self.add_up_path(DECODER, self.head(), "bilinear", block)

    def encode(self, image, training):
        encoded = [self.conv1(image, training=training)]
        features = max_pool(encoded[0], training)
        encoded.append(features)
        for stage in self.stages:
            for unit in stage:
                features = unit(features, training=training)
            encoded.append(features)
        return tuple(encoded)                                              # strides 2 to 64


class _Unit(RecomputedLayer):
    """A bottleneck of 1x1, 3x3 and 1x1 beside a 1x1 projection; the 3x3 one has the stride."""

    def __init__(self, width, stride, block):
        super().__init__()
        linear = {**block, "activation": None}
        self.inner = [Convolution("conv1", width, 1, **block),
                      Convolution("conv2", width, 3, stride=stride, symmetric=True, **block),
                      Convolution("conv3", 4 * width, 1, **linear)]
        self.shortcut = Convolution("shortcut", 4 * width, 1, stride=stride, **linear)

    def call(self, features, training=False):
        inner = features
        for layer in self.inner:
            inner = layer(inner, training=training)
        return tf.nn.relu(inner + self.shortcut(features, training=training))
