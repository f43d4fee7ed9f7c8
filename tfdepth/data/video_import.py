"""A user's own video, or folder of images, becomes a folder to train on.

    walk/    000000.png 000001.png 000004.png ...    undistorted; a hole in the numbers is a hole
             intrinsics.json                         in time
             import.json                             where it comes from and what was done
             poses.txt                               where the source had poses, the rows kept

Frames that hardly differ from the one kept before are left out; see near_duplicates.
"""
import collections
import concurrent.futures
import contextlib
import hashlib
import json
import os
import shutil
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from tfdepth.checks import UserError, check_choice
from tfdepth.data import exif, files, folder, images, intrinsics_file, video
from tfdepth.data.config import DataConfig
from tfdepth.data.frame_numbers import follows, number_frames
from tfdepth.data.near_duplicates import find_near_duplicates, renumber
from tfdepth.data.undistortion import Undistortion, plan_undistortion, undistort
from tfdepth.files import write_atomically

FORMATS = {  # suffix of the files -> how Pillow writes them
    "png": {"format": "PNG", "compress_level": 1},                      # lossless, and fast
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},         # colours in full size
}
FACTS = "import.json"
_SAME_FOCAL_LENGTH = 0.01  # share by which EXIF may differ between the pictures of one camera
_AHEAD = 16                # frames that wait to be written, at most


class _Source(NamedTuple):
    """What is imported."""
    path: str
    size: Tuple[int, int]         # (height, width), pixels
    rate: float                   # frames a second on average, as a video says; 0 = unknown
    paths: Sequence[str]          # the image files in time order; () for a video
    numbers: Sequence[int]        # their frame numbers
    cameras: Sequence[str]        # where a camera file may lie
    fingerprint: str              # changes when the files do


def import_frames(source: str, output: str, frames_per_second: float = 0,
                  min_image_change: float = DataConfig.min_image_change, intrinsics: str = "",
                  horizontal_fov: float = 0, crop: bool = True, file_format: str = "png",
                  show: Callable[[str], None] = print):
    """Writes a training folder (see the module); it appears whole or not at all.

    The camera is the one of `intrinsics`, or of `horizontal_fov`; without both, that of the camera
    file beside the source (as folder.load finds it), and else of the EXIF notes of the images.

    Args:
      source: a video file, or a folder of images of one camera (not of its sub-folders).
      output: folder to make. If it is there from an import of the same source with the same
        settings nothing is done.
      frames_per_second: of the result; 0 = as many as the video has.
      min_image_change: frames that differ less from the last one kept are left out: mean
        |difference| of small grey copies, in [0, 1], as in training. 0 keeps all.
      intrinsics: camera file, or its JSON text; it may hold distortion, which is then taken out.
      horizontal_fov: degrees between the left and the right edge.
      crop: cut off what undistorted frames show black.
      file_format: a row of FORMATS.
      show: called with lines of text for the user.

    Raises:
      UserError: a source, camera or setting that is not as above, unreadable or differing frames,
        an output folder with something else in it or that cannot be written, or no two
        neighbouring frames that differ.
    """
    check_choice("--format", file_format, FORMATS)
    if not 0 <= min_image_change < 1:
        raise UserError(f"--min_image_change must lie in [0, 1); got {min_image_change:g}.")
    source, output = files.expand(source), files.expand(output)
    opened = _open_source(source, frames_per_second)
    camera, distortion, origin = _find_camera(opened, intrinsics, horizontal_fov)
    request = {
        "source": os.path.abspath(source), "source_fingerprint": opened.fingerprint,
        "frames_per_second": frames_per_second, "min_image_change": min_image_change,
        "crop": crop, "format": file_format, "camera_from": origin,
        "source_camera": {"width": opened.size[1], "height": opened.size[0], "fx": camera[0, 0],
                          "fy": camera[1, 1], "cx": camera[0, 2], "cy": camera[1, 2]},
        "distortion": distortion and {**distortion._asdict(),
                                      "coefficients": list(distortion.coefficients)}}
    if _is_done(output, request):
        show(f"{output}: holds this import already")
        return
    if opened.paths and exif.is_turned(opened.paths[0]):
        show(f"warning: {opened.paths[0]}: EXIF says that the picture must be turned to be looked "
             "at; frames are taken as they are stored")
    undistortion, size = None, opened.size
    if distortion:
        undistortion = plan_undistortion(origin, camera, distortion, opened.size, crop)
        camera, size = undistortion.intrinsics, undistortion.size
        intrinsics_file.check_plausible(origin, camera, size)
    with _new_folder(output) as temporary:
        seen, kept = _write_frames(opened, frames_per_second, temporary, undistortion,
                                   min_image_change, file_format)
        numbers = renumber(kept, seen) if kept else ()
        joined = sum(follows(numbers))
        if not joined:
            raise UserError(f"{source}: expected frames of a moving camera; no two neighbours of "
                            f"{len(seen)} frames differ by --min_image_change={min_image_change:g} "
                            "of the brightness.")
        for old, new in zip(kept, numbers):  # new <= old, and ascending: nothing is overwritten
            os.replace(_frame_path(temporary, old, file_format),
                       _frame_path(temporary, new, file_format))
        _write_poses(opened, kept, temporary)
        intrinsics_file.write_intrinsics(os.path.join(temporary, intrinsics_file.FILE_NAME),
                                         camera, size)
        counts = {"frames_read": len(seen), "near_duplicates": len(seen) - len(kept),
                  "frames_written": len(kept), "holes": len(kept) - 1 - joined}
        write_atomically(os.path.join(temporary, FACTS), json.dumps(
            {**request, "source_frames_per_second": opened.rate or None, **counts}, indent=2))
    rate = f" at {frames_per_second:g} a second" if frames_per_second else ""
    show(f"{source}: {len(seen)} frames{rate}; "
         f"{counts['near_duplicates']} ({counts['near_duplicates'] / len(seen):.0%}) hardly differ "
         "from the one kept before and are left out")
    horizontal, vertical = intrinsics_file.field_of_view(camera, size)
    show(f"camera: {origin}; {distortion.model if distortion else 'no'} distortion taken out; "
         f"field of view {horizontal:.1f} x {vertical:.1f} degrees")
    show(f"wrote {len(kept)} frames of {size[1]} x {size[0]} to {output}; holes in time: "
         f"{counts['holes']}")


def frames_left_out(path: str) -> int:
    """How many frames an import left out of a folder, whose numbers then are no times; 0 of any
    other folder, or file."""
    return int(_import_numbers(path)["near_duplicates"])


def rate_of_import(path: str) -> float:
    """Frames a second of the frame numbers in a folder that an import wrote; 0 = nobody knows: also
    where frames were left out, as numbers are no times then."""
    numbers = _import_numbers(path)
    if numbers["near_duplicates"]:
        return 0.0
    return numbers["frames_per_second"] or numbers["source_frames_per_second"]


def _import_numbers(path):
    """{name: float} of what an import wrote of a folder; zeros of any other folder, or file."""
    names = "near_duplicates", "frames_per_second", "source_frames_per_second"
    try:
        with open(os.path.join(path, FACTS), encoding="utf-8") as file:
            facts = dict(json.load(file))
        numbers = {name: float(facts.get(name) or 0) for name in names}
        if all(0 <= number < 1e9 for number in numbers.values()):
            return numbers
    except (OSError, ValueError, TypeError, OverflowError, RecursionError):
        pass
    return dict.fromkeys(names, 0.0)  # no folder of ours


def _open_source(path: str, frames_per_second: float) -> _Source:
    """Reads headers, not frames."""
    if not 0 <= frames_per_second < 1e4:
        raise UserError(f"--frames_per_second must lie in [0, 10000); got {frames_per_second:g}.")
    if os.path.isfile(path):
        if not path.lower().endswith(video.SUFFIXES):
            raise UserError(f"{path}: expected a folder of images, or a video "
                            f"({', '.join(video.SUFFIXES)}); found another file.")
        header = video.read_header(path)
        if frames_per_second and not header.rate:
            raise UserError(f"--frames_per_second: expected 0 for {path}, a stream, which does not "
                            f"say how fast it was taken; got {frames_per_second:g}.")
        if header.rate and frames_per_second > 1.1 * header.rate:
            raise UserError(f"--frames_per_second: expected at most what {path} has, "
                            f"{header.rate:g} on average; got {frames_per_second:g}.")
        cameras = (f"{os.path.splitext(path)[0]}.json",
                   os.path.join(os.path.dirname(path), intrinsics_file.FILE_NAME))
        return _Source(path, header.size, header.rate, (), (), cameras, _fingerprint([path]))
    names = images.image_names(path, "a video file or a folder of images")
    if len(names) < 2:
        raise UserError(f"{path}: expected a video file or a folder of several images; found "
                        f"{len(names)} images in {files.listing(os.listdir(path))}.")
    if frames_per_second:
        raise UserError("--frames_per_second: expected 0 for a folder of images, which does not "
                        f"say how fast they were taken; got {frames_per_second:g}.")
    names, numbers = number_frames(path, names)
    paths = tuple(os.path.join(path, name) for name in names)
    return _Source(path, images.check_same_size(paths), 0.0, paths, numbers,
                   (os.path.join(path, intrinsics_file.FILE_NAME),), _fingerprint(paths))


def _fingerprint(paths: Sequence[str]) -> str:
    states = [(os.path.basename(path), os.stat(path)) for path in paths]
    text = repr([(name, state.st_size, state.st_mtime_ns) for name, state in states])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _find_camera(source: _Source, intrinsics: str, horizontal_fov: float
                 ) -> Tuple[np.ndarray, Optional[intrinsics_file.Distortion], str]:
    """(matrix [3, 3] of the source's frames, distortion, where both come from)."""
    if intrinsics and horizontal_fov:
        raise UserError("--intrinsics and --horizontal_fov: expected one of them; got both.")
    if horizontal_fov:
        camera = intrinsics_file.from_field_of_view("--horizontal_fov", horizontal_fov, source.size)
        intrinsics_file.check_plausible("--horizontal_fov", camera, source.size)
        return camera, None, f"--horizontal_fov {horizontal_fov:g}"
    if intrinsics_file.is_json(intrinsics):
        return (*intrinsics_file.read_camera(intrinsics, source.size), intrinsics)
    path = files.expand(intrinsics) or next(filter(os.path.exists, source.cameras), None)
    if path:
        return (*intrinsics_file.read_camera(path, source.size), os.path.abspath(path))
    if not source.paths:
        raise UserError(f"{source.path}: expected a camera; found no {source.cameras[0]}. Give "
                        "--horizontal_fov, the angle between the left and the right edge in "
                        "degrees, or a file with --intrinsics.")
    found = [exif.read_focal_length(path) for path in source.paths]
    first = found[0]
    for path, other in zip(source.paths, found):
        if abs(other.pixels / first.pixels - 1) > _SAME_FOCAL_LENGTH:
            raise UserError(f"{path}: expected the focal length of {source.paths[0]} in EXIF, "
                            f"{first.pixels:.1f} pixels; found {other.pixels:.1f}. Was the lens "
                            "zoomed? Give each setting a folder of its own.")
    camera = intrinsics_file.centred(first.pixels, source.size)
    intrinsics_file.check_plausible(f"{source.paths[0]}: EXIF", camera, source.size)
    return camera, None, f"EXIF {first.tag}"


def _is_done(output: str, request: Dict) -> bool:
    """Whether the folder is there from the same request; UserError if it holds something else."""
    if not output:
        raise UserError("--output: expected a folder to make; got an empty path.")
    if not os.path.lexists(output):
        return False
    names = files.list_folder(output, "a folder to make")
    if not names:
        return False
    found = files.listing(names)
    if FACTS in names:
        path = os.path.join(output, FACTS)
        try:
            facts = dict(json.loads(files.read_text(path, "the facts of an import")))
        except (ValueError, TypeError, RecursionError):
            facts = {}
        wanted = json.loads(json.dumps(request))
        differ = [name for name in wanted if facts.get(name, FACTS) != wanted[name]]
        if not differ:
            return True
        found = f"an import that differs in {', '.join(differ)}"
    raise UserError(f"{output}: expected a folder to make; found {found}. Remove it or give "
                    "another --output.")


@contextlib.contextmanager
def _new_folder(path: str) -> Iterator[str]:
    """A folder that becomes `path` at the end; what an import that was killed left is removed."""
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.import.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        os.makedirs(temporary)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written; {files.one_line(error)}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _frames(source: _Source, frames_per_second: float) -> Iterator[Tuple[int, np.ndarray]]:
    """(frame number, uint8 [H, W, 3]) in time order."""
    if source.paths:
        return zip(source.numbers, map(images.read_image, source.paths))
    return enumerate(video.read_frames(source.path, frames_per_second))


def _write_frames(source: _Source, frames_per_second: float, target: str,
                  undistortion: Optional[Undistortion], min_image_change: float,
                  file_format: str) -> Tuple[List[int], List[int]]:
    """Writes frames under their old numbers; (the numbers of all frames, of those kept)."""
    seen, kept = [], []
    pending = collections.deque()
    with concurrent.futures.ThreadPoolExecutor() as pool, tqdm(
            desc="importing", total=len(source.paths) or None, unit=" frames",
            disable=None) as bar:
        for number, pixels, keep in find_near_duplicates(_frames(source, frames_per_second),
                                                         min_image_change):
            bar.update()
            seen.append(number)
            if not keep:
                continue
            kept.append(number)
            pending.append(pool.submit(_write_frame, _frame_path(target, number, file_format),
                                       pixels, undistortion, file_format))
            if len(pending) > _AHEAD:
                pending.popleft().result()
        for job in pending:
            job.result()
    return seen, kept


def _frame_path(target: str, number: int, file_format: str) -> str:
    return os.path.join(target, f"{number:06d}.{file_format}")


def _write_frame(path: str, pixels: np.ndarray, undistortion: Optional[Undistortion],
                 file_format: str):
    if undistortion:
        pixels = undistort(pixels, undistortion)
    Image.fromarray(pixels).save(path, **FORMATS[file_format])


def _write_poses(source: _Source, kept: Sequence[int], target: str):
    """The rows of the source's poses, if it has any, of the frames kept."""
    path = os.path.join(source.path, folder.POSES)
    if not source.paths or not os.path.exists(path):
        return
    poses = files.read_poses(path)
    if len(poses) != len(source.paths):
        raise UserError(f"{path}: expected a row for each of the {len(source.paths)} images; "
                        f"found {len(poses)}.")
    rows = poses[np.searchsorted(source.numbers, kept), :3].reshape(-1, 12)
    write_atomically(os.path.join(target, folder.POSES), "".join(
        " ".join(f"{value:.9e}" for value in row) + "\n" for row in rows))
