"""The trunk of decoders in the form of BTS: up-convolutions, and dense atrous pyramid pooling.

Attributes end in the stride of what they make: `conv8` gives features of H/8 x W/8.

Shape letters: B batch, H rows, W columns of the image, C channels.
"""
import tensorflow as tf

from tfdepth.networks.rematerialization import RecomputedLayer
from tfdepth.networks.torch_layers import (
    SymmetricConvolution, batch_normalization, upsample_nearest)

STRIDES = (16, 8, 4, 2, 1)  # of the features that decoders make, coarse to fine
RATES = (3, 6, 12, 18, 24)  # of the atrous blocks


def convolution(channels, kernel=3, activation="elu", dtype=None):
    """A convolution as all of these decoders have it: without bias, zeros beyond the border."""
    return SymmetricConvolution(channels, kernel, bias=False, initializer="glorot_uniform",
                                activation=activation, dtype=dtype)


def output_convolution(channels, kernel=3):
    """The last convolution of a branch, behind a sigmoid, in full precision."""
    return convolution(channels, kernel, "sigmoid", tf.keras.backend.floatx())


def decoder_norm(after=None, epsilon=1.1e-5):
    """Batch normalisation of the decoders, its statistics averaged over a hundred steps."""
    return batch_normalization(after, momentum=0.99, epsilon=epsilon)


class UpConvolution(RecomputedLayer):
    """Doubles both sides, then a convolution, ELU and, with `norm`, batch normalisation.

    Input: [B, h, w, C]. Output: [B, 2 h, 2 w, channels].
    """

    def __init__(self, channels, norm=True, upsample=upsample_nearest):
        """Args: upsample: function: [B, h, w, C] -> [B, 2 h, 2 w, C]."""
        super().__init__()
        self._upsample = upsample
        self.conv = convolution(channels)
        self.norm = decoder_norm() if norm else None

    def call(self, features, training=False):
        features = self.conv(self._upsample(features))
        return features if self.norm is None else self.norm(features, training=training)


class AtrousBlock(RecomputedLayer):
    """[Batch normalisation,] ReLU, 1x1 to 2 `channels`, batch normalisation, ReLU, dilated 3x3.

    Input: [B, h, w, C], h and w static. Output: [B, h, w, channels].
    """

    def __init__(self, channels, rate, leading_norm):
        super().__init__()
        self.leading_norm = decoder_norm() if leading_norm else None
        self.inner = convolution(2 * channels, 1, activation=None)
        self.inner_norm = decoder_norm(self.inner, epsilon=1e-5)
        self.dilated = _DilatedConvolution(channels, rate)

    def call(self, features, training=False):
        if self.leading_norm is not None:
            features = self.leading_norm(features, training=training)
        features = self.inner_norm(self.inner(tf.nn.relu(features)), training=training)
        return self.dilated(tf.nn.relu(features))


class _DilatedConvolution(tf.keras.layers.Layer):
    """A 3x3 convolution whose taps lie `rate` pixels apart."""

    def __init__(self, channels, rate):
        super().__init__()
        self._channels, self._rate = channels, rate

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", [3, 3, input_shape[-1], self._channels],
                                      initializer="glorot_uniform")
        super().build(input_shape)

    def call(self, features):
        # On maps no larger than the rate the outer taps see zeros alone. Leaving them out is exact,
        # and at small image sizes several times faster.
        near = [self._rate < side for side in features.shape[1:3]]
        rows, columns = (slice(None) if side else slice(1, 2) for side in near)
        return tf.nn.convolution(features, self.kernel[rows, columns], padding="SAME",
                                 dilations=[self._rate if side else 1 for side in near])


class DenseAspp(tf.keras.layers.Layer):
    """Features of an encoder -> features with a wide view at strides 16 and 8.

    Every atrous block sees what all blocks before it found.

    Input: five maps of strides 2 to 32, as encoders give them.
    Output: ([B, H/16, W/16, width], [B, H/8, W/8, width / 4]).
    Source: Lee et al., From Big to Small, 2019, section 3.2, after Yang et al., DenseASPP, CVPR
      2018; details of the released implementation.
    """

    def __init__(self, width, upsample=upsample_nearest):
        """Args: width: channels of the widest features. upsample: see `UpConvolution`."""
        super().__init__()
        self.upconv16 = UpConvolution(width, upsample=upsample)
        self.conv16 = convolution(width)
        self.upconv8 = UpConvolution(width // 2, upsample=upsample)
        self.conv8, self.norm8 = convolution(width // 2), decoder_norm()
        self.atrous = [AtrousBlock(width // 4, rate, leading_norm=k > 0)
                       for k, rate in enumerate(RATES)]
        self.joined = convolution(width // 4)

    def call(self, encoded, training=False):
        # The last features of a DenseNet have no ReLU yet; to others another one does nothing.
        features = self.upconv16(tf.nn.relu(encoded[4]), training=training)
        features16 = self.conv16(tf.concat([features, encoded[3]], axis=-1))
        features = self.upconv8(features16, training=training)
        before = tf.concat([features, encoded[2]], axis=-1)
        features = self.norm8(self.conv8(before), training=training)
        found = [self.atrous[0](features, training=training)]
        for block in self.atrous[1:]:
            found.append(block(tf.concat([before, *found], axis=-1), training=training))
        return features16, self.joined(tf.concat([features, *found], axis=-1))
