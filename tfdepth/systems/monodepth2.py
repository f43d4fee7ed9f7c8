"""Monodepth2: self-supervised depth from video, stereo pairs or both (Godard et al., ICCV 2019).

One network predicts the target's depth, another the motion between two frames. Every pixel learns
from the source that shows it best, and not at all where it seems to stand still; all levels are
compared at full resolution.

Shape letters: B batch, S sources, H rows, W columns.
"""
import dataclasses

import tensorflow as tf

from tfdepth.checks import UserError, check_choice
from tfdepth.geometry import camera, rotations, transforms
from tfdepth.geometry.synthesis import synthesize_target
from tfdepth.losses.photometric import photometric_error
from tfdepth.losses.reprojection import REDUCTIONS, reprojection_error, tie_breaking_noise
from tfdepth.losses.smoothness import edge_aware_smoothness, mean_normalized
from tfdepth.networks.encoders import ENCODERS, SIZE_MULTIPLE, build_encoder
from tfdepth.networks.monodepth2 import DisparityDecoder, PoseCNN, PoseDecoder, motion_numbers
from tfdepth.networks.torch_layers import halve_lanczos, upsample_bilinear
from tfdepth.structures import DepthPrediction, SfmPrediction
from tfdepth.systems.attention import Attention, AttentionConfig, AttentionWeights
from tfdepth.systems.base import System
from tfdepth.systems.signs import automasked_share

POSE_NETWORKS = ("resnet", "pose_cnn")


@dataclasses.dataclass
class Monodepth2Weights(AttentionWeights):
    """Weights of the loss terms; each term is a mean over the levels."""
    photometric: float = 1.0
    smoothness: float = 1e-3           # at level k divided by 2^k


@dataclasses.dataclass
class Monodepth2Config(AttentionConfig):
    """The published system; other values are its ablations."""
    loss_weights: Monodepth2Weights = dataclasses.field(default_factory=Monodepth2Weights)
    encoder: str = "resnet18"          # of both networks: a row of ENCODERS
    pose_network: str = "resnet"       # "resnet" or "pose_cnn"
    min_depth: float = 0.1             # metres, or the unit of the model
    max_depth: float = 100.0
    num_levels: int = 4                # of disparities, and of the loss
    full_resolution: bool = True       # False: each level is compared at its own size
    reprojection: str = "minimum"      # over the sources: "minimum" or "mean"
    automask: bool = True              # leave out pixels that look as if they stood still
    ssim_weight: float = 0.85          # in the photometric error; 0 = absolute difference alone


class Monodepth2(System):
    """See the module's docstring."""
    size_multiple = SIZE_MULTIPLE
    smallest_side = 2 * SIZE_MULTIPLE  # the decoder mirrors the deepest map at its border
    learns_from_stereo = True
    motion_from_pairs = True
    resized = "disparity"
    disparity_limits = (0.0, 1.0)
    tie_break = 1e-5                   # standard deviation of the noise on identity errors

    def __init__(self, config, offsets, stereo=False):
        super().__init__(config, offsets, stereo)
        check_choice("--config.system.encoder", config.encoder, ENCODERS)
        check_choice("--config.system.pose_network", config.pose_network, POSE_NETWORKS)
        check_choice("--config.system.reprojection", config.reprojection, REDUCTIONS)
        if not 0.0 < config.min_depth < config.max_depth:
            raise UserError("--config.system.min_depth must be above 0 and below max_depth, "
                            f"{config.max_depth}; got {config.min_depth}.")
        if not 1 <= config.num_levels <= 4:
            raise UserError(f"--config.system.num_levels must be 1 to 4; got {config.num_levels}.")
        if not 0.0 <= config.ssim_weight <= 1.0:
            raise UserError("--config.system.ssim_weight must be from 0 to 1; got "
                            f"{config.ssim_weight}.")
        if config.attention == "predictive_mask" and config.automask:
            raise UserError("--config.system.automask: predictive masks take its place; expected "
                            "false, got true.")
        self.depth_encoder = build_encoder(config.encoder, "depth_encoder")
        self.depth_decoder = DisparityDecoder(config.num_levels)
        self.predicts_motion = bool(self.offsets)
        if self.predicts_motion and config.pose_network == "resnet":
            self.pose_encoder = build_encoder(config.encoder, "pose_encoder")
            self.pose_decoder = PoseDecoder()
        elif self.predicts_motion:
            self.pose_decoder = PoseCNN()
        self.attention = Attention(
            config, len(self.depth_encoder.channels), self.num_sources, config.num_levels,
            lambda: DisparityDecoder(config.num_levels, self.num_sources, "mask_decoder"))

    def forward(self, batch, training):
        motions, encoded_pairs = self._motions(batch.target_input, batch.source_inputs, training)
        encoded = self._encode(batch.target_input, self._before(encoded_pairs), training)
        scene = self._decode(encoded, training)
        scene = scene._replace(attention=self.attention.maps(encoded, training))
        if self.stereo:
            motions.append(batch.stereo_from_target)
        motions = self._in_unit_of_depth(tf.stack(motions, axis=1), scene.depth)
        return SfmPrediction(scene, motions)

    def predict_depth(self, image, previous, intrinsics=None):
        previous = self._encode_previous(image, previous)
        return self._decode(self._encode(image, previous, training=False), training=False)

    def predict_motion(self, target, sources):
        motions = tf.stack(self._motions(target, sources, training=False)[0], axis=1)
        if self.config.pose_network == "pose_cnn":
            motions = self._in_unit_of_depth(motions, self.predict_depth(target, target).depth)
        return motions

    def predict_pair_motion(self, target, source):
        encoded_pair = self._encode_pair(self._pair(target, source, 1), training=False)
        motion = self._motion(encoded_pair, 1, training=False)
        if self.config.pose_network == "pose_cnn":
            depth = self.predict_depth(target, target).depth
            motion = self._in_unit_of_depth(motion[:, tf.newaxis], depth)[:, 0]
        return motion

    def _motions(self, target, sources, training):
        """Lists: source_from_target [B, 4, 4] of this camera's sources, and each encoded pair."""
        motions, encoded_pairs = [], []
        for k, offset in enumerate(self.offsets):
            pair = self._pair(target, sources[:, k], offset)
            encoded_pairs.append(self._encode_pair(pair, training))
            motions.append(self._motion(encoded_pairs[-1], offset, training))
        return motions, encoded_pairs

    def _pair(self, target, source, offset):
        """The two frames in temporal order, one behind the other: [B, H, W, 6]."""
        return tf.concat([source, target] if offset < 0 else [target, source], axis=-1)

    def _encode_pair(self, pair, training):
        """What the pose decoder sees of a pair; the pose CNN sees the pair itself."""
        if self.config.pose_network == "pose_cnn":
            return pair
        return self.pose_encoder(pair, training=training)[-1]

    def _motion(self, encoded_pair, offset, training):
        """source_from_target [B, 4, 4]; the network says how the later frame sees the earlier."""
        axis_angle, translation = motion_numbers(self._pose_map(encoded_pair, training))
        later_from_earlier = transforms.from_rotation_translation(
            rotations.from_axis_angle(axis_angle), translation)
        return later_from_earlier if offset > 0 else transforms.inverse(later_from_earlier)

    def _pose_map(self, encoded_pair, training):
        """Map of motion numbers of a pair, see `PoseDecoder`."""
        del training
        return self.pose_decoder(encoded_pair)

    def _before(self, encoded_pairs):
        """What the depth network sees of the frame before the target; here nothing."""
        del encoded_pairs

    def _encode_previous(self, image, previous):
        """The same for inference."""
        del image, previous

    def _encode(self, image, before, training):
        """What the depth decoder sees of an image."""
        del before
        return self.depth_encoder(image, training=training)

    def _decode(self, encoded, training):
        disparities = self.depth_decoder(encoded, training=training)
        return DepthPrediction(self._depth(disparities[0]), disparities)

    def _depth(self, disparity):
        """Disparity in (0, 1) -> depth between min_depth and max_depth."""
        nearest, farthest = 1.0 / self.config.min_depth, 1.0 / self.config.max_depth
        return tf.math.reciprocal(farthest + (nearest - farthest) * disparity)

    def _in_unit_of_depth(self, motions, depth, reference=None):
        """Predicted translations times the mean of 1 / depth, which the pose CNN needs.

        Args: motions: [B, S, 4, 4]. depth: [B, H, W, 1]. reference: the depth that the
          translations have been multiplied for; None: for none.
        Source: Wang et al., CVPR 2018, section 3.2, as Monodepth2's pose CNN uses it.
        """
        if self.config.pose_network != "pose_cnn":
            return motions
        factor = tf.reduce_mean(1.0 / depth, axis=[1, 2])                  # [B, 1]
        if reference is not None:
            factor /= tf.reduce_mean(1.0 / reference, axis=[1, 2])
        scaled = [motion if self.stereo and k == len(self.offsets) else
                  transforms.from_rotation_translation(motion[:, :3, :3], factor * motion[:, :3, 3])
                  for k, motion in enumerate(tf.unstack(motions, axis=1))]
        return tf.stack(scaled, axis=1)

    def loss_terms(self, batch, prediction):
        photometric, smoothness = zip(*self._terms_of_levels(batch, prediction))
        levels = float(len(photometric))
        attention = self.attention.terms([self._attention(prediction, level) for level in
                                          range(len(prediction.scene.attention))])
        return {"photometric": tf.add_n(photometric) / levels,
                "smoothness": tf.add_n(smoothness) / levels,
                **{name: value / levels for name, value in attention.items()}}

    def _terms_of_levels(self, batch, prediction):
        """[(photometric, smoothness)] of the levels, scalars."""
        disparities = prediction.scene.disparities
        levels = range(len(disparities))
        identities = ([self._identity_errors(batch, 0)] * len(levels) if self.config.full_resolution
                      else [self._identity_errors(batch, level) for level in levels])
        photometric = self.level_by_level(
            lambda batch, prediction, level: tf.reduce_mean(
                self._reprojection(batch, prediction, level, identities[level])[0]),
            len(levels), batch, prediction)
        targets = _pyramid(batch.target, self.config.num_levels)
        smoothness = [tf.reduce_mean(edge_aware_smoothness(
            mean_normalized(disparities[level]), targets[level])) / 2.0**level for level in levels]
        return list(zip(photometric, smoothness))

    def pictures(self, batch, prediction):
        _, trains, views = self._reprojection(
            batch, prediction, 0, self._identity_errors(batch, 0))
        pictures = self.attention.pictures(prediction.scene.attention)
        if self.config.automask:
            pictures["trains"] = tf.cast(trains, tf.float32)
        for source in range(self.num_sources):
            pictures[f"warped source {source + 1}"] = views[source][:, 0]
        return pictures

    def signs(self, batch, prediction):
        found = super().signs(batch, prediction)
        if self.config.automask:
            _, trains, _ = self._reprojection(
                batch, prediction, 0, self._identity_errors(batch, 0))
            found["automasked_share"] = automasked_share(trains)
        return found

    def _frames(self, batch, level):
        """Target, sources and camera that a level is compared with."""
        if self.config.full_resolution or level == 0:
            return batch.target, batch.sources, batch.intrinsics
        target = _pyramid(batch.target, level + 1)[level]
        sources = tf.stack([_pyramid(source, level + 1)[level]
                            for source in tf.unstack(batch.sources, axis=1)], axis=1)
        factor = 1.0 / 2**level
        return target, sources, camera.resize_intrinsics(
            batch.intrinsics, (factor, factor), keep_pixel_centres=False)  # as published

    def _errors(self, images, target):
        """Photometric errors [B, S, H, W, 1] of S images [B, 1, H, W, 3]."""
        target = tf.expand_dims(target, 1)
        return tf.concat([photometric_error(each, target, self.config.ssim_weight)
                          for each in images], axis=1)

    def _identity_errors(self, batch, level):
        """Errors of the sources as they are, or None without automask."""
        if not self.config.automask:
            return None
        target, sources, _ = self._frames(batch, level)
        errors = self._errors(tf.split(sources, self.num_sources, axis=1), target)
        noise = tie_breaking_noise(self.num_sources, *target.shape[1:3], self.tie_break)
        return errors + tf.cast(noise, errors.dtype)

    def _reprojection(self, batch, prediction, level, identity):
        """Error [B, H, W, 1], which pixels train, and the synthesised views of a level, one of
        [B, 1, H, W, 3] for each source."""
        target, sources, intrinsics = self._frames(batch, level)
        disparity = prediction.scene.disparities[level]
        depth = self._depth(upsample_bilinear(disparity, target.shape[1] // disparity.shape[1]))
        motions = self._in_unit_of_depth(
            prediction.source_from_target, depth, reference=prediction.scene.depth)
        # Source by source: one is sampled while the errors of another are computed.
        one_by_one = lambda each: tf.split(each, self.num_sources, axis=1)
        views = [synthesize_target(source, depth, intrinsics, motion, border="border").images
                 for source, motion in zip(one_by_one(sources), one_by_one(motions))]
        errors = self._errors(views, target)
        masks = self.config.attention == "predictive_mask"                 # of single sources
        weights = self._weights(prediction, level)
        if masks:
            errors *= weights
        error, trains = reprojection_error(errors, identity, self.config.reprojection)
        if weights is not None and not masks:
            # Masked pixels too: could it rise there for nothing, attention would leave the others.
            error *= weights[:, 0]
        return error, trains, views

    def _weights(self, prediction, level):
        """What errors are multiplied by, [B, 1 or S, H, W, 1]; None: nothing."""
        if not prediction.scene.attention:
            return None
        return self.attention.error_weights(self._attention(prediction, level))

    def _attention(self, prediction, level):
        """The attention maps of a level, [B, H, W, M], at the size that it is compared at."""
        return upsample_bilinear(prediction.scene.attention[level],
                                 2**level if self.config.full_resolution else 1)


def _pyramid(image, num_levels):
    """The image and its successive halvings by Lanczos' filter, [B, H/2^k, W/2^k, 3] each.

    Rounded to 8 bits, as the published data preparation stores them.
    """
    levels = [image]
    for _ in range(1, num_levels):
        half = halve_lanczos(levels[-1])
        levels.append(tf.round(tf.clip_by_value(half, 0.0, 1.0) * 255.0) / 255.0)
    return levels
