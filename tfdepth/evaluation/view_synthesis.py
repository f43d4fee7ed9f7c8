"""How well predicted depth and motion explain the neighbouring frames, and the motion's direction.

This needs no measured depth, so it judges a run on any video.
"""
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from tfdepth.data.pipeline import evaluation_batches
from tfdepth.geometry.synthesis import synthesize_target
from tfdepth.losses.photometric import l1_error, photometric_error
from tfdepth.losses.reprojection import reprojection_error


class SynthesisErrors(NamedTuple):
    """Means over all pixels that the sources see; images in [0, 1]."""
    warped: float                             # |synthesised view - target|
    unwarped: float                           # |source - target| at the same pixels
    ratio: float                              # warped / unwarped; 1 = explains nothing
    best_ratio: float                         # the same of the photometric error (SSIM and L1) of
    #                                           each pixel's best source, over all pixels
    seen: float                               # share of pixels that lie in the sources' pictures
    direction_median_deg: Optional[float]     # angle between true and predicted translation;
    #                                           None without poses
    num_samples: int


def evaluate_synthesis(system, source, batch_size=8):
    """Judges a system on all samples of a source.

    Args:
      system: System whose prediction has `scene` and `source_from_target`.
      source: tfdepth.data.pipeline.Source.
      batch_size: samples a forward pass.

    Returns: SynthesisErrors.
    Raises: UserError: if a camera is neither known nor one that the system learned.
    """
    system.check_cameras(source.drives)

    @tf.function(autograph=False)
    def measure(batch):
        batch = system.with_cameras(batch)
        prediction = system.forward(batch, training=False)
        views = synthesize_target(batch.sources, prediction.scene.depth, batch.intrinsics,
                                  prediction.source_from_target, border="border")
        seen = tf.cast(views.valid, tf.float32)
        target = batch.target[:, tf.newaxis]
        total = lambda image: tf.reduce_sum(seen * l1_error(image, target)) / 3.0
        return (tf.stack([total(views.images), total(batch.sources), tf.reduce_sum(seen),
                          tf.cast(tf.size(seen), tf.float32), _best(views.images, batch.target),
                          _best(batch.sources, batch.target)]),
                prediction.source_from_target[..., :3, 3])

    sums, translations = np.zeros(6), []
    for batch in evaluation_batches(source, batch_size):
        parts, translation = measure(batch)
        sums += parts.numpy()
        translations.append(translation.numpy())
    warped, unwarped, seen, pixels, best, best_unwarped = sums
    seen = max(seen, 1.0)
    return SynthesisErrors(
        warped / seen, unwarped / seen, warped / max(unwarped, 1e-9),
        best / max(best_unwarped, 1e-9), seen / pixels,
        _median_direction(np.concatenate(translations)[:, :len(source.config.offsets)],
                          true_motions(source)),
        source.num_samples)


def _best(images, target):
    """Sum over pixels of the smallest error: [B, S, H, W, 3], [B, H, W, 3] -> scalar."""
    errors = tf.stack([photometric_error(image, target) for image in tf.unstack(images, axis=1)], 1)
    return tf.reduce_sum(reprojection_error(errors)[0])


def true_motions(source):
    """source_from_target [M, S, 4, 4] float64 of all samples to the sources of the same camera;
    None if a drive has no poses, or there are no such sources."""
    if not source.config.offsets or any(
            drive.world_from_camera is None for drive in source.drives):
        return None
    world_from_camera = np.concatenate([drive.world_from_camera for drive in source.drives])
    poses = world_from_camera[source.table.indices]                        # [M, 1 + S, 4, 4]
    return np.linalg.inv(poses[:, 1:]) @ poses[:, :1]


def _median_direction(translations, source_from_target):
    """Median angle, degrees, between [M, S, 3] and the translations of [M, S, 4, 4]."""
    if source_from_target is None:
        return None
    true = source_from_target[..., :3, 3]
    lengths = np.linalg.norm(true, axis=-1) * np.linalg.norm(translations, axis=-1)
    cosine = np.sum(true * translations, axis=-1) / np.maximum(lengths, 1e-12)
    return float(np.median(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))))
