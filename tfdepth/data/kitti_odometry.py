"""KITTI odometry: sequences/NN/image_K/*.png, calib.txt, poses/NN.txt.

One drive for each sequence, named "NN/image_K". image_0 and image_1 are the left and right grey
cameras, image_2 and image_3 the left and right colour cameras. Not read: times.txt, velodyne.
Beside image_K there may be depth_K/ (depth maps, see images.read_depth) and moving_K/ (masks,
> 0 = moves by itself), one PNG a frame under the frame's name; our synthetic world writes them.

Source: Geiger et al., Are we ready for Autonomous Driving?, CVPR 2012, and its development kit.
"""
import logging
import os
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError, check_choice
from tfdepth.data import files, images, kitti_calibration
from tfdepth.data.drives import Drive
from tfdepth.data.frame_numbers import numbered_frames

CAMERAS = ("image_2", "image_0", "image_3", "image_1")  # () takes the first that a sequence has
STEREO_PAIRS = {"image_0": "image_1", "image_1": "image_0",
                "image_2": "image_3", "image_3": "image_2"}
_LAYOUT = "sequences/NN/{image_0 ... image_3}/000000.png"
_LOG = logging.getLogger(__name__)


def load(root: str, cameras: Sequence[str] = (), sequences: Sequence[str] = (),
         stereo: bool = False) -> Tuple[Drive, ...]:
    """Reads the sequences under `root`: a drive for each of their cameras.

    Args:
      root: the folder that holds sequences/ and perhaps poses/.
      cameras: of image_0 ... image_3; () = the first that the sequence has, in the order of
        CAMERAS.
      sequences: names as "06"; () = all. Sequences without pictures of these cameras are then
        left out, and a warning names them.
      stereo: whether each frame needs the picture of the other camera of its kind.

    Returns:
      Drives in order of their names. Frames are numbered by their file names; where
      poses/NN.txt is there, row n is the pose of frame n, moved to this camera.

    Raises:
      UserError: nothing of this layout, an unknown name, an empty image folder, a frame that
        cannot be read or has another size, a bad calib.txt or pose file, fewer poses than
        frames, depth or moving masks for some frames only, no second camera for `stereo`.
    """
    root = files.expand(root)
    for camera in cameras:
        check_choice("cameras: a name", camera, sorted(CAMERAS))
    wanted = " and ".join(cameras)
    present = _image_folders(root)
    for name in sequences:
        check_choice(f"{root}: a sequence", name, present)
        if not choose_cameras(present[name], cameras):
            raise UserError(f"{os.path.join(root, 'sequences', name)}: expected "
                            f"{wanted or ' or '.join(CAMERAS)}; "
                            f"found {files.listing(present[name])}.")
    skipped = skipped_sequences(root, cameras)
    chosen = [name for name in (sequences or present) if name not in skipped]
    if not chosen:
        found = sorted({folder for folders in present.values() for folder in folders})
        raise UserError(f"{root}: expected {wanted or 'images'} as {_LAYOUT}; found "
                        f"{len(present)} sequences with {files.listing(found)}.")
    if skipped and not sequences:
        _LOG.warning("%s: %d of %d sequences have no %s and are left out: %s", root, len(skipped),
                     len(present), wanted or "images", files.listing(skipped))
    return tuple(_load_drive(root, name, camera, stereo)
                 for name in chosen for camera in choose_cameras(present[name], cameras))


def skipped_sequences(root: str, cameras: Sequence[str] = ()) -> Tuple[str, ...]:
    """Names of the sequences that lack pictures of these cameras, so that `load` omits them."""
    present = _image_folders(files.expand(root))
    return tuple(name for name, folders in present.items() if not choose_cameras(folders, cameras))


def read_projections(path: str) -> Dict[str, np.ndarray]:
    """The projection matrices of a calib.txt: "P0" ... "P3" -> [3, 4] float64.

    P maps points of the rectified frame of camera 0 in metres to pixels of its camera.

    Raises:
      UserError: the file cannot be read, or a row "Pk:" does not hold 12 finite numbers.
    """
    projections = {}
    for k, line in enumerate(files.read_text(path, "rows \"P0: 12 numbers\"").splitlines()):
        name, colon, values = line.partition(":")
        if colon and name.strip() in ("P0", "P1", "P2", "P3"):
            where = f"{path}, line {k + 1}, {name.strip()}"
            projections[name.strip()] = files.parse_numbers(values, 12, where).reshape(3, 4)
    return projections


def read_camera(path: str, camera: str, size: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """The camera of one image folder, from calib.txt.

    Args:
      path: calib.txt.
      camera: image_0 ... image_3.
      size: (height, width) of its images, pixels.

    Returns:
      ([3, 3] float64 intrinsics in pixels of `size`, [3] float64 position of the camera in the
      frame of camera 0, metres). With P = K [I | t] the position is -t = -inv(K) P[:, 3]; its
      first entry is -P[0, 3] / P[0, 0] up to the millimetres of P[2, 3].

    Raises:
      UserError: the row is missing or is no plausible rectified projection.
    """
    row = f"P{camera[-1]}"
    projections = read_projections(path)
    if row not in projections:
        raise UserError(f"{path}: expected a row \"{row}: 12 numbers\" for {camera}; "
                        f"found {files.listing(sorted(projections))}.")
    return kitti_calibration.split_projection(f"{path}, {row}", projections[row], size)


def _image_folders(root: str) -> Dict[str, List[str]]:
    """Sequence name -> its image folders, [] where there are none."""
    names = files.list_folder(root, f"a folder that holds {_LAYOUT}")
    folder = os.path.join(root, "sequences")
    if "sequences" not in names:
        raise UserError(f"{root}: expected {_LAYOUT}; found no folder sequences, but "
                        f"{files.listing(names)}.")
    present = {}
    for name in files.list_folder(folder, "a folder with a folder for each sequence"):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            present[name] = [camera for camera in CAMERAS
                             if os.path.isdir(os.path.join(path, camera))]
    if not any(present.values()):
        raise UserError(f"{root}: expected {_LAYOUT}; found no such image folder in "
                        f"{len(present)} sequences ({files.listing(present)}).")
    return present


def choose_cameras(folders: Sequence[str], cameras: Sequence[str]) -> Sequence[str]:
    """The image folders to read among those of a sequence or drive.

    Args: folders: those that are there, the preferred first. cameras: wanted; () = the first.
    Returns: () if one of `cameras` is not there.
    """
    if cameras:
        return tuple(cameras) if set(cameras) <= set(folders) else ()
    return tuple(folders[:1])


def _load_drive(root: str, sequence: str, camera: str, stereo: bool) -> Drive:
    folder = os.path.join(root, "sequences", sequence)
    numbers, paths = numbered_frames(os.path.join(folder, camera), "000000.png")
    size = images.check_same_size(paths)
    calibration = os.path.join(folder, "calib.txt")
    intrinsics, position = read_camera(calibration, camera, size)
    stems = [_stem(path) for path in paths]
    stereo_paths, stereo_from_camera = (
        _other_camera(folder, camera, stems, size) if stereo else (None, None))
    return Drive(
        name=f"{sequence}/{camera}", image_paths=paths, frame_numbers=numbers, size=size,
        intrinsics=intrinsics,
        world_from_camera=_poses(os.path.join(root, "poses", f"{sequence}.txt"), numbers, position),
        stereo_paths=stereo_paths, stereo_from_camera=stereo_from_camera,
        depth_paths=_companions(os.path.join(folder, f"depth_{camera[-1]}"), stems),
        moving_paths=_companions(os.path.join(folder, f"moving_{camera[-1]}"), stems))


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _other_camera(folder: str, camera: str, stems: Sequence[str], size: Tuple[int, int]):
    """Pictures of the other camera of a stereo pair, one a frame, and stereo_from_camera [4, 4]."""
    other = STEREO_PAIRS[camera]
    if not os.path.isdir(os.path.join(folder, other)):
        raise UserError(f"--config.data.stereo: expected {os.path.join(folder, other)}, the other "
                        f"camera of {camera}; found no such folder.")
    _, paths = numbered_frames(os.path.join(folder, other), "000000.png")
    by_stem = {_stem(path): path for path in paths}
    missing = [stem for stem in stems if stem not in by_stem]
    if missing:
        raise UserError("--config.data.stereo: expected a picture in "
                        f"{os.path.join(folder, other)} for each of the {len(stems)} frames of "
                        f"{camera}; {len(missing)} are missing: {files.listing(missing, 3)}.")
    paths = tuple(by_stem[stem] for stem in stems)
    found = images.check_same_size(paths)
    calibration = os.path.join(folder, "calib.txt")
    intrinsics, position = read_camera(calibration, camera, size)
    other_intrinsics, other_position = read_camera(calibration, other, found)
    if found != size or not np.allclose(intrinsics, other_intrinsics, rtol=1e-6):
        raise UserError(f"{calibration}: expected a rectified stereo pair, {camera} and {other} of "
                        f"one size and one camera matrix; they differ.")
    stereo_from_camera = np.eye(4)
    stereo_from_camera[:3, 3] = position - other_position  # both look the same way
    return paths, stereo_from_camera


def _poses(path: str, numbers: Sequence[int], position: np.ndarray) -> Optional[np.ndarray]:
    """world_from_camera [N, 4, 4] of the frames, or None when there is no pose file."""
    if not os.path.exists(path):
        return None
    world_from_camera_0 = files.read_poses(path)
    if len(world_from_camera_0) <= numbers[-1]:
        raise UserError(f"{path}: expected a pose for each frame up to number {numbers[-1]}, so "
                        f"{numbers[-1] + 1} rows; found {len(world_from_camera_0)}.")
    camera_0_from_camera = np.eye(4)
    camera_0_from_camera[:3, 3] = position
    return world_from_camera_0[list(numbers)] @ camera_0_from_camera


def _companions(folder: str, stems: Sequence[str]) -> Optional[Tuple[str, ...]]:
    """The PNG of each frame in a folder beside the images, or None when there is no folder."""
    if not os.path.isdir(folder):
        return None
    present = set(files.list_folder(folder, "a folder of PNGs"))
    missing = [f"{stem}.png" for stem in stems if f"{stem}.png" not in present]
    if missing:
        raise UserError(f"{folder}: expected a PNG for each of the {len(stems)} frames; "
                        f"{len(missing)} are missing: {files.listing(missing, 3)}.")
    return tuple(os.path.join(folder, f"{stem}.png") for stem in stems)
