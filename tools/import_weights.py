"""tools/import_weights.py: turns a published checkpoint into a run folder.

The folder can then be given to tools/evaluate.py and tools/predict.py.

Examples:
  python tools/import_weights.py --format sfmlearner --source models/model-190532 --output runs/published

Formats:
  sfmlearner   TensorFlow checkpoint of the published SfMLearner program; --source is the prefix of
               its .index and .data files
"""
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


def define_flags(values):
    flags.DEFINE_string("source", None, "the checkpoint", flag_values=values, required=True)
    flags.DEFINE_string("format", None, "one of the above", flag_values=values, required=True)
    flags.DEFINE_string("output", None, "the run folder to make", flag_values=values, required=True)


def import_weights(values):
    from tfdepth.weights.importing import import_run
    run = import_run(values.source, values.format, values.output)
    print(f"wrote {run.path}")


def main(argv=None):
    return console.run(__doc__, import_weights, define_flags, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
