"""tools/train.py: trains a system on videos, and evaluates it on the test drives.

A run lives in one folder, --workdir. Started again with the same folder it goes on where it was.
Ctrl-C saves and ends it (a second one ends it at once), and so does SIGTERM, with exit code 0.
Without arguments it trains SfMLearner on synthetic drives that are made on first use (minutes on
two cores), and ends with tables and pictures.

Examples:
  python tools/train.py
  python tools/train.py --config configs/sfmlearner.py:release --config.data.root=~/kitti_raw \\
      --workdir runs/release
  python tools/train.py --config configs/monodepth2.py:quick --config.data.root=my_video.mp4 \\
      --workdir runs/mine --config.train.epochs=20
  python tools/train.py --config configs/idce_ham.py:v_joint_k_m --config.data.root=~/kitti_raw \\
      --workdir runs/joint --config.train.init_from=runs/imagenet
"""
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags

from tfdepth.stopping import ended_by_sigterm


def define_flags(values):
    flags.DEFINE_string("workdir", None, "the run's folder, made if missing (default runs/ and "
                        "the config's name, as runs/sfmlearner-quick)", flag_values=values)
    console.define_devices(values)


def train(values):
    from tfdepth.evaluation.report import evaluate_runs
    from tfdepth.training.distribution import is_chief, make_strategy, naming_lost_workers
    from tfdepth.training.loop import train as train_run
    strategy = make_strategy(values.devices)
    with naming_lost_workers(strategy):
        run = train_run(values.config, values.workdir, strategy)
    if not is_chief(strategy):
        return
    if values.config.data.test_drives:
        evaluate_runs([run.path])
    else:
        print(f"{run.path}: trained; to look at it: python tools/predict.py --model {run.path} "
              "--input IMAGES_OR_VIDEO --output FOLDER")


def main(argv=None):
    with ended_by_sigterm():
        return console.run(__doc__, train, define_flags, config=True, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
