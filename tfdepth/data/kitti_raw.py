"""KITTI raw: {date}/{date}_drive_{nnnn}_sync/image_0k/data/0000000000.png, and what lies beside.

One drive for each camera, named "2011_09_26_drive_0001/image_02". image_00 and image_01 are the
left and right grey cameras, image_02 and image_03 the left and right colour cameras. Read too:
calib_*.txt of the date, oxts, velodyne_points, time stamps, and annotated depth (the maps of the
depth benchmark) in {date}/{drive}_sync/proj_depth/groundtruth/image_0k/0000000005.png, or without
the date, or with train/ or val/ in its place.

KITTI raw has 150 drives of up to 5,000 frames for each camera. So folders are listed, and only
the first and the last image of a drive are opened; the pipeline compares the size of every image
that it decodes with the drive's, and the data check decodes as many as it is asked to.

Source: Geiger et al., Vision meets Robotics: The KITTI Dataset, IJRR 2013; depth: Uhrig et al.,
Sparsity Invariant CNNs, 3DV 2017.
"""
import logging
import os
import re
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError, check_choice
from tfdepth.data import files, images, kitti_calibration, oxts
from tfdepth.data.drives import Drive
from tfdepth.data.frame_numbers import NumberedFrames, numbered_frames
from tfdepth.data.kitti_odometry import choose_cameras

CAMERAS = ("image_02", "image_00", "image_03", "image_01")  # () takes the first of a drive
STEREO_PAIRS = {"image_00": "image_01", "image_01": "image_00",
                "image_02": "image_03", "image_03": "image_02"}
MEDIAN_DEPTH = (5.0, 40.0)  # metres, plausible; streets have 8 to 20, divided by 1000 2 to 5
FRAME_SECONDS = 0.1       # 10 Hz, where time stamps do not say it better
_LONGEST_SECONDS = 1.0    # between frames; more, or none, is a damaged time stamp
_LAYOUT = "2011_09_26/2011_09_26_drive_0001_sync/{image_00 ... image_03}/data/0000000000.png"
_DEPTH_LAYOUT = "{drive}_sync/proj_depth/groundtruth/{image_02, image_03}/0000000005.png"
_FIRST = "0000000000.png"
_LOG = logging.getLogger(__name__)


def load(root: str, cameras: Sequence[str] = (), drives: Sequence[str] = (),
         stereo: bool = False, depth_root: str = "", motion: bool = True) -> Tuple[Drive, ...]:
    """Reads the drives under `root`: one for each of their cameras.

    Args:
      root: the folder that holds the folders of the dates.
      cameras: of image_00 ... image_03; () = the first that the drive has, in the order of
        CAMERAS.
      drives: names as "2011_09_26_drive_0001"; () = all. Drives without pictures of these cameras
        are then left out, and a warning names them.
      stereo: whether each frame needs the picture of the other camera of its kind.
      depth_root: where annotated depth is looked for; "" = `root`.
      motion: whether to read the GPS/IMU records, a small file a frame.

    Returns:
      Drives in order of their names. Frames are numbered by their file names. What a frame lacks
      is "" (a scan, a depth map: the first and last five frames have none) or NaN (`travel`);
      what no frame of a drive has is None. Poses are None unless each frame has a GPS/IMU
      record; the world is the rectified frame of camera 0 at the first frame.

    Raises:
      UserError: nothing of this layout, an unknown name, an empty image folder, a first or last
        frame that cannot be read or has another size than its calibration, a calibration file or
        GPS/IMU record that is missing or damaged, no second camera for `stereo`, a `depth_root`
        without a map for any of these drives.
    """
    root, depth_root = files.expand(root), files.expand(depth_root)
    for camera in cameras:
        check_choice("cameras: a name", camera, sorted(CAMERAS))
    wanted = " and ".join(cameras)
    present = _image_folders(root)
    for name in drives:
        check_choice(f"{root}: a drive", name, present)
        if not choose_cameras(present[name], cameras):
            raise UserError(f"{_folder(root, name)}: expected {wanted or ' or '.join(CAMERAS)}; "
                            f"found {files.listing(present[name])}.")
    skipped = skipped_drives(root, cameras)
    chosen = [name for name in (drives or present) if name not in skipped]
    if not chosen:
        found = sorted({folder for folders in present.values() for folder in folders})
        raise UserError(f"{root}: expected {wanted or 'images'} as {_LAYOUT}; found "
                        f"{len(present)} drives with {files.listing(found)}.")
    if skipped and not drives:
        _LOG.warning("%s: %d of %d drives have no %s and are left out: %s", root, len(skipped),
                     len(present), wanted or "images", files.listing(skipped))
    loaded = tuple(drive for name in chosen for drive in _load_cameras(
        root, name, choose_cameras(present[name], cameras), stereo, depth_root or root, motion))
    if depth_root and all(drive.depth_paths is None for drive in loaded):
        names = files.list_folder(depth_root, f"a folder that holds {_DEPTH_LAYOUT}")
        raise UserError(f"{depth_root}: expected {_DEPTH_LAYOUT}, itself or in train, val or the "
                        f"folder of the date, for {files.listing([d.name for d in loaded], 2)}; "
                        f"found {files.listing(names)}.")
    return loaded


def skipped_drives(root: str, cameras: Sequence[str] = ()) -> Tuple[str, ...]:
    """Names of the drives that lack pictures of these cameras, so that `load` omits them."""
    present = _image_folders(files.expand(root))
    return tuple(name for name, folders in present.items() if not choose_cameras(folders, cameras))


def _folder(root: str, name: str) -> str:
    """The folder of a drive; its name starts with its date."""
    return os.path.join(root, name[:10], f"{name}_sync")


def _image_folders(root: str) -> Dict[str, List[str]]:
    """Drive name -> its image folders, [] where there are none."""
    names = files.list_folder(root, f"a folder that holds {_LAYOUT}")
    dates = [name for name in names if re.fullmatch(r"\d{4}_\d\d_\d\d", name)
             and os.path.isdir(os.path.join(root, name))]
    present = {}
    for date in dates:
        for name in files.list_folder(os.path.join(root, date), "the folder of a date"):
            if re.fullmatch(rf"{date}_drive_\d{{4}}_sync", name):
                path = os.path.join(root, date, name)
                present[name[:-len("_sync")]] = [
                    camera for camera in CAMERAS
                    if os.path.isdir(os.path.join(path, camera, "data"))]
    if not any(present.values()):
        raise UserError(f"{root}: expected {_LAYOUT}; found no such image folder in "
                        f"{len(dates)} dates with {len(present)} drives ({files.listing(names)}).")
    return present


def _load_cameras(root: str, name: str, cameras: Sequence[str], stereo: bool,
                  depth_root: str, motion: bool) -> List[Drive]:
    """The drives of one folder, a camera each; what they share is read once."""
    folder, date_folder = _folder(root, name), os.path.join(root, name[:10])
    frames = {camera: numbered_frames(os.path.join(folder, camera, "data"), _FIRST)
              for camera in cameras}
    numbers = sorted({number for camera in cameras for number in frames[camera].numbers})
    records = oxts.read_records(os.path.join(folder, "oxts", "data") if motion else "", numbers)
    speeds = oxts.speeds(records)                                            # [n]
    known = np.isfinite(speeds)
    if known.any() and not known.all():
        _LOG.warning("%s: %d of %d frames have no GPS/IMU record, so there are no poses",
                     folder, np.sum(~known), len(numbers))
    world_from_rectified = _poses(date_folder, records)
    loaded = []
    for camera in cameras:
        own, calibration = frames[camera], kitti_calibration.read_camera(date_folder, camera)
        _check_size(own.paths, calibration, camera)
        rows = np.searchsorted(numbers, own.numbers)
        lidar_paths = _companions(os.path.join(folder, "velodyne_points", "data"), own, ".bin")
        stereo_paths, stereo_from_camera = (
            _other_camera(folder, camera, own, calibration) if stereo else (None, None))
        world_from_camera = travel = None
        if known[rows].any():
            path = os.path.join(folder, camera, "timestamps.txt")
            travel = speeds[rows] * seconds_to_next(path, own.numbers)
        if known[rows].all():
            world_from_camera = world_from_rectified[rows] @ np.linalg.inv(
                calibration.camera_from_rectified)
        loaded.append(Drive(
            name=f"{name}/{camera}", image_paths=own.paths, frame_numbers=own.numbers,
            size=calibration.size, intrinsics=calibration.intrinsics,
            world_from_camera=world_from_camera, travel=travel,
            depth_paths=_companions(_depth_folder(depth_root, name, camera), own, ".png"),
            median_depth=MEDIAN_DEPTH, lidar_paths=lidar_paths,
            image_from_lidar=None if lidar_paths is None else (
                calibration.projection @ kitti_calibration.rectified_from_lidar(date_folder)),
            stereo_paths=stereo_paths, stereo_from_camera=stereo_from_camera))
    return loaded


def _poses(date_folder: str, records: np.ndarray) -> np.ndarray:
    """Of the rectified frame of camera 0: [n, 4, 4] from n GPS/IMU records, NaN where none is."""
    poses = oxts.world_from_imu(records)
    if np.isnan(poses).all():
        return poses  # and that calibration is not needed
    rectified_from_imu = kitti_calibration.rectified_from_imu(date_folder)
    return rectified_from_imu @ poses @ np.linalg.inv(rectified_from_imu)


def _check_size(paths: Sequence[str], calibration: kitti_calibration.Camera, camera: str):
    """Raises UserError unless the first and the last image have the size of the calibration."""
    for path in (paths[0], paths[-1]):
        found, expected = images.read_frame_size(path), calibration.size
        if found != expected:
            raise UserError(f"{path}: expected {expected[1]} x {expected[0]} pixels (width x "
                            f"height), S_rect_{camera[-2:]} of its date; "
                            f"found {found[1]} x {found[0]}.")


def _companions(folder: str, frames: NumberedFrames, suffix: str) -> Optional[Tuple[str, ...]]:
    """The file of each frame in a folder, "" where it has none; None when no frame has one."""
    if not os.path.isdir(folder):
        return None
    present = set(files.list_folder(folder, f"a folder of 0000000000{suffix}"))
    names = [f"{number:010d}{suffix}" for number in frames.numbers]
    paths = tuple(os.path.join(folder, name) if name in present else "" for name in names)
    if "" in paths:  # at the ends of all annotated drives, so no warning
        _LOG.info("%s: %d of %d frames have no file", folder, paths.count(""), len(paths))
    return paths if any(paths) else None


def _depth_folder(root: str, name: str, camera: str) -> str:
    """Where the annotated depth of a camera is, or would be."""
    drive = f"{name}_sync"
    folders = [os.path.join(root, *place, "proj_depth", "groundtruth", camera)
               for place in ((name[:10], drive), (drive,), ("train", drive), ("val", drive))]
    return next((folder for folder in folders if os.path.isdir(folder)), folders[0])


def seconds_to_next(path: str, numbers: Sequence[int]) -> np.ndarray:
    """[N] seconds from each frame to the one after it; line n of the file is the time of frame n.

    FRAME_SECONDS where the file does not say: there is none, it is damaged, or it has no plausible
    time for a frame. The time only scales what a measured speed becomes, so that is no error.
    """
    seconds = np.full(len(numbers), FRAME_SECONDS)
    if not os.path.exists(path):
        return seconds
    try:
        text = files.read_text(path, "the time of each frame")
        times = np.array(text.rstrip().splitlines(), "datetime64[ns]")
    except ValueError as error:  # of NumPy, or the UserError of an empty file
        _LOG.warning("%s: not used, frames count as %g s apart; %s", path, FRAME_SECONDS,
                     files.one_line(error))
        return seconds
    steps = np.diff(times) / np.timedelta64(1, "s")                          # NaN for NaT
    for k, number in enumerate(numbers):
        if number < len(steps) and 0 < steps[number] < _LONGEST_SECONDS:
            seconds[k] = steps[number]
    return seconds


def _other_camera(folder: str, camera: str, frames: NumberedFrames,
                  calibration: kitti_calibration.Camera) -> Tuple[Tuple[str, ...], np.ndarray]:
    """Pictures of the other camera of a stereo pair, one a frame, and stereo_from_camera [4, 4]."""
    other, date_folder = STEREO_PAIRS[camera], os.path.dirname(folder)
    other_folder = os.path.join(folder, other, "data")
    if not os.path.isdir(other_folder):
        raise UserError(f"--config.data.stereo: expected {other_folder}, the other camera of "
                        f"{camera}; found no such folder.")
    others = dict(zip(*numbered_frames(other_folder, _FIRST)))
    missing = [number for number in frames.numbers if number not in others]
    if missing:
        raise UserError(f"--config.data.stereo: expected a picture in {other_folder} for each of "
                        f"the {len(frames.numbers)} frames of {camera}; {len(missing)} are "
                        f"missing: {files.listing(missing, 3)}.")
    paths = tuple(others[number] for number in frames.numbers)
    other_calibration = kitti_calibration.read_camera(date_folder, other)
    _check_size(paths, other_calibration, other)
    if (other_calibration.size != calibration.size
            or not np.allclose(other_calibration.intrinsics, calibration.intrinsics, rtol=1e-6)):
        raise UserError(f"{date_folder}: expected a rectified stereo pair, {camera} and {other} of "
                        "one size and one camera matrix; they differ.")
    stereo_from_camera = (other_calibration.camera_from_rectified
                          @ np.linalg.inv(calibration.camera_from_rectified))
    return paths, stereo_from_camera
