"""What a training method declares, and what holds for all of them.

Shape letters: B batch, S sources, H rows, W columns.
"""
import dataclasses
from typing import Dict

import tensorflow as tf

from tfdepth.structures import Batch, DepthPrediction


class System(tf.keras.Model):
    """One training method: networks, forward pass and loss terms. The loop is not its business.

    A subclass implements the methods that raise NotImplementedError here. It is never called like
    a layer: under a mixed policy that would cast intrinsics to the half type.
    """
    size_multiple = 1    # height and width must be multiples of this

    def __init__(self, config, num_sources):
        """Args: config: dataclass with a dataclass `loss_weights` whose field names are the names
        of the loss terms. num_sources: S."""
        super().__init__()
        self.config = config
        self.num_sources = num_sources
        self.loss_weights = dataclasses.asdict(config.loss_weights)

    def forward(self, batch, training):
        """Batch -> a prediction type of tfdepth.structures that contains an SfmPrediction's fields."""
        raise NotImplementedError

    def loss_terms(self, batch, prediction) -> Dict[str, tf.Tensor]:
        """Batch and its prediction -> {name: unweighted scalar}."""
        raise NotImplementedError

    def predict_depth(self, image) -> DepthPrediction:
        """Depth of single images [B, H, W, 3] in [0, 1], in inference mode."""
        raise NotImplementedError

    def predict_motion(self, target, sources):
        """Motion between images, in inference mode.

        Args: target: [B, H, W, 3]; sources: [B, S, H, W, 3] in time order; in [0, 1].
        Returns: source_from_target [B, S, 4, 4], in the unit of the predicted depth.
        """
        raise NotImplementedError

    def pictures(self, batch, prediction) -> Dict[str, tf.Tensor]:
        """{title: [B, H, W, 1 or 3] in [0, 1]}: what is worth seeing besides frame and depth."""
        raise NotImplementedError

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
        black = tf.zeros([1, *size, 3])
        sources = tf.zeros([1, self.num_sources, *size, 3])
        self.forward(Batch(black, sources, black, sources, tf.eye(3)[tf.newaxis]), training=False)
        self.built = True
