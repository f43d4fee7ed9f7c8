"""What chooses the next trial: keras-tuner's random search, Bayesian optimisation and Hyperband.

To each of them is added: the first trial is the config as it was given, whole; no trial starts
behind the budget or after too many failures in a row; and a process that is killed at any moment
leaves a state from which the search goes on.
"""
import json
import os
import time
import warnings

import keras_tuner
from keras_tuner.engine.trial import TrialStatus

from tfdepth.files import write_atomically

AS_GIVEN = "tuner/as_given"     # true in the values of the trial that leaves the config as it is
HYPERBAND_UNITS = 9             # Hyperband's "epochs": the shares of a run are 1/9, 1/3 and 1
MOST_FAILURES = 3               # in a row, after which the search ends


class _Search:
    """What the module's docstring says, mixed into an oracle of keras-tuner."""

    def __init__(self, trials, minutes, **settings):
        """Args: trials: at most so many; None: no limit. minutes: from now on, after which no new
        trial starts; None: no limit. settings: of keras-tuner's oracle."""
        super().__init__(**settings)
        self.max_trials = trials
        self.failure = ""               # why the search was given up
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._ended_before = 0          # trials that ended before this process

    def populate_space(self, trial_id):
        if not self.trials:
            return {"status": TrialStatus.RUNNING, "values": self._as_given()}
        if self.failure or self._deadline and time.monotonic() > self._deadline:
            return {"status": TrialStatus.STOPPED, "values": None}
        return super().populate_space(trial_id)

    def _as_given(self):
        """Values of the config as it is, as far as they are in the ranges: keras-tuner would draw
        those that are missing, and learn from them."""
        found = keras_tuner.HyperParameters()
        for each in self.hyperparameters.space:
            found.merge([each])
            if found.is_active(each):
                found.values[each.name] = each.default
        return {**found.values, AS_GIVEN: True}

    def _compute_values_hash(self, values):
        return super()._compute_values_hash(
            {name: value for name, value in values.items() if name != AS_GIVEN})

    def _check_consecutive_failures(self):
        last = [self.trials[trial_id] for trial_id in self.end_order[self._ended_before:]]
        last = last[-MOST_FAILURES:]
        if len(last) == MOST_FAILURES and all(
                trial.status == TrialStatus.FAILED for trial in last):
            self.failure = last[-1].trial_id

    def save(self):
        write_atomically(self._get_oracle_fname(), json.dumps(self.get_state()))

    def _save_trial(self, trial):
        path = os.path.join(self._get_trial_dir(trial.trial_id), "trial.json")
        write_atomically(path, json.dumps(trial.get_state()))

    def reload(self):
        super().reload()
        # A trial's file is written before and after the oracle's own: of a trial that the oracle
        # does not know nothing was done, and one that has ended need not be done again.
        for trial_id in set(self.trials) - set(self.start_order):
            del self.trials[trial_id]
        self._retry_queue = [trial_id for trial_id in dict.fromkeys(self._retry_queue)
                             if self.trials[trial_id].status == TrialStatus.RUNNING]
        self._ended_before = len(self.end_order)


class RandomOracle(_Search, keras_tuner.oracles.RandomSearchOracle):
    """Values drawn one by one."""


class BayesianOracle(_Search, keras_tuner.oracles.BayesianOptimizationOracle):
    """Values where a Gaussian process, fitted to the trials until then, hopes for most; the first
    ones are drawn."""

    def populate_space(self, trial_id):
        with warnings.catch_warnings():  # few trials leave the process's scale open, which is fine
            warnings.filterwarnings("ignore", module="sklearn")
            return super().populate_space(trial_id)


class HyperbandOracle(_Search, keras_tuner.oracles.HyperbandOracle):
    """Many configs for a share of the steps, the better ones for more; a run that goes on is a
    trial of its own here."""

    def _as_given(self):
        return {**super()._as_given(), "tuner/initial_epoch": 0, "tuner/epochs": HYPERBAND_UNITS}


ALGORITHMS = {"bayesian": BayesianOracle, "hyperband": HyperbandOracle, "random": RandomOracle}


def make_oracle(algorithm, objective, trials, minutes, seed):
    """The oracle of a search for a small value.

    Args: algorithm: a row of ALGORITHMS. objective: name of a metric. trials, minutes: the budget,
      see the classes. seed: int, of what is drawn.
    """
    settings = {}
    if algorithm == "hyperband":
        settings["max_epochs"] = HYPERBAND_UNITS
    if algorithm == "bayesian" and trials:
        # keras-tuner draws the first 3 trials a field: more than a short search has.
        settings["num_initial_points"] = max(3, trials // 2)
    oracle = ALGORITHMS[algorithm](
        trials, minutes, objective=keras_tuner.Objective(objective, direction="min"),
        seed=seed + 1, **settings)  # 0 would be none
    oracle.verbose = 0
    return oracle


def share_of(values):
    """The share of a run's steps after which a trial with these values is scored."""
    return values.get("tuner/epochs", HYPERBAND_UNITS) / HYPERBAND_UNITS
