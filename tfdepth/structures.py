"""The tensors that travel between layers: a batch, and what systems predict from it.

Shape letters: B batch, S sources, H rows, W columns, N poses. Images are float32 RGB in [0, 1].
"""
from typing import NamedTuple, Optional, Tuple

import tensorflow as tf


class Batch(NamedTuple):
    """Samples as every system sees them."""
    target: tf.Tensor                 # [B, H, W, 3]     what losses compare with
    sources: tf.Tensor                # [B, S, H, W, 3]  neighbours of the target, in time order;
    #                                   then, where there is one, the other camera's picture
    target_input: tf.Tensor           # [B, H, W, 3]     colour-augmented: what networks see
    source_inputs: tf.Tensor          # [B, S, H, W, 3]
    intrinsics: tf.Tensor             # [B, 3, 3]        pixels of H x W
    target_depth: Optional[tf.Tensor] = None        # [B, H, W, 1]  metres; 0 = not measured
    stereo_from_target: Optional[tf.Tensor] = None  # [B, 4, 4]  to the other camera, metres or
    #                                   the unit that the config gives its baseline
    camera: Optional[tf.Tensor] = None    # [B] int32, `camera_number` of the camera, where it is
    #                                   learned and `intrinsics` are a first guess
    mirrored: Optional[tf.Tensor] = None  # [B] bool, left and right are exchanged; beside `camera`


class DepthPrediction(NamedTuple):
    """What every system predicts of one image."""
    depth: tf.Tensor                      # [B, H, W, 1]  metres up to the system's scale
    disparities: Tuple[tf.Tensor, ...]    # level k: [B, H/2^k, W/2^k, 1], > 0, level 0 finest;
    #                                       () of systems that predict depth itself
    attention: Tuple[tf.Tensor, ...] = ()  # level k: [B, H/2^k, W/2^k, 1 or S] in (0, 1), how much
    #                                        errors count; only where a system learns with it


class SfmPrediction(NamedTuple):
    """Depth of the target and its motion to every source."""
    scene: DepthPrediction
    source_from_target: tf.Tensor         # [B, S, 4, 4]  unit of `scene.depth`


class TwoWayPrediction(NamedTuple):
    """SfmPrediction of a system that also warps the target to the sources."""
    scene: DepthPrediction
    source_from_target: tf.Tensor         # [B, S, 4, 4]
    source_scenes: DepthPrediction        # of the sources: B S images in the place of B


class ExplainedPrediction(NamedTuple):
    """SfmPrediction of a system that also judges which pixels view synthesis can explain."""
    scene: DepthPrediction
    source_from_target: tf.Tensor         # [B, S, 4, 4]
    mask_logits: Tuple[tf.Tensor, ...]    # level k: [B, H/2^k, W/2^k, S, 2]; last axis
    #                                       (not explainable, explainable). Empty without masks.


class MultiScalePrediction(NamedTuple):
    """Depth alone, of a system that makes it of several scales, coarse to fine."""
    scene: DepthPrediction
    depths: Tuple[tf.Tensor, ...]         # of each scale: [B, H, W, 1], metres, before any scaling
    #                                       by the focal length
    masks: Tuple[tf.Tensor, ...]          # of each scale: [B, H, W, 1], its share, sum 1. Empty
    #                                       without masks.
