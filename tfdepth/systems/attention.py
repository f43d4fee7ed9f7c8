"""Attention to errors, for any system whose depth network has an encoder.

A decoder on the depth encoder's features says how much each pixel's photometric error counts. It
learns together with the networks, and is not evaluated once they are trained.

Shape letters: B batch, S sources, H rows, W columns, M maps of an image: S of "predictive_mask",
else 1.
"""
import dataclasses

import tensorflow as tf

from tfdepth.checks import UserError, check_choice
from tfdepth.losses.attention import (
    attention_error, attention_weights, normalized_weights, predictive_mask_error)
from tfdepth.networks.attention import AttentionDecoder

KINDS = ("none", "constraint", "normalise", "predictive_mask")


@dataclasses.dataclass
class AttentionWeights:
    """Weights of the terms that attention adds to a loss; a term that does not apply is 0."""
    attention: float = 10.0            # of the constraint on the mean of each map
    predictive_mask: float = 0.2       # of the masks' cross-entropy against 1


@dataclasses.dataclass
class AttentionConfig:
    """How much each pixel's error counts."""
    attention: str = "none"            # "none": all the same; "constraint": a map in (0, 1) over
    #                                    attention_mean, whose mean is held there; "normalise": a
    #                                    map over its mean; "predictive_mask": a map a source
    attention_mean: float = 0.5        # of the constraint; the authors' grid is 0.5 and 0.7


class Attention(tf.keras.layers.Layer):
    """The decoder of a system with such a config, and what its maps do to the loss."""

    def __init__(self, config, num_features, num_sources, num_levels=4, mask_decoder=None):
        """Args:
          config: AttentionConfig.
          num_features: maps that the depth encoder gives.
          num_sources: S. num_levels: maps that the loss uses.
          mask_decoder: function that builds the network of predictive masks; None: as attention's.
        Raises: UserError: on an unknown kind, or a mean that is not between 0 and 1.
        """
        super().__init__(name="attention")
        self.kind, self.mean = config.attention, config.attention_mean
        check_choice("--config.system.attention", self.kind, KINDS)
        if not 0.0 < self.mean < 1.0:
            raise UserError("--config.system.attention_mean must be between 0 and 1; got "
                            f"{self.mean}.")
        self.decoder = None
        if self.kind == "predictive_mask":
            self.decoder = mask_decoder() if mask_decoder else AttentionDecoder(
                num_features, num_sources, num_levels=num_levels)
        elif self.kind != "none":
            start = self.mean if self.kind == "constraint" else 0.5
            self.decoder = AttentionDecoder(num_features, start=start, num_levels=num_levels)

    def maps(self, encoded, training):
        """The maps of images, by their encoded features: tuple, level k: [B, H/2^k, W/2^k, M] in
        (0, 1); () without attention."""
        return () if self.decoder is None else self.decoder(encoded, training=training)

    def error_weights(self, attention):
        """What errors are multiplied by, sources first: [B, H, W, M] -> [B, M, H, W, 1]."""
        if self.kind == "constraint":
            attention = attention_weights(attention, self.mean)
        elif self.kind == "normalise":
            attention = normalized_weights(attention)
        return tf.transpose(attention, [0, 3, 1, 2])[..., tf.newaxis]

    def terms(self, maps):
        """The loss terms of AttentionWeights, sums over levels: maps [B, H, W, M] a level ->
        {name: scalar}."""
        nothing = tf.zeros([], tf.keras.backend.floatx())
        terms = {"attention": nothing, "predictive_mask": nothing}
        if self.kind == "constraint":
            terms["attention"] = tf.add_n(
                [tf.reduce_mean(attention_error(each, self.mean)) for each in maps])
        elif self.kind == "predictive_mask":
            terms["predictive_mask"] = tf.add_n(
                [tf.reduce_mean(predictive_mask_error(each)) for each in maps])
        return terms

    def pictures(self, maps):
        """{title: [B, H, W, 1] in [0, 1]} of the finest maps."""
        if not maps:
            return {}
        titles = ["attention"]
        if self.kind == "predictive_mask":
            titles = [f"predictive mask of source {k + 1}" for k in range(maps[0].shape[-1])]
        return dict(zip(titles, tf.split(maps[0], len(titles), axis=-1)))
