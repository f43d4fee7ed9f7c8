"""tools/predict.py: depth of images, with a trained run.

Writes, for every image NAME.jpg of the input,
  OUTPUT/depth/NAME.png    depth at the size of the image: 16 bits, stored value / divisor = depth,
                           with the divisor of NAME.json (--format npy: float32, depth itself)
  OUTPUT/depth/NAME.json   what the numbers are: kind, scale, divisor, camera, model, sizes
  OUTPUT/colour/NAME.png   inverse depth in colours (near is bright), one range for all images
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
The camera is read from intrinsics.json beside the images where there is one; systems that learn
metres from measured depth may need it.

Examples:
  python tools/predict.py --model runs/sfmlearner --input photo.jpg --output predictions
  python tools/predict.py --model runs/published --input my_frames --output predictions --format npy
  python tools/predict.py --model runs/published --input drive.mp4 --output predictions
  python tools/predict.py --model runs/mine --input drive.mp4 --calibrate camera_height=1.3
"""
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


def define_flags(values):
    flags.DEFINE_string("model", None, "the run's folder", flag_values=values, required=True)
    flags.DEFINE_string("input", "", "an image, a folder of images or a video",
                        flag_values=values)
    flags.DEFINE_string("output", "", "folder for the results, made if missing",
                        flag_values=values)
    flags.DEFINE_string("format", "png", "of depth: png or npy", flag_values=values)
    flags.DEFINE_string("intrinsics", "", "a camera file for all images, in place of the "
                        "intrinsics.json beside them", flag_values=values)
    flags.DEFINE_string("precision", "float32", "of the networks, or mixed_bfloat16, "
                        "mixed_float16", flag_values=values)
    flags.DEFINE_string("calibrate", "", "METHOD=VALUE: measures what makes metres of depth; see "
                        "above", flag_values=values)
    flags.DEFINE_float("frames_per_second", 0.0, "of the images, for --calibrate speed; 0: as a "
                       "video's file says", flag_values=values)


def predict(values):
    if values.calibrate:
        from tfdepth.prediction.calibration import calibrate
        calibrate(values.model, values.calibrate, values.input, values.intrinsics,
                  values.precision, values.frames_per_second)
        if not values.output:
            return
    from tfdepth.prediction.predicting import predict_files
    predict_files(values.model, values.input, values.output, values.format,
                  values.intrinsics, values.precision)


def main(argv=None):
    return console.run(__doc__, predict, define_flags, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
