"""Baselines that look at no image: what a system must beat before its numbers mean anything."""
import dataclasses
from typing import Iterable, Optional, Tuple

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfdepth.checks import UserError, check_shape
from tfdepth.evaluation.resizing import resize_nearest
from tfdepth.evaluation.odometry import cut_snippets
from tfdepth.evaluation.trajectories import chain, relative_motions, rigid_transforms


@dataclasses.dataclass(frozen=True)
class PerPixelMeanDepth:
    """The mean training depth of every pixel, predicted for every image.

    The scale is metric, so its published rows are scored without median scaling:
    `dataclasses.replace(protocol, median_scaling=False)`.

    Source: the row "Train set mean" of KITTI depth tables; methods.md A7.
    """
    depth: np.ndarray        # [H, W] metres, > 0
    num_measured: int        # pixels of the training maps that went into it
    scalar_mean: float       # metres, over all of these pixels

    @classmethod
    def fit(cls, depth_maps: Iterable[np.ndarray],
            size: Optional[Tuple[int, int]] = None) -> "PerPixelMeanDepth":
        """Averages measured depths per pixel; never measured ones take the nearest mean.

        Args:
          depth_maps: [h, w] in metres, 0 = not measured; read once, one at a time. A map of
            another size than `size` is resized by nearest pixel.
          size: (H, W) of the mean; None: that of the first map.

        Raises:
          ValueError: a map is not [h, w].
          UserError: a map is negative or not finite, or no pixel of any map is measured.
        """
        total = count = None
        for number, depth in enumerate(depth_maps):
            check_shape("depth map", depth, ["h", "w"])
            if not np.all(np.isfinite(depth) & (depth >= 0)):
                raise UserError(f"training depth map {number}: depth must be finite, 0 or more.")
            if total is None:
                size = tuple(size or depth.shape)
                total, count = np.zeros(size), np.zeros(size, int)
            depth = depth if depth.shape == size else resize_nearest(depth, size)
            total += depth
            count += depth > 0
        if total is None or not count.any():
            raise UserError("the mean depth needs training depth maps with measured pixels; "
                            + ("got no map." if total is None else "all pixels are 0."))
        mean = total / np.maximum(count, 1)
        nearest = ndimage.distance_transform_edt(count == 0, return_distances=False,
                                                 return_indices=True)  # [2, H, W]
        return cls(mean[tuple(nearest)], int(count.sum()), float(total.sum() / count.sum()))

    def predict(self) -> np.ndarray:
        """The depth map [H, W] in metres, the same for every image."""
        return self.depth


@dataclasses.dataclass(frozen=True)
class MeanMotion:
    """The mean motion of the training drives, predicted for every snippet.

    Source: the row "Mean Odom." of Zhou et al., CVPR 2017, table 3. No code was published: both
      readings are here; methods.md A7 has their numbers.
    """
    earlier_from_later: np.ndarray    # [4, 4] mean motion from one frame to the next, metres
    positions: np.ndarray             # [n, 3] mean positions in snippets, metres, first camera
    num_motions: int                  # frame pairs that went into it

    @classmethod
    def fit(cls, trajectories: Iterable[np.ndarray], length: int = 5) -> "MeanMotion":
        """Averages over all drives, every frame with the same weight.

        Args:
          trajectories: world_from_camera [N, 4, 4] of every drive, metres, frames without holes
            (cut a drive with `odometry.consecutive_runs` where it has some). One shorter than
            `length` gives motions but no positions.
          length: frames of a snippet, n.

        Raises:
          ValueError: a trajectory is not [N, 4, 4].
          UserError: no trajectory has `length` frames.
        """
        trajectories = [np.asarray(trajectory, np.float64) for trajectory in trajectories]
        motions = [relative_motions(trajectory) for trajectory in trajectories]
        snippets = [cut_snippets(trajectory, length).first_from_camera
                    for trajectory in trajectories]
        if not any(map(len, snippets)):
            raise UserError(f"the mean motion needs a drive of {length} or more frames with "
                            f"poses; got {[len(trajectory) for trajectory in trajectories]}.")
        motions = np.concatenate(motions)                                  # [M, 4, 4]
        rotation = Rotation.from_matrix(motions[:, :3, :3]).mean().as_matrix()
        earlier_from_later = rigid_transforms(rotation, motions[:, :3, 3].mean(axis=0))
        positions = np.concatenate(snippets)[..., :3, 3].mean(axis=0)      # [n, 3]
        return cls(earlier_from_later, positions, len(motions))

    def predict_composed(self, length: int) -> np.ndarray:
        """The mean motion repeated: first_from_camera [length, 4, 4], any length."""
        return chain(np.tile(self.earlier_from_later, (length - 1, 1, 1)))

    def predict_positions(self) -> np.ndarray:
        """The mean positions as a snippet: first_from_camera [n, 4, 4] without rotation."""
        return rigid_transforms(np.eye(3), self.positions)
