"""tools/predict.py: depth of images and of video, with a trained run.

Writes, for every image NAME.jpg of the input, or every frame NAME = 000000 ... of a video, into
the folder OUTPUT:

  file                       what it is                                             asked for by
  depth/NAME.png             depth at the size of the image: 16 bits, stored        always
                             value / divisor = depth, divisor of NAME.json
  depth/NAME.npy, .npz       float32, depth itself; .npz: the arrays "depth" and,   --format npy,
                             where it is known, "intrinsics"                        --format npz
  depth/NAME.json            what the numbers are: kind, scale and why, divisor,    always
                             camera, model, sizes; written after its depth file
  colour/NAME.png            inverse depth in colours (near is bright), one range   of images
                             for all
  colour.mp4                 frames and their depth in colours, H.264               of a video, or
                                                                                    --video
  points/NAME.ply            coloured points, binary, without those at edges        --pointcloud
  trajectory/kitti.txt,      the camera's path, in the unit of the depth; with      --trajectory
    tum.txt, path.png,       holes in the clip several: kitti_1.txt ...; which
    trajectory.json          frames, times and unit
  pictures/NAME_<title>.png  what the model has besides: warped neighbours, masks,  --pictures
                             attention
  viewer.html                depth, points and path to look at in a browser         --html

Depth learned from video of one camera is relative: all of it times one unknown factor is metres.
--calibrate METHOD=VALUE measures the factor with --input and stores it in the run's scale.json;
from then on, predictions and exports of this checkpoint are in metres. Methods:

  stereo_baseline=0.54   metres between the cameras, of a run trained on stereo pairs with
                         --config.data.stereo_baseline; exact, needs no --input
  camera_height=1.65     metres of the camera over the ground, which is found in the lower middle
                         of the images; needs the camera
  distance=x,y,metres    of a pixel of the image, along the optical axis; several: x,y,metres;...
                         or a file of lines image,x,y,metres
  speed=FILE             lines "seconds metres_a_second" (seconds since the first image) or a
                         trajectory in metres (KITTI, TUM); speed=8.3: a steady one; speed alone:
                         GPS/IMU records of the KITTI raw drive, or speed=FOLDER of them
  lidar=FOLDER           depth maps named as the images (16-bit PNG, metres x 256) or scans of the
                         KITTI raw drive; lidar alone: its velodyne_points

With --output it predicts afterwards. What is too uncertain is refused.

The camera is read from intrinsics.json beside the images (of a video also from <its name>.json)
where there is one; --pointcloud, --html, --pictures of models that compare neighbours, and systems
that learn metres from measured depth need it. Pixels are taken as they are stored, whatever EXIF
says of turning them.

A video is read once, frame by frame, as is a raw stream of a camera (.h264, .hevc, .mjpeg, .ts),
from a file or from a named pipe; a pipe ends when its writer does.

Examples:
  python tools/predict.py --model runs/sfmlearner --input photo.jpg --output predictions
  python tools/predict.py --model runs/published --input my_frames --output predictions --format npy
  python tools/predict.py --model runs/mine --input drive.mp4 --output predictions \\
      --intrinsics '{"units": "degrees", "horizontal_fov": 81}' --smooth 0.5 --pointcloud \\
      --trajectory --html
  python tools/predict.py --model runs/mine --input drive.mp4 --calibrate camera_height=1.3
  mkfifo live.h264 && rpicam-vid -t 10000 -o live.h264 & \\
      python tools/predict.py --model runs/mine --input live.h264 --output live
"""
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags

from tfdepth.checks import UserError
from tfdepth.heap import return_large_blocks
from tfdepth.stopping import ended_by_sigterm


def define_flags(values):
    flags.DEFINE_string("model", None, "the run's folder", flag_values=values, required=True)
    flags.DEFINE_string("input", "", "an image, a folder of images, a video or a named pipe",
                        flag_values=values)
    flags.DEFINE_string("output", "", "folder for the results, made if missing",
                        flag_values=values)
    flags.DEFINE_string("format", "png", "of depth: png, npy or npz", flag_values=values)
    flags.DEFINE_bool("video", None, "colours as a video, not as pictures, or --novideo; plays "
                      "as --frames_per_second says, of a folder else at 10 (default: a video gives "
                      "a video)",
                      flag_values=values)
    flags.DEFINE_float("smooth", 0.0, "of the colours alone: share of the frames before, 0 to below "
                       "1; flickers less, and what moves leaves a trail. Depth files stay as the "
                       "model made them", flag_values=values)
    flags.DEFINE_bool("pointcloud", False, "also coloured points", flag_values=values)
    flags.DEFINE_bool("trajectory", False, "also the camera's path", flag_values=values)
    flags.DEFINE_bool("pictures", False, "also masks, attention, warped neighbours: what the model "
                      "has to show", flag_values=values)
    flags.DEFINE_bool("html", False, "also a viewer", flag_values=values)
    flags.DEFINE_string("intrinsics", "", "a camera file, or its JSON text, for all images, in "
                        "place of the intrinsics.json beside them", flag_values=values)
    flags.DEFINE_string("precision", "float32", "of the networks, or mixed_bfloat16, "
                        "mixed_float16", flag_values=values)
    flags.DEFINE_string("calibrate", "", "METHOD=VALUE: measures what makes metres of depth; see "
                        "above", flag_values=values)
    flags.DEFINE_float("frames_per_second", 0.0, "of the input, for --calibrate speed, times of "
                       "--trajectory and colour.mp4; 0: as a video's file says", flag_values=values)


def predict(values):
    return_large_blocks()  # memory does not depend on the length of a video
    if values.calibrate:
        from tfdepth.data import files, video
        from tfdepth.prediction.calibration import calibrate
        if (values.output and values.calibrate.partition("=")[0] != "stereo_baseline"
                and video.is_pipe(files.expand(values.input))):
            raise UserError(f"--calibrate and --output: expected one of them, as {values.input} is "
                            "a pipe, which can be read once; got both.")
        calibrate(values.model, values.calibrate, values.input, values.intrinsics,
                  values.precision, values.frames_per_second)
        if not values.output:
            return
    from tfdepth.prediction.predicting import Outputs, predict_files
    predict_files(values.model, values.input, values.output,
                  Outputs(values.format, values.video, values.smooth, values.pointcloud,
                          values.trajectory, values.pictures, values.html),
                  values.intrinsics, values.precision, values.frames_per_second)


def main(argv=None):
    with ended_by_sigterm("the same command starts anew", code=143):  # as if not heeded
        return console.run(__doc__, predict, define_flags, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
