"""The seeded world of one synthetic drive: what stands and moves along a street, and its looks.

Frame "street": metres, x right, y down, z forward, the ground is y = 0. A place on the street is
(along, across): metres along its middle line and metres to the right of it. Yaw turns z towards
x. Letters: N frames, K boxes, M moving boxes, P points.
"""
import dataclasses
from typing import List, NamedTuple, Tuple

import numpy as np

from tfdepth.data import synthetic_textures as textures
from tfdepth.data.synthetic_street import Street, camera_path, smooth

BASELINE = 0.54      # metres from the left to the right camera
CLEARANCE = 1.0      # metres that every box keeps from either camera

# Where the textures of a world are in its pool.
GROUND, SKY = 0, 1
_FACADES = (2, 3, 4, 5, 6)
_CARS = (7, 8, 9)
_CABIN_AFTER_CAR = 3  # a car's cabin comes three textures after its body
_CRATES = (13, 14)
_POLE, _LEAVES, _COAT = 15, 16, 17


class Boxes(NamedTuple):
    """Upright boxes; their own axes are the street's, turned by `yaw`."""
    centres: np.ndarray          # [K, 3] float64, metres
    half_sizes: np.ndarray       # [K, 3] float64, metres
    yaws: np.ndarray             # [K] float64
    textures: np.ndarray         # [K] int32
    texture_shifts: np.ndarray   # [K] complex64, metres, so that no two faces look alike
    moving: np.ndarray           # [K] bool, moves by itself


@dataclasses.dataclass(frozen=True)
class World:
    """All that a drive shows and where it is seen from."""
    static: Boxes
    movers: Boxes                        # places of frame 0
    mover_centres: np.ndarray            # [N, M, 3], metres
    mover_yaws: np.ndarray               # [N, M]
    street_from_camera: np.ndarray       # [N, 4, 4] float64, the left camera
    street_map: np.ndarray               # [Z, X] complex64, across + i along, 1 m apart
    street_map_corner: Tuple[float, float]  # x and z of node (0, 0), metres
    pool: textures.TexturePool
    sun: np.ndarray                      # [3] unit vector towards the sun

    def boxes(self, frame: int) -> Boxes:
        """All boxes as they stand at `frame`, the static ones first."""
        movers = self.movers._replace(
            centres=self.mover_centres[frame], yaws=self.mover_yaws[frame])
        return Boxes(*(np.concatenate(pair) for pair in zip(self.static, movers)))


def build_world(seed: int, frame_count: int, with_movers: bool, handheld: bool = False) -> World:
    """Makes the world of `seed`: the same arguments give the same world.

    Args:
      seed: >= 0.
      frame_count: N, >= 1, 10 frames a second.
      with_movers: whether cars and people move through the drive.
      handheld: whether its camera swings as one held by hand.
    """
    layout, look, traffic = (
        np.random.default_rng([seed, part]) for part in range(3))
    street = Street(layout, 1.3 * frame_count)
    street_from_camera, travelled = camera_path(layout, street, frame_count, handheld)
    movers, mover_centres, mover_yaws = _movers(
        traffic, street, travelled, street_from_camera if with_movers else None)
    static = _static_boxes(layout, street, street_from_camera, mover_centres)
    street_map, corner = street.map()
    sun = np.array([look.uniform(-1, 1), -look.uniform(0.6, 1.4), look.uniform(-1, 1)])
    return World(static, movers, mover_centres, mover_yaws, street_from_camera, street_map,
                 corner, _build_pool(look, street), sun / np.linalg.norm(sun))


def distances_to_box(points: np.ndarray, centre, half_size, yaw) -> np.ndarray:
    """Distances in the ground plane, metres, from points [P, 3] to one box; 0 inside: [P]."""
    x, z = points[:, 0] - centre[0], points[:, 2] - centre[2]
    beside = np.abs(np.cos(yaw) * x - np.sin(yaw) * z) - half_size[0]
    before = np.abs(np.sin(yaw) * x + np.cos(yaw) * z) - half_size[2]
    return np.hypot(np.maximum(beside, 0), np.maximum(before, 0))


def _eyes(street_from_camera):
    """Places of the left and of the right camera: two arrays [N, 3], metres."""
    left = street_from_camera[:, :3, 3]
    return left, left + BASELINE * street_from_camera[:, :3, 0]


class _BoxList:
    """Collects static boxes that keep clear of the cameras, of what moves and of the road."""

    def __init__(self, random, street, street_from_camera, mover_centres):
        self.random, self.street = random, street
        self.keep_clear = np.concatenate(
            [*_eyes(street_from_camera), mover_centres.reshape(-1, 3)])     # [P, 3]
        self.rows: List[tuple] = []

    def add(self, along, across, size, texture, bottom=0.0, yaw=0.0, road_clearance=0.0) -> bool:
        """Adds a box (size: width, height, length, metres) unless it stands in the way."""
        x, z, heading = self.street.locate(along, across)
        half = 0.5 * np.array(size, float)
        centre = np.array([x, -bottom - half[1], z])
        yaw = heading + yaw
        if (distances_to_box(self.keep_clear, centre, half, yaw).min() < CLEARANCE
                or distances_to_box(self.street.points, centre, half, yaw).min() < road_clearance):
            return False
        shift = np.complex64(self.random.uniform(0, 64))
        self.rows.append((centre, half, yaw, texture, shift, False))
        return True


def _gather(rows) -> Boxes:
    """Boxes of (centre, half size, yaw, texture, shift, moving) rows."""
    centres, halves, yaws, kinds, shifts, moving = zip(*rows) if rows else ([],) * 6
    return Boxes(np.array(centres, float).reshape(-1, 3), np.array(halves, float).reshape(-1, 3),
                 np.array(yaws, float), np.array(kinds, np.int32),
                 np.array(shifts, np.complex64), np.array(moving, bool))


def _static_boxes(random, street: Street, street_from_camera, mover_centres) -> Boxes:
    """Houses, parked cars, crates, poles and trees along the street."""
    boxes = _BoxList(random, street, street_from_camera, mover_centres)
    end = street.along[-1]
    kerb, front = street.half_width, street.half_width + street.pavement + street.setback
    tall = random.uniform(4.0, 14.0)
    gaps, clutter, greenery = random.uniform(0.2, 1.0), random.uniform(0.1, 0.7), random.random()
    for side in (-1.0, 1.0):
        along = street.start + random.uniform(0, 10)
        while along < end - 5.0:
            length, depth = random.uniform(6.0, 20.0), random.uniform(6.0, 12.0)
            back = front + random.uniform(0, 1.5) + depth / 2
            for push in range(6):
                if boxes.add(along + length / 2, side * (back + push),
                             (depth, tall * random.uniform(0.6, 1.5), length),
                             random.choice(_FACADES), road_clearance=kerb + 1.0):
                    break
            along += length + (random.uniform(2.0, 14.0) if random.random() < gaps else 0.2)
        for along in np.arange(street.start, end, 28.0):  # blocks behind the houses
            size = (random.uniform(8, 16), tall * random.uniform(1.0, 2.5), random.uniform(8, 16))
            boxes.add(along, side * random.uniform(front + 16, 60.0), size,
                      random.choice(_FACADES), road_clearance=front + 6.0)
        along = street.start + random.uniform(0, 8)
        while along < end:  # parked cars
            if random.random() < clutter * 0.7:
                length, tint = random.uniform(3.6, 4.8), random.choice(_CARS)
                across = side * (kerb - 0.95)
                if boxes.add(along, across, (1.75, 1.0, length), tint, 0.15):
                    boxes.add(along - 0.2, across, (1.5, 0.5, 0.5 * length),
                              tint + _CABIN_AFTER_CAR, 1.15)
            along += random.uniform(5.2, 14.0)
        along = street.start + random.uniform(0, 8)
        while along < end:  # crates, poles and trees
            across = side * (kerb + random.uniform(0.3, street.pavement))
            if random.random() < clutter:
                boxes.add(along, across, random.uniform(0.5, 1.6, 3), random.choice(_CRATES),
                          yaw=random.uniform(0, np.pi), road_clearance=2.0)
            if random.random() < 0.2:
                across = side * (kerb + 1.3)
                thick, height = random.uniform(0.12, 0.3), random.uniform(2.5, 6.5)
                if boxes.add(along + 2.0, across, (thick, height, thick), _POLE, yaw=0.4,
                             road_clearance=2.0) and random.random() < greenery:
                    boxes.add(along + 2.0, across, random.uniform(1.5, 3.0, 3), _LEAVES,
                              height - 0.5, yaw=random.uniform(0, np.pi))
            along += random.uniform(3.0, 11.0)
    boxes.add(end - 2.0, 0.0, (60.0, 1.5 * tall, 8.0), random.choice(_FACADES))
    return _gather(boxes.rows)


def _movers(random, street: Street, travelled, street_from_camera):
    """Moving cars and people: boxes of frame 0, centres [N, M, 3] and yaws [N, M]."""
    count, rows, centres, yaws = len(travelled), [], [], []
    steps = np.arange(count)

    def add(along, across, size, texture, bottom=0.0, turn=0.0):
        x, z, heading = street.locate(along, across)
        half = 0.5 * np.array(size, float)
        path = np.stack([x, np.full(count, -bottom - half[1]), z], axis=-1)
        shift = np.complex64(random.uniform(0, 64))
        rows.append((path[0], half, heading[0] + turn, texture, shift, True))
        centres.append(path)
        yaws.append(heading + turn)

    def add_car(along, across):
        length, tint = random.uniform(3.6, 4.8), random.choice(_CARS)
        add(along, across, (1.75, 1.0, length), tint, 0.15)
        add(along - 0.2, across, (1.5, 0.5, 0.5 * length), tint + _CABIN_AFTER_CAR, 1.15)

    if street_from_camera is not None:
        camera = street_from_camera[:, :3, 3]
        start_x, start_z, heading = street.locate(0.0, 0.0)
        lane = (camera[0, 0] - start_x) * np.cos(heading) - (camera[0, 2] - start_z) * np.sin(
            heading)
        side = 1.0 if lane >= 0 else -1.0
        if random.random() < 0.3:  # a car ahead at nearly the camera's own speed
            add_car(travelled + random.uniform(9, 15) + 1.5 * smooth(random, count, 40.0),
                    np.full(count, side * 0.33 * street.half_width))
        for first in np.cumsum(random.uniform(12, 40, 3)):  # cars coming the other way
            add_car(first - random.uniform(0.5, 1.1) * steps,
                    np.full(count, -side * max(0.4 * street.half_width, 1.6)))
        for _ in range(3):  # people who walk beside the road
            way = random.uniform(0.08, 0.15) * random.choice([-1, 1])
            across = random.choice([-1, 1]) * (street.half_width + random.uniform(0.4, 1.2))
            add(random.uniform(8, 50) + way * steps, np.full(count, across),
                (0.45, random.uniform(1.55, 1.9), 0.35), _COAT)
        keep = [min(distances_to_box(eyes[frame:frame + 1], path[frame], row[1], yaw[frame])[0]
                    for frame in range(count) for eyes in _eyes(street_from_camera))
                >= CLEARANCE for row, path, yaw in zip(rows, centres, yaws)]
        rows, centres, yaws = ([item for item, kept in zip(items, keep) if kept]
                               for items in (rows, centres, yaws))
    return (_gather(rows), np.array(centres).reshape(-1, count, 3).swapaxes(0, 1),
            np.array(yaws).reshape(-1, count).swapaxes(0, 1))


def _build_pool(random, street: Street) -> textures.TexturePool:
    """The textures of a world, in the order that the constants above name."""
    paints = [0.15 + 0.7 * random.random(3) for _ in _CARS]
    made = [(textures.ground(random, street.half_width, street.pavement), 32.0),
            (textures.sky(random), 1.0)]
    made += [(textures.facade(random), 512 / 12.0) for _ in _FACADES]
    made += [(textures.car(random, kind, paint), 64.0)
             for kind in ("body", "cabin") for paint in paints]
    made += [(textures.cover(random, kind), 64.0)
             for kind in (*["crate"] * len(_CRATES), "pole", "leaves", "coat")]
    return textures.build_pool(made)
