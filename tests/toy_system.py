"""A system of a few dozen parameters: what tests of the loop, not of a method, train."""
import dataclasses

import tensorflow as tf

from tfdepth.geometry import transforms
from tfdepth.geometry.synthesis import synthesize_target
from tfdepth.structures import DepthPrediction, SfmPrediction
from tfdepth.systems.base import System


@dataclasses.dataclass
class ToyWeights:
    photometric: float = 1.0
    size: float = 0.1


@dataclasses.dataclass
class ToyConfig:
    loss_weights: ToyWeights = dataclasses.field(default_factory=ToyWeights)
    poison: float = 2.0    # a target pixel brighter than this makes `size` infinite


class Toy(System):
    """Disparity by one convolution, motion by another."""
    size_multiple = 8

    def __init__(self, config, offsets, stereo=False):
        super().__init__(config, offsets, stereo)
        self.disparity = tf.keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")
        self.motion = tf.keras.layers.Conv2D(6 * self.num_sources, 3, strides=2)

    def forward(self, batch, training):
        return SfmPrediction(self.predict_depth(batch.target_input, None),
                             self.predict_motion(batch.target_input, batch.source_inputs))

    def predict_depth(self, image, previous, intrinsics=None):
        disparity = tf.cast(self.disparity(image), image.dtype)  # from float16
        return DepthPrediction(1.0 / (disparity + 0.1), (disparity,))

    def predict_motion(self, target, sources):
        stacked = tf.concat([target, *tf.unstack(sources, axis=1)], axis=-1)
        vector = 0.01 * tf.reduce_mean(tf.cast(self.motion(stacked), stacked.dtype), axis=[1, 2])
        return transforms.from_translation_euler(tf.reshape(vector, [-1, self.num_sources, 6]))

    def loss_terms(self, batch, prediction):
        views = synthesize_target(batch.sources, prediction.scene.depth, batch.intrinsics,
                                  prediction.source_from_target)
        poisoned = tf.reduce_max(batch.target) > self.config.poison
        size = tf.reduce_mean(prediction.scene.disparities[0]**2)
        return {"photometric": tf.reduce_mean(tf.abs(views.images - batch.target[:, tf.newaxis])),
                "size": tf.where(poisoned, tf.cast(float("inf"), size.dtype), size)}

    def pictures(self, batch, prediction):
        return {"disparity": prediction.scene.disparities[0]}
