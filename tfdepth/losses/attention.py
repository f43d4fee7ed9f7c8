"""What learned maps in (0, 1) do to errors, and what keeps them from becoming zero.

Shape letters: B batch, H rows, W columns, M maps of an image (1, or one a source). Where all
errors are e and a map is flat, a / mean * e + weight (a - mean)^2 is smallest at
a = mean - e / (2 mean weight): the constraint holds a map up where its weight exceeds
e / (2 mean^2), below that the map falls to zero.
"""
import tensorflow as tf

from tfdepth.checks import check_shape

LEAST_ATTENTION = 0.1  # of the normalised form, so that no pixel counts more than ten times
_SMALLEST = 1e-37      # whose logarithm is finite


def attention_weights(attention, mean):
    """Weights that are 1 on average where the constraint holds: [B, H, W, M], in (0, 1 / mean).

    Args: attention: [B, H, W, M] in (0, 1). mean: in (0, 1), of the constraint.
    Raises: ValueError: if the shape differs from the above.
    Source: Mendoza and Pedrini, Learning Attention Maps (2020), section 3; the form is inferred.
    """
    check_shape("attention", attention, ["B", "H", "W", "M"])
    return attention / mean


def attention_error(attention, mean):
    """Squared distance of each map's mean from the one wanted: [B, H, W, M] -> [B, M].

    Args, Raises: as `attention_weights`.
    Source: Mendoza and Pedrini, section 3: the sum of a map is proportional to its resolution.
    """
    check_shape("attention", attention, ["B", "H", "W", "M"])
    return tf.square(tf.reduce_mean(attention, axis=[1, 2]) - mean)


def normalized_weights(attention):
    """Weights whose mean over each map is 1: [B, H, W, M], at most 1 / LEAST_ATTENTION.

    The constraint made exact, in place of a loss term. Without the least attention the best map
    would be a single pixel.

    Args: attention: [B, H, W, M] in (0, 1).
    Raises: ValueError: if the shape differs from the above.
    """
    check_shape("attention", attention, ["B", "H", "W", "M"])
    raised = LEAST_ATTENTION + (1.0 - LEAST_ATTENTION) * attention
    return raised / tf.reduce_mean(raised, axis=[1, 2], keepdims=True)


def predictive_mask_error(masks):
    """Cross-entropy of masks against 1: [B, H, W, M] -> [B, H, W, M], >= 0; 0 where a mask is 1.

    Args: masks: [B, H, W, M] in (0, 1).
    Raises: ValueError: if the shape differs from the above.
    Source: Godard et al., ICCV 2019, the predictive mask of its ablation (table 2).
    """
    check_shape("masks", masks, ["B", "H", "W", "M"])
    return -tf.math.log(tf.maximum(masks, _SMALLEST))
