"""tools/benchmark.py: measures a training step and its parts, the input, and the renderer.

Medians on this machine; run it while nothing else runs. The last line is JSON.

Examples:
  python tools/benchmark.py
  python tools/benchmark.py --config configs/sfmlearner.py:release --config.data.dataset=synthetic
"""
import json
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


def define_flags(values):
    flags.DEFINE_integer("repeats", 20, "measurements a median", lower_bound=1, flag_values=values)


def benchmark(values):
    from tfdepth.training.benchmark import benchmark as measure
    results = measure(values.config, values.repeats)
    for name, value in results.items():
        print(f"{name:28} {value:10.4g}")
    print(json.dumps(results))


def main(argv=None):
    return console.run(__doc__, benchmark, define_flags, config=True, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
