"""The way up of a U-net: what disparity networks of TensorFlow 1 and attention decoders share.

Shape letters: B batch, H rows, W columns of the image.
"""
import math

import tensorflow as tf

from tfdepth.checks import check_choice
from tfdepth.networks.convolutions import (
    Convolution, aligned_bilinear, legacy_bilinear, legacy_nearest)
from tfdepth.networks.rematerialization import recomputed

UPSAMPLINGS = ("transposed", "bilinear")


class UpPath(tf.keras.Model):
    """Features of an encoder -> maps of the finest levels, found from the coarsest to level 0.

    A step doubles the sides, convolves, joins the encoder's features of that size and the map
    of the level below, and convolves again. A subclass calls `add_up_path`.
    """
    feeds_back = True  # whether the map of the level below is joined

    def add_up_path(self, channels, head, upsampling, block, num_levels=4):
        """Creates the layers upcnv<k>, icnv<k> and disp<k> of steps k = 1, 2, ...

        Args:
          channels: of the steps, the finest first; as many as the encoder has maps.
          head: options of the `Convolution` that gives a map.
          upsampling: "transposed": by a transposed convolution, maps by TensorFlow 1's bilinear
            resize. "bilinear": by a resize that aligns corners and then a convolution.
          block: options of all other convolutions.
          num_levels: of the maps, from level 0.
        Raises: UserError: on an unknown `upsampling`.
        """
        check_choice("upsampling", upsampling, UPSAMPLINGS)
        self._transposed = upsampling == "transposed"
        double = dict(stride=2, transposed=True) if self._transposed else {}
        self.decoder = []                                                  # (upcnv, icnv) a step
        for step, width in enumerate(channels, start=1):
            self.decoder.append((Convolution(f"upcnv{step}", width, 3, **double, **block),
                                 Convolution(f"icnv{step}", width, 3, **block)))
        self.heads = [Convolution(f"disp{step}", kernel=3, dtype=tf.keras.backend.floatx(), **head)
                      for step in range(1, num_levels + 1)]

    def decode(self, encoded, training):
        """Features of strides 2, 4, 8, ... -> tuple, level k: [B, H/2^k, W/2^k, C]."""
        features, outputs = encoded[-1], [None] * len(self.heads)
        for step in range(len(self.decoder), 0, -1):
            features = recomputed(
                lambda features, skip, below, step=step: self._up(
                    step, features, skip, below, training),
                features, encoded[step - 2] if step > 1 else None,
                outputs[step] if self.feeds_back and step < len(self.heads) else None)
            if step <= len(self.heads):
                outputs[step - 1] = self.output_map(self.heads[step - 1](features))
        return tuple(outputs)

    def _up(self, step, features, skip, below, training):
        """Features of a step; `skip`: of the encoder at its size, `below`: the map of the level
        below, either may be None."""
        upcnv, icnv = self.decoder[step - 1]
        inputs = [upcnv(self._double(features), training=training)]
        if skip is not None:
            # An odd side was rounded up on the way down; doubling it overshoots by one.
            inputs = [legacy_nearest(inputs[0], skip), skip]
        if below is not None:
            joined = self._resize(below, inputs[0])
            inputs.append(tf.cast(joined, inputs[0].dtype))
        return icnv(tf.concat(inputs, axis=-1), training=training)

    def output_map(self, activation):
        """What a head's activation means: [B, H, W, C] -> [B, H, W, C]."""
        return activation

    def _double(self, features):
        if self._transposed:
            return features
        return tf.cast(aligned_bilinear(features, 2 * tf.shape(features)[1:3]), features.dtype)

    def _resize(self, image, like):
        if self._transposed:
            return legacy_bilinear(image, like)
        return aligned_bilinear(image, tf.shape(like)[1:3])


class DisparityNet(UpPath):
    """Image -> disparities; a subclass gives the encoder.

    Input: [B, H, W, 3] in [-1, 1].
    Output:
      tuple, level k = 0 to 3: [B, H/2^k, W/2^k, 1], min_disparity + disparity_range * (0, 1).
      tuple: the encoder's features, of strides 2, 4, 8, ...
    """
    disparity_range = 10.0

    def __init__(self, min_disparity, initial_disparity):
        """Args: min_disparity: > 0, bounds the depth by 1 / min_disparity. initial_disparity: of
        every pixel at the start; 0 = random around half of the range, as published."""
        super().__init__(name="depth_net")
        self.min_disparity = min_disparity
        self._start = (initial_disparity - min_disparity) / self.disparity_range

    def encode(self, image, training):
        """[B, H, W, 3] -> features of strides 2, 4, 8, ..."""
        raise NotImplementedError

    def call(self, image, training=False):
        encoded = self.encode(image, training)
        return self.decode(encoded, training), encoded

    def head(self):
        """Options of the heads."""
        if self._start > 0:
            return dict(channels=1, **constant_head(self._start))
        return dict(channels=1, activation="sigmoid")

    def output_map(self, activation):
        return self.disparity_range * activation + self.min_disparity


def constant_head(value):
    """Options of a `Convolution` that begins as one value in (0, 1) everywhere."""
    return dict(activation="sigmoid", initializer="zeros",
                initial_bias=math.log(value / (1.0 - value)))
