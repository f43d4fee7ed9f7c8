"""Published Monodepth2 models and ImageNet encoders become run folders."""
import json

import import_weights
import numpy as np
import pytest
import train
from helpers import PARITY, needs_shared, parity, reference_weights
from torch_pickles import write_pth

from data_folders import write_kitti
from tfdepth.checks import UserError
from tfdepth.inference import load_predictor
from tfdepth.runs.folder import load_config
from tfdepth.weights.importing import import_run

pytestmark = needs_shared
SPECS = {"encoder": "resnet18_depth_encoder", "depth": "depth_decoder",
         "pose_encoder": "pose_encoder", "pose": "pose_decoder"}


def published_arrays(stem, seeds, spec=None):
    """The weights of a file of the reference case a/."""
    spec = spec or SPECS[stem]
    arrays = reference_weights(f"monodepth2/spec_{spec}.json", int(seeds[f"a/seed/{spec}"]))
    factors = json.loads((PARITY / "monodepth2" / "weight_factors.json").read_text())[spec]
    return {name: np.asarray(array * np.float32(factors.get(name, 1)))
            for name, array in arrays.items()}


@pytest.fixture(scope="module", name="reference")
def _reference():
    return parity("monodepth2", "forward_eval.npz")


@pytest.fixture(scope="module", name="model")
def _model(tmp_path_factory, reference):
    """A folder as the authors publish it, half of it in the older layout."""
    folder = tmp_path_factory.mktemp("mono_96x64")
    for stem in SPECS:
        facts = {"height": 64, "width": 96, "use_stereo": False} if stem == "encoder" else {}
        write_pth(folder / f"{stem}.pth", {**published_arrays(stem, reference), **facts},
                  legacy=stem in ("encoder", "pose"))
    return folder


def test_imported_model_gives_the_published_outputs(model, reference, tmp_path, capsys):
    assert import_weights.main(["--format=monodepth2", f"--source={model}",
                                f"--output={tmp_path / 'run'}"]) == 0
    predictor = load_predictor(tmp_path / "run")
    assert predictor.size == (64, 96) and predictor.offsets == (-1, 1)
    assert load_config(tmp_path / "run").data.stereo_baseline == 0.1
    image, following = reference["a/image"], reference["a/image_next"]
    depth = predictor.system.predict_depth(image, image).depth
    np.testing.assert_allclose(depth, reference["a/depth0"], atol=1e-5)
    motions = predictor.system.predict_motion(image, np.stack([following, following], axis=1))
    np.testing.assert_allclose(motions[:, 1, :3, 3], reference["a/translation"][:, 0], atol=1e-6)


def test_stereo_model(reference, tmp_path):
    """Only encoder and depth, and use_stereo: no pose network."""
    for stem in ("encoder", "depth"):
        facts = {"height": 64, "width": 96, "use_stereo": True} if stem == "encoder" else {}
        np.savez(tmp_path / f"{stem}.npz", **published_arrays(stem, reference), **facts)
    import_run(tmp_path, "monodepth2", tmp_path / "run")
    predictor = load_predictor(tmp_path / "run")
    assert predictor.config.data.stereo and predictor.offsets == ()
    image = reference["a/image"]
    np.testing.assert_allclose(predictor.system.predict_depth(image, image).depth,
                               reference["a/depth0"], atol=1e-5)
    with pytest.raises(UserError, match="stereo pairs alone"):
        predictor.motions_of_files([])


def test_pose_cnn_model(reference, tmp_path):
    for stem, spec in (("encoder", None), ("depth", None), ("pose", "pose_cnn")):
        np.savez(tmp_path / f"{stem}.npz", **published_arrays(stem, reference, spec))
    import_run(tmp_path, "monodepth2", tmp_path / "run")
    config = load_config(tmp_path / "run")
    assert config.system.pose_network == "pose_cnn" and config.data.size == (192, 640)


def test_wrong_files_are_listed(model, reference, tmp_path, capsys):
    def refused(folder):
        assert import_weights.main(["--format=monodepth2", f"--source={folder}",
                                    f"--output={tmp_path / 'no'}"]) == 2
        assert not (tmp_path / "no").exists()
        return capsys.readouterr().err

    assert "found none of them" in refused(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    for stem in ("encoder", "depth"):
        arrays = published_arrays(stem, reference)
        if stem == "depth":
            arrays["decoder.3.conv.conv.bias"] = np.zeros(7, np.float32)
            arrays["decoder.99.weight"] = arrays.pop("decoder.10.conv.bias")
        np.savez(folder / f"{stem}.npz", **arrays)
    message = refused(folder)
    for words in ("3 of its weights do not fit", "missing: decoder.10.conv.bias",
                  "extra: decoder.99.weight", "misshapen: decoder.3.conv.conv.bias is [7]"):
        assert words in message
    assert message.count("\n") == 1


def test_imagenet_encoder_starts_a_training(reference, tmp_path, capsys):
    arrays = {name.replace("encoder.", "", 1): array
              for name, array in published_arrays("encoder", reference).items()}
    write_pth(tmp_path / "resnet18.pth", arrays)
    assert import_weights.main(["--format=imagenet_resnet18", f"--output={tmp_path / 'imagenet'}",
                                f"--source={tmp_path / 'resnet18.pth'}"]) == 0
    with pytest.raises(UserError, match="imported encoders is no model"):
        load_predictor(tmp_path / "imagenet")  # encoders alone are no model
    write_kitti(tmp_path / "kitti", count=4)
    flags = ["--config=configs/monodepth2.py:quick", "--config.data.dataset=kitti_odometry",
             f"--config.data.root={tmp_path / 'kitti'}", "--config.data.size=64,64",
             "--config.train.steps=1", "--config.train.batch_size=1",
             "--config.optimizer.learning_rate=1e-9"]
    assert train.main([*flags, f"--workdir={tmp_path / 'run'}",
                       f"--config.train.init_from={tmp_path / 'imagenet'}",
                       "--config.train.init_except=pose_encoder/layer4"]) == 0
    out = capsys.readouterr().out
    assert "others, in depth_decoder, pose_decoder, pose_encoder, begin anew" in out
    system = load_predictor(tmp_path / "run").system
    kernel = arrays["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(system.depth_encoder.conv1.kernel, kernel, atol=1e-7)
    np.testing.assert_allclose(system.pose_encoder.conv1.kernel,
                               np.concatenate([kernel, kernel], axis=2) / 2, atol=1e-7)
    last = arrays["layer4.1.conv2.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(system.depth_encoder.layer4[1].conv2.kernel, last, atol=1e-7)
    assert np.abs(system.pose_encoder.layer4[1].conv2.kernel - last).max() > 1e-3
    for flag, words in (("init_from=/nowhere", "expected a run folder"),
                        ("init_except=pose_encoder/conv9", "expected the beginning of a variable")):
        start = [f"--config.train.init_from={tmp_path / 'imagenet'}", f"--config.train.{flag}"]
        assert train.main([*flags, f"--workdir={tmp_path / 'other'}", *start]) == 2
        assert words in capsys.readouterr().err
    sfmlearner = [flag.replace("monodepth2", "sfmlearner") for flag in flags]
    assert train.main([*sfmlearner, f"--workdir={tmp_path / 'other'}", start[0]]) == 2
    assert "none of its variables is in it" in capsys.readouterr().err
