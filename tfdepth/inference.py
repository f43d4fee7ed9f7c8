"""A trained model as functions: images -> depth, frames -> motion.

Shape letters: B batch, S sources, N frames, H rows, W columns (the network's size). Memory does
not grow with N.
"""
import collections
import itertools
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from tfdepth.checks import UserError, check_choice, check_shape
from tfdepth.data.learned_camera import LEARNED
from tfdepth.data.neighbours import NeighbourWindow
from tfdepth.data.pipeline import frame_batches, images_of_files, resize_image
from tfdepth.data.unreadable import readable
from tfdepth.geometry.camera import resize_intrinsics
from tfdepth.runs import checkpoints
from tfdepth.runs.cameras import learned_names
from tfdepth.runs.folder import RunFolder, load_config
from tfdepth.runs.scale import describe_scale, scale_of_checkpoint
from tfdepth.structures import Batch
from tfdepth.systems import build_system, for_inference
from tfdepth.systems.base import PRECISIONS

BATCH_SIZE = 8  # images a forward pass
NO_MOTION = ("the model was trained on stereo pairs alone, or on measured depth, and predicts no "
             "motion.")
NO_CAMERA = ("found none. --intrinsics names a camera file, or intrinsics.json lies beside the "
             "images.")


class SeenFrame(NamedTuple):
    """A frame as the user has it."""
    label: str                        # what messages call it
    image: np.ndarray                 # uint8 [h, w, 3]
    follows: bool                     # whether the frame before it is the one before in time
    intrinsics: Optional[np.ndarray]  # [3, 3], pixels of the image; None = unknown


class Predictor:
    """A system with weights. All images are brought to the size that it was trained at.

    Depth and motion are in metres where `scale` is known, else in the unit of the system.

    Attributes:
      system: System.
      config: ExperimentConfig of its run.
      step: of the checkpoint, for reports.
      scale: Scale that was measured of this checkpoint, or None.
      size: (H, W).
      offsets: S offsets of the sources from the target, ascending, in steps of `frame_gap`.
      frame_gap: frames between neighbours in training; closer ones move less than it knows.
      depth_of_batch: function of float32 tensors: images [B, H, W, 3] in [0, 1], the frames before
        them, which only systems look at that need them, and cameras [B, 3, 3], as `System` says;
        -> depth [B, H, W, 1].
    """

    def __init__(self, system, config, step, scale=None):
        """Args: as the attributes of these names."""
        self.system, self.config, self.step, self.scale = system, config, step, scale
        self.size, self.offsets = tuple(config.data.size), tuple(config.data.offsets)
        self.frame_gap = config.data.frame_gap
        # One graph for all batch sizes: the last batch of a clip is a small one.
        images = tf.TensorSpec([None, *self.size, 3])
        sources = tf.TensorSpec([None, len(self.offsets), *self.size, 3])
        cameras = tf.TensorSpec([None, 3, 3])
        self.depth_of_batch = tf.function(
            self.predict_depth, input_signature=[images, images, cameras], autograph=False)
        # Pictures of any size: in one graph, resizing adds a few per cent to the network's time.
        self._depth_of_pictures = tf.function(
            lambda image, previous, camera: self.predict_depth(
                self._resized(image), self._resized(previous), camera[tf.newaxis])[0, ..., 0],
            input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)] * 2
            + [tf.TensorSpec([3, 3])], autograph=False)
        self._depths = _filled_up(self.depth_of_batch)
        self._motion = _filled_up(tf.function(
            self.predict_motion, input_signature=[images, sources], autograph=False))
        # In a graph also because memory of operations outside one grows with their number.
        self._pictures = _filled_up(tf.function(
            self._draw, input_signature=[images, sources, cameras], autograph=False))

    def predict_depth(self, image, previous, intrinsics=None):
        """`System.predict_depth`, its depth [B, H, W, 1] alone."""
        depth = self.system.predict_depth(image, previous, intrinsics).depth
        return depth if self.scale is None else self.scale.factor * depth

    def predict_motion(self, target, sources):
        """`System.predict_motion`."""
        return self._scaled(self.system.predict_motion(target, sources))

    def predict_pair_motion(self, target, source):
        """`System.predict_pair_motion`."""
        return self._scaled(self.system.predict_pair_motion(target, source))

    def _scaled(self, transforms):
        """[..., 4, 4] with its translations in the unit of the depth."""
        if self.scale is None:
            return transforms
        factors = np.ones([4, 4], np.float32)
        factors[:3, 3] = self.scale.factor
        return transforms * factors

    def describe_scale(self):
        """What is known of the unit, see `scale.describe_scale`."""
        return describe_scale(self.config.data, self.system.learns_from_depth, self.scale)

    def depth_of_image(self, image, previous=None, intrinsics=None):
        """Depth of one image of any size.

        Args: image: uint8 [h, w, 3]. previous: the frame before, for systems that need it; None:
          they see the image twice. intrinsics: [3, 3], pixels of the image, for systems that need
          the camera.
        Returns: float32 [H, W] at the network's size.
        Raises: ValueError: if `image` is not uint8 (floats are not rescaled) or has another shape.
          UserError: if the system needs the camera, which is None.
        """
        previous = image if previous is None else previous
        for name, each in (("image", image), ("previous", previous)):
            _check_picture(name, each)
        camera = self._camera("the image", intrinsics, image.shape[:2])
        return self._depth_of_pictures(image, previous, camera).numpy()

    def pictures_of_image(self, image, intrinsics=None):
        """What a system that sees single images has to show of one besides its depth.

        Args: as `depth_of_image`.
        Returns: {title: float32 [H, W, 1 or 3] in [0, 1]}; {} of a system that needs sources.
        Raises: as `depth_of_image`.
        """
        if self.system.num_sources:
            return {}
        _check_picture("image", image)
        resized = self._resized(image)
        camera = self._camera("the image", intrinsics, image.shape[:2])[tf.newaxis]
        none = resized[:, tf.newaxis][:, :0]
        return {title: pictures[0] for title, pictures in
                self.pictures_of_batch(resized, none, camera).items()}

    def pictures_of_batch(self, targets, sources, intrinsics):
        """What a system has to show of targets besides their depth.

        Args: targets: float32 [B, H, W, 3] in [0, 1]; sources: [B, S, H, W, 3]; intrinsics:
          [B, 3, 3], pixels of H x W.
        Returns: {title: float32 [B, H, W, 1 or 3] in [0, 1]}.
        """
        pictures = self._pictures(*(tf.cast(each, tf.float32)
                                    for each in (targets, sources, intrinsics)))
        return {title: np.clip(each.numpy(), 0.0, 1.0) for title, each in pictures.items()}

    def _draw(self, targets, sources, intrinsics):
        """`pictures_of_batch` as tensors."""
        batch = Batch(targets, sources, targets, sources, intrinsics)
        return self.system.pictures(batch, self.system.forward(batch, training=False))

    def resized(self, image):
        """An image as the networks see it: uint8 [h, w, 3] -> float32 [H, W, 3] in [0, 1]."""
        return self._resized(image)[0].numpy()

    def _resized(self, image):
        """uint8 [h, w, 3] -> [1, H, W, 3] in [0, 1]."""
        return tf.cast(resize_image(image, self.size), tf.float32)[tf.newaxis] / 255.0

    def _camera(self, name, intrinsics, size):
        """Intrinsics [3, 3] of an image after its resize to the network's size, if they count.

        Args: name: of the image, for the message. intrinsics: [3, 3], its pixels. size: (h, w).
        Raises: UserError: they are None and the system needs them."""
        if not self.system.needs_intrinsics:
            return tf.eye(3)
        if intrinsics is None:
            raise UserError(f"{name}: expected its camera, as {type(self.system).__name__} scales "
                            f"depth by the focal length; {NO_CAMERA}")
        return self.resized_camera(intrinsics, size)

    def resized_camera(self, intrinsics, size):
        """Intrinsics [3, 3] of an image of `size` (h, w) -> after its resize to (H, W)."""
        scale_yx = (self.size[0] / size[0], self.size[1] / size[1])
        return resize_intrinsics(tf.constant(intrinsics, tf.float32), scale_yx)

    def depths_of_files(self, paths, follows=None, intrinsics=None):
        """(image [H, W, 3] in [0, 1], depth [H, W]) of image files, in order; float32.

        Depth is > 0. Systems that need the frame before get the one `frame_gap` before where
        there is one, elsewhere the frame itself.

        Args: paths: N files. follows: N bools, whether the file before shows the frame before;
          None: no file does. intrinsics: N times [3, 3], pixels of the file, or None where nobody
          knows; None: nowhere.
        Raises: UserError: if a file cannot be read, or the system needs a camera that is unknown.
        """
        follows = [False] * len(paths) if follows is None else follows
        intrinsics = [None] * len(paths) if intrinsics is None else intrinsics
        frames = map(SeenFrame, paths, images_of_files(paths), follows, intrinsics)
        return ((image, depth) for _, image, depth in self.depths_of_frames(frames))

    def depths_of_frames(self, frames):
        """Yields (frame, image [H, W, 3] in [0, 1], depth [H, W]) of frames as they come; float32.

        Args: frames: iterable of SeenFrame, or of anything with its fields.
        Raises: UserError: if the system needs a camera that is unknown.
        """
        passed = collections.deque(maxlen=self.frame_gap)  # the last ones, neighbours in time
        frames = iter(frames)
        while batch := list(itertools.islice(frames, BATCH_SIZE)):
            images = np.stack([self.resized(frame.image) for frame in batch])
            before = []
            for frame, image in zip(batch, images):
                if not frame.follows:
                    passed.clear()
                before.append(passed[0] if len(passed) == self.frame_gap else image)
                passed.append(image)
            cameras = tf.stack([self._camera(frame.label, frame.intrinsics, frame.image.shape[:2])
                                for frame in batch])
            depths = self._depths(images, np.stack(before), cameras)
            yield from zip(batch, images, depths.numpy()[..., 0])

    def motions_of_files(self, paths):
        """Motion between the frames of consecutive files.

        Args: paths: N files, neighbours in time.
        Returns: {index of target: source_from_target [S, 4, 4] float64} for every frame that has
          all its sources of the same camera.
        Raises: UserError: if a file cannot be read, or the model predicts no motion.
        """
        if not self.system.predicts_motion:
            raise UserError(NO_MOTION)
        motions, window = {}, NeighbourWindow(self.offsets, BATCH_SIZE)
        for images in readable(frame_batches(paths, self.size, BATCH_SIZE), paths):
            for image in images.numpy():
                for neighbours in window.add(image):
                    motions.update(self.motions_of_neighbours(neighbours))
        for neighbours in window.rest():
            motions.update(self.motions_of_neighbours(neighbours))
        return motions

    def motions_of_neighbours(self, neighbours):
        """data.neighbours.Neighbours, float32 in [0, 1] -> as `motions_of_files`."""
        motions = self._motion(neighbours.targets, neighbours.sources).numpy().astype(np.float64)
        return dict(zip(neighbours.indices.tolist(), motions))


def _filled_up(function):
    """A function of arrays [B, ...] that makes `function` see as many as the largest batch so far.

    A small batch, as the last one of a clip, is filled up with its last element: for another size,
    kernels would be prepared and memory be taken anew. It takes the time of a large one.
    """
    largest = 0

    def call(*arrays):
        nonlocal largest
        count = len(arrays[0])
        largest = max(largest, count)
        if 0 < count < largest:
            places = np.minimum(np.arange(largest), count - 1)
            arrays = [tf.gather(array, places) for array in arrays]
        results = function(*arrays)
        return tf.nest.map_structure(lambda tensor: tensor[:count], results)

    return call


def _check_picture(name, image):
    """Raises ValueError unless it is uint8 [h, w, 3]."""
    check_shape(name, image, ["h", "w", 3])
    if image.dtype != np.uint8:
        raise ValueError(f"`{name}` must be uint8, 0 to 255; got {image.dtype}.")


def load_predictor(path, precision="float32", calibrated=True):
    """The model of a run folder: its best checkpoint.

    Args: precision: of its networks, whatever they were trained in; see systems.base.PRECISIONS.
      calibrated: whether it speaks in metres where its scale was measured; a scale of another
        checkpoint is left out, with a warning.
    Raises: UserError: on an unknown precision; if there is no run, no checkpoint, none that is
      intact, or a damaged scale.
    """
    check_choice("precision", precision, PRECISIONS)
    config = load_config(path)
    system = build_system(config.system, config.data.offsets, config.data.stereo)
    names = learned_names(RunFolder(path)) if config.data.intrinsics == LEARNED else ()
    if names:
        system.learn_cameras(names)
    system.create_variables(config.data.size)
    step = checkpoints.restore_best(RunFolder(path).checkpoints, system=system)
    scale = scale_of_checkpoint(path, step) if calibrated else None
    return Predictor(for_inference(system, precision, config.data.size), config, step, scale)
