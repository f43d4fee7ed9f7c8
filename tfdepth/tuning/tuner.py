"""keras-tuner's model and loop over trials: its "model" is a config, a trial a run of our loop."""
import contextlib
import time

import keras_tuner
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import TrialStatus

from tfdepth.checks import UserError
from tfdepth.training.loop import train
from tfdepth.training.progress import NonFiniteError
from tfdepth.tuning.oracles import AS_GIVEN, share_of
from tfdepth.tuning.ranges import value_of, with_field
from tfdepth.tuning.results import history, record_failure, run_folder

# What makes one trial fail, and not the search.
_FAILURES = (UserError, NonFiniteError, MemoryError, tf.errors.ResourceExhaustedError)


class ConfigModel(keras_tuner.HyperModel):
    """What a search varies; `build` gives a config, `fit` trains it."""

    def __init__(self, config, ranges):
        """Args: config: ExperimentConfig. ranges: {field: Range}."""
        super().__init__()
        self.config, self.ranges = config, ranges

    def build(self, hp):
        """The ExperimentConfig of a trial; declares the ranges to `hp`."""
        config = self.config
        for field, value in self.values(hp).items():
            config = with_field(config, field, value)
        return config

    def values(self, hp):
        """{field: value} of those that count in a trial."""
        values, waiting = {}, dict(self.ranges)
        while waiting:  # those first on which others depend
            for field in list(waiting):
                if not set(waiting[field].conditions) & set(waiting):
                    value = self._declare(hp, waiting.pop(field))
                    if value is not None:
                        values[field] = value
        if hp.values.get(AS_GIVEN):
            return {field: value_of(self.config, field) for field in values}
        return values

    def _declare(self, hp, found):
        """The value of a Range, None where it does not count; Choice holds texts of tuples."""
        given = value_of(self.config, found.field)
        with contextlib.ExitStack() as stack:
            for name, value in found.conditions.items():
                if name in self.ranges:
                    stack.enter_context(hp.conditional_scope(name, [_plain(value)]))
            if found.choices:
                texts = [_plain(choice) for choice in found.choices]
                default = _plain(given) if given in found.choices else texts[0]
                if isinstance(given, bool):
                    return hp.Boolean(found.field, default=default)
                value = hp.Choice(found.field, texts, default=default)
                return None if value is None else found.choices[texts.index(value)]
            sampling = "log" if found.log else "linear"
            default = min(max(given, found.low), found.high)
            if isinstance(found.low, int):
                return hp.Int(found.field, found.low, found.high, sampling=sampling,
                              default=default)
            value = hp.Float(found.field, found.low, found.high, sampling=sampling, default=default)
            return None if value is None else float(f"{value:.4g}")

    def fit(self, hp, config, workdir, share):
        """Trains a run for a share of its steps. Returns: {objective: its smallest value}."""
        tf.keras.backend.clear_session()
        logger = tf.get_logger()
        logger.addFilter(_tells_news)
        try:
            train(config, workdir, share=share)
        finally:
            logger.removeFilter(_tells_news)
        name = config.train.best_metric
        scores = [value for value in history(workdir, name).values() if value is not None]
        if not scores:
            raise NonFiniteError(f"{name} was never a finite number")
        return {name: min(scores)}


def _tells_news(record):
    """False of TensorFlow's warning that functions are traced again: each trial has its own."""
    return "triggered tf.function retracing" not in record.getMessage()


def _plain(value):
    return repr(value) if isinstance(value, tuple) else value


class LoopTuner(BaseTuner):
    """keras-tuner's loop over trials; each is a run folder of ours."""

    def __init__(self, oracle, model, folder):
        self._folder = folder
        super().__init__(oracle, model, directory=str(folder), project_name="keras_tuner")

    def pre_create_trial(self):
        if self._is_worker():
            time.sleep(0.2)  # a chief that has to wait for others is asked again at once

    def run_trial(self, trial):
        hp = trial.hyperparameters
        workdir = run_folder(self._folder, self._first_of(trial))
        return self.hypermodel.fit(hp, self.hypermodel.build(hp), workdir, share_of(hp.values))

    def _first_of(self, trial):
        """The id of the trial with which the run of a trial began; Hyperband continues runs."""
        while "tuner/trial_id" in trial.hyperparameters.values:
            trial = self.oracle.get_trial(trial.hyperparameters.values["tuner/trial_id"])
        return trial.trial_id

    def _try_run_and_update_trial(self, trial):
        """As keras-tuner's, but only what concerns a trial alone makes it fail."""
        try:
            self._run_and_update_trial(trial)
            trial.status = TrialStatus.COMPLETED
        except _FAILURES as error:
            if isinstance(error, UserError) and trial.hyperparameters.values.get(AS_GIVEN):
                raise  # no other trial would run either
            trial.status = TrialStatus.FAILED
            trial.message = " ".join(str(error).split())[:500] or type(error).__name__
            # keras-tuner's messages between processes leave it out.
            record_failure(self._folder, trial.trial_id, trial.message)

    def save(self):
        """Saves the oracle; the tuner has nothing of its own to keep."""
        if not self._is_worker():
            self.oracle.save()
