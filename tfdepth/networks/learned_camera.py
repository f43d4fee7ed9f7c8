"""Pinhole cameras as variables: corrections of the first guesses of cameras that nobody knows.

A camera has a focal length, the same across and down in pixels of its pictures, and a principal
point near their middle: of a car, that hardly pitches or rolls, motion would tell no second one.
Source: Gordon et al., "Depth from Videos in the Wild", ICCV 2019, sections 3 and 4.

Shape letters: B batch, N cameras.
"""
import tensorflow as tf

from tfdepth.data.learned_camera import camera_number, first_guess, picture_size
from tfdepth.geometry import transforms
from tfdepth.geometry.products import matmul

# How fast they learn: a step of Adam changes a variable by about the learning rate.
FOCAL_RATE = 5.0    # times a variable: logarithm of the focal length by that of the guess
CENTRE_RANGE = 0.1  # of width and height: how far from the middle the principal point can be


class LearnedCameras(tf.keras.layers.Layer):
    """A variable [3] of each camera; 0, where it begins, is the first guess."""

    def __init__(self, names):
        """Args: names: of N cameras, see `learned_camera.camera_name`."""
        super().__init__(name="cameras", dtype=tf.keras.backend.floatx())
        self.names = tuple(names)
        self._variables = [self.add_weight(name, [3], initializer="zeros") for name in self.names]

    def corrections(self):
        """[N, 3, 3]: the camera is the first guess @ its correction."""
        corrections = []
        for name, variable in zip(self.names, self._variables):
            size = picture_size(name)
            guess = first_guess(size)
            focal, x, y = tf.unstack(tf.convert_to_tensor(variable))
            factor, zero = tf.exp(FOCAL_RATE * focal), tf.zeros_like(focal)
            x, y = (CENTRE_RANGE * side / guess[0, 0] * tf.tanh(each)
                    for side, each in zip(size[::-1], (x, y)))
            corrections.append([[factor, zero, x], [zero, factor, y], [zero, zero, zero + 1.0]])
        return tf.convert_to_tensor(corrections)

    def intrinsics(self):
        """{name: float64 [3, 3]}, pixels of the camera's pictures."""
        return {name: first_guess(picture_size(name)) @ correction.astype("float64")
                for name, correction in zip(self.names, self.corrections().numpy())}

    def correct(self, batch):
        """Args: batch: Batch whose `intrinsics` are of first guesses, all of cameras in `names`.
        Returns: the Batch with those of the cameras; they have gradients to the variables."""
        numbers = [camera_number(name) for name in self.names]
        places = tf.argmax(batch.camera[:, tf.newaxis] == numbers, axis=1)  # [B]
        corrections = tf.cast(tf.gather(self.corrections(), places), batch.intrinsics.dtype)
        # In a mirror image the principal point lies on the other side of the guess.
        mirror = tf.constant([[1.0, 1.0, -1.0], [1.0] * 3, [1.0] * 3], corrections.dtype)
        corrections = tf.where(batch.mirrored[:, tf.newaxis, tf.newaxis], mirror * corrections,
                               corrections)
        return batch._replace(intrinsics=matmul(batch.intrinsics, corrections))


def hold_flow(source_from_target, intrinsics):
    """Motions of the same values, whose gradient to the focal length f is that of turns about x and
    y, and of moves along them, by (sg(f) / f) of what they are; sg stops a gradient.

    In the middle of the picture only f times the turn, and f times the move, are seen. Were f to
    change alone it would follow, step by step, how wrong the predicted turns are, and hardly what
    tells it: how the border moves against the middle. Where the motion is the best one for f, both
    gradients are the same.

    Args: source_from_target: [B, S, 4, 4]. intrinsics: [B, 3, 3].
    """
    focal_length = intrinsics[:, tf.newaxis, 0, 0]                         # [B, 1]
    factor = tf.stop_gradient(focal_length) / focal_length                 # 1
    rotation = source_from_target[..., :3, :3]
    x = (rotation[..., 2, 1] - rotation[..., 1, 2]) / 2.0 * (factor - 1.0)  # 0, [B, S]
    y = (rotation[..., 0, 2] - rotation[..., 2, 0]) / 2.0 * (factor - 1.0)
    zero, one = tf.zeros_like(x), tf.ones_like(x)
    further = tf.stack([tf.stack([one, zero, y], -1), tf.stack([zero, one, -x], -1),
                        tf.stack([-y, x, one], -1)], -2)                   # [B, S, 3, 3]
    factor = factor * one
    translation = tf.stack([factor, factor, one], -1) * source_from_target[..., :3, 3]
    return transforms.from_rotation_translation(matmul(rotation, further), translation)
