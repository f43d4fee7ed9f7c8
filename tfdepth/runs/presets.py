"""Settings that several configs share: short runs from scratch, on synthetic drives or own data."""
from tfdepth.data.config import DataConfig
from tfdepth.data.synthetic import TEST_DRIVES, VALIDATION_DRIVES
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig

# The camera that Monodepth2 takes every KITTI camera for, as data.intrinsics. It is centred (there
# half a pixel farther right and down), so that a mirror image has the same.
MONODEPTH2_KITTI_CAMERA = '{"units": "normalized", "fx": 0.58, "fy": 1.92, "cx": 0.5, "cy": 0.5}'

# KITTI raw as all papers use it: both colour cameras of all drives but those of the test set.
EIGEN_SPLIT = dict(dataset="kitti_raw", cameras=("image_02", "image_03"),
                   validation_drives=("eigen_validation",), test_drives=("eigen_test",))

# KITTI odometry: the published training sequences, and the snippets of five frames that are scored.
ODOMETRY_SPLIT = dict(dataset="kitti_odometry", cameras=("image_2",), test_drives=("09", "10"))
FIVE_FRAMES = (-2, -1, 1, 2)


def quick_run(system, learning_rate):
    """Small images, and the colours and mirror images that few frames lack: minutes on a CPU.

    Args: system: the config of a system. learning_rate: of Adam.
    Returns: ExperimentConfig for data.root, a folder of frames or a video.
    """
    return ExperimentConfig(
        system=system,
        data=DataConfig(dataset="folder", size=(64, 192), flip=True, color_jitter=True),
        optimizer=OptimizerConfig(learning_rate=learning_rate),
        train=TrainConfig(epochs=8.8, keep_checkpoints=2))


def synthetic_run(system, learning_rate, movers=False):
    """The same on the synthetic drives, ending with a lower rate, scored on worlds held out.

    Args: as `quick_run`. movers: whether cars and people move through all drives, or through a few.
    """
    config = quick_run(system, learning_rate)
    config.data.dataset = "synthetic_movers" if movers else "synthetic"
    config.data.validation_drives = VALIDATION_DRIVES
    config.data.test_drives = TEST_DRIVES
    config.optimizer.decay_epochs = (7.2,)
    config.train.save_every = 360
    config.train.best_metric = "validation/abs_rel"
    return config
