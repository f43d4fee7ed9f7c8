"""TFLite: the network for phones and small boards, in float32 or in 8 bits."""
import tensorflow as tf

from tfdepth.checks import UserError
from tfdepth.data.datasets import load_drives, split_drives
from tfdepth.data.pipeline import evaluation_batches, open_source
from tfdepth.export.network import compare, described, made_up_inputs, network_function
from tfdepth.export.signatures import DEFAULT, input_types

FILE = "model.tflite"
FRAMES = 90     # of the training drives, for int8, spread evenly
HELD_OUT = 9    # every ninth of them measures parity and calibrates nothing


def export_tflite(folder, predictor, int8):
    """Writes model.tflite, of batches of one image.

    In int8, what has an 8-bit kernel computes in it; inputs and outputs stay float32. Ranges are
    those on frames of the run's training drives.

    Args: folder: exists. predictor: Predictor in float32.
    Returns: facts for export.json.
    Raises: UserError: if the drives cannot be read. ExportFailed: if it, in float32, does not say
      what the Python model says.
    """
    frames = training_frames(predictor) if int8 else []
    function = network_function(predictor, batch_size=1).get_concrete_function()
    module = tf.Module()
    module.weights = list(predictor.system.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if int8:
        calibrating = [each for k, each in enumerate(frames) if k % HELD_OUT] or frames
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: calibrating
    content = converter.convert()
    (folder / FILE).write_bytes(content)
    ask = tf.lite.Interpreter(model_content=content).get_signature_runner(DEFAULT)
    samples = frames[::HELD_OUT] if int8 else [made_up_inputs(predictor, 1)]
    facts = compare(lambda inputs: ask(**inputs), predictor, samples,
                    **({"tolerance": None} if int8 else {}))
    if int8:
        facts.update(calibrated_with=len(calibrating), parity_on="frames of the training drives")
    return {**facts, "file": FILE, **described(predictor, "1")}


def training_frames(predictor):
    """Inputs of the network, of frames of the run's training drives: [{name: float32 array}].

    Args: predictor: Predictor.

    Raises: UserError: if the drives of the run cannot be read.
    """
    config = predictor.config
    try:
        drives = split_drives(config.data, load_drives(config.data)).train
        source = open_source(drives, config.data, predictor.system.learns_from_depth)
    except UserError as error:
        raise UserError(f"int8 is calibrated with frames of the run's training drives: {error}"
                        ) from error
    names = input_types("depth_float", predictor.system)
    frames = []
    for batch in evaluation_batches(source, 1, limit=FRAMES):
        inputs = {"images": batch.target, "intrinsics": batch.intrinsics}
        if "previous" in names:
            inputs["previous"] = batch.sources[:, predictor.offsets.index(-1)]
        frames.append({name: inputs[name].numpy() for name in names})
    return frames
