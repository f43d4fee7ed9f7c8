"""What a user can say about data."""
import dataclasses
from typing import Tuple


@dataclasses.dataclass
class DataConfig:
    """Which frames a run sees and how they are prepared."""
    dataset: str = "synthetic"               # a row of tfdepth.data.datasets.DATASETS
    root: str = ""                           # folder or video file; synthetic: "" = the cache
    depth_root: str = ""                     # KITTI raw: annotated depth; "" = beside the images
    crop: str = ""                           # "kb": every picture is KITTI's lowest 352 rows and
    #                                          middle 1216 columns; "nyu": pictures of training
    #                                          lose NYU's white frame; "": whole pictures
    cameras: Tuple[str, ...] = ()            # KITTI odometry: image_0 ... image_3, KITTI raw:
    #                                          image_00 ... image_03, Cityscapes: left, right;
    #                                          () = the first present
    intrinsics: str = ""                     # a camera file, or its JSON text, in place of the
    #                                          camera that the data set declares; "learned": nobody
    #                                          knows it, and the run learns it
    size: Tuple[int, int] = (128, 416)       # (height, width) that networks see
    offsets: Tuple[int, ...] = (-1, 1)       # sources, frames from the target, ascending
    frame_gap: int = 1                       # frames that one step of the offsets spans
    stereo: bool = False                     # the other camera's picture is one more source
    stereo_baseline: float = 0.0             # its distance in the model's unit; 0 = metres, as
    #                                          calibrated
    train_drives: Tuple[str, ...] = ()       # names; () = all but validation and test
    validation_drives: Tuple[str, ...] = ()  # names; () = no validation
    test_drives: Tuple[str, ...] = ()        # names; scored after training
    min_translation: float = 0.05            # metres a frame; less (by known poses) is static
    min_image_change: float = 0.01           # mean |difference| in [0, 1]; without poses
    scale_crop: float = 1.0                  # zoom by U[1, this] an axis, crop back; 1 = off
    max_rotation: float = 0.0                # turn by U[-this, this] degrees about the middle
    random_crop: Tuple[int, ...] = ()        # (height, width) of what training sees of `size`, from
    #                                          a place drawn for each sample; () = all
    flip: bool = False                       # mirror half of the samples
    color_jitter: str = ""                   # a row of augmentation.COLOR_JITTERS; "" = none
