"""Whether an exported model says what the Python model says, without tfdepth at hand."""
import pathlib
import subprocess
import sys
import tempfile
from typing import Mapping, NamedTuple

import numpy as np

# Of float32 for the largest relative error, which is rounding. Of half precision for the mean one:
# operations that are fused in another way round at other places.
TOLERANCES = {"float32": 1e-5, "mixed_bfloat16": 3e-2, "mixed_float16": 3e-3}


class ExportFailed(RuntimeError):
    """The exported model does not run, or does not say what the Python model says."""


class Verified(NamedTuple):
    """What a fresh process found."""
    answers: Mapping[str, Mapping[str, np.ndarray]]  # {signature: {output: array}}
    seconds: float                                   # median, of `depth` of a single image
    errors: Mapping[str, float]                      # of each signature, see TOLERANCES


def relative_errors(found, expected):
    """|found - expected| / |expected|, flat; of a motion, whose numbers may be 0, that of the
    rotation / 1, and that of the translation / its largest number.

    Args: found, expected: {output: array}.
    Raises: ExportFailed: if shapes differ or a number is not finite.
    """
    errors = []
    for name, values in expected.items():
        if name not in found or found[name].shape != values.shape or not (
                np.isfinite(found[name]).all()):
            shape = found[name].shape if name in found else None
            raise ExportFailed(f"the exported model's {name} has shape {shape}, or holds numbers "
                               f"that are not finite; expected {values.shape}.")
        scale = np.abs(values)
        if name == "source_from_target":
            scale = np.ones_like(scale)
            scale[..., :3, 3] = np.abs(values[..., :3, 3]).max(axis=-1, keepdims=True)
        errors.append((np.abs(found[name] - values) / scale).ravel())
    return np.concatenate(errors)


def reload_and_ask(folder, requests):
    """Runs requests through a SavedModel in a process that cannot import tfdepth.

    Args: requests: as `sampling.sample_requests`.
    Returns: {signature: {output: array}}, and the median seconds of `depth` of one image.
    Raises: ExportFailed: if it cannot; with the end of what the process printed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = (str(pathlib.Path(scratch, name)) for name in ("in.npz", "out.npz"))
        np.savez(asked, **{f"{signature}/{name}": np.array(value) for signature, inputs in
                           requests.items() for name, value in inputs.items()})
        program = pathlib.Path(__file__).with_name("reloading.py")
        done = subprocess.run([sys.executable, "-I", str(program), str(folder), asked, answered],
                              check=False, capture_output=True, text=True)
        if done.returncode:
            raise ExportFailed("the exported model does not run without tfdepth: "
                               f"{done.stderr.strip()[-2000:]}")
        answers = {}
        with np.load(answered) as file:
            for key in file.files:
                signature, _, output = key.partition("/")
                answers.setdefault(signature, {})[output] = file[key]
    return answers, float(answers.pop("seconds")[""])


def verify(folder, requests, expected, precision) -> Verified:
    """Compares a SavedModel, in a fresh process, with the Python model.

    Args: requests, expected: as `sampling` makes them. precision: of the model, of PRECISIONS.
    Raises: ExportFailed: if it does not run without tfdepth, or says something else.
    """
    answers, seconds = reload_and_ask(folder, requests)
    errors = {}
    for signature, outputs in expected.items():
        relative = relative_errors(answers.get(signature, {}), outputs)
        errors[signature] = float(relative.max() if precision == "float32" else relative.mean())
        if errors[signature] > TOLERANCES[precision]:
            raise ExportFailed(
                f"the exported model's signature {signature} differs from the Python model by "
                f"{errors[signature]:.2g}, relatively; expected {TOLERANCES[precision]:g}.")
    return Verified(answers, seconds, errors)
