"""The rigid stage of GeoNet (Yin and Shi, CVPR 2018), the baseline of the attention maps of Mendoza
and Pedrini (Learning Attention Maps for Unsupervised Depth Estimation, 2020), and these.

One network predicts the depth of the target and of every source, another the motion between
them. Sources are warped to the target and the target to the sources; both ways errors are SSIM and
absolute difference, at four scales. With attention each image's own map weighs the errors of
what is warped to it, see tfdepth.systems.attention.

Shape letters: B batch, S sources, H rows, W columns, M attention maps of an image.
"""
import dataclasses

import tensorflow as tf

from tfdepth.checks import UserError, check_choice
from tfdepth.geometry import transforms
from tfdepth.geometry.sampling import BORDERS
from tfdepth.geometry.synthesis import synthesize_target
from tfdepth.losses.photometric import masked_mean, photometric_error
from tfdepth.losses.smoothness import edge_aware_smoothness
from tfdepth.networks.dispnet import DispNet
from tfdepth.networks.geonet import DispResNet50
from tfdepth.networks.pose_explainability import PoseExplainabilityNet
from tfdepth.structures import DepthPrediction, TwoWayPrediction
from tfdepth.systems.attention import Attention, AttentionConfig, AttentionWeights
from tfdepth.systems.base import System
from tfdepth.systems.pyramid import PYRAMID_INTRINSICS, centred, shrink, shrink_intrinsics

NUM_FEATURES = {"resnet50": 6, "dispnet": 7}  # maps that the encoder of a depth network gives


@dataclasses.dataclass
class GeoNetWeights(AttentionWeights):
    """Weights of the loss terms; each term is a sum over the four scales."""
    photometric: float = 1.0
    smoothness: float = 0.5            # at scale s divided by 2^s


@dataclasses.dataclass
class GeoNetConfig(AttentionConfig):
    """The published system; configs/geonet.py has the runs of the paper on attention maps."""
    loss_weights: GeoNetWeights = dataclasses.field(default_factory=GeoNetWeights)
    depth_network: str = "resnet50"    # or "dispnet"
    min_disparity: float = 0.01        # depth < 1 / this
    initial_disparity: float = 0.0     # of all pixels at the start; 0: random around half of the
    #                                    network's range, published
    norm_momentum: float = 0.999       # of batch normalisation; short runs need less
    border: str = "zeros"              # beyond the source's picture: "zeros" or "border"
    mask_outside: bool = False         # True: pixels seen outside a source do not count
    pyramid_intrinsics: str = "scaled"  # "scaled": K / 2^s as published; "exact": pixel centres


class GeoNet(System):
    """See the module's docstring."""

    def __init__(self, config, offsets, stereo=False):
        super().__init__(config, offsets, stereo)
        check_choice("--config.system.depth_network", config.depth_network, NUM_FEATURES)
        check_choice("--config.system.border", config.border, BORDERS)
        check_choice("--config.system.pyramid_intrinsics", config.pyramid_intrinsics,
                     PYRAMID_INTRINSICS)
        if not 0.0 <= config.norm_momentum < 1.0:
            raise UserError("--config.system.norm_momentum must be from 0 to less than 1; got "
                            f"{config.norm_momentum}.")
        of_resnet = config.depth_network == "resnet50"
        first, lowest = config.initial_disparity, config.min_disparity
        highest = lowest + (DispResNet50 if of_resnet else DispNet).disparity_range
        if lowest <= 0 or first and not lowest < first < highest:
            raise UserError("--config.system.min_disparity must be above 0, and initial_disparity "
                            f"0 or between it and {highest:g}; got {lowest} and {first}.")
        disparity = dict(min_disparity=lowest, initial_disparity=first,
                         momentum=config.norm_momentum)
        self.depth_net = DispResNet50(**disparity) if of_resnet else DispNet(
            normalization="batch", upsampling="bilinear", **disparity)
        self.disparity_limits = lowest, highest
        self.size_multiple = self.depth_net.size_multiple
        self.pose_net = PoseExplainabilityNet(self.num_sources, masks=False, normalization="batch",
                                              momentum=config.norm_momentum)
        self.attention = Attention(config, NUM_FEATURES[config.depth_network], self.num_sources)

    def forward(self, batch, training):
        poses, _ = self.pose_net(centred(batch.target_input), centred(batch.source_inputs),
                                 training=training)
        images = tf.concat([batch.target_input, _flat(batch.source_inputs)], axis=0)
        scenes, encoded = self._scene(images, training)
        scenes = scenes._replace(attention=self.attention.maps(encoded, training))
        batch_size = tf.shape(batch.target)[0]
        scene = tf.nest.map_structure(lambda maps: maps[:batch_size], scenes)
        source_scenes = tf.nest.map_structure(lambda maps: maps[batch_size:], scenes)
        return TwoWayPrediction(scene, transforms.from_translation_euler(poses), source_scenes)

    def predict_depth(self, image, previous, intrinsics=None):
        return self._scene(image, training=False)[0]

    def predict_motion(self, target, sources):
        poses, _ = self.pose_net(centred(target), centred(sources), training=False)
        return transforms.from_translation_euler(poses)

    def _scene(self, images, training):
        """DepthPrediction, and the features that it was made from."""
        disparities, encoded = self.depth_net(centred(images), training=training)
        return DepthPrediction(1.0 / disparities[0], disparities), encoded

    def loss_terms(self, batch, prediction):
        levels = len(prediction.scene.disparities)
        photometric = self.level_by_level(self._photometric, levels, batch, prediction)
        smoothness = []
        for level in range(levels):
            disparities = tf.concat([prediction.scene.disparities[level],
                                     prediction.source_scenes.disparities[level]], axis=0)
            images = shrink(centred(tf.concat([batch.target, _flat(batch.sources)], axis=0)),
                            2**level)
            smoothness.append(tf.reduce_mean(edge_aware_smoothness(disparities, images))
                              / 2.0**level)
        # A sum over the images of a sample, so that every image has the constraint in full.
        terms = self.attention.terms(prediction.scene.attention)
        of_sources = self.attention.terms(prediction.source_scenes.attention)
        return {"photometric": tf.add_n(photometric), "smoothness": tf.add_n(smoothness),
                **{name: terms[name] + self.num_sources * of_sources[name] for name in terms}}

    def _photometric(self, batch, prediction, level):
        """The photometric term of a level, a scalar."""
        target, sources, to_target, to_sources = self._views(batch, prediction, level)
        targets = tf.repeat(target[:, tf.newaxis], self.num_sources, axis=1)
        errors = (self._errors(to_target, targets) * self._target_weights(prediction, level),
                  self._errors(to_sources, sources)
                  * self._source_weights(prediction, level))               # [B, S, h, w, 1] each
        means = [masked_mean(error, views.valid if self.config.mask_outside
                             else tf.ones_like(views.valid))
                 for error, views in zip(errors, (to_target, to_sources))]
        return tf.reduce_mean(tf.reduce_sum(tf.add_n(means), axis=1)) / 2.0

    def pictures(self, batch, prediction):
        _, _, views, _ = self._views(batch, prediction, level=0)
        pictures = self.attention.pictures(prediction.scene.attention)
        for source in range(self.num_sources):
            pictures[f"warped source {source + 1}"] = (views.images[:, source] + 1.0) / 2.0
        return pictures

    def _views(self, batch, prediction, level):
        """Target, sources, and the views synthesised of either, at a pyramid level.

        Returns: target [B, h, w, 3] and sources [B, S, h, w, 3] in [-1, 1]; SynthesizedViews of
          the target, from each source; SynthesizedViews of each source, from the target.
        """
        factor = 2**level
        target, sources = (shrink(centred(images), factor)
                           for images in (batch.target, batch.sources))
        intrinsics = shrink_intrinsics(batch.intrinsics, factor, self.config.pyramid_intrinsics)
        source_from_target = prediction.source_from_target
        to_target = synthesize_target(sources, 1.0 / prediction.scene.disparities[level],
                                      intrinsics, source_from_target, self.config.border)
        to_sources = synthesize_target(
            self._repeat(target)[:, tf.newaxis],
            1.0 / prediction.source_scenes.disparities[level], self._repeat(intrinsics),
            _flat(transforms.inverse(source_from_target))[:, tf.newaxis], self.config.border)
        # The gradient of tf.squeeze is free; that of a slice takes a pass over the images.
        return target, sources, to_target, type(to_sources)(
            *(self._by_sample(tf.squeeze(each, axis=1)) for each in to_sources))

    def _errors(self, views, images):
        """Photometric errors [B, S, h, w, 1] of views of `images` [B, S, h, w, 3]."""
        return photometric_error(views.images, images, edge="cut")

    def _target_weights(self, prediction, level):
        """What errors at the target are multiplied by, [B, 1 or S, h, w, 1]; 1.0: nothing."""
        if not prediction.scene.attention:
            return 1.0
        return self.attention.error_weights(prediction.scene.attention[level])

    def _source_weights(self, prediction, level):
        """The same at the sources: each has maps of its own, of which the mask of its own place
        among the sources is of the pair that it makes with the target."""
        if not prediction.source_scenes.attention:
            return 1.0
        weights = self._by_sample(
            self.attention.error_weights(prediction.source_scenes.attention[level]))
        last = weights.shape[2] - 1                                        # [B, S, M, h, w, 1]
        return tf.stack([weights[:, k, min(k, last)] for k in range(self.num_sources)], axis=1)

    def _repeat(self, tensor):
        """[B, ...] -> [B S, ...], each of the batch S times."""
        return tf.repeat(tensor, self.num_sources, axis=0)

    def _by_sample(self, tensor):
        """[B S, ...] -> [B, S, ...]."""
        shape = tf.concat([[-1, self.num_sources], tf.shape(tensor)[1:]], axis=0)
        return tf.ensure_shape(tf.reshape(tensor, shape),
                               [None, self.num_sources, *tensor.shape[1:]])


def _flat(tensor):
    """[B, S, ...] -> [B S, ...]."""
    flat = tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], axis=0))
    return tf.ensure_shape(flat, [None, *tensor.shape[2:]])
