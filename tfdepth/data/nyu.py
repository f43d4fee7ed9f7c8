"""NYU Depth v2: indoor RGB-D frames of a Kinect, 640 x 480, in two forms.

The folders that BTS prepared, one drive for each scene (`load`):

    sync/kitchen_0028b/rgb_00045.jpg, sync_depth_00045.png             "sync/kitchen_0028b"
    official_splits/test/kitchen/rgb_00045.jpg, sync_depth_00045.png   "test/kitchen"

Depth is a 16-bit PNG in millimetres. Frames of sync/ are numbered in time order; those of the test
set are stills. Not read: official_splits/train, whose frames come from the rooms of sync/.

The labelled file of the owners, nyu_depth_v2_labeled.mat, 1449 stills (`LabelledFile`), beside
which splits.mat says which of them are the 654 of the test set.

Source: Silberman et al., Indoor Segmentation and Support Inference from RGBD Images, ECCV 2012,
with its toolbox; Lee et al., From Big to Small, 2019, for the folders.
"""
import contextlib
import os
import re
from typing import Dict, Optional, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, images
from tfdepth.data.drives import Drive
from tfdepth.data.mat_files import read_mat_array

SIZE = (480, 640)        # (height, width), pixels
DEPTH_DIVISOR = 1000.0   # the PNGs hold millimetres
MEDIAN_DEPTH = (0.8, 6.0)  # metres, plausible; rooms have 1.5 to 4, divided by 256 6 to 16
LABELLED, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
_STILL_STEP = 10_000     # so that no frame gap pairs two stills
_PLACES = {"sync": "sync", "test": os.path.join("official_splits", "test")}
_FRAME, _DEPTH = "rgb_00000.jpg", "sync_depth_00000.png"
_NAME = re.compile(r"rgb_([0-9]{5})\.jpg|sync_depth_([0-9]{5})\.png")
_LABELLED = "the labelled data set, images [N, 3, 640, 480] and depths [N, 640, 480] in HDF5"


def intrinsics() -> np.ndarray:
    """The camera of the colour frames, [3, 3] float64, pixels of 640 x 480.

    The toolbox (camera_params.m) counts pixels from 1, as MATLAB does: the ray of its column u is
    (u - 325.5824) / fx. The centre of our top-left pixel is (0, 0), so both coordinates of the
    principal point are 1 less. Lens distortion is not modelled.
    """
    return np.array([[518.8579, 0, 325.5824 - 1], [0, 519.4696, 253.7362 - 1], [0, 0, 1]])


def load(root: str) -> Tuple[Drive, ...]:
    """Reads the scenes that BTS prepared: a drive for each, sync/ first, then the test set.

    Of the pictures only the first of a drive is opened, for its size.

    Args:
      root: the folder that holds sync/, official_splits/test/ or both.

    Returns:
      Drives in natural order of their names. Frame numbers are those of the files in sync/; in the
      test set 10,000 times those, so that no two frames are neighbours.

    Raises:
      UserError: nothing of this layout, an image of another name or size, or a frame and a depth
        map without partner (named).
    """
    root = files.expand(root)
    names = files.list_folder(root, "a folder that holds sync/ or official_splits/test/")
    places = {role: os.path.join(root, place) for role, place in _PLACES.items()
              if os.path.isdir(os.path.join(root, place))}
    if not places:
        raise UserError(f"{root}: expected sync/SCENE/{_FRAME} or official_splits/test/SCENE/"
                        f"{_FRAME}; found {files.listing(names)}.")
    drives = []
    for role, place in places.items():
        scenes = [name for name in files.list_folder(place, "a folder for each scene")
                  if os.path.isdir(os.path.join(place, name))]
        if not scenes:
            raise UserError(f"{place}: expected a folder for each scene; found none.")
        drives += [_load_scene(os.path.join(place, scene), f"{role}/{scene}",
                               1 if role == "sync" else _STILL_STEP) for scene in scenes]
    return tuple(drives)


class LabelledFile:
    """nyu_depth_v2_labeled.mat, an HDF5 file of 2.8 GB; each frame is read when asked for.

    The file is opened anew at every call, so an object may be used by several threads and
    processes.
    """

    def __init__(self, path: str):
        """Looks at shapes and types only.

        Raises: UserError: no such file, no HDF5, no arrays of these names, shapes and types, or
          arrays that lie in other files.
        """
        self.path = files.expand(path)
        with self._arrays() as (frames, depths):
            self._count = len(frames)
            found = (f"images {frames.dtype} {list(frames.shape)}, depths {depths.dtype} "
                     f"{list(depths.shape)}")
            fits = (frames.shape == (self._count, 3, 640, 480) and frames.dtype == np.uint8
                    and depths.shape == (self._count, 640, 480) and depths.dtype.kind == "f"
                    and self._count > 0)
        if not fits:
            raise UserError(f"{self.path}: expected {_LABELLED}; found {found}.")

    def __len__(self):
        return self._count

    def image(self, k: int) -> np.ndarray:
        """Frame k, 0 <= k < len: uint8 [480, 640, 3], RGB.

        Raises: UserError: the file is damaged there. IndexError: no such frame.
        """
        return np.ascontiguousarray(self._read(0, k).transpose(2, 1, 0))     # file: [3, W, H]

    def depth(self, k: int) -> np.ndarray:
        """Depth of frame k: float32 [480, 640], metres along the optical axis; 0 = none.

        Raises: UserError: the file is damaged there, or a value is no depth within 1000 m.
          IndexError: no such frame.
        """
        depth = self._read(1, k).T                                           # file: [W, H]
        if not (depth.min() >= 0 and depth.max() <= 1000):  # NaN fails both
            raise UserError(f"{self.path}: expected depths in metres; found {depth.min():g} to "
                            f"{depth.max():g} in frame {k}.")
        return np.ascontiguousarray(depth, np.float32)

    def test_indices(self) -> Optional[np.ndarray]:
        """Frames of the official test set, int64 [654], counted from 0; None without splits.mat.

        Raises: UserError: splits.mat beside the file is damaged or names frames that it lacks.
        """
        path = os.path.join(os.path.dirname(self.path), SPLITS)
        if not os.path.exists(path):
            return None
        numbers = read_mat_array(path, "testNdxs").ravel()                      # counted from 1
        sound = (np.isfinite(numbers) & (numbers == np.rint(numbers)) & (numbers >= 1)
                 & (numbers <= len(self)))
        if not sound.all() or len(set(numbers)) < len(numbers):
            raise UserError(f"{path}: expected testNdxs, different whole numbers from 1 to "
                            f"{len(self)}, the frames of {self.path}; found others.")
        return numbers.astype(np.int64) - 1

    def _read(self, which: int, k: int) -> np.ndarray:
        if not 0 <= k < self._count:
            raise IndexError(f"frame {k} of {self._count} in {self.path}")
        with self._arrays() as arrays:
            return arrays[which][k]

    @contextlib.contextmanager
    def _arrays(self):
        """The two arrays of the open file; whatever goes wrong in HDF5 becomes a UserError."""
        if not os.path.isfile(self.path):
            raise UserError(f"{self.path}: no such file; expected {_LABELLED}.")
        import h5py  # only for those who use it
        try:
            with h5py.File(self.path, "r") as file:
                arrays = [_inner_array(h5py, file, name) for name in ("images", "depths")]
                if not any(array is None for array in arrays):
                    yield arrays
                    return
                names = files.listing(sorted(file))
        except Exception as error:  # the set is open: OSError, KeyError, RuntimeError ...
            raise UserError(f"{self.path}: expected {_LABELLED}; the file is no HDF5, truncated or "
                            f"damaged ({files.one_line(error)}).") from None
        raise UserError(f"{self.path}: expected {_LABELLED}, both in the file itself; "
                        f"found {names}.")


def _inner_array(h5py, file, name: str):
    """The data set `name` of an open file; None unless its values lie in this very file."""
    if name not in file or not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return None
    array = file[name]
    inner = isinstance(array, h5py.Dataset) and not array.is_virtual and not array.external
    return array if inner else None


def _load_scene(folder: str, name: str, step: int) -> Drive:
    frames: Dict[int, str] = {}
    depths: Dict[int, str] = {}
    for entry in images.image_names(folder, "a scene"):
        path, match = os.path.join(folder, entry), _NAME.fullmatch(entry)
        if not match:
            raise UserError(f"{path}: expected a name as {_FRAME} or {_DEPTH}; rename or remove "
                            "the file.")
        if match[1]:
            frames[int(match[1])] = path
        else:
            depths[int(match[2])] = path
    alone = [os.path.basename(paths[number]) for paths, others in ((frames, depths),
                                                                   (depths, frames))
             for number in sorted(set(paths) - set(others))]
    if alone or not frames:
        raise UserError(f"{folder}: expected pairs {_FRAME} and {_DEPTH}; found {len(frames)} "
                        f"frames, {len(depths)} depth maps, without partner: "
                        f"{files.listing(alone)}.")
    numbers = sorted(frames)
    for path, size in ((frames[numbers[0]], images.read_frame_size(frames[numbers[0]])),
                       (depths[numbers[0]], images.read_size(depths[numbers[0]]))):
        if size != SIZE:
            raise UserError(f"{path}: expected 640 x 480 pixels; found {size[1]} x {size[0]}.")
    return Drive(name=name, image_paths=tuple(frames[number] for number in numbers),
                 frame_numbers=tuple(step * number for number in numbers), size=SIZE,
                 intrinsics=intrinsics(), depth_divisor=DEPTH_DIVISOR, median_depth=MEDIAN_DEPTH,
                 depth_paths=tuple(depths[number] for number in numbers))
