"""tools/benchmark.py: measures a training step and its parts, predictions, input, and the renderer.

Medians on this machine, for any config, precision and number of devices; run it while nothing else
runs. Predictions are of one device, images_per_second in batches of 8. Peak memory, in MiB, is that
of a process that trains: it is taken before the parts of a step are measured, which need their own.
The last line is JSON. --input compares the samples that a step consumes with those that the
original files and prepared shards give, and shows the memory that reading takes, also with a list
of a million frames.

Examples:
  python tools/benchmark.py
  python tools/benchmark.py --config configs/sfmlearner.py:release --config.data.dataset=synthetic
  python tools/benchmark.py --config configs/monodepth2.py --devices gpu:0,1 \\
      --config.train.precision=mixed_bfloat16
  python tools/benchmark.py --config configs/monodepth2.py --precisions float32,mixed_bfloat16
  python tools/benchmark.py --input --config configs/sfmlearner.py:release \\
      --config.data.root=~/kitti_odometry
"""
import json
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags

from tfdepth.checks import UserError


def define_flags(values):
    flags.DEFINE_integer("repeats", 20, "measurements a median", lower_bound=1, flag_values=values)
    console.define_devices(values)
    flags.DEFINE_list("precisions", [], "compare a step and predictions in these, in turns, and "
                      "measure nothing else", flag_values=values)
    flags.DEFINE_bool("input", False, "measure input against the step", flag_values=values)


def benchmark(values):
    if values.input and values.precisions:
        raise UserError("--input and --precisions: expected one of them; got both.")
    if values.input:
        from tfdepth.training.input_benchmark import benchmark_input
        results = benchmark_input(values.config, values.repeats)
    else:
        from tfdepth.training.benchmark import benchmark as measure, compare_precisions
        from tfdepth.training.distribution import make_strategy
        strategy = make_strategy(values.devices)
        if values.precisions:
            results = compare_precisions(
                values.config, values.precisions, values.repeats, strategy)
        else:
            results = measure(values.config, values.repeats, strategy)
    for name, value in results.items():
        print(f"{name:40} {value:10.4g}")
    print(json.dumps(results))


def main(argv=None):
    return console.run(__doc__, benchmark, define_flags, config=True, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
