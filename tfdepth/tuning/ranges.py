"""What a search varies: default ranges by type of config, and those of the user's flags."""
import ast
import dataclasses
import difflib
import math
import typing
from typing import Any, Mapping, NamedTuple, Tuple

from tfdepth.checks import UserError
from tfdepth.runs.config import check_config
from tfdepth.systems.attention import AttentionConfig
from tfdepth.systems.bts import BtsConfig
from tfdepth.systems.geonet import GeoNetConfig
from tfdepth.systems.hma_depth import HmaDepthConfig
from tfdepth.systems.idce_ham import IdceHamConfig
from tfdepth.systems.monodepth2 import Monodepth2Config
from tfdepth.systems.sfmlearner import SfMLearnerConfig


class Range(NamedTuple):
    """Values of one field of a config: numbers from low to high, or choices."""
    field: str                              # as "optimizer.learning_rate"
    low: Any = None                         # numbers of the field's type, both included
    high: Any = None
    log: bool = False                       # whether each factor, not each distance, is as likely
    choices: Tuple[Any, ...] = ()           # two or more values of the field; () = low to high
    conditions: Mapping[str, Any] = {}      # {field: its value} without which this field is idle

    def __str__(self):
        if self.choices:
            return ",".join(str(choice) for choice in self.choices)
        return f"{self.low!r}:{self.high!r}{':log' if self.log else ''}"


_IMAGENET = {"train.init_from": "", "train.frozen": ()}  # given weights fit one encoder alone
_CONSTRAINT = {"system.attention": "constraint"}
# Type of the config's system -> (field, its range as a flag says it, conditions). A system has the
# rows of all types that it is of. Adam does not see a common factor of all weights, so that the
# photometric one stays the unit of the others.
DEFAULT_RANGES = {
    object: (("optimizer.learning_rate", "1e-5:1e-3:log", {}),),
    AttentionConfig: (
        ("system.attention_mean", "0.3:0.8", _CONSTRAINT),            # c
        ("system.loss_weights.attention", "1:100:log", _CONSTRAINT),  # lambda
        ("system.loss_weights.predictive_mask", "0.02:2:log",
         {"system.attention": "predictive_mask"})),
    SfMLearnerConfig: (
        ("system.loss_weights.smoothness", "0.005:0.5:log", {}),
        ("system.loss_weights.explainability", "0,0.02,0.06,0.2", {})),
    GeoNetConfig: (
        ("system.loss_weights.smoothness", "0.005:0.5:log", {}),
        ("system.depth_network", "dispnet,resnet50", _IMAGENET)),
    Monodepth2Config: (
        ("system.loss_weights.smoothness", "1e-4:1e-2:log", {}),
        ("system.encoder", "resnet18,resnet50", _IMAGENET)),
    IdceHamConfig: (
        ("system.idce", "true,false", {"system.pose_network": "resnet", "train.first_stage": ()}),
        ("system.pose_attention", "none,ham,cam", {})),
    BtsConfig: (
        ("system.variance_focus", "0.5:1", {}),
        ("system.encoder", "resnet18,resnet50,densenet121", _IMAGENET)),
    HmaDepthConfig: (
        ("system.num_scales", "3,4,5", {}),),
}

# Fields that say what the score is of: trials that differ in one cannot be compared.
_SCORED = ("train.best_metric", "train.validation_samples", "data.dataset", "data.root",
           "data.depth_root", "data.validation_drives")


def ranges_for(config, texts):
    """What a search over a config varies.

    Args:
      config: ExperimentConfig.
      texts: of the user, as "optimizer.learning_rate=1e-4:1e-3:log" or "system.encoder=a,b"; these
        replace default ranges of their field, and a single value fixes it.

    Returns: (ExperimentConfig with the fixed values, {field: Range}).
    Raises: UserError: on an unknown field, a value of another type or one that no run can have, an
      empty range, a field given twice, or nothing to vary.
    """
    defaults = {field: (text, conditions) for kind, rows in DEFAULT_RANGES.items()
                if isinstance(config.system, kind) for field, text, conditions in rows}
    given = {}
    for text in texts:
        field, separator, values = text.partition("=")
        field = field.strip()
        field = field[len("config."):] if field.startswith("config.") else field
        if not separator:
            raise UserError(f"--range {text}: expected FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or "
                            "FIELD=a,b,c; found no '='.")
        if field in given:
            raise UserError(f"--range {field}: expected one range a field; found two.")
        given[field] = parse_range(config, field, values, defaults.get(field, ("", {}))[1])
    for found in given.values():
        if len(found.choices) == 1:
            config = with_field(config, found.field, found.choices[0])
    ranges = {**{field: parse_range(config, field, *row) for field, row in defaults.items()},
              **given}
    ranges = {field: found for field, found in ranges.items() if len(found.choices) != 1}
    idle = {field for field in ranges if not _can_matter(ranges[field], config, ranges)}
    for field in idle & set(given):
        conditions = " and ".join(f"{name}={value!r}" for name, value in
                                  ranges[field].conditions.items())
        raise UserError(f"--range {field}: expected a config in which the field counts, with "
                        f"{conditions}; found another.")
    ranges = {field: found for field, found in ranges.items() if field not in idle}
    if not ranges:
        raise UserError("--range: expected some field to vary; all have one value.")
    return config, ranges


def _can_matter(found, config, ranges):
    return all(value in ranges[name].choices if name in ranges
               else value_of(config, name) == value for name, value in found.conditions.items())


def parse_range(config, field, text, conditions) -> Range:
    """The Range that `text` gives to a field of a config; of one value: with one choice.

    Raises: UserError: as `ranges_for`.
    """
    flag = f"--range {field}"
    kind, _ = _find(config, field)
    if field in _SCORED:
        raise UserError(f"{flag}: expected a field that leaves the score as it is; trials of "
                        f"different {field} cannot be compared.")
    if kind in (int, float) and ":" in text:
        low, high, *rest = text.split(":")
        if rest not in ([], ["log"]):
            raise UserError(f"{flag}: expected LOW:HIGH or LOW:HIGH:log; found {text}.")
        found = Range(field, _value(kind, low, flag), _value(kind, high, flag), bool(rest),
                      conditions=conditions)
        if not found.low < found.high or found.log and found.low <= 0:
            above = ", both above 0" if found.log else ""
            raise UserError(f"{flag}: expected a range LOW:HIGH with LOW below HIGH{above}; found "
                            f"{text}, which is empty.")
        ends = found.low, found.high
    else:
        found = Range(field, choices=_choices(kind, text, flag), conditions=conditions)
        ends = found.choices
    for value in ends:
        try:
            check_config(with_field(config, field, value))
        except UserError as error:
            raise UserError(f"{flag}: {error}") from error
    return found


def _choices(kind, text, flag):
    if typing.get_origin(kind) is tuple:  # commas stand inside of them
        try:
            choices = ast.literal_eval(f"[{text}]")
        except (ValueError, SyntaxError):
            choices = [None]
        of = typing.get_args(kind)[0]
        if not all(isinstance(choice, tuple) and all(
                type(item) in ((int, float) if of is float else (of,)) for item in choice)
                   for choice in choices):
            raise UserError(f"{flag}: expected tuples of {of.__name__} with commas between, as "
                            f"(1, 2),(3, 4); found {text}.")
    else:
        choices = [_value(kind, item.strip(), flag) for item in text.split(",")] if text else []
    if not choices or len(set(choices)) != len(choices):
        raise UserError(f"{flag}: expected different values with commas between; found "
                        f"{text or 'none'}.")
    return tuple(choices)


def _value(kind, text, flag):
    """A value of a field's type (bool, int, float or str) from its text."""
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError
    except (KeyError, ValueError):
        raise UserError(f"{flag}: expected {_KINDS[kind]}; found {text!r}.") from None
    return value


_KINDS = {bool: "true or false", int: "whole numbers", float: "numbers", str: "names"}


def _find(config, field):
    """(type, value) of a field by its path.

    Raises: UserError: if there is none, or it has fields itself.
    """
    value, kind = config, None
    for part in field.split("."):
        names = ([each.name for each in dataclasses.fields(value)]
                 if dataclasses.is_dataclass(value) else [])
        if part not in names:
            near = difflib.get_close_matches(part, names, n=1)
            raise UserError(f"--range {field}: expected a field of the config; "
                            f"{type(value).__name__} has no {part!r}, it has "
                            f"{', '.join(names) or 'none'}."
                            + (f" Did you mean {near[0]!r}?" if near else ""))
        kind = typing.get_type_hints(type(value))[part]
        value = getattr(value, part)
    if dataclasses.is_dataclass(value):
        names = ", ".join(each.name for each in dataclasses.fields(value))
        raise UserError(f"--range {field}: expected one of its fields, {names}, behind a dot.")
    return kind, value


def value_of(config, field):
    """The value of a field, by its path as "optimizer.learning_rate"."""
    return _find(config, field)[1]


def with_field(config, field, value):
    """A copy of a config with another value of a field."""
    name, _, rest = field.partition(".")
    if rest:
        value = with_field(getattr(config, name), rest, value)
    return dataclasses.replace(config, **{name: value})


def short_names(fields):
    """{field: the last part of its path, or as many as tell it from the others}."""
    def name(field, count):
        return ".".join(field.split(".")[-count:])
    return {field: next(name(field, count) for count in range(1, field.count(".") + 2)
                        if [name(other, count) for other in fields].count(name(field, count)) == 1)
            for field in fields}
