"""tools/evaluate.py: scores trained runs, or anyone's predictions, as the papers do.

Prints a table a protocol, beside trivial baselines and the papers' rows, and writes
evaluation.json, evaluation.csv and pictures/.

Examples:
  python tools/evaluate.py --workdir runs/sfmlearner
  python tools/evaluate.py --workdir runs/release --protocol eigen --data_root ~/kitti_raw
  python tools/evaluate.py --workdir runs/release --protocol improved --data_root ~/kitti_raw \\
      --depth_root ~/data_depth_annotated
  python tools/evaluate.py --workdir runs/pose --protocol odometry_kitti --drives 09,10
  python tools/evaluate.py --workdir runs/release --protocol odometry_kitti --drives 09,10 \\
      --dataset kitti_odometry --data_root ~/kitti_odometry
  python tools/evaluate.py --workdir runs/geonet-pose_baseline,runs/geonet-pose_attention \\
      --protocol odometry_attention,odometry_attention_25 --output runs/figure1
  python tools/evaluate.py --predictions disparities.npy --prediction_kind disparity \\
      --protocol eigen_monodepth2 --data_root ~/kitti_raw --output scores
  python tools/evaluate.py --baseline --protocol odometry_sfmlearner --data_root ~/kitti_odometry \\
      --drives 09,10 --output scores
  python tools/evaluate.py --trajectory 09.txt --truth ~/kitti_odometry/poses/09.txt \\
      --protocol odometry_kitti --output scores

Protocols:
  depth                 measured depth in 16-bit PNGs, up to 80 m, scale by the median of each image
  depth_metres          the same in metres as predicted
  depth_moving          as depth, over pixels of what moves by itself, where masks of it are there
  eigen, eigen_50m      the 697 images of the Eigen split, LiDAR, Garg crop, as SfMLearner resizes
  eigen_monodepth2, eigen_monodepth2_50m
                        the same as Monodepth2 resizes
  eigen_stereo          the same in metres as predicted, for stereo models
  improved, improved_stereo
                        the 652 with KITTI's improved ground truth, as Monodepth2 scores them
  bts                   the same as BTS and HMA-Depth score them: KB crop, Garg crop, metres
  make3d                Make3D's 134 stills, below 70 m (C1), both forms of log10
  nyu                   NYU's 654 stills, up to 10 m, metres
  odometry_sfmlearner   5-frame snippets: the legacy number and the true RMSE
  odometry_monodepth2   5-frame snippets of inverse motions; another number, never compare the two
  odometry_kitti, odometry_kitti_25
                        errors by path length over 100 to 800 m, or 25 to 200 m; ATE and RPE
  odometry_attention, odometry_attention_25
                        errors by path length as the authors of the attention maps compute them
  view_synthesis        photometric error of warped against unwarped views; direction of motion
"""
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


def define_flags(values):
    define = lambda name, default, text: flags.DEFINE_string(name, default, text,
                                                             flag_values=values)
    define("workdir", "", "the run's folder; with commas between, those of runs on the same data, "
           "or with dataset of any runs, which stand in the same tables and figures then")
    define("protocol", "", "one of the above, of runs also several with commas between; without it "
           "depth, depth_moving, odometry_sfmlearner and view_synthesis, where the data allow them; of a "
           "run that learnt from measured depth bts, nyu or depth_metres")
    define("data_root", "", "folder of the data; without it where the run found them")
    define("depth_root", "", "KITTI: folder of the annotated depth; without it in data_root")
    define("drives", "", "score only these, with commas between")
    flags.DEFINE_bool("flip", False, "blend each depth map with that of the mirrored image",
                      flag_values=values)
    define("predictions", "", "in place of a run: .npy or .npz [n, h, w], or a folder of 16-bit "
           "PNGs (metres x 256) or .npy, in the order of the protocol's frames")
    define("prediction_kind", "depth", "of predictions: depth, or disparity (1 / depth)")
    define("trajectory", "", "in place of a run: poses as KITTI or TUM text, or a folder of "
           "SfMLearner's snippets")
    flags.DEFINE_bool("baseline", False, "in place of a run: the mean depth of KITTI raw's "
                      "training drives, or the mean motion of KITTI odometry's other sequences",
                      flag_values=values)
    define("truth", "", "the true poses of --trajectory")
    define("times", "", "seconds of every frame, as KITTI's times.txt, for poses as TUM text")
    define("dataset", "", "score other data than the run's own: a data set of tools/check_data.py; "
           "needs data_root")
    define("alignment", "", "of trajectories by path length: none, scale, scale_7dof, 6dof (SE3), "
           "7dof (Sim3); without it the protocol's")
    define("output", "", "folder for the results; without it the folder of the one run")


FLAGS = {  # what is scored -> the flags it takes, those that it needs first
    "workdir": ((), ("protocol", "data_root", "depth_root", "drives", "flip", "dataset",
                     "alignment", "output")),
    "predictions": (("protocol", "output", "data_root"),
                    ("prediction_kind", "depth_root", "drives")),
    "trajectory": (("protocol", "output", "truth"), ("times", "alignment")),
    "baseline": (("protocol", "output", "data_root"), ("depth_root", "drives", "alignment")),
}


def evaluate(values):
    from tfdepth.checks import UserError
    from tfdepth.evaluation.report import evaluate_baseline, evaluate_files, evaluate_runs
    given = [name for name in FLAGS if values[name].value]
    if len(given) != 1:
        raise UserError("expected one of --workdir, --predictions, --trajectory and --baseline; "
                        f"found {' and '.join(given) or 'none'}.")
    needed, others = FLAGS[given[0]]
    for name in needed:
        if not values[name].value:
            raise UserError(f"--{given[0]} needs --{name}; found none.")
    for name in {name for pair in FLAGS.values() for names in pair for name in names}:
        if values[name].present and name not in (*needed, *others):
            raise UserError(f"--{name} says nothing about --{given[0]}; expected none.")
    workdirs, protocols, drives = (tuple(filter(None, text.split(","))) for text in
                                   (values.workdir, values.protocol, values.drives))
    if values.workdir:
        evaluate_runs(workdirs, protocols, values.data_root, values.output or None, drives,
                      values.depth_root, values.dataset, values.flip, values.alignment)
        return
    if values.baseline:
        evaluate_baseline(values.protocol, values.output, values.data_root, drives,
                          values.depth_root, values.alignment)
        return
    evaluate_files(values.protocol, values.output, values.predictions, values.prediction_kind,
                   values.data_root, values.trajectory, values.truth, values.times, drives,
                   values.depth_root, values.alignment)


def main(argv=None):
    return console.run(__doc__, evaluate, define_flags, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
