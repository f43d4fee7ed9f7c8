"""Requests to try an exported model with, and what the Python model answers to them.

The expected answers go the way of tools/predict.py: the network, then NumPy's resizing.

Shape letters: B batch, S sources, H, W the network's size; h, w that of a request's images.
"""
import numpy as np
import tensorflow as tf

from tfdepth.data.pictures import resize_image
from tfdepth.evaluation.resizing import RESIZINGS
from tfdepth.export.signatures import input_types
from tfdepth.geometry.camera import resize_intrinsics


def made_up_images(*shape, seed=0):
    """uint8 [*shape, 3], blocks of random colours with some noise."""
    random = np.random.default_rng(seed)
    *batch, rows, columns = shape
    blocks = random.integers(20, 236, (*batch, -(-rows // 8), -(-columns // 8), 3))
    blocks = blocks.repeat(8, axis=-3).repeat(8, axis=-2)[..., :rows, :columns, :]
    return (blocks + random.integers(-20, 20, blocks.shape)).astype(np.uint8)


def sample_requests(predictor, batch_size, size):
    """{signature: {input: array, or list of files' bytes}}, of made-up images (h, w)."""
    system, count = predictor.system, len(predictor.offsets)
    images, previous = made_up_images(2, batch_size, *size)
    camera = np.array([[0.7 * size[1], 0.0, 0.51 * size[1]], [0.0, 0.9 * size[1], 0.48 * size[0]],
                       [0.0, 0.0, 1.0]], np.float32)
    encode = lambda pictures: [tf.io.encode_png(picture).numpy() for picture in pictures]
    to_float = lambda pictures: pictures.astype(np.float32) / np.float32(255.0)
    forms = {"depth": lambda pictures: pictures, "depth_float": to_float,
             "depth_from_encoded": encode}
    requests = {}
    for name, form in forms.items():
        values = {"images": form(images), "encoded": form(images), "previous": form(previous),
                  "intrinsics": np.repeat(camera[np.newaxis], batch_size, axis=0)}
        requests[name] = {key: values[key] for key in input_types(name, system)}
    if system.predicts_motion:
        values = {"target": images, "source": previous,
                  "sources": made_up_images(batch_size, count, *size, seed=1)}
        requests["pose"] = {key: values[key] for key in input_types("pose", system)}
    return requests


def expected_answers(predictor, requests):
    """What a Predictor says to `sample_requests`: {signature: {output: array}}."""
    answers = {}
    for name, inputs in requests.items():
        if name == "pose":
            answers[name] = {"source_from_target": _expected_motion(predictor, **inputs)}
            continue
        images, previous = (_decoded(inputs.get(key)) for key in (
            "encoded" if "encoded" in inputs else "images", "previous"))
        depth = _expected_depth(predictor, images, previous, inputs.get("intrinsics"))
        answers[name] = {"depth": depth, "disparity": 1.0 / depth}
    return answers


def _expected_motion(predictor, target, source=None, sources=None):
    """source_from_target [B, 4, 4], or [B, S, 4, 4] of `sources`."""
    target = network_frames(target, predictor.size)
    if sources is None:
        predict, other = predictor.predict_pair_motion, network_frames(
            source, predictor.size)
    else:
        predict, other = predictor.predict_motion, tf.stack(
            [network_frames(images, predictor.size) for images in sources])
    return tf.function(predict, autograph=False)(target, other).numpy()


def network_frames(images, size):
    """Images [B, h, w, 3], 0 to 255 -> float32 [B, H, W, 3] in [0, 1]."""
    return tf.cast(resize_image(images, size), tf.float32) / 255.0


def _decoded(images):
    """The images of an input of any signature, 0 to 255."""
    if isinstance(images, list):
        return np.stack([tf.io.decode_image(data, channels=3).numpy() for data in images])
    if images is not None and images.dtype == np.float32:
        return images * np.float32(255.0)
    return images


def _expected_depth(predictor, images, previous, intrinsics):
    """Depth [B, h, w, 1]."""
    size = images.shape[1:3]
    cameras = tf.eye(3, batch_shape=[len(images)])
    if intrinsics is not None:
        scale_yx = (predictor.size[0] / size[0], predictor.size[1] / size[1])
        cameras = resize_intrinsics(tf.constant(intrinsics), scale_yx)
    depths = predictor.depth_of_batch(
        network_frames(images, predictor.size),
        network_frames(images if previous is None else previous, predictor.size), cameras)
    resize = RESIZINGS[predictor.system.resized]
    return np.stack([resize(depth, size) for depth in depths.numpy()[..., 0]])[..., np.newaxis]
