"""The decoder of HMA-Depth: depth at several scales, and masks that say which scale counts where.

Shape letters: B batch, H rows, W columns of the image, C channels.
"""
import tensorflow as tf

from tfdepth.networks.dense_aspp import (
    STRIDES, DenseAspp, UpConvolution, convolution, decoder_norm, output_convolution)
from tfdepth.networks.rematerialization import RecomputedLayer
from tfdepth.networks.torch_layers import double_bilinear, upsample_bilinear


class HmaDecoder(tf.keras.Model):
    """Features of an encoder -> depth over the largest depth.

    BTS's trunk, with bilinear in place of nearest up-sampling and without planes. Scales:
    1/8 to 1 as published; of 3 scales the coarsest is 1/4, of 5 it is 1/16, whose features the
    trunk has anyway. Without attention all scales count alike, so that the frame of scales stays
    and all of them learn.

    Input: five maps of strides 2 to 32, as encoders give them; H and W static.
    Output:
      depth: [B, H, W, 1], in (0, 1).
      depths: of each scale, coarse to fine, [B, H, W, 1].
      masks: the share of each scale, [B, H, W, 1], sum 1; () without attention.
    Source: Niu, A new method for monocular depth estimation, section 2 (HMA-Depth, MVA 2021). It
      leaves the layers open: depth modules are as BTS's last layers, attention modules as in Tao et
      al., Hierarchical multi-scale attention, 2020.
    """

    def __init__(self, width=512, num_scales=4, attention=True):
        """Args: width: channels of the widest features, a multiple of 32. num_scales: 1 to 5."""
        super().__init__(name="depth_decoder")
        self._strides = STRIDES[-num_scales:]
        self.trunk = DenseAspp(width, double_bilinear)
        channels = {16: width, 8: width // 4, 4: width // 4, 2: width // 8, 1: width // 16}
        up = lambda stride: UpConvolution(
            channels[stride], norm=stride > 1, upsample=double_bilinear)
        self.upconv4, self.conv4 = up(4), convolution(channels[4])
        self.upconv2, self.conv2 = up(2), convolution(channels[2])
        self.upconv1, self.conv1 = up(1), convolution(channels[1])
        self.depths = [_DepthModule(channels[stride]) for stride in self._strides]
        self.attentions = [_AttentionModule(channels[stride])
                           for stride in self._strides[:-1] if attention]

    def call(self, encoded, training=False):
        features = dict(zip(STRIDES, self._features(encoded, training)))
        full = lambda module, stride: upsample_bilinear(
            module(features[stride], training=training), stride)           # [B, H, W, 1]
        depths = tuple(map(full, self.depths, self._strides))
        if not self.attentions:
            return tf.add_n(depths) / len(depths), depths, ()
        masks = hierarchical_masks(tuple(map(full, self.attentions, self._strides)))
        return tf.add_n([mask * depth for mask, depth in zip(masks, depths)]), depths, masks

    def _features(self, encoded, training):
        """Features of the STRIDES."""
        features16, features8 = self.trunk(encoded, training=training)
        features4 = self.conv4(tf.concat(
            [self.upconv4(features8, training=training), encoded[1]], axis=-1))
        features2 = self.conv2(tf.concat(
            [self.upconv2(features4, training=training), encoded[0]], axis=-1))
        features1 = self.conv1(self.upconv1(features2, training=training))
        return features16, features8, features4, features2, features1


def hierarchical_masks(attentions):
    """Shares of the scales: each takes its attention's part of what coarser scales left over.

    Args: attentions: of all scales but the finest, coarse to fine, in [0, 1], of one shape.
    Returns: a tuple, one mask more than attentions, as the finest scale takes the rest; sum 1.
    Source: Niu, A new method for monocular depth estimation, eqs. 1 to 4.
    """
    rest, masks = tf.ones_like(attentions[0]), []
    for attention in attentions:
        masks.append(attention * rest)
        rest *= 1.0 - attention
    return (*masks, rest)


class _DepthModule(RecomputedLayer):
    """[B, h, w, channels] -> depth over the largest depth, [B, h, w, 1], in (0, 1)."""

    def __init__(self, channels):
        super().__init__()
        self.conv = convolution(channels // 2)
        self.last = output_convolution(1)

    def call(self, features, training=False):
        del training
        return self.last(self.conv(features))


class _AttentionModule(RecomputedLayer):
    """[B, h, w, channels] -> attention, [B, h, w, 1], in (0, 1)."""

    def __init__(self, channels):
        super().__init__()
        self.convs = [convolution(channels, activation=None) for _ in range(2)]
        self.norms = [decoder_norm(conv) for conv in self.convs]
        self.last = tf.keras.layers.Conv2D(                                # with a bias, at first 0
            1, 1, activation="sigmoid", dtype=tf.keras.backend.floatx())

    def call(self, features, training=False):
        for conv, norm in zip(self.convs, self.norms):
            features = tf.nn.relu(norm(conv(features), training=training))
        return self.last(features)
