"""Make3D: 134 test photographs with the depth that a laser measured on a coarse grid.

    Test134/img-NAME.jpg                      2272 x 1704 (height x width)
    Gridlaserdata/depth_sph_corr-NAME.mat     Position3DGrid, 55 x 305 x 4

Stills without a camera matrix, so no drives: a set to evaluate on. The published comparison takes
the middle of each photograph, twice as wide as high, and the rows of the grid beside it.

Source: Saxena, Sun, Ng, Make3D, PAMI 2009; the middle: Godard et al., Unsupervised Monocular Depth
Estimation with Left-Right Consistency, CVPR 2017, and the code its author posted.
"""
import logging
import os
from typing import List, NamedTuple, Tuple

import numpy as np

from tfdepth.checks import UserError
from tfdepth.data import files, images
from tfdepth.data.mat_files import read_mat_array

NUM_TEST_FRAMES = 134
IMAGE_SIZE = (2272, 1704)   # (height, width), pixels
GRID_SIZE = (55, 305)       # (rows, columns) of the laser
_MAX_DEPTH = 1000.0         # metres; the laser reaches 81
_LAYOUT = "Test134/img-NAME.jpg and Gridlaserdata/depth_sph_corr-NAME.mat"
_LOG = logging.getLogger(__name__)


class TestFrame(NamedTuple):
    """A photograph and the file of its laser grid."""
    name: str        # what both files share
    image_path: str
    mat_path: str


def test_frames(root: str) -> List[TestFrame]:
    """The pairs of the test set, sorted by name.

    One published script leaves out the pair at index 61 of this order as damaged; here all count.

    Args:
      root: the folder that holds Test134/ and Gridlaserdata/.

    Returns:
      One entry a photograph; a warning when they are not 134.

    Raises:
      UserError: nothing of this layout, or photographs and grids without a partner (named).
    """
    root = files.expand(root)
    names = files.list_folder(root, f"a folder that holds {_LAYOUT}")
    if not {"Test134", "Gridlaserdata"} <= set(names):
        raise UserError(f"{root}: expected {_LAYOUT}; found {files.listing(names)}.")
    photographs = _named(os.path.join(root, "Test134"), "img-", ".jpg")
    grids = _named(os.path.join(root, "Gridlaserdata"), "depth_sph_corr-", ".mat")
    alone = ([os.path.basename(photographs[name]) for name in sorted(set(photographs) - set(grids))]
             + [os.path.basename(grids[name]) for name in sorted(set(grids) - set(photographs))])
    if alone:
        raise UserError(f"{root}: expected {_LAYOUT} for each NAME; {len(alone)} files have no "
                        f"partner: {files.listing(alone)}.")
    if len(photographs) != NUM_TEST_FRAMES:
        _LOG.warning("%s: the test set has %d pairs; found %d, so scores are not those of the "
                     "papers.", root, NUM_TEST_FRAMES, len(photographs))
    return [TestFrame(name, photographs[name], grids[name]) for name in sorted(photographs)]



def read_laser_depth(path: str) -> np.ndarray:
    """The depth that the laser measured.

    Args:
      path: a depth_sph_corr-NAME.mat.

    Returns:
      float32 [55, 305], metres, the last of the four values of the grid; 0 = no measurement (what
      is not a positive finite number in the file). The grid spans the whole photograph.

    Raises:
      UserError: as `read_mat_array`, another shape than 55 x 305 x 4, no measurement at all, or
        one beyond 1000 m.
    """
    grid = read_mat_array(path, "Position3DGrid")
    if grid.shape != (*GRID_SIZE, 4):
        raise UserError(f"{path}: expected Position3DGrid 55 x 305 x 4; "
                        f"found {' x '.join(map(str, grid.shape))}.")
    depth = grid[..., 3]
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, 0)
    if not 0 < depth.max() <= _MAX_DEPTH:
        raise UserError(f"{path}: expected depths in metres, at most {_MAX_DEPTH:g}; found a "
                        f"largest one of {depth.max():g}.")
    return depth.astype(np.float32)                                          # [55, 305]


def image_rows(size: Tuple[int, int] = IMAGE_SIZE) -> slice:
    """The rows of a photograph that count, in its middle and half as many as it has columns.

    Args:
      size: (height, width), pixels. 2272 x 1704 gives rows 710 to 1562.

    Raises:
      ValueError: the photograph is more than twice as wide as high.
    """
    height, width = size
    count = width // 2
    if not 0 < count <= height:
        raise ValueError(f"`size` must be (height, width), at most twice as wide as high; "
                         f"got {size}.")
    top = (height - count) // 2
    return slice(top, top + count)


def laser_rows(size: Tuple[int, int] = IMAGE_SIZE) -> slice:
    """The rows of the laser grid beside `image_rows(size)`.

    Args:
      size: (height, width) of the photograph, pixels. 2272 x 1704 gives rows 17 to 38.

    Raises:
      ValueError: as `image_rows`.
    """
    rows = image_rows(size)
    count = max(1, round(GRID_SIZE[0] * (rows.stop - rows.start) / size[0]))
    top = (GRID_SIZE[0] - count) // 2
    return slice(top, top + count)


def _named(folder: str, start: str, end: str) -> dict:
    """Name -> path of the files <start>name<end> in a folder."""
    found, others = {}, []
    for name in files.list_folder(folder, f"a folder of files {start}NAME{end}"):
        if name.startswith(start) and name.endswith(end):
            found[name[len(start):-len(end)]] = os.path.join(folder, name)
        elif name.lower().endswith((*images.IMAGE_SUFFIXES, ".mat")):
            others.append(name)
    if others or not found:
        raise UserError(f"{folder}: expected files {start}NAME{end}; "
                        f"found {files.listing(others)}.")
    return found
