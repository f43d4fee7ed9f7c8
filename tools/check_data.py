"""tools/check_data.py: the data doctor; looks at a data set before you train on it.

Shows drives, frames, size, field of view, neighbours in time and static frames, and reads the
files. Exits with 1, and says what to mend, when training would fail.

Examples:
  python tools/check_data.py synthetic
  python tools/check_data.py kitti_odometry --root ~/kitti_odometry
  python tools/check_data.py kitti_odometry --root ~/kitti_odometry --camera image_2,image_3 --stereo
  python tools/check_data.py kitti_raw --root ~/kitti_raw --camera image_02,image_03
  python tools/check_data.py folder --root my_frames --intrinsics camera.json --full

Data sets:
  synthetic          the built-in streets, made on first use
  synthetic_movers   the same with cars and people moving through all of them
  synthetic_handheld the same streets, nothing moves, the camera swings as one held by hand
  kitti_odometry     sequences/NN/image_K/*.png, calib.txt, poses/NN.txt
  kitti_raw          DATE/DATE_drive_NNNN_sync/image_0K/data/*.png; the counts beside the published
  kitti_depth        the same drives with annotated depth, in --depth_root
  cityscapes         leftImg8bit_sequence and camera, frames two apart
  nyu                the folders that BTS prepared: sync and official_splits/test
  prepared           what tools/prepare_data.py wrote
  folder             frames of any camera, or a video file, with an intrinsics file
"""
import os
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


ROLES = {  # of the drives, as the configs of these data sets have them
    "kitti_raw": dict(test_drives=("eigen_test",), validation_drives=("eigen_validation",)),
    "cityscapes": dict(frame_gap=2),
}


def define_flags(values):
    from tfdepth.data.flags import define_data_flags
    define_data_flags(values)
    flags.DEFINE_bool("full", False, "decode every file, not a sample", flag_values=values)


def check(values, dataset):
    from tqdm import tqdm

    from tfdepth.checks import UserError
    from tfdepth.data import files
    from tfdepth.data.check import check_data
    from tfdepth.data.flags import data_config
    config = data_config(values, dataset, **ROLES.get(dataset, {}))
    if dataset == "prepared":
        from tfdepth.data.prepared import read_manifest
        config.size = tuple(read_manifest(files.expand(values.root))["size"])
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
