"""The convolution block and the resizes of networks that were published in TensorFlow 1."""
import tensorflow as tf

from tfdepth.checks import check_choice

NORMALIZATIONS = ("none", "batch")


class Convolution(tf.keras.layers.Layer):
    """Convolution, optional batch normalisation, activation.

    Zero padding of TensorFlow's kind "same": at stride 2 the extra row and column lie at the
    bottom and right.

    Input: [B, H, W, C]. Output: [B, ceil(H / stride), ceil(W / stride), channels], or, transposed,
    [B, H * stride, W * stride, channels].
    """

    def __init__(self, name, channels, kernel, stride=1, activation=None, transposed=False,
                 normalization="none", initializer="glorot_uniform", initial_bias=0.0, dtype=None):
        """Args: normalization: "none": with bias. "batch": batch normalisation without scale
        instead of the bias, statistics averaged over about 100 steps. dtype: as for any layer."""
        super().__init__(name=name, dtype=dtype)
        check_choice("normalization", normalization, NORMALIZATIONS)
        kind = tf.keras.layers.Conv2DTranspose if transposed else tf.keras.layers.Conv2D
        self.convolution = kind(channels, kernel, strides=stride, padding="same",
                                use_bias=normalization == "none", name=name, dtype=dtype,
                                kernel_initializer=initializer,
                                bias_initializer=tf.keras.initializers.Constant(initial_bias))
        self.normalization = None
        if normalization == "batch":
            self.normalization = tf.keras.layers.BatchNormalization(
                momentum=0.99, epsilon=1e-3, scale=False, name=name, dtype=dtype)
        self.activation = tf.keras.activations.get(activation)

    def call(self, features, training=False):
        features = self.convolution(features)
        if self.normalization is not None:
            features = self.normalization(features, training=training)
        return self.activation(features)


def legacy_nearest(image, like):
    """Nearest resize of TensorFlow 1 to the size of `like`: source index floor(i * in / out)."""
    return tf.raw_ops.ResizeNearestNeighbor(images=image, size=tf.shape(like)[1:3])


def legacy_bilinear(image, like):
    """Bilinear resize of TensorFlow 1 to the size of `like`: source coordinate i * in / out.

    It has no half-pixel centres, so the picture shifts by half a pixel of the larger image;
    networks that were trained with it need it.
    """
    return tf.raw_ops.ResizeBilinear(images=image, size=tf.shape(like)[1:3])
