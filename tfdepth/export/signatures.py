"""What a served model answers: the signatures of the SavedModel.

    depth               uint8 images [B, h, w, 3]         -> depth, disparity [B, h, w, 1]
    depth_float         float32 images in [0, 1]          -> the same
    depth_from_encoded  JPEG or PNG files, strings [B]    -> the same
    pose                uint8 frames                      -> source_from_target

Images have any size, one size a request; resizing to the network's size and back is inside, as
tools/predict.py does both. `disparity` is 1 / depth. Models that need the frame before take it as
`previous`, of the shape of the images (the images themselves where there is none), models that
need the camera as `intrinsics` float32 [B, 3, 3], pixels of the given images.

`pose` of a model that looks at two frames takes `target` and the frame after it, `source`, both
[B, h, w, 3], and gives source_from_target [B, 4, 4]. Models that look at a target and its S sources
at once take `target` and `sources` [B, S, h, w, 3], at the run's offsets, in time order, and give
[B, S, 4, 4].

Shape letters: B batch, S sources, H, W the network's size; h, w that of a request's images.
"""
import tensorflow as tf

from tfdepth.data.pictures import resize_image
from tfdepth.export.requests import (
    checked_files, checked_floats, checked_images, checked_intrinsics, checked_pair, checked_sizes)
from tfdepth.geometry.camera import resize_intrinsics
from tfdepth.runs.scale import UNITS

DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def served_functions(predictor):
    """The signatures of a model, traced.

    Args: predictor: Predictor.
    Returns: {name: tf.ConcreteFunction}, keyword arguments to dict; without the default's name.
    """
    answers = _Answers(predictor)
    return {name: tf.function(getattr(answers, name), autograph=False).get_concrete_function(
        **{key: tf.TensorSpec(None, dtype, key)
           for key, dtype in input_types(name, predictor.system).items()})
            for name in signature_names(predictor.system)}


def signature_names(system):
    """The signatures of a system's model, without the default's name."""
    names = ("depth", "depth_float", "depth_from_encoded")
    return (*names, "pose") if system.predicts_motion else names


def input_types(name, system):
    """{input: tf.DType} of a signature of a system's model."""
    if name == "pose":
        return dict.fromkeys(("target", "source" if system.motion_from_pairs else "sources"),
                             tf.uint8)
    first, dtype = {"depth": ("images", tf.uint8), "depth_float": ("images", tf.float32),
                    "depth_from_encoded": ("encoded", tf.string)}[name]
    types = {first: dtype}
    if system.needs_previous:
        types["previous"] = dtype
    if system.needs_intrinsics:
        types["intrinsics"] = tf.float32
    return types


def described(predictor):
    """What export.json says of the signatures: {name: {"inputs" or "outputs": {key: its type}}}."""
    sources = f"[B, {len(predictor.offsets)}, h, w, 3]"
    axes = {"encoded": "[B] JPEG or PNG files", "intrinsics": "[B, 3, 3] pixels of the images",
            "sources": sources}
    unit = UNITS[predictor.describe_scale()["scale"]]
    maps = described_maps("B, h, w", unit)
    count = "B" if predictor.system.motion_from_pairs else f"B, {len(predictor.offsets)}"
    found = {}
    for name in signature_names(predictor.system):
        types = input_types(name, predictor.system)
        form = axes["encoded"] if "encoded" in types else "[B, h, w, 3]"
        found[name] = {
            "inputs": {key: f"{dtype.name} {axes.get(key, form)}" for key, dtype in types.items()},
            "outputs": maps if name != "pose" else {
                "source_from_target": f"float32 [{count}, 4, 4], translation in {unit}"}}
    return found


def described_maps(axes, unit):
    """What export.json says of depth and disparity. Args: axes: "B, h, w". unit: of UNITS."""
    return {"depth": f"float32 [{axes}, 1], {unit}", "disparity": f"float32 [{axes}, 1], 1 / depth"}


class _Answers:
    """The functions of the signatures, in terms of a Predictor."""

    def __init__(self, predictor):
        self.predictor, self.system = predictor, predictor.system
        self.size, self.offsets = predictor.size, predictor.offsets

    def depth(self, images, previous=None, intrinsics=None):
        images = checked_images("images", images)
        if previous is not None:
            previous = checked_images("previous", previous)
        return self._depth_of(images, previous, intrinsics)

    def depth_float(self, images, previous=None, intrinsics=None):
        # The networks learned from 8 bits a colour, to which `resize_image` rounds.
        images = 255.0 * checked_floats("images", checked_images("images", images))
        if previous is not None:
            previous = 255.0 * checked_floats("previous", checked_images("previous", previous))
        return self._depth_of(images, previous, intrinsics)

    def depth_from_encoded(self, encoded, previous=None, intrinsics=None):
        frames, sizes = self._decode(checked_files("encoded", encoded))
        before = None
        if previous is not None:
            before, sizes_before = self._decode(checked_files("previous", previous))
            with checked_pair("encoded", tf.shape(sizes), "previous", tf.shape(sizes_before)):
                before = tf.identity(before)
            sizes = tf.concat([sizes, sizes_before], axis=0)
        return self._answer(frames, before, intrinsics, checked_sizes("encoded", sizes))

    def pose(self, target, source=None, sources=None):
        target = checked_images("target", target)
        shape = tf.shape(target)
        if self.system.motion_from_pairs:
            source = checked_images("source", source)
            with checked_pair("target", shape, "source", tf.shape(source)):
                target = tf.reshape(target, shape)
            motion = self.predictor.predict_pair_motion(self._frames(target), self._frames(source))
            return {"source_from_target": motion}
        count = len(self.offsets)
        sources = checked_images("sources", sources, count)
        found = tf.shape(sources)
        with checked_pair("target", shape, "sources, without their second axis",
                          tf.concat([found[:1], found[2:]], axis=0)):
            sources = tf.reshape(sources, tf.concat([[-1], found[2:]], axis=0))
        sources = tf.reshape(self._frames(sources), [-1, count, *self.size, 3])
        motion = self.predictor.predict_motion(self._frames(target), sources)
        return {"source_from_target": motion}

    def _frames(self, images):
        """Images [B, h, w, 3], 0 to 255 -> [B, H, W, 3] in [0, 1]."""
        return tf.cast(resize_image(images, self.size), tf.float32) / 255.0

    def _decode(self, encoded):
        """Files [B] -> frames [B, H, W, 3] in [0, 1], and the files' sizes int32 [B, 2]."""
        def decode(data):
            image = tf.io.decode_image(data, channels=3, expand_animations=False)
            frame = tf.ensure_shape(resize_image(image, self.size), [*self.size, 3])
            return frame, tf.shape(image)[:2]

        types = (tf.TensorSpec([*self.size, 3], tf.uint8), tf.TensorSpec([2], tf.int32))
        frames, sizes = tf.map_fn(decode, encoded, fn_output_signature=types)
        return tf.cast(frames, tf.float32) / 255.0, sizes

    def _depth_of(self, images, previous, intrinsics):
        shape = tf.shape(images)
        if previous is not None:
            with checked_pair("images", shape, "previous", tf.shape(previous)):
                previous = self._frames(tf.reshape(previous, shape))
        return self._answer(self._frames(images), previous, intrinsics, shape[1:3])

    def _answer(self, frames, previous, intrinsics, size):
        """Depth of frames [B, H, W, 3] in [0, 1], at `size`, (h, w) of their images."""
        if intrinsics is not None:
            intrinsics = checked_intrinsics(intrinsics, tf.shape(frames)[0])
            scale_yx = tf.constant(self.size, tf.float32) / tf.cast(size, tf.float32)
            intrinsics = resize_intrinsics(intrinsics, (scale_yx[0], scale_yx[1]))
        depth = self.predictor.predict_depth(
            frames, frames if previous is None else previous, intrinsics)
        if self.system.resized == "disparity":
            depth = 1.0 / tf.image.resize(1.0 / depth, size)
        else:
            depth = tf.image.resize(depth, size)
        depth = tf.ensure_shape(depth, [None, None, None, 1])
        return {"depth": depth, "disparity": 1.0 / depth}
