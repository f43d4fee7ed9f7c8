"""A trained model as functions: images -> depth, frames -> motion.

Shape letters: B batch, S sources, N frames, H rows, W columns (the network's size). Memory does
not grow with N.
"""
import numpy as np
import tensorflow as tf

from tfdepth.checks import UserError, check_shape
from tfdepth.data.images import read_size
from tfdepth.data.learned_camera import LEARNED
from tfdepth.data.pipeline import frame_batches, resize_image
from tfdepth.data.unreadable import readable
from tfdepth.geometry.camera import resize_intrinsics
from tfdepth.runs import checkpoints
from tfdepth.runs.cameras import learned_names
from tfdepth.runs.folder import RunFolder, load_config
from tfdepth.structures import Batch
from tfdepth.systems import build_system

BATCH_SIZE = 8  # images a forward pass


class Predictor:
    """A system with weights. All images are brought to the size that it was trained at.

    Attributes:
      system: System.
      config: ExperimentConfig of its run.
      step: of the checkpoint, for reports.
      size: (H, W).
      offsets: S frame offsets of the sources from the target, ascending.
      depth_of_batch: function of float32 tensors: images [B, H, W, 3] in [0, 1], the frames before
        them, which only systems look at that need them, and cameras [B, 3, 3], as `System` says;
        -> depth [B, H, W, 1].
    """

    def __init__(self, system, config, step):
        """Args: as the attributes of these names."""
        self.system, self.config, self.step = system, config, step
        self.size, self.offsets = tuple(config.data.size), tuple(config.data.offsets)
        # One graph for all batch sizes: the last batch of a clip is a small one.
        images = tf.TensorSpec([None, *self.size, 3])
        sources = tf.TensorSpec([None, len(self.offsets), *self.size, 3])
        cameras = tf.TensorSpec([None, 3, 3])
        self.depth_of_batch = tf.function(
            lambda image, previous, intrinsics: system.predict_depth(
                image, previous, intrinsics).depth, input_signature=[images, images, cameras])
        self._motion = tf.function(system.predict_motion, input_signature=[images, sources])

    def depth_of_image(self, image, previous=None, intrinsics=None):
        """Depth of one image of any size.

        Args: image: uint8 [h, w, 3]. previous: the frame before, for systems that need it; None:
          they see the image twice. intrinsics: [3, 3], pixels of the image, for systems that need
          the camera.
        Returns: float32 [H, W] at the network's size, up to the model's scale.
        Raises: ValueError: if `image` is not uint8 (floats are not rescaled) or has another shape.
          UserError: if the system needs the camera, which is None.
        """
        pair = [self._resized(name, each) for name, each in (
            ("image", image), ("previous", image if previous is None else previous))]
        camera = self._camera("the image", intrinsics, image.shape[:2])
        return self.depth_of_batch(*pair, camera[tf.newaxis]).numpy()[0, ..., 0]

    def pictures_of_image(self, image, intrinsics=None):
        """What a system that sees single images has to show of one besides its depth.

        Args: as `depth_of_image`.
        Returns: {title: float32 [H, W, 1 or 3] in [0, 1]}; {} of a system that needs sources.
        Raises: as `depth_of_image`.
        """
        if self.system.num_sources:
            return {}
        resized = self._resized("image", image)
        camera = self._camera("the image", intrinsics, image.shape[:2])[tf.newaxis]
        none = resized[:, tf.newaxis][:, :0]
        batch = Batch(resized, none, resized, none, camera)
        pictures = self.system.pictures(batch, self.system.forward(batch, training=False))
        return {title: picture.numpy()[0] for title, picture in pictures.items()}

    def _resized(self, name, image):
        """uint8 [h, w, 3] -> [1, H, W, 3] in [0, 1]."""
        check_shape(name, image, ["h", "w", 3])
        if image.dtype != np.uint8:
            raise ValueError(f"`{name}` must be uint8, 0 to 255; got {image.dtype}.")
        return tf.cast(resize_image(tf.constant(image), self.size), tf.float32)[tf.newaxis] / 255.0

    def _camera(self, name, intrinsics, size=None):
        """Intrinsics [3, 3] of an image after its resize to the network's size.

        Args: name: of the image, its path where `size` is None. intrinsics: [3, 3], its pixels.
          size: (h, w).
        Raises: UserError: they are None and the system needs them."""
        if not self.system.needs_intrinsics:
            return tf.eye(3)
        if intrinsics is None:
            raise UserError(f"{name}: expected its camera, as {type(self.system).__name__} scales "
                            "depth by the focal length; found none. --intrinsics names a camera "
                            "file, or intrinsics.json lies beside the images.")
        size = size or read_size(name)
        scale_yx = (self.size[0] / size[0], self.size[1] / size[1])
        return resize_intrinsics(tf.constant(intrinsics, tf.float32), scale_yx)

    def depths_of_files(self, paths, follows=None, intrinsics=None):
        """Yields (image [H, W, 3] in [0, 1], depth [H, W]) of image files, in order; float32.

        Depth is > 0, up to the model's scale. Systems that need the frame before get it where
        there is one, elsewhere the frame itself.

        Args: paths: N files. follows: N bools, whether the file before shows the frame before;
          None: no file does. intrinsics: N times [3, 3], pixels of the file, or None where nobody
          knows; None: nowhere.
        Raises: UserError: if a file cannot be read, or the system needs a camera that is unknown.
        """
        intrinsics = [None] * len(paths) if intrinsics is None else intrinsics
        follows = np.zeros(len(paths), bool) if follows is None else np.array(follows, bool)
        done, last = 0, None
        for images in readable(frame_batches(paths, self.size, BATCH_SIZE), paths):
            images = images.numpy()
            before = np.concatenate([images[:1] if last is None else last, images[:-1]])
            has_previous = follows[done:done + len(images), np.newaxis, np.newaxis, np.newaxis]
            cameras = tf.stack([self._camera(paths[k], intrinsics[k])
                                for k in range(done, done + len(images))])
            depths = self.depth_of_batch(images, np.where(has_previous, before, images),
                                 cameras).numpy()[..., 0]
            yield from zip(images, depths)
            done, last = done + len(images), images[-1:]

    def motions_of_files(self, paths):
        """Motion between the frames of consecutive files.

        Args: paths: N files, neighbours in time.
        Returns: {index of target: source_from_target [S, 4, 4] float64} for every frame that has
          all its sources of the same camera.
        Raises: UserError: if a file cannot be read, or the model predicts no motion.
        """
        if not self.system.predicts_motion:
            raise UserError("the model was trained on stereo pairs alone, or on measured depth, and "
                            "predicts no motion.")
        before, after = max(0, -min(self.offsets)), max(0, max(self.offsets))
        motions = {}
        if len(paths) <= before + after:
            return motions
        next_target = before
        window = np.zeros([0, *self.size, 3], np.float32)  # frames from next_target - before on
        for images in readable(frame_batches(paths, self.size, BATCH_SIZE), paths):
            window = np.concatenate([window, images])
            count = len(window) - before - after                           # with all their sources
            if count > 0:
                targets = before + np.arange(count)                        # places in the window
                source_from_target = self._motion(
                    window[targets], window[targets[:, np.newaxis] + np.array(self.offsets)])
                motions.update(zip(range(next_target, next_target + count),
                                   source_from_target.numpy().astype(np.float64)))
                next_target += count
                window = window[count:]
        return motions


def load_predictor(path, precision="float32"):
    """The model of a run folder: its best checkpoint.

    Args: precision: of its networks, whatever they were trained in; see systems.base.PRECISIONS.
    Raises: UserError: if there is no run, no checkpoint, or none that is intact.
    """
    config = load_config(path)
    system = build_system(config.system, config.data.offsets, config.data.stereo, precision)
    names = learned_names(RunFolder(path)) if config.data.intrinsics == LEARNED else ()
    if names:
        system.learn_cameras(names)
    system.create_variables(config.data.size)
    step = checkpoints.restore_best(RunFolder(path).checkpoints, system=system)
    return Predictor(system, config, step)
