"""What a training method declares, and what holds for all of them.

Shape letters: B batch, S sources, H rows, W columns.
"""
import contextlib
import dataclasses
from typing import Dict

import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.data.learned_camera import FLAG
from tfdepth.losses.in_turn import in_turn
from tfdepth.networks.batch_norm import synchronized_batch_norm
from tfdepth.networks.learned_camera import LearnedCameras, hold_flow
from tfdepth.structures import Batch, DepthPrediction
from tfdepth.systems import signs


# Of networks: motion, disparities, geometry and losses stay float32, and so do weights and their
# gradients in training.
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@contextlib.contextmanager
def computing_in(policy):
    """Layers that are made in this context have a policy of Keras: one of PRECISIONS, or bfloat16
    or float16, of weights in that type too."""
    if policy == "float32":  # Keras' own policy, which follows its floatx
        yield
        return
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        followed = before.name == tf.keras.backend.floatx()  # and is to follow it again
        tf.keras.mixed_precision.set_global_policy(None if followed else before)


class System(tf.keras.Model):
    """One training method: networks, forward pass and loss terms. The loop is not its business.

    A subclass implements the methods that raise NotImplementedError here. It is never called like
    a layer: under a mixed policy that would cast intrinsics to the half type.
    """
    size_multiple = 1         # height and width must be multiples of this, ...
    smallest_side = 1         # ... and not below this
    learns_from_stereo = False
    learns_from_depth = False  # whether losses compare with batch.target_depth; depth is in metres
    min_true_depth = 0.0      # metres; what is nearer does not count as measured
    predicts_motion = True    # False where all sources have known motion
    motion_from_pairs = False  # whether it looks at two frames, or at a target and all its sources
    needs_previous = False    # whether depth of a frame depends on the frame before it
    needs_intrinsics = False  # whether depth depends on the camera
    policy = "float32"        # of its layers, see `computing_in`
    sync_batch_norm = False   # whether statistics of batch normalisation are of all replicas
    resized = "depth"         # or "disparity": what is resized to the size of a picture
    disparity_limits = None   # (lowest, highest) disparity that its networks can say, if any

    def __init__(self, config, offsets, stereo=False):
        """Args: config: dataclass with a dataclass `loss_weights` whose field names are the names
        of the loss terms. offsets: frames from the target to the sources of its own camera,
        ascending. stereo: whether the other camera's picture of the target is the last source.
        Raises: UserError: if the method cannot use such sources."""
        super().__init__()
        if stereo and not self.learns_from_stereo:
            raise UserError(f"--config.data.stereo: {type(self).__name__} learns from one camera; "
                            "expected false.")
        self.config = config
        self.offsets, self.stereo = tuple(offsets), stereo
        self.num_sources = len(self.offsets) + stereo
        self.loss_weights = dataclasses.asdict(config.loss_weights)
        self.cameras = None  # LearnedCameras, of a run that learns them

    def learn_cameras(self, names):
        """Makes variables of cameras that nobody knows; called before `create_variables`.

        Args: names: as `learned_camera.camera_name` makes them.
        Raises: UserError: if the method learns nothing from how one camera moves.
        """
        if self.learns_from_depth or not self.offsets:
            raise UserError(f"{FLAG}: expected a system that learns from the motion of a camera; "
                            f"{type(self).__name__} learns from measured depth or from stereo "
                            "pairs alone, which tell no focal length. Declare the camera.")
        self.cameras = LearnedCameras(names)

    def check_cameras(self, drives):
        """Raises UserError unless the cameras of all drives are known or were learned."""
        learned = self.cameras.names if self.cameras else ()
        for drive in drives:
            if drive.camera and drive.camera not in learned:
                raise UserError(f"{drive.name}: expected one of the cameras that the run learned, "
                                f"{', '.join(learned) or 'none'}; found another, {drive.camera}.")

    def with_cameras(self, batch):
        """The Batch with intrinsics as they are learned, or as it is where they are known."""
        return batch if batch.camera is None else self.cameras.correct(batch)

    def with_steady_flow(self, batch, prediction):
        """A prediction of the same values, for the gradient of the loss terms: a focal length that
        changes takes with it the motion that it is mistaken for, see `hold_flow`.

        Args: batch: of `with_cameras`. prediction: what `forward` made of it.
        """
        if batch.camera is None:
            return prediction
        motion = prediction.source_from_target
        own = hold_flow(motion[:, :len(self.offsets)], batch.intrinsics)
        return prediction._replace(
            source_from_target=tf.concat([own, motion[:, len(self.offsets):]], axis=1))

    def forward(self, batch, training):
        """Batch -> a prediction type of tfdepth.structures that has an SfmPrediction's fields, or,
        of a system without sources, `scene` alone."""
        raise NotImplementedError

    def loss_terms(self, batch, prediction) -> Dict[str, tf.Tensor]:
        """Batch and its prediction -> {name: unweighted scalar}."""
        raise NotImplementedError

    def predict_depth(self, image, previous, intrinsics=None) -> DepthPrediction:
        """Depth of images, in inference mode.

        Args: image: [B, H, W, 3] in [0, 1]. previous: the frame before each, or the image itself
          where there is none; only looked at where `needs_previous`. intrinsics: [B, 3, 3], pixels
          of the image; only looked at where `needs_intrinsics`.
        """
        raise NotImplementedError

    def predict_motion(self, target, sources):
        """Motion between images, in inference mode; not called unless `predicts_motion`.

        Args: target: [B, H, W, 3]; sources: [B, len(offsets), H, W, 3] in time order; in [0, 1].
        Returns: source_from_target [B, len(offsets), 4, 4], in the unit of the predicted depth.
        """
        raise NotImplementedError

    def predict_pair_motion(self, target, source):
        """Motion from frames to those after them, in inference mode; only of a system with
        `motion_from_pairs` that `predicts_motion`.

        Args: target, source: [B, H, W, 3] in [0, 1], `source` the later frame.
        Returns: source_from_target [B, 4, 4], in the unit of the predicted depth.
        """
        raise NotImplementedError

    def pictures(self, batch, prediction) -> Dict[str, tf.Tensor]:
        """{title: [B, H, W, 1 or 3] in [0, 1]}: what is worth seeing besides frame and depth."""
        raise NotImplementedError

    def signs(self, batch, prediction) -> Dict[str, tf.Tensor]:
        """Batch and its prediction -> {name: scalar}: what shows whether it learns or collapsed,
        see tfdepth.systems.signs. What does not apply is absent."""
        scene = prediction.scene
        found = {"depth_spread": signs.depth_spread(scene.depth)}
        if self.disparity_limits:
            found["at_limit_share"] = signs.at_limit_share(
                scene.disparities[0], self.disparity_limits)
        if self.num_sources:
            motion = prediction.source_from_target
            found["outside_share"] = signs.outside_share(batch, scene.depth, motion)
        if self.offsets:  # motion to the other camera is known
            own = motion[:, :len(self.offsets)]
            found["translation_by_depth"] = signs.translation_by_depth(own, scene.depth)
            found["rotation_degrees"] = signs.rotation_degrees(own)
        if self.cameras:
            found["focal_shift_px"] = signs.smallest_focal_shift(batch, own)
        return found

    def level_by_level(self, loss, num_levels, batch, prediction):
        """A loss of each level of a pyramid, `in_turn`: gradients to the prediction, and to the
        intrinsics where these are learned.

        Args: loss: function (Batch, prediction, level) -> scalar. prediction: of the Batch.
        Returns: [loss(batch, prediction, level) for level in range(num_levels)].
        """
        learned = None if batch.camera is None else batch.intrinsics
        of_level = lambda level, prediction, learned: loss(
            batch if learned is None else batch._replace(intrinsics=learned), prediction, level)
        return in_turn(of_level, num_levels, prediction, learned)

    def total_loss(self, terms):
        """Weighted sum of the loss terms.

        Raises: ValueError: if a term has no weight or a weight no term.
        """
        if set(terms) != set(self.loss_weights):
            raise ValueError(f"{type(self).__name__}.loss_terms gave {sorted(terms)}; "
                             f"the config weighs {sorted(self.loss_weights)}.")
        return tf.add_n([self.loss_weights[name] * terms[name] for name in sorted(terms)])

    def create_variables(self, size):
        """Creates all variables by one forward pass on black images of `size` (height, width)."""
        dtype = tf.keras.backend.floatx()
        black = tf.zeros([1, *size, 3], dtype)
        sources = tf.zeros([1, self.num_sources, *size, 3], dtype)
        stereo_from_target = tf.eye(4, batch_shape=[1], dtype=dtype) if self.stereo else None
        # Some layers make theirs when they are first called.
        with computing_in(self.policy), synchronized_batch_norm(self.sync_batch_norm):
            camera = tf.eye(3, batch_shape=[1], dtype=dtype)
            self.forward(Batch(black, sources, black, sources, camera,
                               stereo_from_target=stereo_from_target), training=False)
        self.built = True
