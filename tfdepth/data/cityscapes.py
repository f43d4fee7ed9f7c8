"""Cityscapes sequences: leftImg8bit_sequence/train/aachen/aachen_000000_000019_leftImg8bit.png.

The layout is <kind>_sequence/<split>/<city>/<city>_<sequence>_<frame>_<kind>.png, 2048 x 1024, for
the kinds leftImg8bit and rightImg8bit, with camera/<split>/<city>/<city>_<sequence>_<frame>_camera
.json, one a snippet (the packages leftImg8bit_sequence_trainvaltest, camera_trainvaltest and, for
stereo, rightImg8bit_sequence_trainvaltest). The set consists of snippets of 30 frames; one sequence
may hold several. One drive for each run of consecutive frame numbers, named by its first frame:
"train/aachen/000000_000000/left". Not read: disparity, vehicle, timestamp, labels.

The bonnet is cut away: the upper 768 of the 1024 rows count, as published, where pictures become
416 x 171 and keep their upper 128 rows (int(0.75 * 171)). Resized to 416 x 128 ours differ from
those by 0.2 % in height: 128 rows are 768 rows of the file here (fy / 6) and 766.5 there
(fy * 171 / 1024); and there the principal point is multiplied only, while here the half pixel of
`camera.resize_intrinsics` is kept. At 640 x 192 both cuts are the same. The car drives with 17
frames a second; published systems pair every second frame (--config.data.frame_gap=2).

Source: Cordts et al., The Cityscapes Dataset, CVPR 2016; the cut and the gap: Zhou et al.,
Unsupervised Learning of Depth and Ego-Motion from Video, CVPR 2017, cityscapes_loader.py.
"""
import json
import os
import re
from typing import Dict, List, Sequence, Tuple

import numpy as np

from tfdepth.checks import UserError, check_choice
from tfdepth.data import files, images, intrinsics_file
from tfdepth.data.drives import Drive

CAMERAS = {"left": "leftImg8bit", "right": "rightImg8bit"}  # () takes left
FILE_SIZE = (1024, 2048)   # (height, width), pixels
SIZE = (768, 2048)         # the rows above the bonnet
_LAYOUT = "leftImg8bit_sequence/<split>/<city>/<city>_000000_000000_leftImg8bit.png"


def load(root: str, cameras: Sequence[str] = (), cities: Sequence[str] = (),
         stereo: bool = False) -> Tuple[Drive, ...]:
    """Reads the snippets under `root`: a drive for each run of frames and camera.

    Of the pictures only the first of a drive is opened, for its size.

    Args:
      root: the folder that holds leftImg8bit_sequence/ and camera/.
      cameras: of left and right; () = left.
      cities: names as "aachen"; () = all, of all splits.
      stereo: whether each frame needs the picture of the other camera.

    Returns:
      Drives in order of split, city, camera, sequence and frame. Both cameras are rectified to one
      matrix; the right one stands `baseline` metres to the right of the left one.

    Raises:
      UserError: nothing of this layout, single frames without their neighbours, an unknown camera
        or city, an image of another name or size, no or a bad camera file, a picture of the other
        camera missing for `stereo`.
    """
    root = files.expand(root)
    cameras = tuple(cameras) or ("left",)
    for camera in cameras:
        check_choice("cameras: a name", camera, CAMERAS)
    places = _places(root, cameras)
    for city in cities:
        check_choice(f"{root}: a city", city, sorted({city for _, city in places}))
    drives = tuple(drive for split, city in places if not cities or city in cities
                   for drive in _load_city(root, split, city, cameras, stereo))
    if all(len(drive) == 1 for drive in drives):
        raise UserError(f"{root}: expected sequences, {_LAYOUT}; found {len(drives)} frames and no "
                        "two that are neighbours in time.")
    return drives


def read_camera(path: str) -> Tuple[np.ndarray, float]:
    """The camera of a snippet.

    Args:
      path: a ..._camera.json, with intrinsic fx, fy, u0, v0 and extrinsic baseline.

    Returns:
      ([3, 3] float64 intrinsics, pixels of the file as well as of its upper rows; distance of the
      two cameras in metres). u0 and v0 are taken as they are: the data set does not say where in
      the first pixel its 0 lies.

    Raises:
      UserError: the file cannot be read or is no such JSON, a number is missing or is none, the
        camera is implausible, or the baseline is not between 0 and 10 m.
    """
    expected = "a camera file in JSON with intrinsic fx, fy, u0, v0 and extrinsic baseline"
    text = files.read_text(path, expected)
    try:
        content = json.loads(text)
    except RecursionError:
        raise UserError(f"{path}: expected {expected}; found too deep nesting.") from None
    except ValueError as error:
        raise UserError(f"{path}: expected {expected}; {files.one_line(error)}.") from None

    def number(group, name):
        fields = content.get(group) if isinstance(content, dict) else None
        value = fields.get(name) if isinstance(fields, dict) else None
        if type(value) not in (int, float) or not abs(value) < 1e9:  # NaN fails too
            raise UserError(f"{path}: expected {expected}; found no number {group} {name}, "
                            f"but {str(value)[:40]!r}.")
        return float(value)

    fx, fy, u0, v0 = (number("intrinsic", name) for name in ("fx", "fy", "u0", "v0"))
    intrinsics = np.array([[fx, 0, u0], [0, fy, v0], [0, 0, 1]])
    intrinsics_file.check_plausible(path, intrinsics, SIZE)
    baseline = number("extrinsic", "baseline")
    if not 0 < baseline < 10:
        raise UserError(f"{path}: expected a baseline between 0 and 10 m; found {baseline:g} m.")
    return intrinsics, baseline


def _places(root: str, cameras: Sequence[str]) -> List[Tuple[str, str]]:
    """(split, city) of every city folder of any of the cameras, in order."""
    names = files.list_folder(root, f"a folder that holds {_LAYOUT}")
    places = set()
    for camera in cameras:
        kind = CAMERAS[camera]
        if f"{kind}_sequence" not in names:
            hint = (f"; {kind} holds single frames, sequences are needed (the package "
                    f"{kind}_sequence_trainvaltest)" if kind in names else "")
            raise UserError(f"{root}: expected a folder {kind}_sequence; found "
                            f"{files.listing(names)}{hint}.")
        top = os.path.join(root, f"{kind}_sequence")
        for split in files.list_folder(top, "a folder with a folder for each split"):
            folder = os.path.join(top, split)
            if os.path.isdir(folder):
                places.update((split, city) for city in files.list_folder(folder, "city folders")
                              if os.path.isdir(os.path.join(folder, city)))
    if not places:
        raise UserError(f"{root}: expected {_LAYOUT}; found no city folder.")
    return sorted(places)


def _load_city(root: str, split: str, city: str, cameras: Sequence[str],
               stereo: bool) -> List[Drive]:
    calibrations = _numbered(os.path.join(root, "camera", split, city), city, "camera.json")
    wanted = set(CAMERAS) if stereo else set(cameras)
    paths = {camera: _numbered(os.path.join(root, f"{CAMERAS[camera]}_sequence", split, city),
                               city, f"{CAMERAS[camera]}.png") for camera in wanted}
    drives = []
    for camera in cameras:
        for sequence, frames in sorted(paths[camera].items()):
            numbers = sorted(frames)
            for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
                calibration = _nearest(calibrations.get(sequence, {}), run, frames)
                intrinsics, baseline = read_camera(calibration)
                drive = Drive(
                    name=f"{split}/{city}/{sequence:06d}_{run[0]:06d}/{camera}",
                    image_paths=tuple(frames[number] for number in run),
                    frame_numbers=tuple(run.tolist()), size=SIZE, file_size=FILE_SIZE,
                    intrinsics=intrinsics,
                    **(_other_camera(camera, paths, sequence, run, baseline) if stereo else {}))
                _check_size(drive.image_paths[0])
                if stereo:
                    _check_size(drive.stereo_paths[0])
                drives.append(drive)
    return drives


def _numbered(folder: str, city: str, ending: str) -> Dict[int, Dict[int, str]]:
    """Sequence -> frame -> path of the files <city>_<sequence>_<frame>_<ending> in a folder."""
    example = f"{city}_000000_000000_{ending}"
    pattern = re.compile(re.escape(city) + "_([0-9]{6})_([0-9]{6})_" + re.escape(ending))
    paths: Dict[int, Dict[int, str]] = {}
    for name in files.list_folder(folder, f"a folder of files {example}"):
        match = pattern.fullmatch(name)
        if match:
            paths.setdefault(int(match[1]), {})[int(match[2])] = os.path.join(folder, name)
        elif name.lower().endswith((*images.IMAGE_SUFFIXES, ".json")):
            raise UserError(f"{os.path.join(folder, name)}: expected a name as {example}; "
                            "rename or remove the file.")
    if not paths:
        raise UserError(f"{folder}: expected files {example}; found none.")
    return paths


def _nearest(calibrations: Dict[int, str], run: Sequence[int], frames: Dict[int, str]) -> str:
    """Of the camera files of a sequence the one whose frame is nearest to the middle of the run."""
    if not calibrations:
        raise UserError(f"{frames[run[0]]}: expected a camera file of its sequence under camera/; "
                        "found none (the package camera_trainvaltest).")
    middle = (run[0] + run[-1]) / 2
    return calibrations[min(calibrations, key=lambda number: (abs(number - middle), number))]


def _other_camera(camera: str, paths: Dict[str, Dict[int, Dict[int, str]]], sequence: int,
                  run: Sequence[int], baseline: float) -> dict:
    """The fields of a Drive that belong to stereo."""
    other = "right" if camera == "left" else "left"
    others = paths[other].get(sequence, {})
    missing = [number for number in run if number not in others]
    if missing:
        first = paths[camera][sequence][missing[0]]
        raise UserError(f"--config.data.stereo: expected a picture of the {other} camera for each "
                        f"of the {len(run)} frames of this snippet; {len(missing)} are missing, "
                        f"the first is the partner of {first}.")
    stereo_from_camera = np.eye(4)
    stereo_from_camera[0, 3] = -baseline if other == "right" else baseline
    return {"stereo_paths": tuple(others[number] for number in run),
            "stereo_from_camera": stereo_from_camera}


def _check_size(path: str):
    """Raises UserError unless a picture has the size that the camera files are for."""
    size = images.read_frame_size(path)
    if size != FILE_SIZE:
        raise UserError(f"{path}: expected {FILE_SIZE[1]} x {FILE_SIZE[0]} pixels, for which the "
                        f"camera files are; found {size[1]} x {size[0]}.")
