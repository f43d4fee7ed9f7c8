"""tools/check_data.py: the data doctor; looks at a data set before you train on it.

Shows drives, frames, size, field of view, neighbours in time and static frames, and reads the
files. Exits with 1, and says what to mend, when training would fail.

Examples:
  python tools/check_data.py synthetic
  python tools/check_data.py kitti_odometry --root ~/kitti_odometry
  python tools/check_data.py kitti_odometry --root ~/kitti_odometry --camera image_2,image_3 --stereo
  python tools/check_data.py folder --root my_frames --intrinsics camera.json --full

Data sets:
  synthetic        the built-in streets, made on first use
  synthetic_movers the same with cars and people moving through all of them
  kitti_odometry   sequences/NN/image_K/*.png, calib.txt, poses/NN.txt
  folder           frames of any camera, or a video file, with an intrinsics file
"""
import dataclasses
import os
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


def define_flags(values):
    flags.DEFINE_string("root", "", "folder (or video file) of the data", flag_values=values)
    flags.DEFINE_string("camera", "", "KITTI: image_0 ... image_3, or several with commas",
                        flag_values=values)
    flags.DEFINE_bool("stereo", False, "whether each frame needs the other camera's picture",
                      flag_values=values)
    flags.DEFINE_string("intrinsics", "", "folder: the intrinsics file; without it the one in the "
                        "folder", flag_values=values)
    flags.DEFINE_bool("full", False, "decode every file, not a sample", flag_values=values)


def check(values, dataset):
    from tqdm import tqdm

    from tfdepth.checks import UserError, check_choice
    from tfdepth.data.check import check_data
    from tfdepth.data.config import DataConfig
    from tfdepth.data.datasets import DATASETS
    check_choice("DATASET", dataset, DATASETS)
    config = dataclasses.replace(DataConfig(), dataset=dataset, root=values.root,
                                 cameras=tuple(filter(None, values.camera.split(","))),
                                 stereo=values.stereo, intrinsics=values.intrinsics)
    with tqdm(desc="reading", unit="file", delay=1.0, disable=not sys.stderr.isatty()) as bar:
        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        report = check_data(config, values.full, show)
    if not report.drives and not os.path.exists(os.path.expanduser(values.root)):
        raise UserError(report.problems[-1].what)  # the flag is wrong, not the data
    print(report.text())
    return 1 if report.problems else 0


def main(argv=None):
    return console.run(__doc__, check, define_flags, arguments=("DATASET",), argv=argv)


if __name__ == "__main__":
    sys.exit(main())
