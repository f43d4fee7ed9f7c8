"""Published BTS checkpoints become run folders."""
import json

import import_weights
import numpy as np
import pytest
from helpers import PARITY, needs_shared, parity
from test_bts import assert_forward, cameras, published_arrays
from torch_pickles import write_pth

from tfdepth.inference import load_predictor
from tfdepth.weights.importing import FORMATS

pytestmark = needs_shared


@pytest.fixture(scope="module", name="arrays")
def _arrays():
    return published_arrays("densenet121_size256", 55)


def write_checkpoint(path, arrays, **options):
    """A file as the published program saves it: also the optimiser's state, tensors among it."""
    def checkpoint(state):
        first = next(iter(state.values()))
        return {"global_step": 5000, "model": state, "optimizer": {
            "state": {140: {"step": 5000, "exp_avg": first}},
            "param_groups": [{"params": [140, 141], "lr": 1e-4, "betas": (0.9, 0.999),
                              "amsgrad": False, "weight_decay": 0.01}]}}

    write_pth(path, {f"module.{name}": array for name, array in arrays.items()}, wrap=checkpoint,
              **options)


def test_imported_model_gives_the_published_depth(arrays, tmp_path):
    write_checkpoint(tmp_path / "model", arrays, legacy=True)  # without a suffix, as published
    assert import_weights.main(["--format=bts", f"--source={tmp_path / 'model'}",
                                f"--output={tmp_path / 'run'}"]) == 0
    predictor = load_predictor(tmp_path / "run")
    config, system = predictor.config, predictor.system
    assert (config.system.encoder, config.system.decoder_width) == ("densenet121", 256)
    assert predictor.size == (352, 1216) and config.data.offsets == () and config.data.crop == "kb"
    reference = parity("bts", "forward_eval.npz")
    case = "densenet121_size256"
    image = reference[f"{case}/image"]
    depth = system.predict_depth(image, image, cameras(reference[f"{case}/focal"])).depth
    tolerance = json.loads((PARITY / "bts" / "tolerances.json").read_text())[
        "forward_eval"][f"{case}/depth"]
    assert_forward(tolerance, depth, reference[f"{case}/depth"], "depth")


def test_a_model_for_indoors(arrays, tmp_path):
    write_checkpoint(tmp_path / "model.pth", arrays)
    imported = FORMATS["bts_nyu"](tmp_path / "model.pth")
    assert imported.system.config.max_depth == 10.0 and not imported.system.needs_intrinsics
    assert imported.data.dataset == "nyu" and imported.data.size == (480, 640)
    kernel = arrays["decoder.get_depth.0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(imported.system.depth_decoder.depth.kernel, kernel)


def test_wrong_files_are_refused(arrays, tmp_path, capsys):
    def refused(entries):
        write_checkpoint(tmp_path / "model.pth", entries)
        assert import_weights.main(["--format=bts", f"--source={tmp_path / 'model.pth'}",
                                    f"--output={tmp_path / 'no'}"]) == 2
        assert not (tmp_path / "no").exists()
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message

    encoder = "encoder.base_model.conv0.weight"
    assert "an encoder of the kinds densenet121" in refused(
        {**arrays, encoder: np.zeros((7, 3, 7, 7), np.float32)})
    arrays = {**arrays, "decoder.conv9.0.weight": arrays["decoder.conv5.0.weight"],
              "decoder.bn5.weight": np.zeros(3, np.float32)}
    del arrays["decoder.conv5.0.weight"]
    message = refused(arrays)
    for words in ("3 of its weights do not fit", "missing: decoder.conv5.0.weight",
                  "extra: decoder.conv9.0.weight", "misshapen: decoder.bn5.weight is [3]"):
        assert words in message
    (tmp_path / "text").write_text("not a checkpoint")
    assert import_weights.main(["--format=bts", f"--source={tmp_path / 'text'}",
                                f"--output={tmp_path / 'no'}"]) == 2
    assert "damaged" in capsys.readouterr().err
