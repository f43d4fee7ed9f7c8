"""Grouped convolution: every group of output channels sees one group of input channels."""
import numpy as np
import tensorflow as tf

from tfdepth.networks.torch_layers import SymmetricConvolution

BUNDLE = 64


class GroupedConvolution(SymmetricConvolution):
    """A `SymmetricConvolution` in groups; its kernel is [kh, kw, C / groups, channels]."""

    def convolution_op(self, inputs, kernel):
        bundles = max(1, inputs.shape[-1] // BUNDLE)
        width = self.groups // bundles                                     # groups a bundle
        depth, channels = kernel.shape[2], kernel.shape[3] // self.groups
        same = np.kron(np.eye(width), np.ones([depth, channels]))
        outputs = []
        for features, part in zip(tf.split(inputs, bundles, -1), tf.split(kernel, bundles, -1)):
            dense = tf.tile(part, [1, 1, width, 1]) * tf.constant(same, part.dtype)
            outputs.append(tf.nn.conv2d(features, dense, self.strides, self.padding.upper()))
        return tf.concat(outputs, axis=-1)
