"""The joint framework of IDCE and HAM (Wang et al., Depth Estimation via Implicit Cues, 2020).

Variants, as in `--config configs/idce_ham.py:v_joint_k_m`; v, vi and vii are the paper's tables:
  (none)         IDCE and HAM on the synthetic drives with moving cars and people, minutes
  baseline, idce, ham, joint   the same with neither, one or both
  quick          IDCE and HAM, the same settings for short runs on data of your own
  v_<method>_k_m, v_<method>_k_ms, v_<method>_cs_m
                 table V: baseline, idce, ham or joint, 640x192, on KITTI or Cityscapes, with
                 frames -1 and +1 (m), or these and the other camera (ms)
  vi_respose_<attention>, vi_pose_cnn_<attention>
                 table VI: none, cam or ham on either pose network, without IDCE
  vii_m_<size>, vii_ms_<size>
                 table VII: joint at 416x128, 640x192 or 1024x320

Joint variants first train without IDCE, in the folder WORKDIR-stage1, and then go on from there
with all parts; each stage takes 20 epochs. CS+K: v_joint_k_m that goes on from a v_joint_cs_m run,
--config.train.init_from=RUN --config.train.first_stage=
ImageNet weights as for Monodepth2; in the paper the pose encoder's first layer begins anew:
--config.train.init_except=pose_encoder/conv1
"""
from tfdepth.checks import check_choice
from tfdepth.data.config import DataConfig
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig
from tfdepth.runs.presets import EIGEN_SPLIT, MONODEPTH2_KITTI_CAMERA, quick_run, synthetic_run
from tfdepth.systems.idce_ham import IdceHamConfig

METHODS = {"baseline": dict(idce=False, pose_attention="none"), "idce": dict(pose_attention="none"),
           "ham": dict(idce=False), "joint": dict()}
DATA = {"k": dict(**EIGEN_SPLIT, intrinsics=MONODEPTH2_KITTI_CAMERA),
        "cs": dict(dataset="cityscapes", frame_gap=2)}
SIZES = {"416x128": (128, 416), "640x192": (192, 640), "1024x320": (320, 1024)}
LEARNING_RATE = 1e-4  # of short runs from scratch, as for Monodepth2


def get_config(variant="joint"):
    check_choice("the variant of configs/idce_ham.py", variant, VARIANTS)
    return VARIANTS[variant]()


def published(system, stereo=False, size=(192, 640), data="k"):
    """The settings of the paper, in two stages where there is IDCE."""
    return ExperimentConfig(
        system=IdceHamConfig(**system),
        data=DataConfig(size=size, stereo=stereo, stereo_baseline=0.1, flip=True,
                        color_jitter="monodepth2", scale_crop=1.15, **DATA[data]),
        optimizer=OptimizerConfig(learning_rate=1e-4, weight_decay=1e-4, decay_epochs=(15.0,),
                                  epsilon_after_correction=True),
        train=TrainConfig(batch_size=8, epochs=20.0, first_stage=(
            ("system.idce=False",) if system.get("idce", True) else ())))


def _variants():
    rows = {"quick": lambda: quick_run(IdceHamConfig(), LEARNING_RATE)}
    for method, system in METHODS.items():
        rows[method] = lambda system=system: synthetic_run(
            IdceHamConfig(**system), LEARNING_RATE, movers=True)
        for name, settings in {"k_m": {}, "k_ms": {"stereo": True}, "cs_m": {"data": "cs"}}.items():
            rows[f"v_{method}_{name}"] = (
                lambda system=system, settings=settings: published(system, **settings))
    for network, stereo in {"resnet": True, "pose_cnn": False}.items():
        row = "respose" if network == "resnet" else network
        for attention in ("none", "cam", "ham"):
            system = dict(idce=False, pose_network=network, pose_attention=attention)
            rows[f"vi_{row}_{attention}"] = (
                lambda system=system, stereo=stereo: published(system, stereo))
    for training, stereo in {"m": False, "ms": True}.items():
        for name, size in SIZES.items():
            rows[f"vii_{training}_{name}"] = (
                lambda stereo=stereo, size=size: published({}, stereo, size))
    return rows


VARIANTS = _variants()
