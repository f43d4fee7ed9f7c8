"""A depth map as coloured points, in a binary PLY file.

Networks blur the edge of a near thing before a far one: depths in between, where nothing is. Such
points are dropped. Shape letters: h, w of an image; H, W of the network; N points.
"""
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from tfdepth.checks import check_shape
from tfdepth.evaluation.resizing import resize_nearest
from tfdepth.files import Path, write_atomically
from tfdepth.geometry.camera import unproject

# Neighbouring pixels of the network differ by no more, relatively, on one surface. A street 1.5 m
# below a camera of 250 pixels focal length does so to 37 m.
EDGE = 0.1
_TYPE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"),
                  ("red", "u1"), ("green", "u1"), ("blue", "u1")])


class PointCloud(NamedTuple):
    """Points of one image, row by row of their pixels."""
    points: np.ndarray    # [N, 3] float32, in the camera: x right, y down, z forward
    colours: np.ndarray   # [N, 3] uint8, RGB


def edges(depth: np.ndarray, threshold: float = EDGE) -> np.ndarray:
    """Pixels on either side of a jump of depth.

    Args:
      depth: [H, W], > 0.
      threshold: of the ratio of depth to that of any of the 8 neighbours, less 1.

    Returns:
      [H, W] bool.
    """
    check_shape("depth", depth, ["H", "W"])
    largest, smallest = ndimage.maximum_filter(depth, 3), ndimage.minimum_filter(depth, 3)
    return np.maximum(largest / depth, depth / smallest) > 1.0 + threshold


def point_cloud(image: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray,
                network_depth: np.ndarray) -> PointCloud:
    """Lifts the pixels of an image, but for those at edges.

    Args:
      image: uint8 [h, w, 3], RGB.
      depth: [h, w] along the optical axis, > 0.
      intrinsics: [3, 3], pixels of h x w.
      network_depth: [H, W] that `depth` was resized from; edges are looked for in there, as
        resizing makes a slope of a jump.

    Raises:
      ValueError: a shape differs from the above.
    """
    check_shape("image", image, [*depth.shape, 3])
    points = unproject(np.float32(depth)[np.newaxis, ..., np.newaxis],
                       np.float32(intrinsics)[np.newaxis]).numpy()[0]        # [h w, 3]
    kept = ~resize_nearest(edges(network_depth), depth.shape).ravel()
    return PointCloud(points[kept], image.reshape(-1, 3)[kept])


def write_ply(path: Path, cloud: PointCloud, unit: str):
    """Writes binary PLY, little endian: x, y, z as float, red, green, blue as uchar.

    Args: unit: of the points, for a comment in the file; one line of ASCII.
    Raises: OSError: as `open` does.
    """
    table = np.empty(len(cloud.points), _TYPE)
    for names, columns in ((("x", "y", "z"), cloud.points),
                           (("red", "green", "blue"), cloud.colours)):
        for name, column in zip(names, columns.T):
            table[name] = column
    properties = "".join(f"property {'float' if _TYPE[name].kind == 'f' else 'uchar'} {name}\n"
                         for name in _TYPE.names)
    header = ("ply\nformat binary_little_endian 1.0\n"
              f"comment camera frame: x right, y down, z forward; {unit}\n"
              f"element vertex {len(table)}\n{properties}end_header\n")
    write_atomically(path, header.encode("ascii") + table.tobytes())
