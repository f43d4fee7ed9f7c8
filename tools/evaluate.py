"""tools/evaluate.py: scores a trained run, beside trivial baselines.

Prints a table a protocol, and writes evaluation.json, evaluation.csv and pictures/.

Examples:
  python tools/evaluate.py --workdir runs/sfmlearner
  python tools/evaluate.py --workdir runs/sfmlearner --protocol odometry_sfmlearner
  python tools/evaluate.py --workdir runs/release --data_root ~/kitti_odometry --output scores

Protocols:
  depth                 measured depth in 16-bit PNGs, up to 80 m, scale by the median of each image
  depth_moving          the same over pixels of what moves by itself, where masks of it are there
  eigen, eigen_50m, eigen_monodepth2, eigen_monodepth2_50m, improved
                        the same metrics with the crop, cap and resizing of published tables
  odometry_sfmlearner   5-frame snippets: the legacy number and the true RMSE
  view_synthesis        photometric error of warped against unwarped views; direction of motion
"""
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


def define_flags(values):
    flags.DEFINE_string("workdir", None, "the run's folder", flag_values=values, required=True)
    flags.DEFINE_string("protocol", "", "one of the above; without it depth, depth_moving, "
                        "odometry_sfmlearner and view_synthesis, where the data allow them", flag_values=values)
    flags.DEFINE_string("data_root", "", "folder of the data; without it where the run found them",
                        flag_values=values)
    flags.DEFINE_string("output", None, "folder for the results; without it the run's folder",
                        flag_values=values)


def evaluate(values):
    from tfdepth.evaluation.report import evaluate_run
    evaluate_run(values.workdir, values.protocol, values.data_root, values.output)


def main(argv=None):
    return console.run(__doc__, evaluate, define_flags, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
