"""Cameras that nobody knows, learned with depth and motion: `--config.data.intrinsics=learned`."""
import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
import train
from PIL import Image
from helpers import interrupt_after, random_images
from toy_system import Toy, ToyConfig

from tfdepth.checks import UserError
from tfdepth.data import learned_camera, pipeline, synthetic
from tfdepth.data.config import DataConfig
from tfdepth.data.datasets import load_drives, split_drives
from tfdepth.data.intrinsics_file import read_intrinsics
from tfdepth.geometry import camera, rotations, transforms
from tfdepth.geometry.synthesis import source_pixels, synthesize_target
from tfdepth.networks.learned_camera import CENTRE_RANGE, FOCAL_RATE, LearnedCameras
from tfdepth.runs.cameras import camera_of_size, load_cameras
from tfdepth.runs.config import ExperimentConfig, OptimizerConfig, TrainConfig
from tfdepth.runs.folder import RunFolder
from tfdepth.structures import Batch
from tfdepth.systems import SYSTEMS, build_system, signs
from tfdepth.systems.bts import BtsConfig
from tfdepth.systems.geonet import GeoNetConfig
from tfdepth.systems.monodepth2 import Monodepth2Config
from tfdepth.systems.sfmlearner import SfMLearnerConfig
from tfdepth.training import learned_cameras

SIZE = (60, 100)
LEARNED = learned_camera.LEARNED


def set_camera(cameras, name, intrinsics):
    """Sets the variable of a camera to [3, 3] with square pixels, by the inverse of its formula."""
    height, width = learned_camera.picture_size(name)
    guess = learned_camera.first_guess((height, width))
    place = cameras.names.index(name)
    focal = np.log(intrinsics[0, 0] / guess[0, 0]) / FOCAL_RATE
    centre = (intrinsics[:2, 2] - guess[:2, 2]) / (CENTRE_RANGE * np.array([width, height]))
    cameras.trainable_variables[place].assign(np.float32([focal, *np.arctanh(centre)]))


def texture(u, v):
    """A smooth picture [..., 3] at pixels u, v."""
    waves = [(0.31, 0.17, 0.0), (0.13, -0.37, 1.0), (-0.23, 0.29, 2.0)]
    return np.stack([0.5 + 0.4 * np.sin(a * u + b * v + c) for a, b, c in waves], axis=-1)


def turning_pair(true, degrees, depth):
    """Target and source [1, H, W, 3] of a camera that only turns, drawn without our geometry: the
    source is a texture, the target looks it up along its rays; and source_from_target."""
    a, b, c = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    motion = np.eye(4)
    motion[:3, :3] = about_z @ about_y @ about_x
    motion[:3, 3] = 0.1, -0.05, 0.2
    v, u = np.mgrid[:SIZE[0], :SIZE[1]].astype(np.float64)
    rays = np.stack([(u - true[0, 2]) / true[0, 0], (v - true[1, 2]) / true[1, 1],
                     np.ones_like(u)], -1)
    points = (rays * depth[..., None]) @ motion[:3, :3].T + motion[:3, 3]
    seen = [points[..., k] / points[..., 2] * true[k, k] + true[k, 2] for k in range(2)]
    return texture(*seen), texture(u, v), motion


def test_gradient_descent_on_the_photometric_error_finds_the_true_camera():
    """With true depth and motion: pixels of the network are twice as high as wide, so that its focal
    lengths differ, and the principal point is off the middle."""
    source_size = (120, 100)                        # of the camera; SIZE halves its rows
    true_source = np.array([[74.0, 0, 55.0], [0, 74.0, 55.5], [0, 0, 1]])
    scale = lambda matrix: camera.resize_intrinsics(
        tf.constant(matrix, tf.float64), (0.5, 1.0)).numpy()
    true = scale(true_source)
    assert abs(true[0, 0] / true[1, 1] - 2.0) < 1e-9
    v, u = np.mgrid[:SIZE[0], :SIZE[1]]
    depth = 4.0 + 0.02 * u + np.sin(0.2 * v)
    name = learned_camera.camera_name(source_size)
    pairs = [turning_pair(true, degrees, depth) for degrees in
             ((0.5, 3.0, -1.0), (-2.5, -2.0, 1.5), (2.0, 2.5, 2.0))]
    targets, sources, motions = (np.float32(np.stack(each)) for each in zip(*pairs))
    count = len(pairs)
    sources, motions = sources[:, np.newaxis], motions[:, np.newaxis]
    guess = np.float32(np.tile(scale(learned_camera.first_guess(source_size)), (count, 1, 1)))
    batch = Batch(targets, sources, targets, sources, tf.constant(guess),
                  camera=tf.fill([count], learned_camera.camera_number(name)),
                  mirrored=tf.fill([count], False))
    depths = np.float32(np.tile(depth[..., np.newaxis], (count, 1, 1, 1)))
    cameras = LearnedCameras([name])
    optimizer = tf.keras.optimizers.legacy.Adam(
        tf.keras.optimizers.schedules.PolynomialDecay(1e-2, 400, 1e-4))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            views = synthesize_target(batch.sources, depths, cameras.correct(batch).intrinsics,
                                      motions)
            valid = tf.cast(views.valid, tf.float32)
            error = tf.reduce_sum(valid * tf.abs(views.images - targets[:, np.newaxis]))
            error /= tf.reduce_sum(valid)
        optimizer.minimize(error, cameras.trainable_variables, tape=tape)
        return error

    first = float(step())
    for _ in range(400):
        last = float(step())
    found = cameras.intrinsics()[name]
    assert last < 0.2 * first
    assert abs(learned_camera.first_guess(source_size)[0, 0] / 74.0 - 1.0) > 0.1  # a wrong guess
    np.testing.assert_allclose(np.diag(found), [74.0, 74.0, 1.0], rtol=0.01)
    np.testing.assert_allclose(found[:2, 2], [55.0, 55.5], atol=0.5)
