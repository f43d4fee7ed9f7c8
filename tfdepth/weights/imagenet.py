"""ImageNet weights of the encoders, from classifiers in torchvision's layout."""
import re

import numpy as np

from tfdepth.data.config import DataConfig
from tfdepth.systems.monodepth2 import Monodepth2, Monodepth2Config
from tfdepth.weights.array_files import read_arrays
from tfdepth.weights.imported import Imported
from tfdepth.weights.matching import assign_weights
from tfdepth.weights.torch_layout import to_keras, torch_variables

FIRST = ("conv1.weight", "conv0.weight")  # the kernels that see the image, of ResNets and DenseNets


def import_imagenet(source, kind):
    """Reads an ImageNet encoder into both encoders of a new Monodepth2; the rest stays random.

    Other systems start from its depth encoder. The pose encoder sees two frames: its first kernel
    is tiled and halved, as Monodepth2 does.

    Args: source: .pth, .safetensors or .npz in torchvision's layout. kind: a row of ENCODERS.
    Returns: Imported, of the encoders alone.
    Raises: UserError: if the file cannot be read, or weights do not fit; lists those.
    """
    arrays = {_encoder_name(name): array for name, array in to_keras(read_arrays(source)).items()}
    system = Monodepth2(Monodepth2Config(encoder=kind), (-1, 1))
    system.create_variables((64, 64))
    assign_weights(torch_variables(system.depth_encoder), arrays, source)
    pair = {name: np.concatenate([array, array], axis=2) / 2.0 if name in FIRST else array
            for name, array in arrays.items()}
    assign_weights(torch_variables(system.pose_encoder), pair, source)
    return Imported(system, DataConfig(), parts=("depth_encoder", "pose_encoder"))


def _encoder_name(name):
    """A classifier's name of a weight -> the encoder's.

    A DenseNet's are in `features`, and its published files are older than its layers' names:
    "features.denseblock1.denselayer1.norm.1.weight" -> "denseblock1.denselayer1.norm1.weight".
    """
    name = re.sub(r"^features\.", "", name)
    return re.sub(r"(\.denselayer\d+\.(norm|conv))\.(\d)", r"\1\3", name)
