"""The street of a synthetic drive and the camera's way along it.

Frame "street": metres, x right, y down, z forward, the ground is y = 0. Yaw and heading turn z
towards x. Letters: N frames, P points of the middle line, Z and X nodes of the street map.
"""
import numpy as np

_STEP = 0.5      # metres between points of the street's middle line
_MAP_STEP = 1.0  # metres between nodes of the street map


class Street:
    """A winding middle line, from 40 m behind a drive's start to far beyond its end.

    A place on the street is (along, across): metres along its middle line from the drive's start
    and metres to the right of it.
    """

    def __init__(self, random: np.random.Generator, length: float):
        """Draws a street for a drive of `length` metres."""
        self.half_width = random.uniform(3.6, 9.0)
        self.pavement = random.uniform(1.5, 4.0)
        self.setback = random.uniform(0.0, 22.0)
        self.start = -40.0
        count = int((length + 180.0) / _STEP)
        self.along = self.start + _STEP * np.arange(count)
        curvature, heading = np.zeros(count), 0.0
        place = random.uniform(-15.0, 15.0)
        while place < length + 100.0:
            bend = random.uniform(30.0, 50.0)
            angle = np.deg2rad(random.uniform(8.0, 28.0)) * random.choice([-1.0, 1.0])
            angle = np.clip(angle, -0.02 * bend, 0.02 * bend)  # radius 25 m at the least
            if abs(heading + angle) > np.deg2rad(80.0):  # the street must not meet itself
                angle = -angle
            heading += angle
            inside = np.abs(self.along - place - bend / 2) < bend / 2
            curvature[inside] += angle / bend * (
                1 + np.cos(2 * np.pi * (self.along[inside] - place - bend / 2) / bend))
            place += bend + random.uniform(0.0, 40.0)
        self.curvature = curvature
        self.heading = np.cumsum(curvature) * _STEP
        self.x = np.cumsum(np.sin(self.heading)) * _STEP
        self.z = np.cumsum(np.cos(self.heading)) * _STEP
        self.points = np.stack([self.x, np.zeros(count), self.z], axis=-1)  # [P, 3]

    def locate(self, along, across):
        """Place on the street, metres -> x and z, metres, and the street's heading there."""
        x, z, heading = (np.interp(along, self.along, values)
                         for values in (self.x, self.z, self.heading))
        return x + across * np.cos(heading), z - across * np.sin(heading), heading

    def map(self):
        """The street around every node of a grid on the ground, 1 m apart.

        Returns: [Z, X] complex64, across + i along, metres; (x, z) of node (0, 0).
        """
        corner = (self.x.min() - 70.0, self.z.min() - 70.0)
        xs = np.arange(corner[0], self.x.max() + 70.0, _MAP_STEP)
        zs = np.arange(corner[1], self.z.max() + 70.0, _MAP_STEP)
        places = np.empty((len(zs), len(xs)), np.complex64)
        for row, z in enumerate(zs):
            right, ahead = xs[:, None] - self.x, z - self.z             # [X, P]
            near = np.argmin(right ** 2 + ahead ** 2, axis=1)
            right, ahead = xs - self.x[near], z - self.z[near]
            sin, cos = np.sin(self.heading[near]), np.cos(self.heading[near])
            across = cos * right - sin * ahead
            squeeze = np.maximum(1 - self.curvature[near] * across, 0.3)
            along = self.along[near] + np.clip((sin * right + cos * ahead) / squeeze, -30, 30)
            places[row] = across + 1j * along
        return places, corner


def smooth(random, count: int, period: float) -> np.ndarray:
    """Smooth random values of about -1 to 1, [count], that change over `period` steps."""
    steps = np.arange(count)
    waves = [np.sin(2 * np.pi * (steps / (period * random.uniform(0.7, 1.6)) + random.random()))
             for _ in range(3)]
    return np.sum(waves, axis=0) / 2.0


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """street_from_camera rotation [3, 3]; positive pitch looks up, positive roll leans right."""
    cy, sy, cp, sp, cr, sr = (f(angle) for angle in (yaw, pitch, roll) for f in (np.cos, np.sin))
    return (np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
            @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
            @ np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]))


def camera_path(random, street: Street, count: int, handheld: bool = False):
    """How the left camera drives along `street`: at 5 to 13 m/s, turning up to 2 degrees a frame.

    Height, pitch and the side it looks to differ from drive to drive; within one, the camera
    swings by fractions of a degree, as on a car. One held by hand swings by some degrees about each
    axis, up to 4 a frame, wherever the way goes.

    Returns: street_from_camera [N, 4, 4] and the way travelled along the street [N], metres.
    """
    base_speed, side = random.uniform(0.6, 1.1), random.choice([-1.0, 1.0])
    speed = np.clip(base_speed + 0.2 * smooth(random, count, 60.0), 0.5, 1.3)
    travelled = np.concatenate([[0.0], np.cumsum(speed[1:])])
    lane = side * random.uniform(0.2, 0.4) * street.half_width
    across = lane + random.uniform(0.1, 0.3) * smooth(random, count, 50.0)
    x, z, heading = street.locate(travelled, across)
    drift = np.gradient(across) / np.maximum(np.gradient(travelled), 0.1) if count > 1 else 0.0
    height = random.uniform(1.2, 2.4) + 0.04 * smooth(random, count, 25.0)
    degrees = np.deg2rad(1.0)
    pitch = degrees * (random.uniform(-6.0, 6.0) + 0.2 * smooth(random, count, 40.0)
                       + 0.02 * random.standard_normal(count).clip(-2, 2))
    roll = degrees * (0.2 * smooth(random, count, 35.0)
                      + 0.02 * random.standard_normal(count).clip(-2, 2))
    mounting = random.uniform(-4.0, 4.0)  # the camera looks a little to one side
    yaw = heading + np.arctan(drift) + degrees * (
        mounting + 0.15 * smooth(random, count, 30.0))
    if handheld:
        yaw, pitch, roll = (angle + degrees * swing * smooth(random, count, 20.0)
                            for angle, swing in ((yaw, 8.0), (pitch, 5.0), (roll, 5.0)))
    poses = np.tile(np.eye(4), (count, 1, 1))
    for frame in range(count):
        poses[frame, :3, :3] = rotation(yaw[frame], pitch[frame], roll[frame])
    poses[:, :3, 3] = np.stack([x, -height, z], axis=-1)
    return poses, travelled
