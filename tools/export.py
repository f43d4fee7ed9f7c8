"""tools/export.py: a trained run as a model that needs none of our code.

--format saved_model (default) writes OUTPUT, which is DIR/<version>, for TensorFlow Serving:
  signatures depth (the default), depth_float, depth_from_encoded (JPEG and PNG files) and pose, for
  images of any size; warm-up requests; export.json with what was measured; and in DIR
  model.config, docker-compose.yml and client.py (gRPC and REST). `cd DIR && docker compose up`
  serves it.
--format tflite, tflite_int8 (calibrated with frames of the run's own training drives) or onnx
  writes the network at its own size alone: images float32 [B, H, W, 3] in [0, 1] to depth and
  disparity; TFLite with B = 1.
After writing, the model is compared with the Python model, a SavedModel in a process without
tfdepth; OUTPUT appears only if it says the same.

Examples:
  python tools/export.py --workdir runs/sfmlearner --output served/depth/1
  python tools/export.py --workdir runs/sfmlearner --output served/depth/2 \\
      --precision mixed_bfloat16
  python tools/export.py --workdir runs/sfmlearner --output runs/sfmlearner/onnx --format onnx
"""
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


def define_flags(values):
    flags.DEFINE_string("workdir", None, "the run's folder", flag_values=values, required=True)
    flags.DEFINE_string("output", None, "folder to make; DIR/<version> of a SavedModel",
                        flag_values=values, required=True)
    flags.DEFINE_string("format", "saved_model", "saved_model, tflite, tflite_int8 or onnx",
                        flag_values=values)
    flags.DEFINE_string("precision", "float32", "of a SavedModel's networks, or mixed_bfloat16, "
                        "mixed_float16", flag_values=values)


def export(values):
    from tfdepth.export.exporting import export_run
    export_run(values.workdir, values.output, values.format, values.precision)


def main(argv=None):
    return console.run(__doc__, export, define_flags, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
