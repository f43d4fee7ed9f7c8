"""True depth of a clip's images, that a user gives: maps, LiDAR scans or distances of pixels.

Shape letters: h, w of an image.
"""
import os
from typing import Optional

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, images, kitti_calibration
from tfdepth.data.lidar import lidar_depth

SUFFIXES = (".png", ".bin")
RAW_LAYOUT = "2011_09_26/2011_09_26_drive_0001_sync/image_02/data"


def kitti_raw_folders(clip):
    """(folder of the date, folder of the drive, camera) of images in KITTI raw's layout, or None.

    Args: clip: Clip.
    """
    camera_folder, last = os.path.split(os.path.dirname(os.path.abspath(clip.paths[0])))
    drive, camera = os.path.split(camera_folder)
    if last != "data" or not drive.endswith("_sync"):
        return None
    return os.path.dirname(drive), drive, camera


def stems(clip):
    """The names of a clip's images, without their endings."""
    return [os.path.splitext(os.path.basename(path))[0] for path in clip.paths]


class MeasuredDepth:
    """Depth maps of the images of a clip, by their names: 000007.png has 000007.png, a 16-bit map
    of metres x 256, or 000007.bin, a scan of KITTI raw, whose calibration lies with the images."""

    def __init__(self, clip, folder=""):
        """Args: clip: Clip. folder: of the files; "": velodyne_points/data of the KITTI raw drive.

        Raises: UserError: no such folder, files of both kinds or none for these images, or scans
          without their calibration."""
        self.clip = clip
        raw = kitti_raw_folders(clip)
        if not folder:
            if raw is None:
                raise UserError(f"--calibrate lidar: expected a folder, lidar=FOLDER, or --input "
                                f"in KITTI raw's layout, {RAW_LAYOUT}; found {clip.source}.")
            folder = os.path.join(raw[1], "velodyne_points", "data")
        self.folder = files.expand(folder)
        present = {}  # stem -> name
        for name in files.list_folder(self.folder, "a folder of depth maps or LiDAR scans"):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in SUFFIXES:
                present.setdefault(stem, []).append(name)
        found = [name for stem in stems(clip) for name in present.get(stem, ())]
        kinds = {os.path.splitext(name)[1].lower() for name in found}
        if len(kinds) != 1:
            raise UserError(f"{self.folder}: expected 16-bit depth maps (.png) or LiDAR scans "
                            f"(.bin), named as the images {files.listing(stems(clip), 2)}; found "
                            + ("both." if kinds else f"{len(present)} files of other names "
                               f"({files.listing(sorted(present), 3)})."))
        self.names = tuple(present.get(stem, ("",))[0] for stem in stems(clip))
        self.calibration = None  # of scans: image_from_lidar [3, 4] and the size it holds for
        if kinds == {".bin"}:
            if raw is None:
                raise UserError(f"{self.folder}: holds LiDAR scans, which need KITTI raw's "
                                f"calibration: expected --input as {RAW_LAYOUT}, with calib_*.txt "
                                f"in the folder of the date; found {clip.source}.")
            camera = kitti_calibration.read_camera(raw[0], raw[2])
            self.calibration = (
                camera.projection @ kitti_calibration.rectified_from_lidar(raw[0]), camera.size)

    def of_frame(self, frame) -> Optional[np.ndarray]:
        """float32 [h, w], metres along the optical axis, 0 = not measured; None without a file.

        Raises: UserError: if the file is damaged, or not of the image's size.
        """
        if not self.names[frame]:
            return None
        path, size = os.path.join(self.folder, self.names[frame]), self.clip.sizes[frame]
        if self.calibration is None:
            images.check_depth_size(path, size)
            return images.read_depth(path)
        image_from_lidar, calibrated_size = self.calibration
        if calibrated_size != size:
            raise UserError(f"{self.clip.paths[frame]}: expected {calibrated_size[1]} x "
                            f"{calibrated_size[0]} pixels, as the calibration of its date; found "
                            f"{size[1]} x {size[0]}.")
        return lidar_depth(path, image_from_lidar, size, "camera")


def read_distances(clip, value):
    """Known distances of pixels.

    Args: clip: Clip. value: "X,Y,METRES" of its only image, several parted by ";", or a text file
      of lines IMAGE,X,Y,METRES. Pixels of the image, the top-left one is 0,0.
    Returns: {image: [(x, y, metres along the optical axis)]}, at least one.
    Raises: UserError: if the value is malformed, or a pixel is not in its image.
    """
    rows, path = [], files.expand(value)  # (where, image, "X,Y,METRES")
    if os.path.isfile(path):
        lines = files.read_text(path, "lines IMAGE,X,Y,METRES").splitlines()
        names = [os.path.basename(each) for each in clip.paths]
        for number, line in enumerate(lines, start=1):
            name, _, numbers = line.strip().partition(",")
            where = f"{path}, line {number}"
            if not name or name.startswith("#"):
                continue
            if name not in names:
                raise UserError(f"{where}: expected the name of an image of {clip.source} "
                                f"({files.listing(names, 3)}), then X,Y,METRES; found "
                                f"{name[:60]!r}.")
            rows.append((where, names.index(name), numbers))
    elif len(clip.paths) == 1:
        rows = [(f"--calibrate distance={value}", 0, part) for part in value.split(";") if part]
    else:
        raise UserError(f"--calibrate distance: {clip.source}: expected one image, or "
                        f"distance=FILE with lines IMAGE,X,Y,METRES; found {len(clip.paths)} "
                        f"images, and no file {value or '(none given)'}.")
    points = {}
    for where, image, text in rows:
        x, y, metres = files.parse_numbers(text.replace(",", " "), 3, f"{where}: X,Y,METRES")
        height, width = clip.sizes[image]
        if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
            raise UserError(f"{where}: expected a pixel of the {width} x {height} image, 0,0 to "
                            f"{width - 1},{height - 1}; found {x:g},{y:g}.")
        if not 0 < metres < 1e6:
            raise UserError(f"{where}: expected metres along the optical axis, above 0; found "
                            f"{metres:g}.")
        points.setdefault(image, []).append((x, y, metres))
    if not points:
        raise UserError("--calibrate distance: expected distance=X,Y,METRES[;X,Y,METRES ...], or "
                        "distance=FILE with lines IMAGE,X,Y,METRES; found none.")
    return points
