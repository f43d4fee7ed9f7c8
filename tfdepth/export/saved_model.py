"""A SavedModel for TensorFlow Serving, and that it says what the Python model says."""
import tensorflow as tf

from tfdepth.export.sampling import expected_answers, sample_requests
from tfdepth.export.serving_files import write_warm_up
from tfdepth.export.signatures import DEFAULT, described, served_functions
from tfdepth.export.verification import relative_errors, verify

BATCH_SIZE = 2  # of the requests that verify it


def write_saved_model(folder, predictor, model_name):
    """Writes the SavedModel and its warm-up requests.

    It holds variables and functions, nothing of Keras, so that no class is needed to load it.

    Args: folder: to be made. predictor: Predictor. model_name: for the warm-up.
    """
    functions = served_functions(predictor)
    module = tf.Module()
    module.weights = list(predictor.system.variables)
    tf.saved_model.save(module, str(folder), signatures={**functions, DEFAULT: functions["depth"]})
    write_warm_up(folder, model_name, sample_requests(predictor, 1, predictor.size))


def verify_saved_model(folder, predictor, reference, precision):
    """Facts for export.json about a SavedModel that says what its Python model says.

    Args: predictor: Predictor of the precision. reference: Predictor in float32.
    Raises: ExportFailed: as `verify`.
    """
    size = tuple(side + side // 4 + 1 for side in predictor.size)  # neither whole multiple nor even
    requests = sample_requests(predictor, BATCH_SIZE, size)
    expected = expected_answers(predictor, requests)
    verified = verify(folder, requests, expected, precision)
    exact = expected if precision == "float32" else expected_answers(reference, requests)
    errors = relative_errors(*({"depth": answers["depth"]["depth"]} for answers in (
        verified.answers, exact)))
    return {
        "verified_errors": verified.errors,
        "parity": {"reference": "the Python model in float32",
                   "max_relative_error": float(errors.max()), "abs_rel": float(errors.mean())},
        "latency_seconds": verified.seconds,
        "latency_of": f"depth of one {size[1]}x{size[0]} image, this machine",
        "signatures": described(predictor)}
