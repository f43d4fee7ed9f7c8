"""Checkpoints of the published BTS program for PyTorch.

A checkpoint is one file, often without a suffix: {"model": state_dict, "global_step", "optimizer"}.
The names of the state_dict begin with "module.", since a data-parallel wrapper was saved.
"""
import re

from tfdepth.checks import UserError
from tfdepth.data.config import DataConfig
from tfdepth.networks.dense_aspp import RATES
from tfdepth.runs.presets import BTS_INDOORS, BTS_KITTI, BTS_NYU
from tfdepth.systems.bts import Bts, BtsConfig
from tfdepth.weights.array_files import read_arrays
from tfdepth.weights.imported import Imported
from tfdepth.weights.matching import assign_weights, variables_by_path
from tfdepth.weights.torch_layout import to_keras, torch_name

# An array by whose shape an encoder is known.
_SIGNS = {"densenet121": ("conv0.weight", (64, 3, 7, 7)),
          "densenet161": ("conv0.weight", (96, 3, 7, 7)),
          "resnet50": ("layer1.0.conv2.weight", (64, 64, 3, 3)),
          "resnext50": ("layer1.0.conv2.weight", (128, 4, 3, 3))}
_ENCODER, _WIDTH = "encoder.base_model.", "decoder.upconv5.conv.weight"
_PUBLISHED_LEVEL = {"16": "5", "8": "4", "4": "3", "2": "2", "1": "1"}  # of our strides
# What the file cannot tell: where it was trained.
_SETTINGS = {"kitti": (dict(), BTS_KITTI), "nyu": (BTS_INDOORS, BTS_NYU)}


def import_bts(source, trained_on="kitti"):
    """Reads a published model into a new system.

    Args: source: the checkpoint's path, PyTorch's or .npz or .safetensors. trained_on: "kitti" or
      "nyu".
    Returns: Imported, with the encoder and the width that the weights imply.
    Raises: UserError: if the file is unreadable or of another encoder, or weights do not fit; lists
      those.
    """
    arrays = {re.sub(r"^module\.", "", name): array for name, array in read_arrays(source).items()}
    kinds = [kind for kind, (name, shape) in _SIGNS.items()
             if _ENCODER + name in arrays and arrays[_ENCODER + name].shape == shape]
    if not kinds or _WIDTH not in arrays:
        raise UserError(f"{source}: expected a BTS checkpoint with {_WIDTH} and an encoder of the "
                        f"kinds {', '.join(_SIGNS)}; found none among {len(arrays)} names, as "
                        f"{next(iter(arrays))}.")
    options, data = _SETTINGS[trained_on]
    system = Bts(BtsConfig(encoder=kinds[0], decoder_width=arrays[_WIDTH].shape[0], **options), ())
    system.create_variables((system.size_multiple, system.size_multiple))
    assign_weights(published_variables(system), to_keras(arrays), source)
    return Imported(system, DataConfig(**data))


def published_variables(system):
    """{published name: variable} of a system whose variables exist."""
    named = {_ENCODER + torch_name(path): variable
             for path, variable in variables_by_path(system.depth_encoder).items()}
    named.update({_decoder_name(path, variable.shape): variable for path, variable
                  in variables_by_path(system.depth_decoder).items()})
    return named


def _decoder_name(path, shape):
    """The published name of a decoder's variable: "upconv4/norm/gamma" -> "decoder.bn3.weight"."""
    *layer, last = torch_name(path.replace("trunk/", "")).split(".")
    kind, level = re.fullmatch(r"([a-z]+)(\d*)", layer[0]).groups()
    published = _PUBLISHED_LEVEL.get(level)
    if kind == "atrous":
        inside = {"leading_norm": "first_bn", "inner": "aconv_sequence.1",
                  "inner_norm": "aconv_sequence.2", "dilated": "aconv_sequence.4"}[layer[2]]
        name = f"daspp_{RATES[int(layer[1])]}.atrous_conv.{inside}"
    elif kind in ("planes", "cue"):
        inside = f"inter_{shape[2]}_{shape[3]}.0" if layer[1] == "inner" else (
            "plane_params" if kind == "planes" else "final.0")
        name = f"reduc{level}x{level}.reduc.{inside}"
    elif kind == "upconv":
        name = f"bn{published}" if layer[1] == "norm" else f"upconv{published}.conv"
    else:
        name = {"conv": f"conv{published}.0", "norm": f"bn{published}_2",
                "joined": "daspp_conv.0", "depth": "get_depth.0"}[kind]
    return f"decoder.{name}.{last}"
