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
    image_paths: Tuple[str, ...]                 # N files, PNG or JPEG, grey or RGB; or records
    #                                              of prepared folders, see shards.frame_bytes
    frame_numbers: Tuple[int, ...]               # N, ascending
    size: Tuple[int, int]                        # (height, width) of every image, pixels
    intrinsics: np.ndarray                       # [3, 3] float64, pixels of `size`; the centre
    #                                              of the top-left pixel is (0, 0)
    camera: str = ""                             # its name, where `intrinsics` are a first guess
    #                                              and a run learns them; see learned_camera
    file_size: Optional[Tuple[int, int]] = None  # of the image files where only a part of them
    corner: Tuple[int, int] = (0, 0)             # counts: `size` pixels from this one on
    world_from_camera: Optional[np.ndarray] = None     # [N, 4, 4] float64, metres
    travel: Optional[np.ndarray] = None                # [N] metres from each frame to the next, by
    #                                                    the speed that the vehicle measured
    depth_paths: Optional[Tuple[str, ...]] = None      # N 16-bit PNGs of the size of the files,
    depth_divisor: float = 256.0                       # metres x this, 0 = none; "" = no file
    median_depth: Tuple[float, float] = (0.3, 100.0)   # metres, plausible: medians of measured
    #                                                    depth lie between, see depth_check
    lidar_paths: Optional[Tuple[str, ...]] = None      # N velodyne scans, "" = no file
    image_from_lidar: Optional[np.ndarray] = None      # [3, 4] float64: (x, y, z, 1) of the LiDAR,
    #                                                    metres -> depth * (u, v, 1), pixels
    stereo_paths: Optional[Tuple[str, ...]] = None     # N files of the other camera, same camera
    #                                                    matrix and size, taken at the same times
    stereo_from_camera: Optional[np.ndarray] = None    # [4, 4] float64, metres, to that camera
    moving_paths: Optional[Tuple[str, ...]] = None     # N 8-bit PNGs, > 0 = moves by itself
    thumbnail_paths: Optional[Tuple[str, ...]] = None  # N small grey copies of the images, by which
    #                                                    motion is measured in prepared folders

    def __len__(self):
        return len(self.image_paths)
