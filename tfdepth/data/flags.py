"""The flags of tools that look at data without a config."""
from absl import flags

from tfdepth.checks import check_choice
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import DATASETS


def define_data_flags(values):
    """Flags that say which data a tool looks at; see `data_config`."""
    text = lambda name, about: flags.DEFINE_string(name, "", about, flag_values=values)
    text("root", "folder (or video file) of the data")
    text("camera", "KITTI odometry: image_0 ... image_3, KITTI raw: image_00 ... image_03, "
         "Cityscapes: left or right; several with commas")
    flags.DEFINE_bool("stereo", False, "whether each frame needs the other camera's picture",
                      flag_values=values)
    text("intrinsics", "a camera file in place of the camera that the data declare")
    text("depth_root", "KITTI raw: folder of the annotated depth; without it in root")


def data_config(values, dataset, **fields):
    """The DataConfig of these flags.

    Args: values: the flags. dataset: a row of datasets.DATASETS. fields: others of DataConfig.
    Raises: UserError: there is no such data set.
    """
    check_choice("DATASET", dataset, DATASETS)
    return DataConfig(dataset=dataset, root=values.root, depth_root=values.depth_root,
                      cameras=tuple(filter(None, values.camera.split(","))),
                      stereo=values.stereo, intrinsics=values.intrinsics, **fields)
