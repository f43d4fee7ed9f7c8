"""The config of an experiment: everything that a run depends on, typed, and as JSON."""
import ast
import dataclasses
import json
import os
import typing
from typing import Tuple

from tfdepth.checks import UserError, check_choice
from tfdepth.data.augmentation import COLOR_JITTERS
from tfdepth.data.config import DataConfig
from tfdepth.data.crops import CROPS, training_window
from tfdepth.data.intrinsics_file import is_json
from tfdepth.data.learned_camera import LEARNED
from tfdepth.systems import SYSTEMS


@dataclasses.dataclass
class OptimizerConfig:
    """Adam, its learning rate constant, or falling in steps, or falling by every step."""
    learning_rate: float = 2e-4
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    epsilon_after_correction: bool = False  # where PyTorch adds it; False: where TensorFlow does
    weight_decay: float = 0.0              # L2: times each variable, added to its gradient
    decoupled_decay: bool = False          # AdamW: instead, times the rate, taken off the variable
    weight_decay_on: Tuple[str, ...] = ()  # variables, by the beginning of their names, that have
    #                                        weight decay; () = all
    decay_epochs: Tuple[float, ...] = ()   # after each of these the rate is multiplied ...
    decay_factor: float = 0.1              # ... by this
    final_learning_rate: float = 0.0       # not 0: the rate falls to this until the last step, as
    #                                        (1 - step / steps)^decay_power
    decay_power: float = 0.9
    clip_norm: float = 0.0                 # largest global gradient norm; 0 = not clipped


@dataclasses.dataclass
class TrainConfig:
    """The loop."""
    batch_size: int = 4                    # of all replicas together
    epochs: float = 20.0                   # ignored where `steps` is given
    steps: int = 0                         # optimiser steps; 0 = as `epochs` says
    init_from: str = ""                    # a run folder whose best weights are the first ones
    init_except: Tuple[str, ...] = ()      # variables, by the beginning of their names, that are
    #                                        initialised anew all the same
    frozen: Tuple[str, ...] = ()           # variables, by the beginning of their names, "*" for any
    #                                        characters, that stay as they are; the running
    #                                        statistics of batch normalisation move all the same
    first_stage: Tuple[str, ...] = ()      # fields, as "data.flip=False", that differ in a run
    #                                        before this one, whose best weights are the first ones
    accumulate: int = 1                    # parts that a batch is gone through in, for less memory
    rematerialize: bool = False            # inner results of the networks are computed again for
    #                                        the gradient, not kept: less memory, more time
    precision: str = "float32"             # of the networks, or "mixed_bfloat16", "mixed_float16"
    xla: bool = False                      # XLA compiles the losses with their gradient: for GPUs;
    #                                        on CPUs they take longer
    sync_batch_norm: bool = False          # statistics of batch normalisation over all replicas, as
    #                                        one would have them; without: each replica its own
    seed: int = 0                          # of initial weights, data order and augmentation
    deterministic: bool = False            # bit for bit the same on a GPU, too: operations that sum
    #                                        in any order are exchanged for slower ones, or fail
    #                                        where there are none. CPUs are so without it
    log_every: int = 20                    # steps between lines of metrics.jsonl
    save_every: int = 0                    # steps between validation + checkpoint; 0 = an epoch
    keep_checkpoints: int = 3              # 2 or more of the newest stay, and the best
    validation_samples: int = 200          # at most, spread evenly over the validation drives
    best_metric: str = "validation/total"  # the smallest value marks the best checkpoint
    max_bad_steps: int = 0                 # non-finite steps to skip before the run stops
    cache_megabytes: int = 512             # resized frames are held in memory up to this size


@dataclasses.dataclass
class ExperimentConfig:
    """Everything a run depends on."""
    system: object                         # a key of tfdepth.systems.SYSTEMS
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)


def check_config(config):
    """Raises UserError, naming the flag, on values that no run can have."""
    data, train, optimizer = config.data, config.train, config.optimizer
    check_choice("--config.data.crop", data.crop, CROPS)
    check_choice("--config.data.color_jitter", data.color_jitter, ("", *COLOR_JITTERS))
    supervised = getattr(SYSTEMS.get(type(config.system)), "learns_from_depth", False)
    rules = [
        ("data.offsets", _ascending(data.offsets)
         and (len(data.offsets) > 0 or data.stereo or supervised)
         and all(isinstance(offset, int) and offset for offset in data.offsets),
         "distinct frame offsets in ascending order without 0, as (-1, 1); () needs data.stereo, "
         "or a system that learns from depth"),
        ("data.stereo_baseline", data.stereo_baseline >= 0, "0 (metres) or more"),
        ("data.frame_gap", data.frame_gap >= 1, "1 or more frames"),
        ("data.scale_crop", 1.0 <= data.scale_crop <= 2.0, "a number from 1 to 2"),
        ("data.max_rotation", 0.0 <= data.max_rotation <= (0.0 if data.stereo else 45.0),
         "from 0 to 45 degrees; 0 with data.stereo, whose cameras would have to turn too"),
        ("data.random_crop", not data.random_crop or len(data.random_crop) == len(data.size) == 2
         and all(isinstance(side, int) and 0 < side <= whole for side, whole in
                 zip(data.random_crop, training_window(data)[2:])),
         "(height, width), not larger than data.size, or than data.crop=nyu leaves of it"),
        ("train.batch_size", train.batch_size >= 1, "at least 1"),
        ("train.accumulate", train.accumulate >= 1, "at least 1"),
        ("train.epochs", train.epochs > 0, "more than 0"),
        ("train.steps", train.steps >= 0, "0 or more"),
        ("train.save_every", train.save_every >= 0, "0 or more"),
        ("train.validation_samples", train.validation_samples >= 0, "0 (all) or more"),
        ("train.seed", 0 <= train.seed < 2**31, "from 0 to 2147483647"),
        ("train.log_every", train.log_every >= 1, "at least 1"),
        ("train.keep_checkpoints", train.keep_checkpoints >= 2,
         "at least 2: a damaged one needs one before it"),
        ("train.max_bad_steps", train.max_bad_steps >= 0, "0 or more"),
        ("train.cache_megabytes", train.cache_megabytes >= 0, "0 or more"),
        ("optimizer.learning_rate", optimizer.learning_rate > 0, "more than 0"),
        ("optimizer.weight_decay", optimizer.weight_decay >= 0, "0 or more"),
        ("optimizer.clip_norm", optimizer.clip_norm >= 0, "0 or more"),
        ("optimizer.beta_1", 0 <= optimizer.beta_1 < 1, "from 0 to less than 1"),
        ("optimizer.beta_2", 0 <= optimizer.beta_2 < 1, "from 0 to less than 1"),
        ("optimizer.epsilon", optimizer.epsilon > 0, "more than 0"),
        ("optimizer.decay_factor", optimizer.decay_factor > 0, "more than 0"),
        ("optimizer.final_learning_rate", optimizer.final_learning_rate >= 0 and not (
            optimizer.final_learning_rate and optimizer.decay_epochs),
         "0 or more, and 0 beside decay_epochs"),
        ("optimizer.decay_power", optimizer.decay_power > 0, "more than 0"),
        ("optimizer.decay_epochs", _ascending(optimizer.decay_epochs),
         "ascending numbers of epochs, as (15,), or ()"),
    ]
    for name, fits, expected in rules:
        if not fits:
            value = config
            for part in name.split("."):
                value = getattr(value, part)
            raise UserError(f"--config.{name} must be {expected}; got {value}.")


def _ascending(numbers):
    return (all(isinstance(number, (int, float)) for number in numbers)
            and all(first < second for first, second in zip(numbers, numbers[1:])))


def first_stage_of(config):
    """The ExperimentConfig of the run before: with the fields that train.first_stage says.

    Returns: None where there is no such run.
    Raises: UserError: if one of them is not "part.field=value", with a value of the field's type.
    """
    if not config.train.first_stage:
        return None
    fields = json.loads(to_json(config))
    for assignment in config.train.first_stage:
        name, separator, text = assignment.partition("=")
        *parts, field = name.split(".")
        holder = fields
        for part in parts:
            holder = holder.get(part, {}) if isinstance(holder, dict) else {}
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        if not separator or not isinstance(holder, dict) or field not in holder:
            raise UserError("--config.train.first_stage: expected fields of the config as "
                            f"data.flip=False; got {assignment}.")
        holder[field] = value
    fields["train"].update(first_stage=[])
    return from_json(json.dumps(fields), "--config.train.first_stage")


def with_absolute_paths(config) -> ExperimentConfig:
    """A copy whose files are named from the root, so that the run can be used from anywhere."""
    absolute = lambda path: os.path.abspath(os.path.expanduser(path)) if path else ""
    camera = config.data.intrinsics
    data = dataclasses.replace(config.data, root=absolute(config.data.root),
                               depth_root=absolute(config.data.depth_root),
                               intrinsics=camera if is_json(camera) or camera == LEARNED
                               else absolute(camera))
    train = dataclasses.replace(config.train, init_from=absolute(config.train.init_from))
    return dataclasses.replace(config, data=data, train=train)


def to_json(config) -> str:
    """The config as indented JSON; `system` carries the name of its type."""
    fields = dataclasses.asdict(config)
    fields["system"] = {"type": type(config.system).__name__, **fields["system"]}
    return json.dumps(fields, indent=2) + "\n"


def from_json(text, source) -> ExperimentConfig:
    """The config that `to_json` wrote.

    Args: text: the JSON. source: its file, for messages.
    Raises: UserError: if it is not such a config.
    """
    try:
        fields = json.loads(text)
        kinds = {kind.__name__: kind for kind in SYSTEMS}
        kind = kinds[fields["system"].pop("type")]
        fields["system"] = _build(kind, fields["system"])
        config = _build(ExperimentConfig, fields)
        check_config(config)
        return config
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{source}: expected the config of a tfdepth run; found "
                        f"{type(error).__name__}: {error}.") from error


def differences(config, other):
    """The fields in which two configs differ, as ["name: value, other's value"]."""
    ours, theirs = (_flatten(json.loads(to_json(each))) for each in (config, other))
    return [f"{name}: {ours.get(name)}, {theirs.get(name)}"
            for name in sorted({**ours, **theirs}) if ours.get(name) != theirs.get(name)]


def _build(kind, fields):
    """A dataclass of `kind` from plain JSON values; lists become tuples."""
    types = typing.get_type_hints(kind)
    unknown = set(fields) - set(types)
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)} of {kind.__name__}")
    values = {}
    for name, value in fields.items():
        if dataclasses.is_dataclass(types[name]):
            value = _build(types[name], value)
        elif isinstance(value, list):
            value = tuple(value)
        kind_of_value = typing.get_origin(types[name]) or types[name]
        if kind_of_value is float and type(value) is int:
            value = float(value)
        if type(value) is not kind_of_value and not dataclasses.is_dataclass(value):
            raise TypeError(f"{name} must be {kind_of_value.__name__}; got {value!r}")
        values[name] = value
    return kind(**values)


def _flatten(fields, prefix=""):
    flat = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
