"""The judge that needs no measured depth, on a plane that slides by one pixel a frame."""
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_folders import SIZE, write_kitti, write_poses
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives
from tfdepth.data.pipeline import open_source
from tfdepth.evaluation.view_synthesis import evaluate_synthesis
from tfdepth.structures import DepthPrediction, SfmPrediction

DEPTH, FOCAL = 6.0, 30.0      # of data_folders.CALIBRATION; a pixel is DEPTH / FOCAL metres


@pytest.fixture(name="source", scope="module")
def _source(tmp_path_factory):
    root = write_kitti(tmp_path_factory.mktemp("plane"), count=6)
    texture = np.random.default_rng(2).integers(0, 256, (SIZE[0], SIZE[1] + 6), np.uint8)
    for k in range(6):
        Image.fromarray(texture[:, k:k + SIZE[1]]).save(
            root / "sequences" / "00" / "image_0" / f"{k:06d}.png")
    write_poses(root / "poses" / "00.txt", [(k * DEPTH / FOCAL, 0, 0) for k in range(6)])
    config = DataConfig("kitti_odometry", str(root), size=SIZE, min_translation=0.0)
    return open_source(load_drives(config), config)


def system_of(step):
    """Predicts the plane, and `step` metres to the right a frame."""
    motion = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    motion[:, 0, 3] = step, -step

    def forward(batch, training):
        count = batch.target.shape[0]
        depth = tf.fill([count, *SIZE, 1], np.float32(DEPTH))
        return SfmPrediction(DepthPrediction(depth, (1.0 / depth,)),
                             tf.tile(motion[np.newaxis], [count, 1, 1, 1]))
    return types.SimpleNamespace(forward=forward, check_cameras=lambda drives: None,
                                 with_cameras=lambda batch: batch)


def test_the_truth_explains_all_and_no_motion_explains_nothing(source):
    true = evaluate_synthesis(system_of(DEPTH / FOCAL), source)
    assert true.warped < 1e-5 and true.ratio < 1e-4 and true.num_samples == 4
    assert true.unwarped > 0.2
    np.testing.assert_allclose(true.seen, (SIZE[1] - 1) / SIZE[1], rtol=1e-6)
    # A pixel at either side is seen by the other source, so that the best one explains it too.
    assert true.best_ratio < 1e-3
    still = evaluate_synthesis(system_of(0.0), source)
    assert still.seen == 1.0
    np.testing.assert_allclose([still.ratio, still.best_ratio], 1.0, rtol=1e-5)
    wrong = evaluate_synthesis(system_of(-DEPTH / FOCAL), source)
    assert wrong.ratio > 0.8 and wrong.best_ratio > 0.8


def test_direction_is_measured_in_degrees(source):
    """write_poses turns the camera by 0.01 radians a frame, which moves directions by so much."""
    assert evaluate_synthesis(system_of(0.2), source).direction_median_deg < 3
    assert evaluate_synthesis(system_of(-0.2), source).direction_median_deg > 177
