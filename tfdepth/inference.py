"""A trained model as functions: images -> depth, frames -> motion.

Shape letters: B batch, S sources, N frames, H rows, W columns (the network's size).
"""
import numpy as np
import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.data.pipeline import first_unreadable, frame_batches, resize_image
from tfdepth.runs import checkpoints
from tfdepth.runs.folder import RunFolder, load_config
from tfdepth.systems import build_system

BATCH_SIZE = 8  # images a forward pass


class Predictor:
    """A system with weights. All images are brought to the size that it was trained at."""

    def __init__(self, system, config, step):
        """Args: system: System. config: ExperimentConfig. step: of the checkpoint, for reports."""
        self.system, self.config, self.step = system, config, step
        self.size, self.offsets = tuple(config.data.size), tuple(config.data.offsets)
        self._depth = tf.function(lambda image: system.predict_depth(image).depth)
        self._motion = tf.function(system.predict_motion)

    def depth_of_image(self, image):
        """Depth of one image of any size.

        Args: image: uint8 [h, w, 3].
        Returns: float32 [H, W] at the network's size, up to the model's scale.
        """
        resized = tf.cast(resize_image(tf.constant(image), self.size), tf.float32) / 255.0
        return self._depth(resized[tf.newaxis]).numpy()[0, ..., 0]

    def depths_of_files(self, paths):
        """Yields (image [H, W, 3] in [0, 1], depth [H, W]) of image files, in order.

        Raises: UserError: if a file cannot be read.
        """
        for images in _readable(frame_batches(paths, self.size, BATCH_SIZE), paths):
            for image, depth in zip(images.numpy(), self._depth(images).numpy()[..., 0]):
                yield image, depth

    def motions_of_files(self, paths):
        """Motion between the frames of consecutive files.

        Args: paths: N files, neighbours in time.
        Returns: {index of target: source_from_target [S, 4, 4] float64} for every frame that has
          all its sources.
        Raises: UserError: if a file cannot be read.
        """
        first, last = max(0, -min(self.offsets)), len(paths) - max(0, max(self.offsets))
        targets = np.arange(first, last)
        if not len(targets):
            return {}
        batches = _readable(frame_batches(paths, self.size, BATCH_SIZE), paths)
        frames = np.concatenate([np.round(batch.numpy() * 255.0).astype(np.uint8)
                                 for batch in batches])                    # [N, H, W, 3]
        motions = {}
        for chunk in np.array_split(targets, -(-len(targets) // BATCH_SIZE)):
            sources = frames[chunk[:, np.newaxis] + np.array(self.offsets)]
            source_from_target = self._motion(frames[chunk] / np.float32(255),
                                              sources / np.float32(255))
            motions.update(zip(chunk.tolist(), source_from_target.numpy().astype(np.float64)))
        return motions


def load_predictor(path):
    """The model of a run folder: its best checkpoint.

    Raises: UserError: if there is no run, no checkpoint, or none that is intact.
    """
    config, folder = load_config(path), RunFolder(path)
    step = checkpoints.best_step(folder.checkpoints)
    if step is None:
        raise UserError(f"{path}: expected a checkpoint in {folder.checkpoints}; found none.")
    system = build_system(config.system, len(config.data.offsets))
    system.create_variables(config.data.size)
    checkpoints.restore(tf.train.Checkpoint(system=system), folder.checkpoints, step, partial=True)
    return Predictor(system, config, step)


def _readable(batches, paths):
    """The batches; a file that cannot be decoded is named."""
    try:
        yield from batches
    except tf.errors.OpError as error:
        raise first_unreadable(paths) or error from None
