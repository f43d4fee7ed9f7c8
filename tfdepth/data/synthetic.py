"""The built-in synthetic data set: made once, kept in a cache, read by the KITTI loaders.

    root/sequences/NN/image_2/000000.png     left camera, 8-bit RGB
                      image_3/               right camera
                      depth_2/ depth_3/      16 bit, metres x 256, 0 = none (sky, over 255.9 m)
                      moving_2/ moving_3/    255 = moves by itself; only in drives with movers
                      calib.txt times.txt    P0 = P2 the left camera, P1 = P3 the right one
    root/poses/NN.txt                        world_from_camera of the left camera, 12 numbers
    root/manifest.json                       what was asked for; size and CRC-32 of every file

Unlike in KITTI, where camera 2 is 6 cm beside camera 0, poses are exactly those of image_2.
Every drive is a world of its own, so held-out drives are held-out worlds.
"""
import concurrent.futures
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from typing import Callable, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from tfdepth.checks import UserError, check_size
from tfdepth.data import synthetic_render, synthetic_world
from tfdepth.files import cache_path

VERSION = 10         # raise it whenever the same specification gives other pictures
SIZE = (128, 416)   # (height, width) of the default set
FRAME_COUNT = 13    # frames a drive of the default set
_MAX_DEPTH = 255.99  # metres; farther ones do not fit into KITTI's 16 bits


class DriveSpec(NamedTuple):
    """One drive of a set."""
    name: str           # two digits or three, the sequence's folder
    seed: int           # of its world
    with_movers: bool   # whether cars and people move through it
    handheld: bool = False  # whether its camera swings as one held by hand, not as on a car


# Many short drives rather than few long ones: a network learns from the variety of worlds.
DRIVES = tuple(DriveSpec(f"{number:02d}", 1000 + number, number % 4 == 2) for number in range(136))
# The first of these worlds, and cars and people move through every one of them.
DRIVES_WITH_MOVERS = tuple(drive._replace(with_movers=True) for drive in DRIVES[:72])
# The same streets and ways, other buildings; nothing moves, and the camera swings: turns that have
# nothing to do with its way tell what its focal length is.
DRIVES_HANDHELD = tuple(drive._replace(with_movers=False, handheld=True)
                        for drive in DRIVES[:72])
VALIDATION_DRIVES = tuple(drive.name for drive in DRIVES[64:67])  # of each set
TEST_DRIVES = tuple(drive.name for drive in DRIVES[67:72])


def camera_intrinsics(size: Tuple[int, int]) -> np.ndarray:
    """Intrinsics [3, 3] of both cameras, pixels of `size`: KITTI's field of view, off centre."""
    height, width = size
    return np.array([[0.58 * width, 0, 0.492 * width - 0.5],
                     [0, 1.92 * height, 0.465 * height - 0.5], [0, 0, 1]])


def ensure_synthetic(root: Optional[str] = None, size: Tuple[int, int] = SIZE,
                     progress: Optional[Callable[[int, int], None]] = None,
                     drives: Sequence[DriveSpec] = DRIVES,
                     frame_count: int = FRAME_COUNT) -> str:
    """Returns the folder of a complete synthetic set; makes it where it is missing or broken.

    Every call checks each file against the manifest. A set is made in a folder of its own and
    renamed into place, so that nobody ever reads half a set, and several processes may call this
    at once.

    Args:
      root: where the set is or shall be; None = a cache folder named after the specification,
        below $XDG_CACHE_HOME or ~/.cache.
      size: (height, width) of all images.
      progress: called with (frames made, frames in all) while a set is made.
      drives: the drives of the set.
      frame_count: frames a drive.

    Raises:
      UserError: `size` is no size, or `root` holds something else or cannot be written.
    """
    check_size("size", size, 1)
    specification = {"version": VERSION, "size": list(size), "frame_count": frame_count,
                     "drives": [_described(drive) for drive in drives]}
    in_cache = root is None
    if in_cache:
        digest = hashlib.sha256(json.dumps(specification).encode()).hexdigest()[:8]
        root = cache_path(f"synthetic-{digest}")
    root = os.path.abspath(os.path.expanduser(root))
    fault = find_fault(root, specification)
    if fault is None:
        return root
    try:
        if os.path.exists(root):
            _check_replaceable(root, specification, in_cache)
            if os.listdir(root):
                print(f"synthetic data in {root}: {fault}; making the set anew", file=sys.stderr)
        os.makedirs(os.path.dirname(root), exist_ok=True)
        _remove_leftovers(root)
        making = tempfile.mkdtemp(prefix=os.path.basename(root) + ".making-",
                                  dir=os.path.dirname(root))
        try:
            os.chmod(making, 0o755)
            _make(making, specification, progress)
            _move_into_place(making, root, specification)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        raise UserError(f"synthetic data: cannot write {root} ({error}); "
                        "name another folder as root.") from error
    return root


def render_drive(root: str, drive: DriveSpec, size: Tuple[int, int] = SIZE,
                 frame_count: int = FRAME_COUNT,
                 frame_done: Callable[[], None] = lambda: None):
    """Renders one drive, both cameras, and writes its files under `root`.

    Args:
      root: the set's folder; made if missing.
      drive: what to render; `size`: (height, width); `frame_count`: frames, 10 a second.
      frame_done: called after each frame.
    """
    world = synthetic_world.build_world(drive.seed, frame_count, drive.with_movers, drive.handheld)
    intrinsics = camera_intrinsics(size)
    folder = os.path.join(root, "sequences", drive.name)
    kinds = ("image", "depth", "moving") if drive.with_movers else ("image", "depth")
    for kind in kinds:
        for camera in (2, 3):
            os.makedirs(os.path.join(folder, f"{kind}_{camera}"), exist_ok=True)
    left_from_right = np.eye(4)
    left_from_right[0, 3] = synthetic_world.BASELINE
    for frame, street_from_left in enumerate(world.street_from_camera):
        for camera, left_from_camera in ((2, np.eye(4)), (3, left_from_right)):
            view = synthetic_render.render(
                world, frame, street_from_left @ left_from_camera, intrinsics, size)
            pictures = {"image": view.image, "depth": encode_depth(view.depth),
                        "moving": view.moving * np.uint8(255)}
            for kind in kinds:
                Image.fromarray(pictures[kind]).save(
                    os.path.join(folder, f"{kind}_{camera}", f"{frame:06d}.png"),
                    compress_level=1)
        frame_done()
    _write_calibration(os.path.join(folder, "calib.txt"), intrinsics)
    np.savetxt(os.path.join(folder, "times.txt"), 0.1 * np.arange(frame_count), "%e")
    world_from_street = np.linalg.inv(world.street_from_camera[0])  # world = the first camera
    world_from_camera = world_from_street @ world.street_from_camera
    world_from_camera[0] = np.eye(4)
    os.makedirs(os.path.join(root, "poses"), exist_ok=True)
    np.savetxt(os.path.join(root, "poses", f"{drive.name}.txt"),
               world_from_camera[:, :3].reshape(-1, 12), "%.12e")


def _described(drive):
    """DriveSpec -> its part of a specification: of drives on a car as before there were others."""
    return list(drive if drive.handheld else drive[:3])


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """KITTI's 16-bit form of depth [H, W]: metres x 256 rounded, 0 = none or too far."""
    return np.round(np.where(depth <= _MAX_DEPTH, depth, 0) * 256).astype(np.uint16)


def find_fault(root: str, specification: dict) -> Optional[str]:
    """What is wrong with the set in `root`, in a few words; None if every byte is right."""
    try:
        manifest = _read_manifest(root)
        if manifest["specification"] != specification:
            return "made for another specification"
        for name, (size, checksum) in manifest["files"].items():
            with open(os.path.join(root, name), "rb") as file:
                content = file.read()
            if len(content) != size or zlib.crc32(content) != checksum:
                return f"{name} was altered"
    except FileNotFoundError as error:
        return f"{os.path.relpath(error.filename, root)} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"cannot be read ({error})"
    return None


def _read_manifest(root: str) -> dict:
    with open(os.path.join(root, "manifest.json"), encoding="utf-8") as file:
        return json.load(file)


def _write_calibration(path: str, intrinsics: np.ndarray):
    """KITTI's calib.txt: P0..P3 [3, 4], row by row, and the LiDAR's axes."""
    left = np.hstack([intrinsics, np.zeros((3, 1))])
    right = left.copy()
    right[0, 3] = -intrinsics[0, 0] * synthetic_world.BASELINE
    camera_from_lidar = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]])
    with open(path, "w", encoding="utf-8") as file:
        for name, matrix in (("P0", left), ("P1", right), ("P2", left), ("P3", right),
                             ("Tr", camera_from_lidar)):
            file.write(f"{name}: " + " ".join(f"{value:.12e}" for value in matrix.ravel()) + "\n")


def _check_replaceable(root: str, specification: dict, in_cache: bool):
    """Raises UserError if `root` holds another set, or what may not be a synthetic set at all.

    A folder that the user named is only replaced when its manifest shows that it is ours: KITTI
    itself consists of sequences/ and poses/ too.
    """
    if not os.path.isdir(root):
        raise UserError(f"synthetic data: root must be a folder; {root} is a file.")
    strange = sorted(set(os.listdir(root)) - {"sequences", "poses", "manifest.json"})
    if strange:
        raise UserError(f"synthetic data: root must be a new folder or a synthetic set; "
                        f"{root} holds {strange[0]}.")
    try:
        found = _read_manifest(root)["specification"]
        wanted = {**specification, "version": found["version"]}  # older pictures are replaced
    except (OSError, ValueError, KeyError, TypeError):
        if in_cache or not os.listdir(root):
            return  # broken, so there is nothing to lose
        raise UserError(f"synthetic data: root must be a new folder or a synthetic set; {root} "
                        "has no manifest.json of one. Is it another data set? Then name that with "
                        "--config.data.dataset (tools/evaluate.py: --dataset).") from None
    if found != wanted:
        different = [name for name in wanted if found.get(name) != wanted[name]]
        raise UserError(f"synthetic data: {root} holds a set with another {different[0]}; "
                        "name another folder as root, or remove this one.")


def _remove_leftovers(root: str):
    """Removes what runs that were killed over a day ago left beside `root`."""
    folder, name = os.path.split(root)
    for entry in os.scandir(folder):
        if (entry.name.startswith((name + ".making-", name + ".broken-"))
                and time.time() - entry.stat().st_mtime > 86400):
            shutil.rmtree(entry.path, ignore_errors=True)


def _move_into_place(making: str, root: str, specification: dict):
    """Renames `making` to `root`, unless another process has put a whole set there meanwhile."""
    if os.path.exists(root):
        if find_fault(root, specification) is None:
            return
        broken = tempfile.mkdtemp(prefix=os.path.basename(root) + ".broken-",
                                  dir=os.path.dirname(root))
        try:
            os.rename(root, os.path.join(broken, "set"))
        except FileNotFoundError:
            pass  # another process has moved it away
        shutil.rmtree(broken, ignore_errors=True)
    try:
        os.rename(making, root)
    except OSError:  # another process was quicker, or this folder cannot be written
        if find_fault(root, specification) is not None:
            raise


def _make(root: str, specification: dict, progress):
    """Renders all drives, one process a core, and writes the manifest last."""
    drives = [DriveSpec(*drive) for drive in specification["drives"]]
    size, frame_count = tuple(specification["size"]), specification["frame_count"]
    lock, done, total = threading.Lock(), [0], len(drives) * frame_count
    workers = _Workers()

    def frame_done():
        with lock:
            done[0] = min(done[0] + 1, total)  # a drive that is begun anew counts once
            if progress is not None:
                progress(done[0], total)

    def make_drive(drive):
        if not workers.render(root, drive, size, frame_count, frame_done):
            render_drive(root, drive, size, frame_count, frame_done)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with concurrent.futures.ThreadPoolExecutor(min(cores or 1, len(drives))) as pool:
        try:
            list(pool.map(make_drive, drives))
        except BaseException:  # SIGTERM and Ctrl-C too: nobody waits for, or writes, the rest
            workers.end()
            raise
    files = {}
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                content = file.read()
            path = os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
            files[path] = [len(content), zlib.crc32(content)]
    with open(os.path.join(root, "manifest.json"), "w", encoding="utf-8") as file:
        json.dump({"specification": specification, "files": dict(sorted(files.items()))}, file,
                  indent=0)


_WORKER = """
import json, sys
path, root, drive, size, frame_count = json.loads(sys.argv[1])
sys.path[:] = path
from tfdepth.data import synthetic
synthetic.render_drive(root, synthetic.DriveSpec(*drive), tuple(size), frame_count,
                       lambda: print("frame", flush=True))
"""


class _Workers:
    """Fresh interpreters that render.

    Not multiprocessing: its fresh workers run a caller's script that lacks a `__main__` guard
    again, and forked ones inherit TensorFlow's threads.
    """

    def __init__(self):
        self._lock, self._running, self._ended = threading.Lock(), set(), False

    def render(self, root, drive, size, frame_count, frame_done) -> bool:
        """Renders a drive in a worker; False if that failed but may work in this process."""
        job = json.dumps([sys.path, root, list(drive), list(size), frame_count])
        with self._lock:
            if self._ended:
                return True
            try:
                worker = subprocess.Popen(
                    [sys.executable, "-c", _WORKER, job], stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
            except OSError:
                return False
            self._running.add(worker)
        with worker:
            for _ in worker.stdout:
                frame_done()
        with self._lock:
            self._running.discard(worker)
        if worker.returncode < 0 and not self._ended:
            memory = "; is there enough memory?" if worker.returncode == -signal.SIGKILL else "."
            raise UserError(f"synthetic data: rendering drive {drive.name} was ended by "
                            f"{signal.Signals(-worker.returncode).name}{memory}")
        return worker.returncode == 0 or self._ended

    def end(self):
        """Ends all workers; what they made is not whole."""
        with self._lock:
            self._ended = True
            for worker in self._running:
                worker.kill()
