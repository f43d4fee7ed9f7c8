"""The frames that a depth protocol scores: how each picture and its measured depth are read.

A row of FRAMES for each data set that protocols name; a run's own test drives come through
`frames_of_drives`. Nothing is read before it is asked for. H, W: size of the measured depth.
"""
import functools
import os
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError, check_choice
from tfdepth.data import files, kitti_raw, make3d, nyu
from tfdepth.data.drives import Drive
from tfdepth.data.images import read_depth, read_image, read_size
from tfdepth.data.kitti_splits import EIGEN_IMPROVED_IDS, EIGEN_TEST, EIGEN_TEST_DRIVES
from tfdepth.data.lidar import lidar_depth
from tfdepth.data.motion import neighbours


class ScoredFrame(NamedTuple):
    """One picture and what is known of it."""
    name: str
    image: Callable[[], np.ndarray]                 # uint8 [h, w, 3], what a network sees
    truth: Callable[[], np.ndarray]                 # float32 [H, W], metres, 0 = not measured
    previous: Optional[Callable[[], np.ndarray]]    # the frame before, None where there is none
    place: int = 0                                  # in the whole published list
    moving: Optional[Callable[[], np.ndarray]] = None   # bool [H, W], moves by itself
    intrinsics: Optional[np.ndarray] = None         # [3, 3], pixels of the picture; None unknown


def frames_of_drives(drives: Sequence[Drive], gap: int = 1) -> Tuple[ScoredFrame, ...]:
    """The frames of drives that have a depth map or else a LiDAR scan, in their order.

    Depth of LiDAR is along the optical axis here; the Eigen protocols want it otherwise. `gap`:
    how many frames earlier the frame before is.
    """
    return tuple(_frame_of_drive(drive, k, gap=gap) for drive in drives for k in range(len(drive))
                 if (drive.depth_paths or drive.lidar_paths)[k])


def has_depth(drive: Drive) -> bool:
    """Whether something is known of the depth of a drive."""
    return drive.depth_paths is not None or drive.lidar_paths is not None


def find_frames(key: str, root: str, drives: Sequence[str] = (),
                depth_root: str = "") -> Tuple[ScoredFrame, ...]:
    """The frames of a published test set, in the published order.

    Args:
      key: a row of FRAMES.
      root: folder of the data set, in its owners' layout.
      drives: KITTI: score only frames of these, as "2011_09_26_drive_0009"; () = all 28.
      depth_root: KITTI's annotated depth; "" = `root`.

    Raises:
      UserError: an unknown key, data that are missing or not of this layout, a drive that is none
        of the test set.
    """
    check_choice("frames", key, FRAMES)
    if not root:
        raise UserError(f"--data_root: expected the folder of the data set ({key}); found none.")
    return FRAMES[key](files.expand(root), tuple(drives), files.expand(depth_root))


def _frame_of_drive(drive: Drive, k: int, depth: Optional[Callable] = None, gap: int = 1,
                    place: int = 0) -> ScoredFrame:
    """Frame k of a drive; its truth is `depth`, or the depth map of the drive."""
    part = tuple(slice(start, start + length) for start, length in zip(drive.corner, drive.size))
    picture = lambda path: read_image(path)[part]
    before = int(neighbours(drive.frame_numbers, -gap)[k])
    if depth is None and drive.depth_paths is None:
        depth = functools.partial(lidar_depth, drive.lidar_paths[k], drive.image_from_lidar,
                                  drive.size, value="camera")
    truth = depth or (lambda: read_depth(drive.depth_paths[k], drive.depth_divisor)[part])
    return ScoredFrame(
        f"{drive.name} frame {drive.frame_numbers[k]}",
        functools.partial(picture, drive.image_paths[k]), truth,
        None if before < 0 else functools.partial(picture, drive.image_paths[before]), place,
        None if drive.moving_paths is None else
        lambda: picture(drive.moving_paths[k])[..., 0] > 0, drive.intrinsics)


def _eigen(root, drives, depth_root, improved=False):
    """Frames of the Eigen split with raw LiDAR, or those with improved ground truth."""
    for name in drives:
        check_choice("--drives: a drive of the Eigen test set", name, EIGEN_TEST_DRIVES)
    wanted = drives or EIGEN_TEST_DRIVES
    missing = [name for name in wanted
               if not os.path.isdir(os.path.join(root, name[:10], f"{name}_sync"))]
    if missing:
        raise UserError(
            f"--data_root {root}: expected KITTI raw with the {len(wanted)} test drives, as "
            f"{wanted[0][:10]}/{wanted[0]}_sync; {len(missing)} are not there: "
            f"{files.listing(missing)}. --drives scores a part.")
    loaded = {drive.name.split("/")[0]: drive for drive in kitti_raw.load(
        root, ("image_02",), drives=wanted, depth_root=depth_root if improved else "",
        motion=False)}
    frames = []
    for place in EIGEN_IMPROVED_IDS if improved else range(len(EIGEN_TEST)):
        name, number = EIGEN_TEST[place]
        if name not in loaded:
            continue
        drive = loaded[name]
        k = int(np.searchsorted(drive.frame_numbers, number))
        if k == len(drive) or drive.frame_numbers[k] != number:
            raise UserError(f"{os.path.dirname(drive.image_paths[0])}: expected frame {number} of "
                            f"the Eigen test set; it is not there.")
        paths = drive.depth_paths if improved else drive.lidar_paths
        if paths is None or not paths[k]:
            kind = "annotated depth" if improved else "a velodyne scan"
            raise UserError(f"{drive.name}: expected {kind} of frame {number} of the Eigen test "
                            "set; it is not there."
                            + (" --depth_root names its folder." if improved else ""))
        depth = None if improved else functools.partial(
            lidar_depth, paths[k], drive.image_from_lidar, drive.size)
        frames.append(_frame_of_drive(drive, k, depth, place=place))
    return tuple(frames)


def _make3d(root, drives, depth_root):
    _refuse(drives, depth_root, "Make3D")

    def picture(path):
        image = read_image(path)
        return image[make3d.image_rows(image.shape[:2])]

    def truth(image_path, mat_path):
        return make3d.read_laser_depth(mat_path)[make3d.laser_rows(read_size(image_path))]

    return tuple(ScoredFrame(frame.name, functools.partial(picture, frame.image_path),
                             functools.partial(truth, frame.image_path, frame.mat_path), None)
                 for frame in make3d.test_frames(root))


def _nyu(root, drives, depth_root):
    """The 654 stills of the test set: BTS' folders, or the labelled file with its splits.mat."""
    _refuse(drives, depth_root, "NYU")
    path = root if root.endswith(".mat") else os.path.join(root, nyu.LABELLED)
    if not os.path.isfile(path):
        tests = [drive for drive in nyu.load(root) if drive.name.startswith("test/")]
        if not tests:
            raise UserError(f"--data_root {root}: expected official_splits/test or "
                            f"{nyu.LABELLED}; found neither.")
        return frames_of_drives(tests)
    labelled = nyu.LabelledFile(path)
    chosen = labelled.test_indices()
    if chosen is None:
        raise UserError(f"{os.path.join(os.path.dirname(path), nyu.SPLITS)}: no such file; it says "
                        f"which frames of {os.path.basename(path)} are the test set.")
    return tuple(ScoredFrame(f"frame {k}", functools.partial(labelled.image, k),
                             functools.partial(labelled.depth, k), None,
                             intrinsics=nyu.intrinsics())
                 for k in chosen.tolist())


def _refuse(drives, depth_root, name):
    for flag, value in (("drives", drives), ("depth_root", depth_root)):
        if value:
            raise UserError(f"--{flag}: {name} has no such thing; expected none.")


FRAMES: Dict[str, Callable] = {  # key -> (root, drives, depth_root) -> frames
    "eigen": _eigen,
    "improved": functools.partial(_eigen, improved=True),
    "make3d": _make3d,
    "nyu": _nyu,
}
