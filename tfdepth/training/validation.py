"""What a run measures on its validation drives."""
import numpy as np
import tensorflow as tf

from tfdepth.checks import UserError, check_choice
from tfdepth.data.pipeline import evaluation_batches, open_source
from tfdepth.evaluation.depth_metrics import (
    HIGHER_IS_BETTER, STANDARD_METRICS, evaluate_depth, find_protocol)
from tfdepth.training.distribution import on_first_replica


def measures_depth(drives, learns_from_depth):
    """Whether depth metrics are measured on the drives of a validation."""
    return learns_from_depth or all(drive.depth_paths is not None for drive in drives)


def metrics_to_be_small(loss_terms, with_depth):
    """Names "validation/..." of what is measured and best when it is smallest."""
    names = [*loss_terms, "total"]
    if with_depth:
        names += [name for name in STANDARD_METRICS if name not in HIGHER_IS_BETTER]
    return [f"validation/{name}" for name in names]


class Validation:
    """Loss terms, and depth metrics where all drives have depth; loss terms are of full batches."""

    def __init__(self, system, drives, config, strategy):
        """Args: system: System, made in the scope of the strategy. drives: of the validation.
        config: ExperimentConfig.
        Raises: UserError: if config.train.best_metric will not be among the values, or the drives
        have no samples."""
        self._system = system
        self._with_depth = measures_depth(drives, system.learns_from_depth)
        check_choice("--config.train.best_metric (the smallest is best)", config.train.best_metric,
                     metrics_to_be_small(system.loss_weights, self._with_depth))
        self._batches = evaluation_batches(
            open_source(drives, config.data, system.learns_from_depth), config.train.batch_size,
            config.train.validation_samples, self._with_depth, config.train.cache_megabytes)

        def measure(batch):
            batch = system.with_cameras(batch)
            prediction = system.forward(batch, training=False)
            terms = system.loss_terms(batch, prediction)
            return {**terms, "total": system.total_loss(terms)}, prediction

        # One replica alone: statistics of all would be asked from the workers that do not validate.
        self._measure = tf.function(
            lambda batch: on_first_replica(strategy, strategy.run(measure, args=(batch,))),
            autograph=False)

    def __call__(self, stopped=lambda: False):
        """Returns ({"validation/name": float}, pictures {title: [B, H, W, 1 or 3]}), or None once
        `stopped`, asked between batches, is True."""
        sums, count, pictures = {}, 0, {}

        def predictions():
            """Yields (name, depth, truth) of every sample with depth; the rest is summed up."""
            nonlocal count
            for batch in self._batches:
                if stopped():
                    return
                terms, prediction = self._measure(batch)
                size = int(batch.target.shape[0])
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + size * float(value)
                count += size
                if not pictures:
                    pictures.update(pictures_of(self._system, batch, prediction))
                if self._with_depth:
                    yield from zip(map(str, range(size)), prediction.scene.depth.numpy()[..., 0],
                                   batch.target_depth.numpy()[..., 0])

        result = evaluate_depth(predictions(), find_protocol(
            "depth_metres" if self._system.learns_from_depth else "depth"))
        if stopped():
            return None
        values = {f"validation/{name}": total / count for name, total in sums.items()}
        if self._with_depth:
            if result.metrics is None:
                raise UserError("validation: expected measured depth in some frame; all of "
                                f"{result.num_images + len(result.unmeasured)} have none.")
            values.update({f"validation/{name}": getattr(result.metrics, name)
                           for name in STANDARD_METRICS})
        return values, pictures


def pictures_of_first_replica(strategy, system, batch):
    """`pictures_of` the samples of a batch that this worker's first replica has."""
    forward = lambda batch: on_first_replica(strategy, strategy.run(
        system.forward, args=(batch,), kwargs={"training": False}))
    if strategy.num_replicas_in_sync > 1:
        forward = tf.function(forward, autograph=False)  # leaves out what other replicas would compute
    batch = on_first_replica(strategy, batch)
    return pictures_of(system, batch, forward(batch))


def pictures_of(system, batch, prediction):
    """Frame, inverse depth and what the system has to show: {title: [B, H, W, 1 or 3]}."""
    return {"frame": batch.target, "inverse depth": inverse_depth(prediction),
            **system.pictures(system.with_cameras(batch), prediction)}


def inverse_depth(prediction):
    """1 / depth of each image over its 95th percentile, clipped to [0, 1]: [B, H, W, 1]."""
    inverse = 1.0 / prediction.scene.depth.numpy()
    bright = np.percentile(inverse, 95, axis=(1, 2, 3), keepdims=True)
    return np.clip(inverse / bright, 0.0, 1.0)
