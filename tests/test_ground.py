"""The ground plane in depth maps: drawn scenes with known geometry, and real LiDAR."""
import numpy as np
import pytest
from PIL import Image
from scipy.interpolate import griddata
from scipy.spatial.transform import Rotation

from helpers import DATA, needs_shared
from tfdepth.geometry.ground import fit_ground

CAMERA = np.array([[70.0, 0, 52], [0, 55, 17], [0, 0, 1]])  # fx != fy, off the centre
SIZE = (48, 96)


def street(height, pitch=0.0, roll=0.0, boxes=0.0, noise=0.0, camera=CAMERA, size=SIZE, seed=0):
    """Depth [H, W] of a flat ground, `height` below a camera that looks down by `pitch` degrees
    and is turned by `roll`; 40 heights at most. Boxes cover a share of the lower middle."""
    random = np.random.default_rng(seed)
    camera_from_level = Rotation.from_euler("zx", [roll, pitch], degrees=True).as_matrix()
    down = camera_from_level @ [0, 1, 0]                       # the ground's normal, as it is seen
    rows, columns = np.mgrid[:size[0], :size[1]]
    rays = np.stack([(columns - camera[0, 2]) / camera[0, 0], (rows - camera[1, 2]) / camera[1, 1],
                     np.ones(size)], axis=-1)
    slope = rays @ down
    depth = height / np.maximum(slope, 1 / 40)
    covered = np.zeros(size, bool)
    region = (slice(int(0.55 * size[0]), None), slice(size[1] // 4, 3 * size[1] // 4))
    while covered[region].mean() < boxes:
        row, column = random.integers([size[0] // 2, size[1] // 4], [size[0] - 8, 3 * size[1] // 4])
        place = (slice(row, row + 8), slice(column, column + 10))
        depth[place] = random.uniform(0.4, 0.8) * depth[place].min()
        covered[place] = True
    return depth * np.exp(noise * random.standard_normal(size))


@pytest.mark.parametrize("height, pitch, roll, boxes, noise, within", [
    (1.65, 0, 0, 0, 0, 1e-9), (0.23, 12, 0, 0, 0, 1e-9), (1.3, -4, 7, 0, 0, 1e-9),
    (1.65, 8, -9, 0.35, 0, 2e-3), (1.65, 5, 4, 0.35, 0.02, 0.01), (40.0, 3, -3, 0, 0.015, 0.01)])
def test_height_of_a_turned_camera(height, pitch, roll, boxes, noise, within):
    found = fit_ground(street(height, pitch, roll, boxes, noise), CAMERA)
    assert abs(found.height / height - 1) <= within
    tilt = Rotation.from_euler("zx", [roll, pitch], degrees=True).as_matrix() @ [0, 1, 0]
    assert np.degrees(np.arccos(found.normal @ tilt)) < (0.5 if boxes or noise else 1e-4)
    assert found.share > (0.99 if not boxes else 0.6)


def test_another_camera_gives_another_height():
    wrong = CAMERA * [[1], [1.3], [1]]
    assert abs(fit_ground(street(1.65), wrong).height / 1.65 - 1) > 0.1


def test_no_ground_is_told():
    random = np.random.default_rng(1)
    assert fit_ground(np.full(SIZE, 7.0), CAMERA) is None                   # a wall
    assert fit_ground(random.uniform(2, 60, SIZE), CAMERA) is None          # noise
    assert fit_ground(street(1.65, pitch=34), CAMERA) is None               # looks at its feet
    assert fit_ground(street(1.65, roll=34), CAMERA) is None
    assert fit_ground(street(1.65, boxes=0.7), CAMERA) is None
    ceiling = street(1.65)[::-1]                                            # above the camera
    assert fit_ground(ceiling, np.array([[70.0, 0, 52], [0, 55, 30], [0, 0, 1]])) is None
    assert fit_ground(np.ones([4, 4]), CAMERA) is None                      # hardly a pixel


def test_the_same_seed_finds_the_same():
    depth = street(1.65, 5, 4, 0.35, 0.02)
    assert fit_ground(depth, CAMERA).height == fit_ground(depth, CAMERA).height


def kitti_scene(name, size):
    """Of a frame of kitti_object: dense depth [H, W] from its scan, and the camera, at `size`.

    Inverse depth, which is linear on a plane, is interpolated between the projected points.
    """
    folder = DATA / "kitti_object" / "training"
    lines = (folder / "calib" / f"{name}.txt").read_text().strip().splitlines()
    rows = {key: np.array(values.split(), float) for key, _, values in
            (line.partition(":") for line in lines if ":" in line)}
    projection = rows["P2"].reshape(3, 4)
    points = np.fromfile(folder / "velodyne" / f"{name}.bin", "<f4").reshape(-1, 4)[:, :3]
    points = points[points[:, 0] > 1]
    camera_0 = points @ rows["Tr_velo_to_cam"].reshape(3, 4)[:, :3].T + rows[
        "Tr_velo_to_cam"].reshape(3, 4)[:, 3]
    camera_0 = camera_0 @ rows["R0_rect"].reshape(3, 3).T
    scaled = camera_0 @ projection[:, :3].T + projection[:, 3]
    width, height = Image.open(folder / "image_2" / f"{name}.png").size
    scale = np.array([size[1] / width, size[0] / height])
    places = (scaled[:, :2] / scaled[:, 2:] + 0.5) * scale - 0.5
    seen = (scaled[:, 2] > 0) & (places >= -1).all(axis=1) & (places <= size[::-1]).all(axis=1)
    places, scaled = places[seen][::4], scaled[seen][::4]
    rows, columns = np.mgrid[:size[0], :size[1]]
    inverse, nearest = (griddata(places, 1 / scaled[:, 2], (columns, rows), method=method)
                        for method in ("linear", "nearest"))
    camera = projection[:, :3].copy()
    camera[:2, :2] *= scale[:, np.newaxis]
    camera[:2, 2] = (camera[:2, 2] + 0.5) * scale - 0.5
    return 1 / np.where(np.isfinite(inverse), inverse, nearest), camera


@needs_shared
@pytest.mark.parametrize("name", ["000000", "000001"])
def test_kitti_stands_165_cm_over_the_road(name):
    found = fit_ground(*kitti_scene(name, (46, 152)))
    assert abs(found.height / 1.65 - 1) < 0.06 and found.normal[1] > 0.999
