"""The encoders by name: images -> features of five strides, with weights in torchvision's layout.

Every encoder is a model with
  channels       of its five outputs, from stride 2 to stride 32
  size_multiple  of which height and width of an image must be multiples
  call(images, training)  images [B, H, W, 3 F] in [0, 1] -> five maps, strides 2, 4, 8, 16, 32
"""
import functools

from tfdepth.checks import check_choice
from tfdepth.networks.densenet import DENSENETS, DenseNet
from tfdepth.networks.image_statistics import MONODEPTH2_STATISTICS
from tfdepth.networks.resnet import RESNETS, ResNet

ENCODERS = {**{kind: functools.partial(ResNet, kind) for kind in RESNETS},
            **{kind: functools.partial(DenseNet, kind) for kind in DENSENETS}}
SIZE_MULTIPLE = ResNet.size_multiple  # of all of them


def build_encoder(kind, name, mean=MONODEPTH2_STATISTICS[0], std=MONODEPTH2_STATISTICS[1]):
    """Builds an encoder with new weights.

    Args: kind: a row of ENCODERS. name: of the model. mean, std: of images, for all channels or for
      red, green and blue, as in image_statistics.
    Raises: UserError: if there is no such encoder.
    """
    check_choice("encoder", kind, ENCODERS)
    return ENCODERS[kind](name, mean, std)
