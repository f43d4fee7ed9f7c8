"""SfMLearner: unsupervised learning of depth and ego-motion from video (Zhou et al., CVPR 2017).

One network predicts the target's disparity, another the motion to all sources and, per source, a
mask of what that motion can explain. Both learn from view synthesis alone, at four scales.

Shape letters: B batch, S sources, H rows, W columns.
"""
import dataclasses

import tensorflow as tf

from tfdepth.checks import UserError, check_choice
from tfdepth.geometry import transforms
from tfdepth.geometry.sampling import BORDERS
from tfdepth.geometry.synthesis import synthesize_target
from tfdepth.losses.explainability import explainability_error
from tfdepth.losses.photometric import l1_error, masked_mean
from tfdepth.losses.smoothness import second_order_smoothness
from tfdepth.networks.convolutions import NORMALIZATIONS
from tfdepth.networks.dispnet import DispNet
from tfdepth.networks.pose_explainability import PoseExplainabilityNet
from tfdepth.structures import DepthPrediction, ExplainedPrediction
from tfdepth.systems.attention import Attention, AttentionConfig, AttentionWeights
from tfdepth.systems.base import System
from tfdepth.systems.pyramid import PYRAMID_INTRINSICS, centred, shrink, shrink_intrinsics


@dataclasses.dataclass
class SfMLearnerWeights(AttentionWeights):
    """Weights of the loss terms; each term is a sum over the four scales."""
    photometric: float = 1.0
    smoothness: float = 0.5        # at scale s divided by 2^s
    explainability: float = 0.0    # 0: no masks and no mask branch; the paper's value is 0.2


@dataclasses.dataclass
class SfMLearnerConfig(AttentionConfig):
    """The released version of the system; configs/sfmlearner.py has the paper's."""
    loss_weights: SfMLearnerWeights = dataclasses.field(default_factory=SfMLearnerWeights)
    min_disparity: float = 0.01        # depth < 1 / this; the paper prints 0.1, all code has 0.01
    normalization: str = "none"        # "none" or "batch" (the paper): in all but output layers
    initializer: str = "glorot_uniform"  # of kernels before a ReLU; "he_normal" learns faster
    initial_disparity: float = 0.0     # of all pixels at the start; 0: random around 5, published
    border: str = "zeros"              # beyond the source's picture: "zeros" or "border"
    mask_outside: bool = False         # True: pixels seen outside a source do not count
    pyramid_intrinsics: str = "scaled"  # "scaled": K / 2^s as published; "exact": pixel centres


class SfMLearner(System):
    """See the module's docstring."""

    def __init__(self, config, offsets, stereo=False):
        super().__init__(config, offsets, stereo)
        check_choice("--config.system.pyramid_intrinsics", config.pyramid_intrinsics,
                     PYRAMID_INTRINSICS)
        check_choice("config.system.initializer", config.initializer,
                     ("glorot_uniform", "he_normal"))
        check_choice("config.system.border", config.border, BORDERS)
        check_choice("config.system.normalization", config.normalization, NORMALIZATIONS)
        if not 0.0 < config.min_disparity < 10.0:
            raise UserError("--config.system.min_disparity must be between 0 and 10; got "
                            f"{config.min_disparity}.")
        first, lowest = config.initial_disparity, config.min_disparity
        if first and not lowest < first < lowest + 10.0:
            raise UserError("--config.system.initial_disparity must be 0, or between min_disparity "
                            f"and 10 more than it; got {first}.")
        masks = config.loss_weights.explainability > 0
        self.depth_net = DispNet(config.min_disparity, config.normalization,
                                 config.initializer, config.initial_disparity)
        self.pose_net = PoseExplainabilityNet(self.num_sources, masks, config.normalization,
                                              config.initializer)
        self.attention = Attention(config, len(self.depth_net.encoder), self.num_sources)
        self.disparity_limits = lowest, lowest + DispNet.disparity_range
        self.size_multiple = (self.pose_net if masks else self.depth_net).size_multiple

    def forward(self, batch, training):
        poses, mask_logits = self.pose_net(
            centred(batch.target_input), centred(batch.source_inputs), training=training)
        scene, encoded = self._scene(batch.target_input, training)
        scene = scene._replace(attention=self.attention.maps(encoded, training))
        return ExplainedPrediction(scene, transforms.from_translation_euler(poses), mask_logits)

    def predict_depth(self, image, previous, intrinsics=None):
        return self._scene(image, training=False)[0]

    def predict_motion(self, target, sources):
        poses, _ = self.pose_net(centred(target), centred(sources), training=False)
        return transforms.from_translation_euler(poses)

    def _scene(self, image, training):
        """DepthPrediction, and the features that it was made from."""
        disparities, encoded = self.depth_net(centred(image), training=training)
        return DepthPrediction(1.0 / disparities[0], disparities), encoded

    def loss_terms(self, batch, prediction):
        photometric = self.level_by_level(
            self._photometric, len(prediction.scene.disparities), batch, prediction)
        smoothness, explainability = [], [tf.zeros_like(photometric[0])]
        for level, disparity in enumerate(prediction.scene.disparities):
            if prediction.mask_logits:
                explainability.append(_mean_over_images(tf.reduce_mean(
                    explainability_error(prediction.mask_logits[level]), axis=[1, 2])))
            smoothness.append(tf.reduce_mean(second_order_smoothness(disparity)) / 2.0**level)
        return {"photometric": tf.add_n(photometric), "smoothness": tf.add_n(smoothness),
                "explainability": tf.add_n(explainability),
                **self.attention.terms(prediction.scene.attention)}

    def _photometric(self, batch, prediction, level):
        """The photometric term of a level, a scalar."""
        target, _, views = self._views(batch, prediction, level)
        error = l1_error(views.images, target[:, tf.newaxis])              # [B, S, h, w, 3]
        if prediction.mask_logits:
            error *= _explainable(prediction.mask_logits[level])           # of [B, h, w, S, 2]
        if prediction.scene.attention:
            error *= self.attention.error_weights(prediction.scene.attention[level])
        valid = views.valid if self.config.mask_outside else tf.ones_like(views.valid)
        return _mean_over_images(masked_mean(error, valid))

    def pictures(self, batch, prediction):
        _, _, views = self._views(batch, prediction, level=0)
        pictures = self.attention.pictures(prediction.scene.attention)
        for source in range(self.num_sources):
            pictures[f"warped source {source + 1}"] = (views.images[:, source] + 1.0) / 2.0
        if prediction.mask_logits:
            masks = _explainable(prediction.mask_logits[0])                # [B, S, H, W, 1]
            for source in range(self.num_sources):
                pictures[f"explainable in source {source + 1}"] = masks[:, source]
        return pictures

    def _views(self, batch, prediction, level):
        """Target, sources and synthesised views of a pyramid level, images in [-1, 1]."""
        factor = 2**level
        target, sources = (shrink(centred(images), factor)
                           for images in (batch.target, batch.sources))
        intrinsics = shrink_intrinsics(batch.intrinsics, factor, self.config.pyramid_intrinsics)
        views = synthesize_target(sources, 1.0 / prediction.scene.disparities[level], intrinsics,
                                  prediction.source_from_target, self.config.border)
        return target, sources, views


def _explainable(logits):
    """Mask logits [B, h, w, S, 2] -> probability of "explainable" [B, S, h, w, 1]."""
    not_explainable, explainable = tf.unstack(logits, axis=-1)
    probability = tf.sigmoid(explainable - not_explainable)
    return tf.transpose(probability, [0, 3, 1, 2])[..., tf.newaxis]


def _mean_over_images(values):
    """Sum over sources, mean over the batch: [B, S] -> scalar."""
    return tf.reduce_mean(tf.reduce_sum(values, axis=1))
