"""tools/prepare_data.py: resizes a data set once, into shards that training reads fast.

Writes TFRecord files with their checksums, a manifest with cameras, poses and depth, at the size
that networks see. PNG gives the same batches, bit for bit, as the original files; JPEG (4:4:4) is
smaller. Stopped at any time, the same command goes on where it was. LiDAR scans stay behind:
evaluate against them on the original folder.

A video, or a folder of pictures of any camera, becomes a training folder by the data set `video`:
frames at a rate of yours, near-duplicates left out, lens distortion taken out, with the camera from
a file, a field of view or the EXIF notes of the pictures.

Examples:
  python tools/prepare_data.py kitti_raw --root ~/kitti_raw --camera image_02,image_03 \\
      --output ~/kitti_128 --size 128,416
  python tools/prepare_data.py kitti_odometry --root ~/kitti_odometry --output /nfs/kitti_128 \\
      --size 128,416 --format png --part 2/8
  python tools/train.py --config configs/sfmlearner.py:release --config.data.dataset=prepared \\
      --config.data.root=~/kitti_128
  python tools/prepare_data.py video --root ride.mp4 --output ride --frames_per_second 10 \\
      --intrinsics camera.json
"""
import re
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


def define_flags(values):
    from tfdepth.data.flags import define_data_flags
    define_data_flags(values)
    flags.DEFINE_string("output", None, "the folder to make, or to complete", flag_values=values,
                        required=True)
    flags.DEFINE_string("size", "128,416", "height,width that networks will see",
                        flag_values=values)
    flags.DEFINE_string("format", "", "jpeg or png (default jpeg; video: png)", flag_values=values)
    flags.DEFINE_integer("quality", 95, "of JPEG shards, 1 to 100", flag_values=values)
    flags.DEFINE_integer("processes", 0, "how many work at once; 0 = one a core", lower_bound=0,
                         flag_values=values)
    flags.DEFINE_string("part", "1/1", "i/n: the i-th of n shares, for n machines that write the "
                        "same folder", flag_values=values)
    flags.DEFINE_bool("kb_crop", False, "KITTI: only the part that BTS sees, for runs with "
                      "--config.data.crop=kb", flag_values=values)
    flags.DEFINE_float("frames_per_second", 0, "video: of the frames to keep; 0 = all", 0,
                       flag_values=values)
    flags.DEFINE_float("min_image_change", 0.01, "video: frames that differ less from the one kept "
                       "before are left out", 0, flag_values=values)
    flags.DEFINE_float("horizontal_fov", 0, "video: degrees between the left and the right edge",
                       0, flag_values=values)
    flags.DEFINE_bool("crop", True, "video: cut off what undistorted frames show black",
                      flag_values=values)


def prepare(values, dataset):
    if dataset == "video":
        from tfdepth.data.video_import import import_frames
        import_frames(values.root, values.output, values.frames_per_second,
                      values.min_image_change, values.intrinsics, values.horizontal_fov,
                      values.crop, {"jpeg": "jpg"}.get(values.format, values.format or "png"))
        return
    from tfdepth.data.datasets import load_drives
    from tfdepth.data.depth_check import check_depth
    from tfdepth.data.flags import data_config
    from tfdepth.data.prepared import describe_missing
    size, part = (_numbers(values, flag, form, example) for flag, form, example in (
        ("size", r"(\d+),(\d+)", "128,416"), ("part", r"(\d+)/(\d+)", "2/8")))
    config = data_config(values, dataset, crop="kb" if values.kb_crop else "")
    drives = load_drives(config)
    check_depth(drives)  # shards no longer say what the data set takes for plausible
    from tfdepth.data.prepare import prepare as write_shards  # TensorFlow: after the quick mistakes
    done = write_shards(drives, values.output, size, values.format or "jpeg", values.quality,
                        values.processes, part, crop=config.crop)
    print(f"{values.output}: {len(done.made)} shards made, {len(done.kept)} were there, "
          f"{len(done.remade)} made again; "
          + (describe_missing(done.manifest, done.missing) if done.missing else "complete"))


def _numbers(values, flag, form, example):
    from tfdepth.checks import UserError
    found = re.fullmatch(form, getattr(values, flag))
    if not found:
        raise UserError(f"--{flag}: expected two numbers as {example}; got "
                        f"{getattr(values, flag)!r}.")
    return tuple(map(int, found.groups()))


def main(argv=None):
    return console.run(__doc__, prepare, define_flags, arguments=("DATASET",), argv=argv)


if __name__ == "__main__":
    sys.exit(main())
