"""From a run to a model in a file that needs none of our code: the whole of tools/export.py."""
import contextlib
import functools
import os
import pathlib
import re
import shutil
from typing import Callable, Mapping

from tfdepth.checks import UserError, check_choice
from tfdepth.evaluation.tables import write_json
from tfdepth.export import saved_model, serving_files
from tfdepth.export.onnx_file import export_onnx
from tfdepth.export.tflite import export_tflite
from tfdepth.inference import load_predictor
from tfdepth.systems.base import PRECISIONS

FACTS = "export.json"


# Name -> function of a folder and a Predictor in float32, that fills the one from the other and
# returns facts about it; beside "saved_model".
FORMATS: Mapping[str, Callable] = {
    "tflite": functools.partial(export_tflite, int8=False),
    "tflite_int8": functools.partial(export_tflite, int8=True),
    "onnx": export_onnx,
}


def export_run(workdir, output, file_format="saved_model", precision="float32", show=print):
    """Exports the best checkpoint of a run, and compares it with the Python model.

    Args:
      workdir: run folder.
      output: the folder to make; of a SavedModel DIR/<version>, and DIR, whose name is the
        model's, gets model.config, docker-compose.yml and client.py. The folder appears when all of
        it is written and verified, so a server that watches DIR never sees half a model.
      file_format: "saved_model" or a row of FORMATS.
      precision: of the networks, see systems.base.PRECISIONS; other than float32 of a SavedModel
        alone.
      show: called with lines of text for the user.

    Returns: the facts that export.json in `output` holds.
    Raises: UserError: a bad argument, or no run. ExportFailed: if the exported model does not say
      what the Python model says.
    """
    check_choice("--format", file_format, ("saved_model", *FORMATS))
    check_choice("--precision", precision, PRECISIONS)
    serves = file_format == "saved_model"
    if precision != "float32" and not serves:
        raise UserError(f"--precision {precision}: expected float32 with --format {file_format}.")
    output = _check_output(output, serves)
    predictor = load_predictor(workdir, precision)
    with _new_folder(output) as folder:
        if serves:
            reference = predictor if precision == "float32" else load_predictor(workdir)
            saved_model.write_saved_model(folder, predictor, output.parent.name)
            measured = saved_model.verify_saved_model(folder, predictor, reference, precision)
        else:
            measured = FORMATS[file_format](folder, predictor)
        facts = {
            "format": file_format, "precision": precision,
            "system": type(predictor.system).__name__, "checkpoint_step": predictor.step,
            "workdir": os.path.abspath(os.path.expanduser(workdir)),
            "network_size": predictor.size, "offsets": predictor.offsets,
            **predictor.describe_scale(), **measured}
        facts["bytes"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        write_json(folder / FACTS, facts)
        if serves:
            serving_files.write_companions(output.parent, output.parent.name)
    parity = facts["parity"]
    show(f"wrote {output}, {facts['bytes'] / 2**20:.1f} MB; against {parity['reference']}: largest "
         f"relative error {parity['max_relative_error']:.2g}, abs_rel {parity['abs_rel']:.2g}; "
         f"{1e3 * facts['latency_seconds']:.1f} ms for {facts['latency_of']}")
    show(f"depth is {facts['scale']}: {facts['scale_reason']}")
    return facts


def _check_output(output, serves):
    """The output folder as an absolute path."""
    if not output:
        raise UserError("--output: expected a folder that does not exist yet; got an empty path.")
    path = pathlib.Path(os.path.abspath(os.path.expanduser(output)))
    if serves and not re.fullmatch("[1-9][0-9]*", path.name):
        raise UserError(f"--output {output}: expected DIR/<version>, a whole number of at least 1, "
                        f"as served/depth/1; found {path.name!r}.")
    if serves and not re.fullmatch("[A-Za-z0-9_.-]+", path.parent.name):
        raise UserError(f"--output {output}: expected a folder before the version that can be the "
                        "model's name, letters, digits, dots, - and _; found "
                        f"{path.parent.name!r}.")
    if os.path.lexists(path):
        raise UserError(f"--output {output}: expected a folder that does not exist yet; it does."
                        + (" Servers take the highest version." if serves else ""))
    return path


@contextlib.contextmanager
def _new_folder(path):
    """A folder beside `path` that becomes `path` unless the block fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"--output {path}: expected a folder that can be made; "
                            f"{error.strerror}.") from error
        yield temporary
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
