"""tools/predict.py: depth of images, with a trained run.

Writes, for every image NAME.jpg of the input,
  OUTPUT/depth/NAME.png    depth at the size of the image: 16 bits, stored value / divisor = depth,
                           with the divisor of NAME.json (--format npy: float32, depth itself)
  OUTPUT/depth/NAME.json   what the numbers are: kind, scale, divisor, camera, model, sizes
  OUTPUT/colour/NAME.png   inverse depth in colours (near is bright), one range for all images
Depth learned from video of one camera is relative: all of it times one unknown factor is metres.
The camera is read from intrinsics.json beside the images where there is one; systems that learn
metres from measured depth may need it.

Examples:
  python tools/predict.py --model runs/sfmlearner --input photo.jpg --output predictions
  python tools/predict.py --model runs/published --input my_frames --output predictions --format npy
  python tools/predict.py --model runs/published --input drive.mp4 --output predictions
"""
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


def define_flags(values):
    flags.DEFINE_string("model", None, "the run's folder", flag_values=values, required=True)
    flags.DEFINE_string("input", None, "an image, a folder of images or a video",
                        flag_values=values, required=True)
    flags.DEFINE_string("output", None, "folder for the results, made if missing",
                        flag_values=values, required=True)
    flags.DEFINE_string("format", "png", "of depth: png or npy", flag_values=values)
    flags.DEFINE_string("intrinsics", "", "a camera file for all images, in place of the "
                        "intrinsics.json beside them", flag_values=values)
    flags.DEFINE_string("precision", "float32", "of the networks, or mixed_bfloat16, "
                        "mixed_float16", flag_values=values)


def predict(values):
    from tfdepth.prediction.predicting import predict_files
    predict_files(values.model, values.input, values.output, values.format,
                  values.intrinsics, values.precision)


def main(argv=None):
    return console.run(__doc__, predict, define_flags, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
