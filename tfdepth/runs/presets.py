"""Settings that several configs share: short runs from scratch, on synthetic drives or own data,
and the training that BTS published."""
from tfdepth.data.config import DataConfig
from tfdepth.data.synthetic import TEST_DRIVES, VALIDATION_DRIVES
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig

# The camera that Monodepth2 takes every KITTI camera for, as data.intrinsics. It is centred (there
# half a pixel farther right and down), so that a mirror image has the same.
MONODEPTH2_KITTI_CAMERA = '{"units": "normalized", "fx": 0.58, "fy": 1.92, "cx": 0.5, "cy": 0.5}'

# KITTI raw as all papers use it: both colour cameras of all drives but those of the test set.
EIGEN_SPLIT = dict(dataset="kitti_raw", cameras=("image_02", "image_03"),
                   validation_drives=("eigen_validation",), test_drives=("eigen_test",))

# The pictures of BTS: on KITTI of the left colour camera, on NYU without its white frame.
BTS_KITTI = dict(dataset="kitti_depth", cameras=("image_02",), offsets=(), crop="kb",
                 size=(352, 1216), random_crop=(352, 704), max_rotation=1.0, flip=True,
                 color_jitter="bts_kitti", validation_drives=("eigen_validation",),
                 test_drives=("eigen_test",))
BTS_NYU = dict(dataset="nyu", offsets=(), crop="nyu", size=(480, 640), random_crop=(416, 544),
               max_rotation=2.5, flip=True, color_jitter="bts_nyu", test_drives=("test",))
# The encoders of BTS and HMA-Depth, and what of them keeps its ImageNet weights: the first
# convolution, and scale and offset of the batch normalisations, but for a ResNet's shortcuts.
_OF_RESNET = ("depth_encoder/conv1", "depth_encoder/*bn?")
_OF_DENSENET = ("depth_encoder/conv0", "depth_encoder/*norm*")
BTS_FROZEN = {"resnet50": _OF_RESNET, "resnext50": _OF_RESNET,
              "densenet121": _OF_DENSENET, "densenet161": _OF_DENSENET}
BTS_INDOORS = dict(max_depth=10.0, reference_focal_length=0.0, min_true_depth=0.1)  # its options
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
        data=DataConfig(dataset="folder", size=(64, 192), flip=True, color_jitter="monodepth2"),
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
    # An epoch without movers is of twice as many worlds.
    config.train.epochs, config.optimizer.decay_epochs = (
        (8.8, (7.2,)) if movers else (6.6, (5.4,)))
    config.train.save_every = 360
    config.train.best_metric = "validation/abs_rel"
    return config


def supervised_quick_run(system, learning_rate):
    """`quick_run` of a system that learns from depth, on KITTI with annotated depth."""
    config = quick_run(system, learning_rate)
    config.data.dataset, config.data.size = "kitti_depth", (96, 320)
    config.data.offsets = ()
    return config


def supervised_synthetic_run(system, learning_rate):
    """`synthetic_run` of a system that learns from depth."""
    config = synthetic_run(system, learning_rate)
    config.data.offsets = ()
    return config


def bts_run(system, data, batch_size):
    """Training as BTS published it, from ImageNet weights.

    What BTS_FROZEN says stays as it is; weight decay is the encoder's alone.

    Args: system: BtsConfig, or one of its kind. data: BTS_KITTI or BTS_NYU. batch_size: of all
      replicas.
    Returns: ExperimentConfig.
    """
    return ExperimentConfig(
        system=system, data=DataConfig(**data),
        optimizer=OptimizerConfig(
            learning_rate=1e-4, final_learning_rate=1e-5, epsilon=1e-3,
            epsilon_after_correction=True, weight_decay=1e-2, decoupled_decay=True,
            weight_decay_on=("depth_encoder",)),
        train=TrainConfig(
            batch_size=batch_size, epochs=50.0, best_metric="validation/abs_rel",
            frozen=BTS_FROZEN[system.encoder]))
