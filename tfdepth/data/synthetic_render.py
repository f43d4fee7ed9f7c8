"""Casts rays into a synthetic world: image, depth and moving pixels of one camera.

Letters: H rows, W columns, K boxes, N pixels.
"""
from typing import NamedTuple, Tuple

import numpy as np

from tfdepth.checks import check_shape
from tfdepth.data import synthetic_textures as textures
from tfdepth.data import synthetic_world as worlds

NEAR = 0.1        # metres; boxes are cut here before they are projected
_AMBIENT = 0.62   # light that reaches a face turned from the sun
_SOFTNESS = 1.4   # footprint of a pixel, pixels; a lens is this soft, and frames alias less


class View(NamedTuple):
    """What a camera sees."""
    image: np.ndarray    # [H, W, 3] uint8 RGB
    depth: np.ndarray    # [H, W] float32, metres along the optical axis; 0 = sky
    moving: np.ndarray   # [H, W] bool, moves by itself


def render(world: worlds.World, frame: int, street_from_camera: np.ndarray,
           intrinsics: np.ndarray, size: Tuple[int, int]) -> View:
    """Renders `world` as it is at `frame`, one ray through the centre of every pixel.

    Args:
      world: what there is to see.
      frame: which moment; chooses the places of the moving boxes.
      street_from_camera: [4, 4], from x right, y down, z forward of the camera, metres.
      intrinsics: [3, 3], pixels of an image of `size`; the top-left pixel's centre is (0, 0).
      size: (H, W).

    Raises:
      ValueError: if a shape differs from the above.
    """
    check_shape("street_from_camera", street_from_camera, [4, 4])
    check_shape("intrinsics", intrinsics, [3, 3])
    boxes = world.boxes(frame)
    rays = _rays(street_from_camera, intrinsics, size)
    eye = street_from_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Ground first; rays that do not look down miss it.
        depth = np.where(rays[1] > 1e-9, np.float32(-eye[1]) / rays[1], np.float32(np.inf))
        box_index = np.full(size, -1, np.int32)
        _cast_boxes(boxes, rays, street_from_camera, intrinsics, depth, box_index)
        image = _shade(world, boxes, rays, eye, intrinsics, depth, box_index)
    moving = np.zeros(size, bool)
    if boxes.moving.any():
        moving = boxes.moving[box_index] & (box_index >= 0)
    return View(image, np.where(np.isfinite(depth), depth, np.float32(0)), moving)


def _rays(street_from_camera, intrinsics, size):
    """Directions of all pixels in the street's frame, z = 1 in the camera's: [3, H, W]."""
    street_from_pixels = street_from_camera[:3, :3] @ np.linalg.inv(intrinsics)
    columns, rows = np.arange(size[1]), np.arange(size[0])[:, None]
    return np.stack([a * columns + b * rows + c for a, b, c in street_from_pixels]).astype(
        np.float32)


def _cast_boxes(boxes, rays, street_from_camera, intrinsics, depth, box_index):
    """Writes nearer depths and box numbers into `depth` and `box_index`, near boxes first."""
    corners = _camera_corners(boxes, street_from_camera)                       # [K, 8, 3]
    eye = street_from_camera[:3, 3]
    nearest = corners[..., 2].min(axis=1)
    order = [k for k in np.argsort(nearest) if corners[k, :, 2].max() > NEAR]
    for k in order:
        rectangle = _rectangle(corners[k], intrinsics, depth.shape)
        if rectangle is None:
            continue
        seen = depth[rectangle]
        if nearest[k] > NEAR and nearest[k] > seen.max():
            continue  # wholly behind what is drawn already
        cos, sin = np.float32(np.cos(boxes.yaws[k])), np.float32(np.sin(boxes.yaws[k]))
        x, y, z = (axis[rectangle] for axis in rays)
        offset = eye - boxes.centres[k]
        offset = (cos * offset[0] - sin * offset[2], offset[1], sin * offset[0] + cos * offset[2])
        enter, leave = np.float32(NEAR), np.float32(np.inf)
        for direction, start, half in zip(
                (cos * x - sin * z, y, sin * x + cos * z), offset, boxes.half_sizes[k]):
            inverse = 1 / direction
            first, second = np.float32(-half - start) * inverse, np.float32(half - start) * inverse
            enter = np.maximum(enter, np.minimum(first, second))
            leave = np.minimum(leave, np.maximum(first, second))
        hit = (enter < leave) & (enter < seen)
        seen[hit] = enter[hit]  # `seen` is a view of `depth`
        box_index[rectangle][hit] = k


def _camera_corners(boxes, street_from_camera):
    """Corners of all boxes in the camera's frame: [K, 8, 3]."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    corners = signs * boxes.half_sizes[:, None]
    cos, sin = np.cos(boxes.yaws)[:, None], np.sin(boxes.yaws)[:, None]
    corners = np.stack([cos * corners[..., 0] + sin * corners[..., 2], corners[..., 1],
                        cos * corners[..., 2] - sin * corners[..., 0]], axis=-1)
    corners += boxes.centres[:, None] - street_from_camera[:3, 3]
    return corners @ street_from_camera[:3, :3]  # rows times R = transposed R times columns


_EDGES = np.array([(a, b) for a in range(8) for b in range(a) if (a ^ b) in (1, 2, 4)])


def _rectangle(corners, intrinsics, size):
    """Slices of the pixels that a box can cover, from its corners [8, 3]; None if outside."""
    points = corners[corners[:, 2] > NEAR]
    if len(points) < 8:  # cut the edges that pass the near plane
        ends = corners[_EDGES]                                              # [12, 2, 3]
        ends = ends[(ends[:, 0, 2] > NEAR) != (ends[:, 1, 2] > NEAR)]
        share = (NEAR - ends[:, 0, 2]) / (ends[:, 1, 2] - ends[:, 0, 2])
        points = np.concatenate([points, ends[:, 0] + share[:, None] * (ends[:, 1] - ends[:, 0])])
    pixels = points @ intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    left, top = np.maximum(np.ceil(pixels.min(axis=0) - 1e-3), 0)
    right, low = np.minimum(np.floor(pixels.max(axis=0) + 1e-3), (size[1] - 1, size[0] - 1))
    if left > right or top > low:
        return None
    return slice(int(top), int(low) + 1), slice(int(left), int(right) + 1)


def _shade(world, boxes, rays, eye, intrinsics, depth, box_index):
    """Colours of all pixels: [H, W, 3] uint8."""
    count = depth.size
    texture = np.full(count, worlds.SKY, np.int32)
    uv, long_axis = np.zeros(count, np.complex64), np.zeros(count, np.complex64)
    pitch = np.float32(_SOFTNESS / np.sqrt(intrinsics[0, 0] * intrinsics[1, 1]))
    short_side, light = np.full(count, 0.5, np.float32), np.ones(count, np.float32)
    flat_depth, flat_index = depth.ravel(), box_index.ravel()
    x, y, z = (axis.ravel() for axis in rays)

    sky = np.flatnonzero(np.isinf(flat_depth))
    uv[sky] = _sky_place(x[sky], y[sky], z[sky])

    ground = np.flatnonzero((flat_index < 0) & np.isfinite(flat_depth))
    texture[ground] = worlds.GROUND
    far, gx, gz = flat_depth[ground], x[ground], z[ground]
    level_speed = np.sqrt(gx * gx + gz * gz)
    # A pixel's footprint on a plane is as long as the ray's slope makes it.
    reach = np.minimum(far * pitch * np.hypot(level_speed, y[ground]) / y[ground], 300.0)
    place_x, place_z = eye[0] + far * gx, eye[2] + far * gz
    uv[ground] = _street_place(world, place_x, place_z)
    reach_share = np.minimum(reach, 1.0) / level_speed
    step = _street_place(world, place_x + reach_share * gx, place_z + reach_share * gz)
    long_axis[ground] = (step - uv[ground]) * np.maximum(reach, 1.0)
    short_side[ground] = far * pitch
    light[ground] = _AMBIENT + (1 - _AMBIENT) * np.float32(max(0.0, -world.sun[1]))

    hits = np.flatnonzero(flat_index >= 0)
    if hits.size:
        k = flat_index[hits]
        texture[hits] = boxes.textures[k]
        uv[hits], long_axis[hits], light[hits] = _box_places(
            world, boxes, k, np.stack([x[hits], y[hits], z[hits]]), eye, flat_depth[hits], pitch)
        short_side[hits] = flat_depth[hits] * pitch
    channels = textures.sample(world.pool, texture, uv, long_axis, short_side)
    image = np.empty((count, 3), np.uint8)
    for channel, values in enumerate(channels):
        image[:, channel] = np.minimum(values * light + np.float32(0.5), 255)
    return image.reshape(*depth.shape, 3)


def _sky_place(x, y, z):
    """Texture place of sky directions; depends on the direction only, so it is infinitely far."""
    up = -y / np.sqrt(x * x + y * y + z * z)
    return (512 / np.pi) * np.arctan2(x, z) + 1j * (128 + 127 * up)


def _street_place(world, x, z):
    """Texture place of ground points: across + i along, folded beyond 16 m across."""
    column = np.clip(x - world.street_map_corner[0], 0, world.street_map.shape[1] - 1.001)
    row = np.clip(z - world.street_map_corner[1], 0, world.street_map.shape[0] - 1.001)
    column, row = column.astype(np.float32), row.astype(np.float32)
    left, low = column.astype(np.int32), row.astype(np.int32)
    right_share, high_share = column - left, row - low
    flat, start = world.street_map.ravel(), low * world.street_map.shape[1] + left
    width = world.street_map.shape[1]
    near = flat[start] + right_share * (flat[start + 1] - flat[start])
    start += width
    far = flat[start] + right_share * (flat[start + 1] - flat[start])
    return near + high_share * (far - near) + 16  # the texture's middle is the street's


def _box_places(world, boxes, k, rays, eye, depth, pitch):
    """Texture place, long axis of the footprint and light of pixels that see boxes `k` [N]."""
    cos, sin = np.cos(boxes.yaws).astype(np.float32), np.sin(boxes.yaws).astype(np.float32)
    offset = (eye - boxes.centres).astype(np.float32)                       # [K, 3]
    start = np.stack([cos * offset[:, 0] - sin * offset[:, 2], offset[:, 1],
                      sin * offset[:, 0] + cos * offset[:, 2]])             # [3, K]
    cos, sin, half = cos[k], sin[k], boxes.half_sizes.T.astype(np.float32)
    direction = np.stack([cos * rays[0] - sin * rays[2], rays[1],
                          sin * rays[0] + cos * rays[2]])                   # [3, N]
    point = start[:, k] + depth * direction
    face = np.argmax(np.abs(point) - half[:, k], axis=0)                    # the slab just met
    up = half[1, k] - point[1]
    u = np.where(face == 0, point[2], point[0])
    v = np.where(face == 1, point[2], up)
    speed_u = np.where(face == 0, direction[2], direction[0])
    speed_v = np.where(face == 1, direction[2], -direction[1])
    pixels = np.arange(len(k))
    across = np.abs(direction[face, pixels])
    along = np.sqrt(speed_u * speed_u + speed_v * speed_v)
    reach = depth * pitch * np.hypot(across, along) / across
    axis = (speed_u + 1j * speed_v) * (reach / np.maximum(along, np.float32(1e-6)))
    # Each face of each box: light from the sun's angle, the same from wherever it is seen.
    sun_x = np.cos(boxes.yaws) * world.sun[0] - np.sin(boxes.yaws) * world.sun[2]
    sun_z = np.sin(boxes.yaws) * world.sun[0] + np.cos(boxes.yaws) * world.sun[2]
    sun = np.stack([sun_x, np.full_like(sun_x, world.sun[1]), sun_z])       # [3, K]
    facing = np.where(point[face, pixels] > 0, sun[face, k], -sun[face, k])
    light = _AMBIENT + (1 - _AMBIENT) * np.maximum(facing, 0)
    shift = boxes.texture_shifts[k] + 3.7 * face
    return u + 1j * v + shift, axis, light
