"""The pose network of SfMLearner with its explainability branch.

Shape letters: B batch, S sources, H rows, W columns.
"""
import tensorflow as tf

from tfdepth.networks.convolutions import Convolution

SHARED = ((16, 7), (32, 5), (64, 3), (128, 3), (256, 3))         # channels, kernel; stride 2
POSE = ((256, 3), (256, 3))                                      # stride 2
MASKS = ((16, 7), (32, 5), (64, 3), (128, 3), (256, 3))          # level 1 to 5; stride 2 up
NUM_OUTPUTS = 4
POSE_SCALE = 0.01  # keeps the first motions small, so that the first warps stay in the picture


class PoseExplainabilityNet(tf.keras.Model):
    """Target and sources -> motion to every source, and masks of what motion can explain.

    Layers carry the names of the published checkpoint. Parameters without normalisation: 1 590 668
    (2 sources, no masks), 2 639 180 (2, masks), 1 598 456 (4, no masks), 2 660 232 (4, masks).

    Input: target [B, H, W, 3] and sources [B, S, H, W, 3] in time order, both in [-1, 1]; with
      masks H and W must be multiples of 32.
    Output:
      [B, S, 6]: (tx, ty, tz, rx, ry, rz) of source_from_target, angles in radians.
      tuple, level k: [B, H/2^k, W/2^k, S, 2] logits (not explainable, explainable); () without
        masks.
    Source: Zhou et al., CVPR 2017, sections 3.3 and 3.4.
    """
    size_multiple = 32

    def __init__(self, num_sources, masks, normalization="none",
                 initializer="glorot_uniform", momentum=0.99):
        """Args: num_sources: S. masks: whether the explainability branch exists.
        normalization: "none" or "batch", with momentum, see `Convolution`. initializer: of the
        kernels before a ReLU."""
        super().__init__(name="pose_exp_net")
        self.num_sources = num_sources
        block = dict(activation="relu", normalization=normalization, initializer=initializer,
                     momentum=momentum)
        self.shared = [Convolution(f"cnv{level}", channels, kernel, stride=2, **block)
                       for level, (channels, kernel) in enumerate(SHARED, start=1)]
        self.pose = [Convolution(f"pose/cnv{level}", channels, kernel, stride=2, **block)
                     for level, (channels, kernel) in enumerate(POSE, start=len(SHARED) + 1)]
        output = dict(dtype=tf.keras.backend.floatx())
        self.prediction = Convolution("pose/pred", 6 * num_sources, 1, **output)
        self.mask_decoder, self.mask_heads = [], []
        if masks:
            self.mask_decoder = [
                Convolution(f"exp/upcnv{level}", channels, kernel, stride=2, transposed=True, **block)
                for level, (channels, kernel) in enumerate(MASKS, start=1)]
            self.mask_heads = [
                Convolution(f"exp/mask{level}", 2 * num_sources, MASKS[level - 1][1], **output)
                for level in range(1, NUM_OUTPUTS + 1)]

    def call(self, target, sources, training=False):
        sources = tf.cast(sources, target.dtype)  # Keras casts the first argument alone
        images = tf.concat([target, *tf.unstack(sources, axis=1)], axis=-1)
        for layer in self.shared:
            images = layer(images, training=training)
        features = images
        for layer in self.pose:
            features = layer(features, training=training)
        poses = tf.reduce_mean(self.prediction(features), axis=[1, 2])
        poses = POSE_SCALE * tf.reshape(poses, [-1, self.num_sources, 6])
        return poses, self._mask_logits(images, training) if self.mask_decoder else ()

    def _mask_logits(self, features, training):
        logits = [None] * NUM_OUTPUTS
        for level in range(len(MASKS), 0, -1):
            features = self.mask_decoder[level - 1](features, training=training)
            if level <= NUM_OUTPUTS:
                mask = self.mask_heads[level - 1](features)
                shape = tf.shape(mask)
                logits[level - 1] = tf.reshape(
                    mask, [shape[0], shape[1], shape[2], self.num_sources, 2])
        return tuple(logits)
