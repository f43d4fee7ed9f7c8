"""What the steps of a run tell: lines of its log, bad steps, samples that teach nothing."""
import math
import sys
import time

from tfdepth.data.pipeline import sample_files
from tfdepth.training.optimizers import learning_rate, loss_scale


class NonFiniteError(RuntimeError):
    """A loss or gradient was infinite or not a number."""


class Progress:
    """Sums up the results of steps between two lines of the log."""

    def __init__(self, source, config, optimizer, bad_steps):
        """Args: source: Source of the samples. config: TrainConfig. optimizer: as `optimizer_of`
        makes it. bad_steps: variable, steps that were not finite, which this counts on."""
        self._source, self._config = source, config
        self._optimizer, self._bad_steps = optimizer, bad_steps
        self._window, self._unmeasured = _Window(), _Unmeasured()

    def add(self, step, result):
        """Takes the StepResult of a step, counted from 0.

        Raises: NonFiniteError: if it is one bad step more than config.max_bad_steps.
        """
        if not (result.applied or result.overflowed):
            self._bad_steps.assign_add(1)
            _report_bad(result, step, self._source, self._config, int(self._bad_steps.numpy()))
        self._window.add(result)
        self._unmeasured.add(result, step, self._source, self._config)

    def skip_time(self):
        """Validation and saving are not training: after a line, its clock begins anew."""
        self._window.skip_time()

    def line(self, gradient_norm):
        """{name: float} since the last call: means of the loss terms, speed, counts, and what the
        optimiser is at."""
        values = {**self._window.mean(self._config.batch_size), **self._unmeasured.count(),
                  "gradient_norm": float(gradient_norm),
                  "learning_rate": learning_rate(self._optimizer), **loss_scale(self._optimizer),
                  "bad_steps": int(self._bad_steps.numpy())}
        self._window = _Window()
        return values


class _Window:
    """Means of loss terms, and speed, since the last line of the log."""

    def __init__(self):
        self._sums, self._count, self._begin = {}, 0, time.monotonic()

    def add(self, result):
        for name, value in result.terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._count += 1

    def skip_time(self):
        """Begins the clock of an empty window anew: validation and saving are not training."""
        if not self._count:
            self._begin = time.monotonic()

    def mean(self, batch_size):
        seconds = time.monotonic() - self._begin
        return {**{name: value / self._count for name, value in self._sums.items()},
                "samples_per_second": round(self._count * batch_size / seconds, 2)}


class _Unmeasured:
    """Samples from which nothing was learnt, as their part of the depth map holds no measurement:
    named the first time, and counted since the last line of the log."""
    most_named = 20  # warnings; the log goes on counting

    def __init__(self):
        self._named, self._count = set(), None

    def add(self, result, step, source, config):
        if not source.supervised:
            return
        places = result.unmeasured.numpy().nonzero()[0]
        self._count = (self._count or 0) + len(places)
        if not len(places) or len(self._named) >= self.most_named:
            return
        names = sample_files(source, config.batch_size, config.seed, step).names
        for name in {names[place] for place in places} - self._named:
            self._named.add(name)
            print(f"warning: step {step}: {name} has no measured depth where the sample was cut "
                  "from it, and adds nothing to the loss; metrics.jsonl counts such samples as "
                  "without_depth", file=sys.stderr)

    def count(self):
        """{"without_depth": samples} since the last call; {} of runs without depth."""
        count, self._count = self._count, None
        return {} if count is None else {"without_depth": count}


def _report_bad(result, step, source, config, count):
    """Warns of a step that was not finite; raises when there were too many."""
    terms = [name for name, value in result.terms.items()
             if name != "total" and not math.isfinite(value)]
    what = "the images" if not result.inputs_finite else (
        f"the loss term {', '.join(terms)}" if terms else "the gradient")
    names = sample_files(source, config.batch_size, config.seed, step).names
    message = f"step {step}: {what} is not finite; samples: {', '.join(names)}"
    if count > config.max_bad_steps:
        raise NonFiniteError(f"{message}; {count} such steps, --config.train.max_bad_steps allows "
                             f"{config.max_bad_steps}. The last checkpoint is from before it.")
    print(f"warning: {message}; skipped, {count} so far", file=sys.stderr)
