"""ONNX: the network for other runtimes; by tf2onnx, compared in ONNX Runtime."""
from tfdepth.checks import UserError
from tfdepth.export.network import compare, described, made_up_inputs, network_function

FILE = "model.onnx"
OPSET = 15


def export_onnx(folder, predictor):
    """Writes model.onnx, of batches of any size.

    Args: folder: exists. predictor: Predictor in float32.
    Returns: facts for export.json.
    Raises: UserError: if a package is missing. ExportFailed: if it does not say what the Python
      model says.
    """
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise UserError(f"--format onnx: expected the packages of `pip install 'tfdepth[convert]'`;"
                        f" found no {error.name}.") from error
    function = network_function(predictor)
    tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET,
                                  output_path=str(folder / FILE))
    session = onnxruntime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    facts = compare(lambda inputs: dict(zip(outputs, session.run(outputs, inputs))), predictor,
                    [made_up_inputs(predictor)])
    return {**facts, "file": FILE, "opset": OPSET, **described(predictor, "B")}
