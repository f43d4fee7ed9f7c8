"""What the joint framework adds to Monodepth2: blocks between and behind its networks.

Shape letters: B batch, H rows, W columns, C channels of a feature map.
"""
import tensorflow as tf

from tfdepth.checks import check_choice
from tfdepth.networks.torch_layers import SymmetricConvolution, batch_normalization

ATTENTIONS = ("none", "ham", "cam")
NUM_BLOCKS = 4           # of IDCE
DELTA = 0.5              # standard deviation of HAM's Gaussian similarity


class IDCE(tf.keras.Model):
    """Implicit depth cue extraction: four bottlenecks, one behind the other.

    Input: [B, H, W, C], the pose encoder's features of the frame before the target and the target.
    Output: [B, H, W, C], >= 0, to be added to the depth encoder's features. At the start it is its
      input: the last normalisation of every block begins at zero.
    1 120 256 trainable parameters at C = 512.
    Source: Wang et al., Depth Estimation via Implicit Cues (2020), section III-B2.
    """

    def __init__(self):
        super().__init__(name="idce")
        self.blocks = [_Bottleneck() for _ in range(NUM_BLOCKS)]

    def call(self, features, training=False):
        for block in self.blocks:
            features = block(features, training=training)
        return features


class _Bottleneck(tf.keras.layers.Layer):
    """1x1, 3x3, 1x1 with a quarter of the channels inside, and the identity as shortcut."""

    def build(self, input_shape):
        channels = input_shape[-1]
        self.convolutions = [_convolution(channels // 4, 1), _convolution(channels // 4, 3),
                             _convolution(channels, 1)]
        self.norms = [batch_normalization(convolution, gamma) for convolution, gamma in
                      zip(self.convolutions, ("ones", "ones", "zeros"))]
        super().build(input_shape)

    def call(self, features, training=False):
        inner = features
        for k, (convolution, norm) in enumerate(zip(self.convolutions, self.norms)):
            inner = norm(convolution(inner), training=training)
            if k < 2:
                inner = tf.nn.relu(inner)
        return tf.nn.relu(features + inner)


class HAM(tf.keras.layers.Layer):
    """High-dimensional attention: x + beta (s * V), s = exp(-(K - Q)^2 / (2 delta^2)).

    K, Q and V are convolutions of x; the similarity s in (0, 1] is taken element by element. Beta
    is learned and begins at 0, so that the layer begins as the identity.

    Input and output: [B, H, W, C].
    3 961 trainable parameters at C = 12, 1 009 at C = 6.
    Source: Wang et al., Depth Estimation via Implicit Cues (2020), section III-B3, eqs. 7 to 11.
    """

    def __init__(self):
        super().__init__(name="ham", dtype=tf.keras.backend.floatx())

    def build(self, input_shape):
        self.key, self.query, self.value = (
            (_convolution(input_shape[-1], 3, self.dtype), batch_normalization(dtype=self.dtype))
            for _ in range(3))
        self.beta = self.add_weight("beta", shape=[], initializer="zeros")
        super().build(input_shape)

    def call(self, features, training=False):
        key, query, value = (
            tf.nn.relu(norm(convolution(features), training=training))
            for convolution, norm in (self.key, self.query, self.value))
        return features + self.beta * (gaussian_similarity(key, query) * value)


class CAM(tf.keras.layers.Layer):
    """Channel attention, what HAM is compared with: x + gamma (A X), A = softmax(max - X X^T).

    Every channel becomes a mixture of channels that are unlike it. Gamma begins at 0.

    Input and output: [B, H, W, C].
    Source: Fu et al., Dual Attention Network, CVPR 2019, section 3.3, as table VI of
      Wang et al. (2020), which gives no equation, can be understood.
    """

    def __init__(self):
        super().__init__(name="cam", dtype=tf.keras.backend.floatx())

    def build(self, input_shape):
        self.gamma = self.add_weight("gamma", shape=[], initializer="zeros")
        super().build(input_shape)

    def call(self, features, training=False):
        del training
        shape = tf.shape(features)
        flat = tf.reshape(features, [shape[0], -1, shape[3]])              # [B, H W, C]
        energy = tf.matmul(flat, flat, transpose_a=True)                   # [B, C, C]
        weights = tf.nn.softmax(tf.reduce_max(energy, axis=-1, keepdims=True) - energy)
        mixed = tf.matmul(flat, weights, transpose_b=True)                 # [B, H W, C]
        return features + self.gamma * tf.reshape(mixed, shape)


def gaussian_similarity(key, query):
    """exp(-(K - Q)^2 / (2 delta^2)) element by element, in (0, 1]; 1 where both are equal."""
    return tf.exp(-tf.square(key - query) / (2.0 * DELTA**2))


def build_attention(kind):
    """The layer of a name in ATTENTIONS, None for "none"."""
    check_choice("--config.system.pose_attention", kind, ATTENTIONS)
    return {"none": lambda: None, "ham": HAM, "cam": CAM}[kind]()


def _convolution(channels, kernel, dtype=None):
    he_normal = tf.keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return SymmetricConvolution(channels, kernel, bias=False, initializer=he_normal, dtype=dtype)
