"""True depth of frames, that a user gives: maps, LiDAR scans or distances of pixels.

Shape letters: h, w of an image.
"""
import os
import re
from typing import NamedTuple, Optional

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, images, kitti_calibration
from tfdepth.data.lidar import lidar_depth

_SUFFIXES = (".png", ".bin")
RAW_LAYOUT = "2011_09_26/2011_09_26_drive_0001_sync/image_02/data"


class RawFolders(NamedTuple):
    """Where a folder of images lies in KITTI raw."""
    date: str
    drive: str
    camera: str   # image_00 ... image_03


def kitti_raw_folders(source) -> Optional[RawFolders]:
    """The folders around a folder of images in KITTI raw's layout; None of other images."""
    folder, last = os.path.split(os.path.abspath(files.expand(source)))
    drive, camera = os.path.split(folder)
    if last != "data" or not drive.endswith("_sync") or not re.fullmatch("image_0[0-3]", camera):
        return None
    return RawFolders(os.path.dirname(drive), drive, camera)


class MeasuredDepth:
    """Depth of frames by their names: 000007.png has 000007.png, a 16-bit map of metres x 256, or
    000007.bin, a scan of KITTI raw, whose calibration lies with the images."""

    def __init__(self, source, folder=""):
        """Args: source: the images. folder: of the files; "": velodyne_points/data of the KITTI
        raw drive of the images.

        Raises: UserError: no such folder, files of both kinds or none, or scans without their
          calibration."""
        raw = kitti_raw_folders(source)
        if not folder and raw is None:
            raise UserError("--calibrate lidar: expected a folder, lidar=FOLDER, or --input in "
                            f"KITTI raw's layout, {RAW_LAYOUT}; found {source}.")
        self.folder = files.expand(folder) or os.path.join(raw.drive, "velodyne_points", "data")
        found = files.list_folder(self.folder, "a folder of depth maps or LiDAR scans")
        parts = [os.path.splitext(name) for name in found]
        self.names = {stem: stem + suffix for stem, suffix in parts if suffix in _SUFFIXES}
        kinds = {suffix for _, suffix in parts if suffix in _SUFFIXES}
        if len(kinds) != 1:
            raise UserError(f"{self.folder}: expected depth maps (.png) or LiDAR scans (.bin), "
                            f"named as the images; found {files.listing(found, 3)}.")
        self.scans_of = None  # of scans: image_from_lidar [3, 4], and the size it holds for
        if kinds == {".bin"}:
            if raw is None:
                raise UserError(f"{self.folder}: holds LiDAR scans, which need KITTI raw's "
                                f"calibration: expected --input as {RAW_LAYOUT}, with calib_*.txt "
                                f"in the folder of the date; found {source}.")
            camera = kitti_calibration.read_camera(raw.date, raw.camera)
            self.scans_of = (camera.projection @ kitti_calibration.rectified_from_lidar(raw.date),
                             camera.size)

    def of_frame(self, name, size) -> Optional[np.ndarray]:
        """float32 [h, w], metres along the optical axis, 0 = not measured; None without a file.

        Raises: UserError: if the file is damaged, or not of the image's size (h, w).
        """
        if name not in self.names:
            return None
        path = os.path.join(self.folder, self.names[name])
        if self.scans_of is None:
            images.check_depth_size(path, size)
            return images.read_depth(path)
        image_from_lidar, calibrated_size = self.scans_of
        if calibrated_size != tuple(size):
            raise UserError(f"{path}: its calibration is of images of {calibrated_size[1]} x "
                            f"{calibrated_size[0]} pixels; found {size[1]} x {size[0]}.")
        return lidar_depth(path, image_from_lidar, size, "camera")


class KnownDistance(NamedTuple):
    """Of one pixel."""
    where: str            # in the user's words, for messages
    name: Optional[str]   # of the frame; None: the only one
    x: float              # pixels of the image, the top-left one is 0, 0
    y: float
    metres: float         # along the optical axis


def read_distances(value):
    """Known distances of pixels.

    Args: value: "X,Y,METRES" of the only image, several parted by ";", or a text file of lines
      IMAGE,X,Y,METRES.
    Returns: list of KnownDistance, at least one.
    Raises: UserError: if the value is malformed.
    """
    path, found = files.expand(value), []
    if os.path.isfile(path):
        for number, line in enumerate(files.read_text(
                path, "lines IMAGE,X,Y,METRES").splitlines(), start=1):
            name, _, numbers = line.strip().partition(",")
            if name.lower().endswith(images.IMAGE_SUFFIXES):
                name = os.path.splitext(name)[0]
            if name and not name.startswith("#"):
                found.append((f"{path}, line {number}", name, numbers))
    else:
        found = [(f"--calibrate distance={value}", None, part)
                 for part in value.split(";") if part.strip()]
    distances = [KnownDistance(where, name, *files.parse_numbers(
        text.replace(",", " "), 3, f"{where}: expected X,Y,METRES, or a file of lines "
        "IMAGE,X,Y,METRES")) for where, name, text in found]
    for each in distances:
        if not 0 < each.metres < 1e6:
            raise UserError(f"{each.where}: expected metres along the optical axis, above 0; found "
                            f"{each.metres:g}.")
    if not distances:
        raise UserError("--calibrate distance: expected distance=X,Y,METRES[;X,Y,METRES ...], or "
                        "distance=FILE with lines IMAGE,X,Y,METRES; found none.")
    return distances
