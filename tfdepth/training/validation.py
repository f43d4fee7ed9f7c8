"""What a run measures on its validation drives."""
import numpy as np
import tensorflow as tf

from tfdepth.data.pipeline import evaluation_batches
from tfdepth.evaluation.depth_metrics import evaluate_depth, find_protocol


class Validation:
    """Loss terms, and depth metrics where the drives have depth; loss terms are of full batches."""

    def __init__(self, system, source, train_config):
        """Args: system: System. source: Source of the validation drives. train_config:
        TrainConfig."""
        self._system = system
        self._with_depth = all(drive.depth_paths is not None for drive in source.drives)
        self._batches = evaluation_batches(
            source, train_config.batch_size, train_config.validation_samples, self._with_depth,
            train_config.cache_megabytes)

        @tf.function
        def measure(batch):
            prediction = system.forward(batch, training=False)
            terms = system.loss_terms(batch, prediction)
            return {**terms, "total": system.total_loss(terms)}, prediction

        self._measure = measure

    def __call__(self):
        """Returns ({"validation/name": float}, pictures {title: [B, H, W, 1 or 3]})."""
        sums, count, depths, pictures = {}, 0, [], {}
        for batch in self._batches:
            terms, prediction = self._measure(batch)
            size = int(batch.target.shape[0])
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + size * float(value)
            count += size
            if self._with_depth:
                depths += zip(prediction.scene.depth.numpy()[..., 0],
                              batch.target_depth.numpy()[..., 0])
            if not pictures:
                pictures = {"frame": batch.target, "inverse depth": inverse_depth(prediction),
                            **self._system.pictures(batch, prediction)}
        values = {f"validation/{name}": total / count for name, total in sums.items()}
        if depths:
            result = evaluate_depth(((str(k), depth, truth) for k, (depth, truth)
                                     in enumerate(depths)), find_protocol("depth"))
            if result.metrics is not None:
                values.update({f"validation/{name}": float(value)
                               for name, value in result.metrics._asdict().items()})
        return values, pictures


def inverse_depth(prediction):
    """1 / depth of each image over its 95th percentile, clipped to [0, 1]: [B, H, W, 1]."""
    inverse = 1.0 / prediction.scene.depth.numpy()
    bright = np.percentile(inverse, 95, axis=(1, 2, 3), keepdims=True)
    return np.clip(inverse / bright, 0.0, 1.0)
