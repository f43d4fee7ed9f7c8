"""Checkpoints of the published Monodepth2 program.

A published model is a folder with encoder.pth, depth.pth and, unless it was trained on stereo pairs
alone, pose_encoder.pth and pose.pth, or pose.pth alone for the pose CNN.
"""
import os

from tfdepth.checks import UserError
from tfdepth.data.config import DataConfig
from tfdepth.systems.monodepth2 import Monodepth2, Monodepth2Config
from tfdepth.weights.array_files import SUFFIXES, read_arrays
from tfdepth.weights.imported import Imported
from tfdepth.weights.matching import assign_weights, variables_by_path
from tfdepth.weights.torch_layout import to_keras, torch_name, torch_variables

# Entries of encoder.pth that are facts about the training, not weights.
FACTS = ("height", "width", "use_stereo")
PUBLISHED_BASELINE = 0.1  # unit of the models that were trained on stereo pairs
LAST_LEVEL = 4  # of the decoder; the published layers are numbered from there


def import_monodepth2(source):
    """Reads a published model into a new system.

    Args: source: its folder; the files may also be .npz or .safetensors.
    Returns: Imported, with the options that the weights imply and the size they were trained at.
    Raises: UserError: if files are missing or unreadable, or weights do not fit; lists those.
    """
    files = {stem: path for stem in ("encoder", "depth", "pose_encoder", "pose")
             for path in [_find(source, stem)] if path}
    missing = {"encoder", "depth"} - set(files)
    if missing or ("pose_encoder" in files and "pose" not in files):
        raise UserError(f"{source}: expected a folder with encoder, depth and, for monocular "
                        f"training, pose_encoder and pose, each {' or '.join(SUFFIXES)}; found "
                        f"{', '.join(files) or 'none of them'}.")
    arrays = {stem: read_arrays(path) for stem, path in files.items()}
    facts = {name: arrays["encoder"].pop(name) for name in FACTS if name in arrays["encoder"]}
    size = int(facts.get("height", 192)), int(facts.get("width", 640))
    bottleneck = "encoder.layer1.0.conv3.weight" in arrays["encoder"]
    config = Monodepth2Config(encoder="resnet50" if bottleneck else "resnet18",
                              pose_network="resnet" if "pose_encoder" in files or
                              "pose" not in files else "pose_cnn")
    offsets = (-1, 1) if "pose" in files else ()
    stereo = bool(facts.get("use_stereo", not offsets))
    if not offsets and not stereo:
        raise UserError(f"{source}: expected pose_encoder and pose beside encoder and depth: the "
                        "model was trained on video; found none.")
    system = Monodepth2(config, offsets, stereo)
    system.create_variables((64, 64))
    for stem, variables in published_variables(system).items():
        assign_weights(variables, to_keras(arrays[stem]), files[stem])
    return Imported(system, DataConfig("kitti_odometry", size=size, offsets=offsets, stereo=stereo,
                                       stereo_baseline=PUBLISHED_BASELINE))


def published_variables(system):
    """{file without suffix: {published name: variable}} of a system whose variables exist."""
    named = {"encoder": torch_variables(system.depth_encoder, "encoder."),
             "depth": _decoder_variables(system.depth_decoder)}
    if system.config.attention == "predictive_mask":
        named["predictive_mask"] = _decoder_variables(system.attention.decoder)
    if system.predicts_motion:
        if system.config.pose_network == "resnet":
            named["pose_encoder"] = torch_variables(system.pose_encoder, "encoder.")
        named["pose"] = torch_variables(system.pose_decoder)
    return named


def _decoder_variables(network):
    return {_decoder_name(path): variable
            for path, variable in variables_by_path(network).items()}


def _decoder_name(path):
    """"upconvs/4/0/kernel" -> "decoder.0.conv.conv.weight", "heads/0/kernel" -> "decoder.10..."."""
    kind, level, *rest = path.split("/")
    number = int(level)
    if kind == "heads":
        return f"decoder.{2 * (LAST_LEVEL + 1) + number}.conv.{torch_name(rest[0])}"
    number = 2 * (LAST_LEVEL - number) + int(rest[0])
    return f"decoder.{number}.conv.conv.{torch_name(rest[1])}"


def _find(folder, stem):
    """The file of this stem in a folder, None where there is none."""
    paths = [os.path.join(folder, stem + suffix) for suffix in SUFFIXES]
    return next((path for path in paths if os.path.exists(path)), None)
