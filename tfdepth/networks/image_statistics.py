"""The mean and standard deviation of images by which encoders normalise what they see."""
import numpy as np
import tensorflow as tf

MONODEPTH2_STATISTICS = (0.45, 0.225)  # of all channels alike: Godard et al., ICCV 2019
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # as torchvision has them


def normalized(images, mean, std):
    """(images - mean) / std.

    Args: images: [B, H, W, 3 F], F frames stacked. mean, std: a number, or three, of red, green and
      blue, which every frame repeats.
    """
    channels = images.shape[-1]
    mean, std = (tf.constant(np.resize(value, channels), images.dtype) for value in (mean, std))
    return (images - mean) / std
