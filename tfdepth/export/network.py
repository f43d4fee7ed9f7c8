"""The network of a model alone, at its own size, for formats that know few operations.

    images float32 [B, H, W, 3] in [0, 1]            -> depth, disparity float32 [B, H, W, 1]

with `previous`, of the shape of the images, of models that need the frame before, and `intrinsics`
[B, 3, 3] in pixels of H x W of those that need the camera. `disparity` is 1 / depth.

Shape letters: B batch, H, W the network's size.
"""
import time

import numpy as np
import tensorflow as tf

from tfdepth.export.sampling import network_frames, sample_requests
from tfdepth.export.signatures import described_maps, input_types
from tfdepth.export.verification import ExportFailed, relative_errors
from tfdepth.runs.scale import UNITS

REPEATS = 11
TOLERANCE = 1e-3  # of float formats, whose kernels add up in another order


def network_function(predictor, batch_size=None):
    """The tf.function, its arguments declared; batch_size None: any."""
    shapes = {"images": [*predictor.size, 3], "previous": [*predictor.size, 3],
              "intrinsics": [3, 3]}
    names = list(input_types("depth_float", predictor.system))

    def answer(*inputs):
        by_name = dict(zip(names, inputs))
        images = by_name["images"]
        depth = predictor.predict_depth(
            images, by_name.get("previous", images), by_name.get("intrinsics"))
        return {"depth": depth, "disparity": 1.0 / depth}

    return tf.function(answer, input_signature=[
        tf.TensorSpec([batch_size, *shapes[name]], tf.float32, name) for name in names],
        autograph=False)


def made_up_inputs(predictor, batch_size=2):
    """Inputs of the network to compare formats with: {name: float32 array}."""
    inputs = sample_requests(predictor, batch_size, predictor.size)["depth_float"]
    return {name: inputs[name] if name == "intrinsics" else network_frames(
        255.0 * inputs[name], predictor.size).numpy() for name in inputs}


def described(predictor, batch):
    """What export.json says of inputs and outputs; batch: "B" or "1"."""
    rows, columns = predictor.size
    image = f"float32 [{batch}, {rows}, {columns}, 3] in [0, 1]"
    inputs = {name: f"float32 [{batch}, 3, 3] pixels of {rows} x {columns}"
              if name == "intrinsics" else image
              for name in input_types("depth_float", predictor.system)}
    unit = UNITS[predictor.describe_scale()["scale"]]
    return {"inputs": inputs, "outputs": described_maps(f"{batch}, {rows}, {columns}", unit)}


def compare(ask, predictor, samples, tolerance=TOLERANCE):
    """Facts for export.json: parity with the Python model, and latency.

    Args:
      ask: {input: array} -> {output: array}, the exported model.
      samples: inputs to try, each {input: array}; the first is timed.
      tolerance: the largest relative error; None: any.

    Raises: ExportFailed: if it says something else than the Python model.
    """
    largest, mean = [], []
    for inputs in samples:
        found, images = ask(inputs), inputs["images"]
        truth = predictor.depth_of_batch(
            images, inputs.get("previous", images),
            inputs.get("intrinsics", np.broadcast_to(np.eye(3, dtype=np.float32),
                                                     (len(images), 3, 3)))).numpy()
        errors = relative_errors(found, {"depth": truth})
        largest.append(float(errors.max()))
        mean.append(errors.mean())
    if tolerance is not None and max(largest) > tolerance:
        raise ExportFailed("the exported model differs from the Python model by "
                           f"{max(largest):.2g}, relatively; expected {tolerance:g}.")
    single = {name: value[:1] for name, value in samples[0].items()}
    ask(single)  # in another batch size than before, it may prepare itself anew
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        ask(single)
        seconds.append(time.perf_counter() - start)
    return {"parity": {"reference": "the Python model in float32",
                       "max_relative_error": max(largest), "abs_rel": float(np.mean(mean))},
            "latency_seconds": float(np.median(seconds)),
            "latency_of": f"one {predictor.size[1]}x{predictor.size[0]} image, this machine"}
