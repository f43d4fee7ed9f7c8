"""A trained model as functions."""
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_folders import write_frames
from tfdepth.checks import UserError
from tfdepth.data.config import DataConfig
from tfdepth.inference import BATCH_SIZE, Predictor, _filled_up
from tfdepth.runs.config import ExperimentConfig
from tfdepth.systems import build_system
from tfdepth.systems.sfmlearner import SfMLearnerConfig

SIZE, OFFSETS = (32, 64), (-1, 2)


@pytest.fixture(name="predictor", scope="module")
def _predictor():
    tf.keras.utils.set_random_seed(1)
    config = ExperimentConfig(SfMLearnerConfig(), DataConfig(size=SIZE, offsets=OFFSETS))
    system = build_system(config.system, OFFSETS)
    system.create_variables(SIZE)
    for variable in system.pose_net.trainable_variables:
        variable.assign(1.5 * variable)  # untrained, the motions of all frames are almost the same
    return Predictor(system, config, step=0)


@pytest.fixture(name="paths")
def _paths(tmp_path):
    """Frames of three batches, at the network's size: no resize stands between."""
    names = [f"{k:02d}.png" for k in range(2 * BATCH_SIZE + 3)]
    folder = write_frames(tmp_path / "frames", names, size=SIZE)
    return [str(folder / name) for name in names]


def test_motions_across_batches(predictor, paths):
    motions = predictor.motions_of_files(paths)
    frames = np.stack([np.array(Image.open(path), np.float32) / 255 for path in paths])
    targets = np.arange(1, len(paths) - 2)  # frame 0 has no source -1, the last two none at +2
    sources = np.stack([frames[targets - 1], frames[targets + 2]], axis=1)
    expected = predictor.system.predict_motion(frames[targets], sources).numpy()
    assert list(motions) == targets.tolist()
    np.testing.assert_allclose(np.stack(list(motions.values())), expected, atol=1e-5)
    assert np.ptp(expected[:, 0, :3, 3], axis=0).max() > 5e-4  # the motions differ


@pytest.mark.parametrize("count, targets", [(0, []), (3, []), (4, [1]), (9, [1, 2, 3, 4, 5, 6])])
def test_few_frames(count, targets, predictor, paths):
    assert list(predictor.motions_of_files(paths[:count])) == targets


def test_small_batches_are_filled_up():
    sizes = []

    def add(one, other):
        sizes.append((len(one), len(other)))
        return {"sum": one + other}

    filled = _filled_up(add)
    random = np.random.default_rng(0)
    for count in (1, 5, 2, 5, 1, 6):
        one, other = random.normal(size=(2, count, 3))
        np.testing.assert_array_equal(filled(one, other)["sum"], one + other)
    assert sizes == [(1, 1), (5, 5), (5, 5), (5, 5), (5, 5), (6, 6)]


def test_depth_of_an_image_is_that_of_its_file(predictor, paths):
    depths = [depth for _, depth in predictor.depths_of_files(paths)]
    assert len(depths) == len(paths) and depths[0].shape == SIZE
    for k in (0, BATCH_SIZE, len(paths) - 1):
        np.testing.assert_allclose(predictor.depth_of_image(np.array(Image.open(paths[k]))),
                                   depths[k], rtol=1e-4)


def test_mistakes(predictor, paths):
    with pytest.raises(ValueError, match="must be uint8"):
        predictor.depth_of_image(np.zeros([20, 30, 3]))
    with pytest.raises(ValueError, match=r"must have shape \[h, w, 3\]"):
        predictor.depth_of_image(np.zeros([20, 30], np.uint8))
    with open(paths[BATCH_SIZE + 1], "w", encoding="utf-8") as file:
        file.write("text")
    for read in (predictor.depths_of_files, predictor.motions_of_files):
        with pytest.raises(UserError, match=r"09.png: .* found text"):
            list(read(paths))
