"""BTS: depth from one image, learned from measured depth (Lee et al., From Big to Small, 2019).

At strides 8, 4 and 2 the decoder finds a plane for every pixel; the depth of these planes at full
resolution guides the finer levels and is part of the last one. The loss compares log depth over all
measured pixels of a batch.

Shape letters: B batch, H rows, W columns.
"""
import dataclasses
import math

import tensorflow as tf

from tfdepth.checks import UserError, check_choice
from tfdepth.losses.silog import root_silog_loss, silog_loss
from tfdepth.networks.bts import BtsDecoder
from tfdepth.networks.dense_aspp import STRIDES
from tfdepth.networks.encoders import ENCODERS, SIZE_MULTIPLE, build_encoder
from tfdepth.networks.image_statistics import IMAGENET_STATISTICS
from tfdepth.structures import DepthPrediction, MultiScalePrediction
from tfdepth.systems.base import System

SILOG_FORMS = {"plain": silog_loss, "root": root_silog_loss}
PICTURE_RANGE = 100.0  # largest over smallest depth that pictures tell apart


@dataclasses.dataclass
class SilogWeights:
    """Weight of the one loss term."""
    silog: float = 1.0


@dataclasses.dataclass
class BtsConfig:
    """The released system on KITTI."""
    loss_weights: SilogWeights = dataclasses.field(default_factory=SilogWeights)
    encoder: str = "densenet161"           # a row of ENCODERS
    decoder_width: int = 512               # channels of the decoder's widest features
    max_depth: float = 80.0                # metres; NYU: 10
    reference_focal_length: float = 715.0873  # pixels; depth is multiplied by fx of the image over
    #                                        this. 0: it is not, as on NYU
    silog_form: str = "root"               # "root": 10 sqrt(.), or "plain"
    variance_focus: float = 0.85           # 1: the scale of a batch does not count
    min_true_depth: float = 1.0            # metres; nearer points do not count. NYU: 0.1


class Bts(System):
    """See the module's docstring."""
    size_multiple = SIZE_MULTIPLE
    learns_from_depth = True
    predicts_motion = False

    def __init__(self, config, offsets, stereo=False):
        super().__init__(config, offsets, stereo)
        if self.offsets:
            raise UserError(f"--config.data.offsets: {type(self).__name__} sees single images; "
                            f"expected (), found {self.offsets}.")
        check_choice("--config.system.encoder", config.encoder, ENCODERS)
        check_choice("--config.system.silog_form", config.silog_form, SILOG_FORMS)
        rules = [("decoder_width", config.decoder_width > 0 and config.decoder_width % 32 == 0,
                  "a positive multiple of 32"),
                 ("max_depth", config.max_depth > 0, "more than 0 metres"),
                 ("reference_focal_length", config.reference_focal_length >= 0,
                  "0 (off) or more pixels"),
                 ("variance_focus", 0.0 <= config.variance_focus <= 1.0, "from 0 to 1"),
                 ("min_true_depth", 0.0 <= config.min_true_depth < config.max_depth,
                  "0 or more, and less than max_depth")]
        for name, fits, expected in rules:
            if not fits:
                raise UserError(f"--config.system.{name} must be {expected}; got "
                                f"{getattr(config, name)}.")
        self.min_true_depth = config.min_true_depth
        self.needs_intrinsics = config.reference_focal_length > 0
        self.depth_encoder = build_encoder(config.encoder, "depth_encoder", *IMAGENET_STATISTICS)
        self.depth_decoder = self._build_decoder()

    def _build_decoder(self):
        return BtsDecoder(self.config.decoder_width)

    def forward(self, batch, training):
        return self._predict(batch.target_input, batch.intrinsics, training)

    def predict_depth(self, image, previous, intrinsics=None):
        del previous
        return self._predict(image, intrinsics, training=False).scene

    def _predict(self, image, intrinsics, training):
        encoded = self.depth_encoder(image, training=training)
        depth, depths, masks = self._decode(encoded, training)
        metres = self.config.max_depth
        return MultiScalePrediction(
            DepthPrediction(metres * self._focal_factor(intrinsics) * depth, ()),
            tuple(metres * each for each in depths), masks)

    def _decode(self, encoded, training):
        """What the decoder gives, over max_depth: depth, depths of the scales and their masks."""
        return (*self.depth_decoder(encoded, training=training), ())

    def _focal_factor(self, intrinsics):
        """What depth is multiplied by, so that cameras of other focal lengths fit: [B, 1, 1, 1]."""
        if not self.needs_intrinsics:
            return 1.0
        if intrinsics is None:
            raise UserError("the model multiplies depth by the focal length; expected the camera "
                            "of every image (--config.data.intrinsics gives one), found none.")
        return intrinsics[:, :1, :1, tf.newaxis] / self.config.reference_focal_length

    def loss_terms(self, batch, prediction):
        loss = SILOG_FORMS[self.config.silog_form]
        valid = batch.target_depth > self.min_true_depth
        return {"silog": loss(prediction.scene.depth, batch.target_depth, valid,
                              self.config.variance_focus)}

    def pictures(self, batch, prediction):
        """Depth of the scales, coarse to fine, all in one range, near bright; then their masks."""
        strides = STRIDES[-len(prediction.depths):]
        return {**{f"depth, scale 1/{stride}": self._nearness(depth)
                   for stride, depth in zip(strides, prediction.depths)},
                **{f"mask, scale 1/{stride}": mask
                   for stride, mask in zip(strides, prediction.masks)}}

    def _nearness(self, depth):
        """1 at max_depth / PICTURE_RANGE and nearer, 0 at max_depth and farther, log between."""
        share = tf.clip_by_value(depth / self.config.max_depth, 1.0 / PICTURE_RANGE, 1.0)
        return -tf.math.log(share) / math.log(PICTURE_RANGE)
