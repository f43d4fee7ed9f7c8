"""A system of ten parameters that learns metres from measured depth, and needs the camera."""
import dataclasses
from typing import NamedTuple

import tensorflow as tf

from tfdepth.structures import DepthPrediction
from tfdepth.systems.base import System


@dataclasses.dataclass
class MetresWeights:
    depth: float = 1.0


@dataclasses.dataclass
class MetresConfig:
    loss_weights: MetresWeights = dataclasses.field(default_factory=MetresWeights)


class MetresPrediction(NamedTuple):
    scene: DepthPrediction


class Metres(System):
    """Depth is exp of a convolution, times the focal length by the width of the network's image."""
    size_multiple = 8
    learns_from_depth = True
    predicts_motion = False
    needs_intrinsics = True

    def __init__(self, config, offsets, stereo=False):
        super().__init__(config, offsets, stereo)
        self.logarithm = tf.keras.layers.Conv2D(
            1, 3, padding="same", bias_initializer=tf.keras.initializers.Constant(2.0))

    def forward(self, batch, training):
        return MetresPrediction(self.predict_depth(batch.target_input, None, batch.intrinsics))

    def predict_depth(self, image, previous, intrinsics=None):
        focal = intrinsics[:, 0, 0][:, tf.newaxis, tf.newaxis, tf.newaxis]
        return DepthPrediction(tf.exp(self.logarithm(image)) * focal / 720.0, ())

    def loss_terms(self, batch, prediction):
        valid = batch.target_depth > 0.0
        truth = tf.where(valid, batch.target_depth, tf.ones_like(batch.target_depth))
        error = tf.abs(tf.math.log(prediction.scene.depth) - tf.math.log(truth))
        count = tf.reduce_sum(tf.cast(valid, tf.float32))
        return {"depth": tf.math.divide_no_nan(
            tf.reduce_sum(tf.where(valid, error, tf.zeros_like(error))), count)}

    def pictures(self, batch, prediction):
        return {}
