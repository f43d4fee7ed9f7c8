"""A search for hyperparameters: keras-tuner chooses configs, each trial is a run of our own loop.

The folder of a search:
  search.json       what is searched, and how
  trials/007/       the run folder of a trial, to look at, evaluate or go on with like any run
  trials.csv, trials.png, best.py     results, see tfdepth.tuning.results
  keras_tuner/      keras-tuner's own state, after each trial
"""
import contextlib
import json
import os
import pathlib
import sys

import grpc

from tfdepth.checks import UserError, check_choice
from tfdepth.data.datasets import load_drives, split_drives
from tfdepth.files import write_atomically
from tfdepth.runs.config import (
    check_config, differences, from_json, to_json, with_absolute_paths)
from tfdepth.runs.lock import held
from tfdepth.systems import build_system
from tfdepth.training.preparation import check_sizes
from tfdepth.training.validation import measures_depth, metrics_to_be_small
from tfdepth.tuning.oracles import ALGORITHMS, MOST_FAILURES, make_oracle
from tfdepth.tuning.ranges import ranges_for, with_field
from tfdepth.tuning.results import Results, failure_of, run_folder
from tfdepth.tuning.tuner import ConfigModel, LoopTuner

_CLUSTER = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


class SearchError(RuntimeError):
    """A search that cannot go on."""


def search(config, folder, algorithm="bayesian", objective="", ranges=(), trials=None,
           minutes=None):
    """Searches for the config with the smallest validation metric, and writes what it found.

    The same call goes on after the process was killed: trials that ended are not done again, and
    one that was running goes on from its last checkpoint. With keras-tuner's environment variables
    KERASTUNER_TUNER_ID, _ORACLE_IP and _ORACLE_PORT several processes search together, in one
    folder that all of them see: the one whose id is "chief" chooses, the others train.

    Args:
      config: ExperimentConfig; it is the first trial, as it is.
      folder: of the search, made where it is missing.
      algorithm: a row of ALGORITHMS.
      objective: a validation metric; "": config.train.best_metric, or abs_rel where that is the
        loss and the drives have depth.
      ranges: what `ranges_for` takes.
      trials, minutes: no new trial starts after so many, or so long after this call; the first
        counts. Without either Hyperband ends by itself.

    Raises:
      UserError: on a mistake in the above, a folder of another search, or one that the first trial
        shows.
      SearchError: if MOST_FAILURES trials in a row failed, or the chief is not there.
    """
    check_choice("--algorithm", algorithm, ALGORITHMS)
    _check_budget(algorithm, trials, minutes)
    role = _role()
    config = with_absolute_paths(config)
    check_config(config)
    config, varied = ranges_for(config, ranges)
    if algorithm == "hyperband" and {"train.steps", "train.epochs"} & set(varied):
        raise UserError("--range: expected other fields than train.steps and train.epochs, as "
                        "--algorithm=hyperband chooses how long a trial is; found one of them.")
    config = _with_objective(config, objective, varied)
    folder = pathlib.Path(folder).expanduser()
    model = ConfigModel(config, varied)
    oracle = make_oracle(algorithm, config.train.best_metric, trials, minutes, config.train.seed)
    results = Results(folder, model, oracle)
    oracle._display = results  # in place of keras-tuner's prints
    with _opened(folder, role, {"algorithm": algorithm, "config": json.loads(to_json(config)),
                                "ranges": {name: str(each) for name, each in varied.items()}}):
        tuner = LoopTuner(oracle, model, folder)
        if role != "worker" and os.path.exists(oracle._get_oracle_fname()):
            oracle.reload()
        with _worded(role):
            tuner.search()
        if role != "worker":
            results.write()
            print(results.table())
            print(results.summary())
    if oracle.failure:
        raise SearchError(f"{MOST_FAILURES} trials in a row failed, the last one, "
                          f"{run_folder(folder, oracle.failure)}: "
                          f"{failure_of(folder, oracle.failure)}")


def _check_budget(algorithm, trials, minutes):
    for flag, value in (("--trials", trials), ("--minutes", minutes)):
        if value is not None and not value > 0:
            raise UserError(f"{flag}: expected more than 0; found {value}.")
    if algorithm != "hyperband" and trials is None and minutes is None:
        raise UserError(f"--trials: expected it, or --minutes, as --algorithm={algorithm} does not "
                        "end by itself; found neither.")


def _role():
    """"alone", or by keras-tuner's environment variables "chief" or "worker"."""
    given = [name for name in _CLUSTER if os.environ.get(name)]
    if not given:
        return "alone"
    if len(given) < len(_CLUSTER):
        raise UserError(f"the environment: expected all of {', '.join(_CLUSTER)}, or none; found "
                        f"{', '.join(given)}.")
    return "chief" if "chief" in os.environ[_CLUSTER[0]] else "worker"


def _with_objective(config, objective, varied):
    """The config with the objective as train.best_metric; what every trial needs is checked.

    Raises: UserError: if it is not measured, or differs in meaning from trial to trial, or there
      are no drives to train on, or to compare trials on.
    """
    data = config.data
    system = build_system(config.system, data.offsets, data.stereo, config.train.precision)
    check_sizes(data, system)
    split = split_drives(data, load_drives(data))
    drives = split.validation
    if not drives or not split.train:
        raise UserError(
            "--config.data.validation_drives: expected names of drives to compare trials on, and "
            f"others to train on; found {len(drives)} and {len(split.train)} of "
            f"{sum(map(len, split))}.")
    with_depth = measures_depth(drives, system.learns_from_depth)
    known = metrics_to_be_small(system.loss_weights, with_depth)
    total, chosen = "validation/total", objective or config.train.best_metric
    if not objective and chosen == total and with_depth:
        chosen = "validation/abs_rel"
    check_choice("--objective (the smallest is best)", chosen, known)
    if chosen == total and any(field.startswith("system.loss_weights.") for field in varied):
        others = ", ".join(name for name in known if name != total)
        raise UserError(f"--objective: expected one of {others}, as {total} is another sum with "
                        f"other loss weights, and these are searched; found {total}.")
    changed = [field for field in varied if field.startswith(("system.", "data."))
               and not field.startswith("system.loss_weights.")]
    if changed and chosen in metrics_to_be_small(system.loss_weights, False):
        print(f"warning: {chosen} is a term of the loss, which may mean another thing where trials "
              f"differ in {', '.join(changed)}", file=sys.stderr)
    return with_field(config, "train.best_metric", chosen)


@contextlib.contextmanager
def _opened(folder, role, description):
    """A context of a folder that is new, or of this same search begun before; workers share it.

    Raises: UserError: if it is of another search, or has one going on, or cannot be written.
    """
    file, flag = folder / "search.json", f"--workdir {folder}"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if role != "worker":
                stack.enter_context(held(folder / "lock", flag))
            others = [name for name in os.listdir(folder)
                      if name != "lock" and not name.startswith(".search.json.")]
            if not others:
                write_atomically(file, json.dumps(description, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"{flag}: expected a folder that can be written; "
                            f"{error.strerror}.") from error
        if not file.is_file():
            raise UserError(f"{flag}: expected a new or empty folder, or one with the search.json "
                            "of a search; found other files.")
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
            found = differences(from_json(json.dumps(before["config"]), file),
                                from_json(json.dumps(description["config"]), file))
            found += [f"{name}: {before[name]}, {description[name]}"
                      for name in ("algorithm", "ranges") if before[name] != description[name]]
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{file}: expected what tools/tune.py wrote; found "
                            f"{type(error).__name__}.") from error
        if found:
            raise UserError(f"{flag} holds another search (what differs: its value, yours): "
                            f"{'; '.join(found)}. Give another folder, or the same flags.")
        yield


@contextlib.contextmanager
def _worded(role):
    """Words what goes wrong between the processes of a search."""
    address = ":".join(os.environ.get(name, "") for name in _CLUSTER[1:])
    if role == "worker":
        print(f"asks the chief at {address}")
    try:
        yield
    except grpc.RpcError as error:
        raise SearchError(f"the chief at {address} does not answer: {error.details()}") from error
    except RuntimeError as error:
        if role == "chief" and "bind" in str(error):
            raise UserError(f"KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT: expected an address "
                            f"of this machine that is free; {address} is not.") from error
        raise
