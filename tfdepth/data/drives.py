"""A drive: what one camera recorded in one go, and what is known of its frames.

Every data set module returns drives; the samples, the pipeline, the evaluation and the data
check read nothing else, so a new data set is one new module.
"""
import dataclasses
from typing import Optional, Tuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Drive:
    """Frames of one camera in time order. N is their number.

    Frames are neighbours in time exactly when their `frame_numbers` differ by 1; a hole in the
    numbers is a hole in time.
    """
    name: str                                    # unique in its data set, as "06/image_0"
    image_paths: Tuple[str, ...]                 # N files, PNG or JPEG, grey or RGB
    frame_numbers: Tuple[int, ...]               # N, ascending
    size: Tuple[int, int]                        # (height, width) of every image, pixels
    intrinsics: np.ndarray                       # [3, 3] float64, pixels of `size`; the centre
    #                                              of the top-left pixel is (0, 0)
    world_from_camera: Optional[np.ndarray] = None     # [N, 4, 4] float64, metres
    depth_paths: Optional[Tuple[str, ...]] = None      # N 16-bit PNGs, metres x 256, 0 = none
    stereo_paths: Optional[Tuple[str, ...]] = None     # N files of the other camera, same camera
    #                                                    matrix and size, taken at the same times
    stereo_from_camera: Optional[np.ndarray] = None    # [4, 4] float64, metres, to that camera
    moving_paths: Optional[Tuple[str, ...]] = None     # N 8-bit PNGs, > 0 = moves by itself

    def __len__(self):
        return len(self.image_paths)
