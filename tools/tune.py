"""tools/tune.py: searches for hyperparameters with the smallest validation metric, by keras-tuner.

Each trial is a run like those of tools/train.py, in --workdir/trials/; the first one is the config
as it is. Started again with the same flags, a search goes on where it was, also within a trial.
It ends with a table, trials.csv, trials.png and best.py, the config of the best trial.

Without --range it varies what the type of the system suggests: learning rate, weights of the loss,
encoder, HAM and IDCE, the attention's constraint. --range replaces or adds fields; a single value
fixes one.

Examples:
  python tools/tune.py --trials 8 --config.train.steps=150 --workdir runs/search
  python tools/train.py --config runs/search/best.py
  python tools/tune.py --config configs/monodepth2.py:quick --config.data.root=my_video.mp4 \\
      --config.data.validation_drives=mine --objective validation/photometric --minutes 600 \\
      --range optimizer.learning_rate=3e-5:1e-3:log --range system.encoder=resnet18
  python tools/tune.py --config configs/idce_ham.py --algorithm hyperband \\
      --range system.attention=none,constraint --range train.batch_size=2,4,8

Several processes, in one folder that all of them see, one command line and keras-tuner's variables:
  export KERASTUNER_ORACLE_IP=127.0.0.1 KERASTUNER_ORACLE_PORT=8000
  KERASTUNER_TUNER_ID=chief python tools/tune.py --trials 8 --workdir runs/search &
  KERASTUNER_TUNER_ID=worker0 python tools/tune.py --trials 8 --workdir runs/search
"""
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags

from tfdepth.stopping import ended_by_sigterm


def define_flags(values):
    flags.DEFINE_string("workdir", None, "folder of the search, made if missing (default runs/ and "
                        "the config's name, with -search)", flag_values=values)
    flags.DEFINE_string("algorithm", "bayesian", "bayesian, random, or hyperband: many configs for "
                        "a ninth of the steps, the better ones for more", flag_values=values)
    flags.DEFINE_string("objective", "", "validation metric to be small (default "
                        "--config.train.best_metric; validation/abs_rel where that is the loss and "
                        "the drives have depth)", flag_values=values)
    flags.DEFINE_multi_string("range", [], "FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=a,b,c, of "
                              "any field of the config; may be repeated", flag_values=values)
    flags.DEFINE_integer("trials", None, "at most so many; with hyperband one that goes on counts "
                         "again, and without this flag it ends by itself", flag_values=values)
    flags.DEFINE_float("minutes", None, "no trial starts later than this after the command",
                       flag_values=values)


def tune(values):
    from tfdepth.tuning.search import search
    workdir = values.workdir if values["workdir"].present else f"{values.workdir}-search"
    search(values.config, workdir, values.algorithm, values.objective, values.range,
           values.trials, values.minutes)


def main(argv=None):
    with ended_by_sigterm():
        return console.run(__doc__, tune, define_flags, config=True, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
