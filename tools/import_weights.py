"""tools/import_weights.py: turns a published checkpoint into a run folder.

The folder can then be given to tools/evaluate.py, tools/predict.py, and, to go on from its weights,
to tools/train.py --config.train.init_from.

Examples:
  python tools/import_weights.py --format sfmlearner --source models/model-190532 --output runs/published
  python tools/import_weights.py --format monodepth2 --source models/mono_640x192 --output runs/mono
  python tools/import_weights.py --format imagenet_resnet18 --source resnet18.pth --output runs/imagenet

Formats:
  sfmlearner   TensorFlow checkpoint of the published SfMLearner program; --source is the prefix of
               its .index and .data files
  monodepth2   a published model's folder with encoder, depth and, unless it learned from stereo
               alone, pose_encoder and pose (pose alone: the pose CNN)
  bts, bts_nyu a checkpoint of the published BTS program for PyTorch, trained on KITTI or on NYU,
               with a ResNet 50, ResNeXt 50, DenseNet 121 or DenseNet 161
  imagenet_resnet18, imagenet_resnet50, imagenet_resnext50, imagenet_densenet121,
  imagenet_densenet161
               an ImageNet classifier in torchvision's layout (resnext50: 32x4d), for every encoder
               of this kind, as both of Monodepth2 and of IDCE + HAM; no model yet, only a start
               for training
Files of PyTorch's may be .pth, .safetensors or .npz, or have no suffix; none is ever executed.
"""
import sys

from tfdepth import console  # first: it refuses an unsupported Python

from absl import flags


def define_flags(values):
    flags.DEFINE_string("source", None, "the checkpoint", flag_values=values, required=True)
    flags.DEFINE_string("format", None, "one of the above", flag_values=values, required=True)
    flags.DEFINE_string("output", None, "the run folder to make", flag_values=values, required=True)


def import_weights(values):
    from tfdepth.weights.importing import import_run
    run = import_run(values.source, values.format, values.output)
    print(f"wrote {run.path}")


def main(argv=None):
    return console.run(__doc__, import_weights, define_flags, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
