"""PyTorch's names and layout of weights, for networks whose attributes have its modules' names.

Convolutions are [out, in, height, width] there, and [height, width, in, out] here. Weights of an
encoder's classifier and counts of batches are not used and left out.
"""
import re

from tfdepth.weights.matching import variables_by_path

NOT_USED = re.compile(r"(^|\.)(fc|classifier)\.(weight|bias)$|\.num_batches_tracked$")
_TORCH_NAMES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias",
                "moving_mean": "running_mean", "moving_variance": "running_var"}


def to_keras(arrays):
    """Arrays in Keras' layout, without those that are not used."""
    return {name: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
            for name, array in arrays.items() if not NOT_USED.search(name)}


def torch_variables(network, prefix=""):
    """{PyTorch's name: variable} of a network; `prefix` begins the names."""
    return {prefix + torch_name(path): variable
            for path, variable in variables_by_path(network).items()}


def torch_name(path):
    """"layer1/0/bn1/gamma" -> "layer1.0.bn1.weight"."""
    *parts, last = path.split("/")
    return ".".join([*parts, _TORCH_NAMES[last]])
