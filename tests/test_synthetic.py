"""The synthetic world is what its files say, by means that share no code with it."""
import dataclasses

import numpy as np
import pytest
from PIL import Image

from tfdepth.data import synthetic, synthetic_render, synthetic_street, synthetic_world
from tfdepth.data.synthetic import DriveSpec

SIZE = (64, 208)
FRAMES = 4


@pytest.fixture(scope="module", name="root")
def fixture_root(tmp_path_factory):
    """A set of two drives: 00 with movers, 01 without."""
    root = tmp_path_factory.mktemp("synthetic")
    synthetic.render_drive(str(root), DriveSpec("00", 1002, True), SIZE, FRAMES)
    synthetic.render_drive(str(root), DriveSpec("01", 1003, False), SIZE, FRAMES)
    return root


@pytest.fixture(scope="module", name="world")
def fixture_world():
    return synthetic_world.build_world(1002, FRAMES, with_movers=True)


# What a reader of KITTI's layout knows, written anew and by the format's description only.
def read_image(root, name, frame, camera=2, kind="image"):
    path = root / "sequences" / name / f"{kind}_{camera}" / f"{frame:06d}.png"
    return np.asarray(Image.open(path)).astype(float)


def read_depth(root, name, frame, camera=2):
    return read_image(root, name, frame, camera, "depth") / 256


def read_projections(root, name):
    lines = (root / "sequences" / name / "calib.txt").read_text().splitlines()
    return {line.split(":")[0]: np.array(line.split(":")[1].split(), float).reshape(3, 4)
            for line in lines}


def read_poses(root, name):
    rows = np.loadtxt(root / "poses" / f"{name}.txt").reshape(-1, 3, 4)
    return np.concatenate([rows, np.tile([[[0, 0, 0, 1.0]]], (len(rows), 1, 1))], axis=1)


def warp(source, source_depth, target_depth, intrinsics, source_from_target):
    """The source seen from the target, and where that is allowed: in the picture, not hidden."""
    rows, columns = np.indices(target_depth.shape)
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    points = (pixels @ np.linalg.inv(intrinsics).T) * target_depth[..., None]
    points = points @ source_from_target[:3, :3].T + source_from_target[:3, 3]
    projected = points @ intrinsics.T
    u, v = (projected[..., k] / np.maximum(projected[..., 2], 1e-6) for k in (0, 1))
    height, width = target_depth.shape
    inside = (u >= 0) & (v >= 0) & (u < width - 1) & (v < height - 1) & (target_depth > 0)
    u, v = np.where(inside, u, 0), np.where(inside, v, 0)
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = (u - left)[..., None], (v - top)[..., None]
    warped = ((1 - a) * (1 - b) * source[top, left] + a * (1 - b) * source[top, left + 1]
              + (1 - a) * b * source[top + 1, left] + a * b * source[top + 1, left + 1])
    near = np.stack([source_depth[top + i, left + j] for i in (0, 1) for j in (0, 1)])
    same = (np.abs(near - points[..., 2]) < 0.1 * points[..., 2]).all(axis=0)
    return warped, inside & same, inside


def warp_error(root, name, target, source, depth_factor=1.0, invert=False):
    """Mean |difference| of the warped source and the target, then of the unwarped source."""
    intrinsics, poses = read_projections(root, name)["P2"][:, :3], read_poses(root, name)
    source_from_target = np.linalg.inv(poses[source]) @ poses[target]
    depth = read_depth(root, name, target)
    images = [read_image(root, name, frame) for frame in (source, target)]
    source_depth = read_depth(root, name, source)
    counted = warp(images[0], source_depth, depth, intrinsics, source_from_target)[1]
    assert counted.mean() > 0.4
    if invert:
        source_from_target = np.linalg.inv(source_from_target)
    warped, _, inside = warp(
        images[0], source_depth, depth * depth_factor, intrinsics, source_from_target)
    counted &= inside
    return [np.abs(image - images[1])[counted].mean() for image in (warped, images[0])]


def test_true_depth_and_pose_explain_the_next_frame(root):
    for target, source, worse in ((2, 0, 1.2), (1, 3, 1.2), (0, 3, 2.0)):
        warped, unwarped = warp_error(root, "01", target, source)
        assert warped < 5 and warped < unwarped / 4
        for factor in (1.1, 1 / 1.1):
            error, _ = warp_error(root, "01", target, source, depth_factor=factor)
            assert error > worse * warped
        assert warp_error(root, "01", target, source, invert=True)[0] > 4 * warped


def test_the_right_camera_is_where_its_projection_says(root):
    projections = read_projections(root, "01")
    intrinsics = projections["P3"][:, :3]
    right_from_left = np.eye(4)
    right_from_left[:3, 3] = np.linalg.solve(intrinsics, projections["P3"][:, 3])
    np.testing.assert_allclose(right_from_left[:3, 3], [-0.54, 0, 0], atol=1e-9)
    np.testing.assert_array_equal(projections["P2"][:, 3], 0)
    left, right = (read_image(root, "01", 2, camera) for camera in (2, 3))
    depths = [read_depth(root, "01", 2, camera) for camera in (2, 3)]
    errors = []
    for factor in (1.0, 1.1):
        warped, seen, _ = warp(right, depths[1], depths[0] * factor, intrinsics, right_from_left)
        errors.append(np.abs(warped - left)[seen].mean())
    assert errors[0] < 5 and errors[0] < errors[1] / 1.3
    assert errors[0] < np.abs(right - left).mean() / 3


def first_hit(world, frame, origin, direction):
    """Depth and mover flag of one ray, face by face in float64: the definition, slowly."""
    hits = [(-origin[1] / direction[1], False)] if direction[1] > 0 else []
    boxes = world.boxes(frame)
    for centre, half, yaw, moving in zip(
            boxes.centres, boxes.half_sizes, boxes.yaws, boxes.moving):
        axes = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        for axis in range(3):
            for sign in (-1, 1):
                speed = direction @ axes[axis]
                if speed == 0:
                    continue
                face = centre + sign * half[axis] * axes[axis]
                depth = (face - origin) @ axes[axis] / speed
                beside = np.abs(axes @ (origin + depth * direction - centre)) - half
                if depth > 0 and np.delete(beside, axis).max() <= 0:
                    hits.append((depth, moving))
    return min(hits, default=(0.0, False))


def test_depth_and_movers_against_a_slow_loop(world):
    intrinsics = synthetic.camera_intrinsics(SIZE)
    street_from_camera = world.street_from_camera[2]
    view = synthetic_render.render(world, 2, street_from_camera, intrinsics, SIZE)
    random = np.random.default_rng(3)
    moving = random.permutation(np.argwhere(view.moving))[:15]
    pixels = np.concatenate([moving, random.integers((0, 0), SIZE, (50, 2))])
    for row, column in pixels:
        ray = street_from_camera[:3, :3] @ np.linalg.solve(intrinsics, [column, row, 1])
        depth, mover = first_hit(world, 2, street_from_camera[:3, 3], ray)
        assert view.depth[row, column] == pytest.approx(depth, rel=1e-4, abs=1e-4)
        assert view.moving[row, column] == mover
    assert len(moving) == 15 and (view.depth == 0).any()


def two_boxes(world, distances, moving):
    """Boxes ahead; one farther than 15 m is wider, so that it shows beside the nearer one."""
    boxes = synthetic_world.Boxes(
        np.array([[0, -2.0, d] for d in distances]),
        np.array([[2 if d < 15 else 9, 2, 0.5] for d in distances]),
        np.zeros(2), np.array([5, 6], np.int32), np.zeros(2, np.complex64), np.array(moving))
    none = synthetic_world.Boxes(*(values[:0] for values in boxes))
    return dataclasses.replace(world, static=boxes, movers=none,
                               mover_centres=np.zeros((FRAMES, 0, 3)),
                               mover_yaws=np.zeros((FRAMES, 0)))


def test_the_nearer_box_hides_the_farther_one(world):
    intrinsics = synthetic.camera_intrinsics(SIZE)
    street_from_camera = np.eye(4)
    street_from_camera[:3, 3] = [0.3, -1.5, 0]
    middle = np.round(intrinsics[:2, 2]).astype(int)[::-1]
    for distances, near in (((10.5, 20.5), 0), ((20.5, 10.5), 1)):
        scene = two_boxes(world, distances, np.arange(2) == near)
        view = synthetic_render.render(scene, 0, street_from_camera, intrinsics, SIZE)
        assert view.depth[tuple(middle)] == pytest.approx(10, abs=1e-5)
        assert view.moving[tuple(middle)]
        # A box 4 m wide at 10 m covers 4 / 10 of the focal length, and nothing else moves.
        assert view.moving[middle[0]].sum() == pytest.approx(0.4 * intrinsics[0, 0], abs=1)
        np.testing.assert_allclose(view.depth[view.moving], 10, atol=1e-5)


def test_a_box_that_reaches_behind_the_camera_is_drawn(world):
    boxes = two_boxes(world, (0, 20.5), [True, False])
    boxes.static.centres[0] = [4, -2, 0]       # its face is 2 m to the right of the camera
    boxes.static.half_sizes[0] = [2, 2, 30]    # from 30 m behind the camera to 30 m before it
    intrinsics = synthetic.camera_intrinsics(SIZE)
    street_from_camera = np.eye(4)
    street_from_camera[1, 3] = -1.5
    view = synthetic_render.render(boxes, 0, street_from_camera, intrinsics, SIZE)
    row = int(round(intrinsics[1, 2]))
    columns = np.flatnonzero(view.moving[row])
    slopes = (columns - intrinsics[0, 2]) / intrinsics[0, 0]
    np.testing.assert_allclose(view.depth[row, columns], 2 / slopes, rtol=1e-5)
    assert columns[-1] == SIZE[1] - 1


def test_the_mask_is_where_movers_change_the_depth(root, world):
    empty = dataclasses.replace(
        world, movers=synthetic_world.Boxes(*(values[:0] for values in world.movers)),
        mover_centres=world.mover_centres[:, :0], mover_yaws=world.mover_yaws[:, :0])
    intrinsics = synthetic.camera_intrinsics(SIZE)
    for frame in range(FRAMES):
        pose = world.street_from_camera[frame]
        without = synthetic_render.render(empty, frame, pose, intrinsics, SIZE)
        depth, mask = read_depth(root, "00", frame), read_image(
            root, "00", frame, kind="moving") == 255
        assert mask.any() and not without.moving.any()
        still = synthetic.encode_depth(without.depth) / 256
        np.testing.assert_array_equal(still[~mask], depth[~mask])
        changed = mask & (still != depth)
        assert changed.sum() >= mask.sum() - 2  # the foot of a mover meets the ground's depth


def test_static_warp_fails_on_movers_only(root):
    poses = read_poses(root, "00")
    intrinsics = read_projections(root, "00")["P2"][:, :3]
    warped, _, inside = warp(
        read_image(root, "00", 3), read_depth(root, "00", 3), read_depth(root, "00", 0),
        intrinsics, np.linalg.inv(poses[3]) @ poses[0])
    moving = read_image(root, "00", 0, kind="moving") > 0
    error = np.abs(warped - read_image(root, "00", 0)).mean(axis=-1)
    assert np.median(error[inside & moving]) > 4 * np.median(error[inside & ~moving])


def test_cameras_keep_clear_of_every_box():
    for seed, movers in ((1002, True), (3, True), (8, False)):  # 3: one mover has to go
        world = synthetic_world.build_world(seed, 30, movers)
        assert bool(len(world.movers.yaws)) == movers
        for frame, pose in enumerate(world.street_from_camera):
            boxes = world.boxes(frame)
            for eye in (pose[:3, 3], pose[:3] @ [0.54, 0, 0, 1]):
                offset = eye - boxes.centres
                axes = np.stack([np.cos(boxes.yaws), -np.sin(boxes.yaws)], axis=-1)
                x = np.abs((axes * offset[:, ::2]).sum(axis=-1)) - boxes.half_sizes[:, 0]
                z = np.abs((axes[:, ::-1] * [-1, 1] * offset[:, ::2]).sum(axis=-1))
                z -= boxes.half_sizes[:, 2]
                assert np.maximum(x, z).min() > 0.7  # at the corner of a square, 1 m / sqrt(2)


def test_poses_are_a_drive(root):
    for name in ("00", "01"):
        poses = read_poses(root, name)
        np.testing.assert_array_equal(poses[0], np.eye(4))
        rotations = poses[:, :3, :3]
        np.testing.assert_allclose(
            rotations @ rotations.swapaxes(1, 2), np.tile(np.eye(3), (FRAMES, 1, 1)), atol=1e-9)
        np.testing.assert_allclose(np.linalg.det(rotations), 1)
        steps = np.einsum("nji,nj->ni", rotations[:-1], np.diff(poses[:, :3, 3], axis=0))
        assert (steps[:, 2] > 0.4).all() and (steps[:, 2] < 1.5).all()      # forward
        assert (np.abs(steps[:, :2]) < 0.25 * steps[:, 2:]).all()
    up, right = synthetic_street.rotation(0, 0.1, 0), synthetic_street.rotation(0.1, 0, 0)
    assert up[1, 2] < 0 < right[0, 2]  # y points down


def test_drives_turn_and_differ():
    yaw_rates, heights, pitches = [], [], []
    for seed in range(20):
        random = np.random.default_rng(seed)
        poses, _ = synthetic_street.camera_path(random, synthetic_street.Street(random, 60), 48)
        forward = poses[:, :3, 2]
        heading = np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))
        yaw_rates.append(np.rad2deg(np.abs(np.diff(heading)).max()))
        heights.append(-poses[:, 1, 3].mean())
        pitches.append(np.rad2deg(np.arcsin(-forward[:, 1])).mean())
    assert 1 < max(yaw_rates) < 2.2 and np.median(yaw_rates) > 0.5
    assert min(heights) > 1 and max(heights) < 2.6 and np.ptp(heights) > 0.6
    assert np.ptp(pitches) > 6 and np.abs(pitches).max() < 7


def test_a_camera_held_by_hand_goes_the_same_way_and_swings():
    turns = []
    for seed in range(10):
        on_car, by_hand = (
            synthetic_street.camera_path(random, synthetic_street.Street(random, 60), 48, swings)[0]
            for swings in (False, True) for random in [np.random.default_rng(seed)])
        np.testing.assert_array_equal(by_hand[:, :3, 3], on_car[:, :3, 3])
        swing = on_car[:, :3, :3].swapaxes(1, 2) @ by_hand[:, :3, :3]
        turn = swing[:-1].swapaxes(1, 2) @ swing[1:]
        turns.append(np.rad2deg(np.stack(
            [turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0],
             turn[:, 1, 0] - turn[:, 0, 1]], axis=-1) / 2))
    turns = np.concatenate(turns)                               # [N, 3] about x, y, z
    assert (np.sqrt(np.mean(turns**2, axis=0)) > [0.6, 1.0, 0.6]).all() and np.abs(turns).max() < 6
    assert np.abs(np.corrcoef(turns.T)[np.triu_indices(3, 1)]).max() < 0.3
    assert {drive[2:] for drive in synthetic.DRIVES_HANDHELD} == {(False, True)}


def test_layout(root):
    names = [f"{frame:06d}.png" for frame in range(FRAMES)]
    for sequence, kinds in (("00", ("image", "depth", "moving")), ("01", ("image", "depth"))):
        folder = root / "sequences" / sequence
        folders = sorted(f"{kind}_{camera}" for kind in kinds for camera in (2, 3))
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            [*folders, "calib.txt", "times.txt"])
        for kind in folders:
            assert sorted(path.name for path in (folder / kind).iterdir()) == names
            with Image.open(folder / kind / names[0]) as image:
                assert image.size == SIZE[::-1]
                assert image.mode == {"i": "RGB", "d": "I;16", "m": "L"}[kind[0]]
        np.testing.assert_allclose(np.loadtxt(folder / "times.txt"), [0, 0.1, 0.2, 0.3])
    held_out = (*synthetic.VALIDATION_DRIVES, *synthetic.TEST_DRIVES)
    train = tuple(drive.name for drive in synthetic.DRIVES if drive.name not in held_out)
    roles = (train, synthetic.VALIDATION_DRIVES, synthetic.TEST_DRIVES)
    assert [len(role) for role in roles] == [128, 3, 5]
    assert len({drive.seed for drive in synthetic.DRIVES}) == len(synthetic.DRIVES)
    for role in roles:
        movers = [drive.with_movers for drive in synthetic.DRIVES if drive.name in role]
        assert any(movers) and not all(movers)


def test_depth_form():
    depth = np.random.default_rng(0).uniform(0.1, 255.99, (20, 30))
    assert np.abs(synthetic.encode_depth(depth) / 256 - depth).max() <= 1 / 512
    none = np.array([[0, 255.999, 256.5, 300, 1e9]])
    np.testing.assert_array_equal(synthetic.encode_depth(none), 0)
