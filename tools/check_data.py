"""tools/check_data.py: the data doctor; looks at a data set before you train on it.

Shows drives, frames, size, field of view, neighbours in time and static frames, and reads the
files. Exits with 1, and says what to mend, when training would fail.

Examples:
  python tools/check_data.py synthetic
  python tools/check_data.py kitti_odometry --root ~/kitti_odometry
  python tools/check_data.py folder --root my_frames --intrinsics camera.json --full

Data sets:
  synthetic        the built-in street, made on first use
  kitti_odometry   sequences/NN/image_K/*.png, calib.txt, poses/NN.txt
  folder           frames of any camera, or a video file, with an intrinsics file
"""
import dataclasses
import sys

from absl import flags

from tfdepth import console


def define_flags(values):
    flags.DEFINE_string("root", "", "folder (or video file) of the data", flag_values=values)
    flags.DEFINE_string("camera", "", "KITTI: image_0 ... image_3", flag_values=values)
    flags.DEFINE_string("intrinsics", "", "folder: the intrinsics file; without it the one in the "
                        "folder", flag_values=values)
    flags.DEFINE_bool("full", False, "decode every file, not a sample", flag_values=values)


def check(values, dataset):
    from tfdepth.checks import check_choice
    from tfdepth.data.check import check_data
    from tfdepth.data.config import DataConfig
    from tfdepth.data.datasets import DATASETS
    check_choice("DATASET", dataset, DATASETS)
    config = dataclasses.replace(DataConfig(), dataset=dataset, root=values.root,
                                 camera=values.camera, intrinsics=values.intrinsics)
    report = check_data(config, values.full)
    print(report.text())
    return 1 if report.problems else 0


def main(argv=None):
    return console.run(__doc__, check, define_flags, arguments=("DATASET",), argv=argv)


if __name__ == "__main__":
    sys.exit(main())
