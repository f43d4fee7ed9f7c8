"""What a search found: lines while it goes on, a table, trials.csv, trials.png and best.py."""
import dataclasses
import json
from typing import Any, Mapping, NamedTuple, Optional

from tfdepth.evaluation.plots import write_figure
from tfdepth.evaluation.tables import LOWER, Column, format_table, write_csv
from tfdepth.files import write_atomically
from tfdepth.runs.folder import RunFolder
from tfdepth.tuning.oracles import AS_GIVEN, share_of
from tfdepth.tuning.plot import draw_trials
from tfdepth.tuning.ranges import short_names

COMPLETED = "COMPLETED"     # of keras-tuner's states of a trial


class Row(NamedTuple):
    """One run of a search; of a run that Hyperband continued, where it is now."""
    name: str                   # number of its folder
    as_given: bool              # whether it is the config that the search was given
    status: str                 # of its last trial, as keras-tuner calls it
    steps: int                  # that are done
    score: Optional[float]      # smallest value of the objective; None: not scored
    step: Optional[int]         # of that value
    values: Mapping[str, Any]   # {searched field: value}; fields that do not count are missing
    message: str                # why it failed


class Results:
    """Told by keras-tuner of each trial's begin and end, as its own display is."""
    verbose = 0

    def __init__(self, folder, model, oracle):
        """Args: folder: pathlib.Path of the search. model: ConfigModel. oracle: of keras-tuner."""
        self._folder, self._model, self._oracle = folder, model, oracle
        self._objective = model.config.train.best_metric
        self._short = short_names(list(model.ranges))

    def on_trial_begin(self, trial):
        values = trial.hyperparameters.values
        limit = f" of {self._oracle.max_trials}" if self._oracle.max_trials else ""
        goes_on = f", goes on with {_name(self._first_of(trial))}" if (
            "tuner/trial_id" in values) else ""
        part = f", {share_of(values):.2g} of its steps" if share_of(values) < 1 else ""
        what = "the config as it is" if values.get(AS_GIVEN) else self._describe(
            self._model.values(trial.hyperparameters.copy()))
        print(f"trial {len(self._oracle.start_order)}{limit}, {_name(trial.trial_id)}{goes_on}"
              f"{part}: {what}", flush=True)

    def on_trial_end(self, trial):
        found = (f"{self._objective} {trial.score:.4g}" if trial.status == COMPLETED else
                 f"failed: {failure_of(self._folder, trial.trial_id)}")
        print(f"{_name(trial.trial_id)}: {found}", flush=True)
        self.write()

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def rows(self):
        """[Row] of all runs, the best first, those without a score last."""
        runs = {}
        for trial_id in self._oracle.start_order:
            trial = self._oracle.trials[trial_id]
            runs.setdefault(self._first_of(trial), []).append(trial)
        rows = [self._row(first, trials) for first, trials in runs.items()]
        return sorted(rows, key=lambda row: (row.score is None, row.score, row.name))

    def _row(self, first, trials):
        last = trials[-1]
        values = self._model.values(last.hyperparameters.copy())
        path = run_folder(self._folder, first)
        scores = [trial.score for trial in trials if trial.status == COMPLETED]
        score = min(scores, default=None)
        step = next((step for step, value in history(path, self._objective).items()
                     if value == score), None)
        return Row(_name(first), bool(last.hyperparameters.values.get(AS_GIVEN)), last.status,
                   max(history(path, "step"), default=0), score, step if scores else None, values,
                   failure_of(self._folder, last.trial_id))

    def _first_of(self, trial):
        while "tuner/trial_id" in trial.hyperparameters.values:
            trial = self._oracle.trials[trial.hyperparameters.values["tuner/trial_id"]]
        return trial.trial_id

    def table(self) -> str:
        """Text for a terminal."""
        columns = [Column(self._objective, LOWER, 4), Column("at step"), Column("steps"),
                   *map(Column, self._short.values())]
        return format_table(
            [(row.name + (", as given" if row.as_given else ""), {
                self._objective: row.score, "steps": row.steps,
                "at step": "failed" if row.status == "FAILED" else row.step,
                **{self._short[field]: _text(value) for field, value in row.values.items()}})
             for row in self.rows()], columns)

    def summary(self) -> str:
        """Two lines: whether a trial was better than the config as it was given, and what to do."""
        rows = [row for row in self.rows() if row.score is not None]
        given = next((row for row in rows if row.as_given), None)
        if not rows:
            return "no trial was scored"
        best = rows[0]
        if best.as_given:
            found = (f"no trial was better than the config as it was given, {self._objective} "
                     f"{best.score:.4g}")
        else:
            found = f"best: {best.name}, {self._objective} {best.score:.4g} at step {best.step}"
            if given:
                found += (f", {1 - best.score / given.score:.1%} below the config as it was given "
                          f"({given.score:.4g} at step {given.step})")
        return f"{found}\nits config: {self._folder / 'best.py'}"

    def write(self):
        """Writes trials.csv, and once there is a score trials.png and best.py."""
        rows, fields = self.rows(), list(self._model.ranges)
        write_csv(self._folder / "trials.csv", [
            (row.name, {"as_given": row.as_given, "status": row.status, "steps": row.steps,
                        self._objective: row.score, "at_step": row.step,
                        **{field: row.values.get(field) for field in fields},
                        "message": row.message}) for row in rows])
        scored = [row for row in rows if row.score is not None]
        if not scored:
            return
        write_figure(self._folder / "trials.png",
                     draw_trials(scored, self._model.ranges, self._objective))
        best = next(trial for trial in self._oracle.get_best_trials(len(self._oracle.trials))
                    if trial.status == COMPLETED)
        about = (f"The best trial of a search by tools/tune.py, {scored[0].name}: "
                 f"{self._objective} {scored[0].score:.4g}.")
        write_atomically(self._folder / "best.py",
                         as_python(self._model.build(best.hyperparameters.copy()), about))

    def _describe(self, values):
        return ", ".join(f"{self._short[field]} {_text(value)}" for field, value in values.items())


def as_python(config, about):
    """A config as the text of a file with get_config(), for tools/train.py --config.

    Args: config: a dataclass. about: the file's docstring, a line.
    """
    kinds = set()

    def text(value, indent):
        if not dataclasses.is_dataclass(value):
            return repr(value)
        kinds.add(type(value))
        inner = "".join(
            f"\n{indent}    {field.name}={text(getattr(value, field.name), indent + '    ')},"
            for field in dataclasses.fields(value))
        return f"{type(value).__name__}({inner[:-1]})"

    body = text(config, "    ")
    imports = "\n".join(sorted(f"from {kind.__module__} import {kind.__name__}" for kind in kinds))
    return f'"""{about}"""\n{imports}\n\n\ndef get_config():\n    return {body}\n'


def run_folder(folder, trial_id):
    """The run folder of a trial that began a run."""
    return folder / "trials" / _name(trial_id).split("/")[1]


def record_failure(folder, trial_id, message):
    """Writes why a trial failed, beside its run folder."""
    write_atomically(_failure_file(folder, trial_id), message + "\n")


def failure_of(folder, trial_id):
    """Why a trial failed; "" where nothing is known."""
    try:
        return _failure_file(folder, trial_id).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _failure_file(folder, trial_id):
    return run_folder(folder, trial_id).with_suffix(".failed.txt")


def history(path, name):
    """{step: value} of what metrics.jsonl of a run calls so; None where it was not finite."""
    try:
        lines = RunFolder(path).metrics.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = {}
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            break  # another process writes this line
        if name in line:
            found[line["step"]] = line[name]
    return found


def _name(trial_id):
    return f"trials/{int(trial_id):03d}"


def _text(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
