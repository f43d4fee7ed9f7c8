"""The table of data sets, and which drives train, validate and test."""
import dataclasses
import functools
import logging
from typing import NamedTuple, Sequence, Tuple

from tqdm import tqdm

from tfdepth.checks import UserError, check_choice
from tfdepth.data import (
    cityscapes, crops, files, folder, intrinsics_file, kitti_odometry, kitti_raw, kitti_splits,
    learned_camera, nyu)
from tfdepth.data.config import DataConfig
from tfdepth.data.drives import Drive

_LOG = logging.getLogger(__name__)


class Split(NamedTuple):
    """Drives by their role; no drive has two."""
    train: Tuple[Drive, ...]
    validation: Tuple[Drive, ...]
    test: Tuple[Drive, ...]


def _load_kitti_odometry(config: DataConfig) -> Tuple[Drive, ...]:
    return kitti_odometry.load(config.root, config.cameras, stereo=config.stereo)


def _load_kitti_raw(config: DataConfig, annotated: bool = False) -> Tuple[Drive, ...]:
    drives = kitti_raw.load(config.root, config.cameras, stereo=config.stereo,
                            depth_root=config.depth_root)
    if not annotated:
        return drives
    without = [drive.name for drive in drives if drive.depth_paths is None]
    if len(without) == len(drives):
        raise UserError(f"{config.depth_root or config.root}: expected annotated depth, as "
                        "{drive}_sync/proj_depth/groundtruth/image_02/0000000005.png; found none. "
                        "--config.data.depth_root names its folder.")
    if without:
        _LOG.warning("%d of %d drives have no annotated depth and are left out: %s", len(without),
                     len(drives), files.listing(without))
    return tuple(drive for drive in drives if drive.depth_paths is not None)


def _load_cityscapes(config: DataConfig) -> Tuple[Drive, ...]:
    return cityscapes.load(config.root, config.cameras, stereo=config.stereo)


def _load_nyu(config: DataConfig) -> Tuple[Drive, ...]:
    _refuse_stereo(config, "NYU has")
    return nyu.load(config.root)


def _load_prepared(config: DataConfig) -> Tuple[Drive, ...]:
    from tfdepth.data import prepared
    return prepared.load(config.root, config.size, config.stereo, config.crop)


def _refuse_stereo(config: DataConfig, who: str):
    if config.stereo:
        raise UserError(f"--config.data.stereo: {who} one camera; expected false.")


def _load_folder(config: DataConfig) -> Tuple[Drive, ...]:
    _refuse_stereo(config, "a folder or video has")
    return folder.load(config.root, config.intrinsics)


def _load_synthetic(config: DataConfig, drives_of=lambda synthetic: synthetic.DRIVES
                    ) -> Tuple[Drive, ...]:
    """Args: drives_of: the set in the module `synthetic`."""
    from tfdepth.data import synthetic  # the renderer: only for those who use it
    with tqdm(desc="making the synthetic drives", unit=" frames", disable=None, delay=1) as bar:
        def show(done, total):
            if done == 1 and bar.disable:
                print(f"making the synthetic drives, once: {total} frames, some minutes", flush=True)
            bar.total = total
            bar.update(done - bar.n)

        root = synthetic.ensure_synthetic(config.root or None, progress=show,
                                          drives=drives_of(synthetic))
    return kitti_odometry.load(root, config.cameras, stereo=config.stereo)


DATASETS = {  # name -> DataConfig -> drives; a new data set is one row
    "synthetic": _load_synthetic,
    "synthetic_movers": functools.partial(
        _load_synthetic, drives_of=lambda synthetic: synthetic.DRIVES_WITH_MOVERS),
    "synthetic_handheld": functools.partial(
        _load_synthetic, drives_of=lambda synthetic: synthetic.DRIVES_HANDHELD),
    "kitti_odometry": _load_kitti_odometry,
    "kitti_raw": _load_kitti_raw,
    "kitti_depth": functools.partial(_load_kitti_raw, annotated=True),
    "cityscapes": _load_cityscapes,
    "nyu": _load_nyu,
    "prepared": _load_prepared,
    "folder": _load_folder,
}


def load_drives(config: DataConfig) -> Tuple[Drive, ...]:
    """All drives of the configured data set; synthetic data are made on first use.

    Raises:
      UserError: an unknown data set, what its loader finds wrong, a bad config.intrinsics, one of
        LEARNED for a prepared folder, or pictures that are too small for config.crop.
    """
    check_choice("--config.data.dataset", config.dataset, DATASETS)
    if config.intrinsics == learned_camera.LEARNED and config.dataset == "prepared":
        raise UserError(f"{learned_camera.FLAG}: expected pictures as the camera took them; "
                        "prepared folders hold resized ones, and do not say how they were "
                        "stretched. Name the data set that was prepared, or a camera file.")
    drives = tuple(DATASETS[config.dataset](config))
    if config.intrinsics == learned_camera.LEARNED:
        drives = tuple(map(learned_camera.to_be_learned, drives))
    elif config.intrinsics:
        drives = tuple(dataclasses.replace(
            drive, intrinsics=intrinsics_file.read_intrinsics(config.intrinsics, drive.size))
                       for drive in drives)
    if config.crop == "kb" and config.dataset != "prepared":  # whose pictures are cut already
        drives = tuple(map(crops.kb_part, drives))
    return drives


def split_drives(config: DataConfig, drives: Sequence[Drive]) -> Split:
    """Gives each drive its role.

    Args:
      config: train_drives, validation_drives and test_drives name drives: "06/image_2", or "06"
        for every drive whose name starts with "06/", or a row of kitti_splits.NAMED_DRIVES, as
        "eigen_test", for those of it that are there. No train_drives = all without another role.
      drives: what `load_drives` gave.

    Returns:
      The drives of each role, in the order of `drives`. A role may be empty.

    Raises:
      UserError: a name that fits no drive (the known ones are listed), or a drive in two roles.
    """
    validation = named_drives("--config.data.validation_drives", config.validation_drives, drives)
    test = named_drives("--config.data.test_drives", config.test_drives, drives)
    train = named_drives("--config.data.train_drives", config.train_drives, drives)
    if not config.train_drives:
        train = {drive.name for drive in drives} - validation - test
    for first, second, both in (("train_drives", "validation_drives", train & validation),
                                ("train_drives", "test_drives", train & test),
                                ("validation_drives", "test_drives", validation & test)):
        if both:
            raise UserError(f"--config.data.{first} and {second} must not share a drive; both hold "
                            f"{files.listing(sorted(both))}.")
    return Split(*(tuple(drive for drive in drives if drive.name in names)
                   for names in (train, validation, test)))


def named_drives(field: str, names: Sequence[str], drives: Sequence[Drive]) -> set:
    """The full names of the drives that `names` mean; see `split_drives`."""
    if isinstance(names, str):
        raise UserError(f"{field} must be a tuple of names; got {names!r}.")
    found = set()
    for name in names:
        group = kitti_splits.NAMED_DRIVES.get(name, (name,))
        fitting = {drive.name for drive in drives
                   if drive.name == name or drive.name.rsplit("/", 1)[0] in group
                   or drive.name.split("/")[0] in group}
        if not fitting and name in kitti_splits.NAMED_DRIVES:
            raise UserError(f"{field}: expected some of the {len(group)} drives of {name}, as "
                            f"{group[0]}; found none of them. --config.data.{field}= asks for "
                            "none.")
        if not fitting:
            check_choice(f"{field}: a drive", name, [drive.name for drive in drives])
        found |= fitting
    return found
