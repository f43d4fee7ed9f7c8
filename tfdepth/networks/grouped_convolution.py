"""Grouped convolution: every group of output channels sees one group of input channels.

TensorFlow's own is fast on GPUs. On CPUs it has a gradient only for float32 and where TensorFlow
uses oneDNN, cannot be fused with what follows elsewhere, and Keras has XLA compile it, which takes
seconds a layer in the gradient. So on CPUs it is made of dense convolutions here.
"""
import numpy as np
import tensorflow as tf

from tfdepth.networks.torch_layers import pad

BUNDLE = 32  # input channels of a dense convolution: more cost arithmetic, fewer cost calls


class GroupedConvolution(tf.keras.layers.Layer):
    """A convolution in groups, without bias, with (kernel - 1) / 2 zeros on every side.

    Input: [B, H, W, C]. Output: [B, ceil(H / stride), ceil(W / stride), channels].
    Its kernel is [kernel, kernel, C / groups, channels].
    """

    def __init__(self, channels, kernel, stride, groups, initializer):
        super().__init__()
        self.channels, self.size, self.stride = channels, kernel, stride
        self.groups, self.initializer = groups, initializer

    def build(self, input_shape):
        shape = (self.size, self.size, input_shape[-1] // self.groups, self.channels)
        self.kernel = self.add_weight("kernel", shape, initializer=self.initializer)
        super().build(input_shape)

    def call(self, features):
        # Devices that TensorFlow may use, not all of the machine; asked while a graph is traced.
        convolve = tf.nn.conv2d if tf.config.get_visible_devices("GPU") else self._by_dense
        if self.stride == 1:  # TensorFlow's own padding has the same number on both sides
            return convolve(features, self.kernel, 1, "SAME")
        return convolve(pad(features, self.size // 2), self.kernel, self.stride, "VALID")

    def _by_dense(self, features, kernel, stride, padding):
        """The same as tf.nn.conv2d, by a dense convolution for each bundle of groups.

        The kernel of a bundle is block diagonal: 0 where two of its groups would meet.
        """
        depth, channels = kernel.shape[2], kernel.shape[3] // self.groups  # of a group
        together = np.gcd(self.groups, max(1, BUNDLE // depth))            # groups in a bundle
        bundles = self.groups // together
        blocks = tf.constant(np.kron(np.eye(together), np.ones([depth, channels])), features.dtype)
        parts = zip(tf.split(features, bundles, axis=-1), tf.split(kernel, bundles, axis=-1))
        return tf.concat([
            tf.nn.conv2d(part, tf.tile(block, [1, 1, together, 1]) * blocks, stride, padding)
            for part, block in parts], axis=-1)
