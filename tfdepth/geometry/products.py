"""Matrix products in full precision."""
import tensorflow as tf


def matmul(left, right):
    """The matrix product `left @ right` of small matrices: [..., M, K], [..., K, N] -> [..., M, N].

    tf.matmul on recent NVIDIA GPUs rounds float32 to 10 bits of mantissa (TensorFloat-32), half a
    pixel at u = 640. That is enough for networks and far too coarse for cameras.
    """
    return tf.reduce_sum(tf.expand_dims(left, -1) * tf.expand_dims(right, -3), axis=-2)
