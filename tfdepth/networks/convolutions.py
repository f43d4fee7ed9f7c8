"""The convolution block and the resizes of networks that were published in TensorFlow 1."""
import tensorflow as tf

from tfdepth.checks import check_choice
from tfdepth.networks.batch_norm import batch_norm
from tfdepth.networks.torch_layers import pad

NORMALIZATIONS = ("none", "batch")


class Convolution(tf.keras.layers.Layer):
    """Convolution, optional batch normalisation, activation.

    Zero padding of TensorFlow's kind "same": at stride 2 the extra row and column lie at the
    bottom and right; or, symmetric, of (kernel - 1) / 2 pixels on every side.

    Input: [B, H, W, C]. Output: [B, ceil(H / stride), ceil(W / stride), channels], or, transposed,
    [B, H * stride, W * stride, channels].
    """

    def __init__(self, name, channels, kernel, stride=1, activation=None, transposed=False,
                 normalization="none", initializer="glorot_uniform", initial_bias=0.0,
                 symmetric=False, momentum=0.99, dtype=None):
        """Args: normalization: "none": with bias. "batch": batch normalisation without scale
        instead of the bias, statistics averaged over about 1 / (1 - momentum) steps. symmetric:
        see above; of kernels with an odd side that are not transposed. dtype: as for any
        layer."""
        super().__init__(name=name, dtype=dtype)
        check_choice("normalization", normalization, NORMALIZATIONS)
        kind = tf.keras.layers.Conv2DTranspose if transposed else tf.keras.layers.Conv2D
        self._pad = kernel // 2 if symmetric and stride > 1 else 0  # at stride 1 "same" is that
        self.convolution = kind(channels, kernel, strides=stride,
                                padding="valid" if self._pad else "same",
                                use_bias=normalization == "none", name=name, dtype=dtype,
                                kernel_initializer=initializer,
                                bias_initializer=tf.keras.initializers.Constant(initial_bias))
        self.normalization = None
        if normalization == "batch":
            self.normalization = batch_norm(self.convolution, momentum=momentum, epsilon=1e-3,
                                            scale=False, name=name, dtype=dtype)
        self.activation = tf.keras.activations.get(activation)

    def call(self, features, training=False):
        if self._pad:
            features = pad(features, self._pad)
        features = self.convolution(features)
        if self.normalization is not None:
            features = self.normalization(features, training=training)
        return self.activation(features)


def legacy_nearest(image, like):
    """Nearest resize of TensorFlow 1 to the size of `like`: source index floor(i * in / out)."""
    if image.shape[1:3] == like.shape[1:3] and image.shape[1:3].is_fully_defined():
        return image
    return tf.raw_ops.ResizeNearestNeighbor(images=image, size=tf.shape(like)[1:3])


def legacy_bilinear(image, like):
    """Bilinear resize of TensorFlow 1 to the size of `like`: source coordinate i * in / out.

    It has no half-pixel centres, so the picture shifts by half a pixel of the larger image;
    networks that were trained with it need it.
    """
    return tf.raw_ops.ResizeBilinear(images=image, size=tf.shape(like)[1:3])


def aligned_bilinear(image, size):
    """Bilinear resize to `size` (height, width) that keeps the centres of the four corner pixels:
    source coordinate i * (in - 1) / (out - 1)."""
    return tf.raw_ops.ResizeBilinear(images=image, size=size, align_corners=True)
