"""Whether measured depth can be right, before a training learns from it.

Sizes are read from the headers of files. A divisor that is wrong cannot be seen in one pixel: a
metre stored as 256 and read as 1000 steps is a quarter of a metre. So the depths of some files are
compared with what the data set declares as plausible (Drive.median_depth).
"""
from typing import Sequence

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import images
from tfdepth.data.drives import Drive

_LOOKED_AT = 20  # depth maps, spread over all drives


def check_depth(drives: Sequence[Drive]):
    """Looks at the size of one depth map of each drive, and at the values of some.

    The median of a map is that of its measured pixels; what must be plausible is the median of
    these over the maps of a data set, since a single picture may show a wall.

    Raises: UserError: a depth map has another size than its image, cannot be read (`read_depth`),
      or the depths are implausible; the message names a file.
    """
    maps = [(path, drive) for drive in drives for path in drive.depth_paths or () if path]
    for path, drive in {drive.name: (path, drive) for path, drive in reversed(maps)}.values():
        images.check_depth_size(path, drive.file_size or drive.size)
    places = np.linspace(0, len(maps) - 1, min(len(maps), _LOOKED_AT)).round().astype(int)
    measured = []
    for path, drive in (maps[place] for place in places):
        depth = images.read_depth(path, drive.depth_divisor)
        if depth.any():
            measured.append((float(np.median(depth[depth > 0])), path, drive))
    if not measured:
        return  # empty maps are counted in training
    measured.sort(key=lambda row: row[0])
    median, path, drive = measured[len(measured) // 2]
    low, high = drive.median_depth
    if not low <= median <= high:
        raise UserError(
            f"{path}: expected depth x {drive.depth_divisor:g} with a median from {low:g} to "
            f"{high:g} m; found {median:.3g} m (the middle one of {len(measured)} depth maps). Are "
            f"the files written with another divisor? Write metres x {drive.depth_divisor:g}.")
