"""tools/export.py: the SavedModel, what it answers and refuses, and how it is served."""
import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import sys

import export
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfdepth.data.config import DataConfig
from tfdepth.export import exporting, verification
from tfdepth.export.sampling import made_up_images
from tfdepth.export.saved_model import verify_saved_model, write_saved_model
from tfdepth.geometry.camera import resize_intrinsics
from tfdepth.inference import load_predictor
from tfdepth.runs.checkpoints import Checkpoints, fingerprint
from tfdepth.runs.config import ExperimentConfig
from tfdepth.runs.folder import open_run
from tfdepth.runs.scale import Scale, write_scale
from tfdepth.systems import build_system
from tfdepth.systems.bts import BtsConfig
from tfdepth.systems.idce_ham import IdceHamConfig
from tfdepth.systems.sfmlearner import SfMLearnerConfig

SIZE = (32, 64)
CLIENTS, REQUESTS = 8, 1000


def make_run(folder, system_config, size, offsets=(-1, 1), **data):
    """A run folder of a model with random weights."""
    tf.keras.utils.set_random_seed(5)
    config = ExperimentConfig(system_config, DataConfig(size=size, offsets=offsets, **data))
    system = build_system(config.system, offsets, config.data.stereo)
    system.create_variables(size)
    if isinstance(system_config, SfMLearnerConfig):  # depths of two decades
        for variable in system.depth_net.heads[0].trainable_variables:
            variable.assign(2.0 * variable)
    elif isinstance(system_config, IdceHamConfig):
        kernel = system.depth_decoder.heads[0].kernel
        kernel.assign(20.0 * kernel)
    run = open_run(folder / "run", config)
    Checkpoints(run.checkpoints, keep=1, system=system).save(step=7)
    return run.path


def exported_in_process(folder, run):
    """(Predictor, signatures) of a run, without the verification."""
    predictor = load_predictor(run)
    write_saved_model(folder / "1", predictor, "model")
    return predictor, tf.saved_model.load(str(folder / "1")).signatures


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("sfm"), SfMLearnerConfig(), SIZE)


@pytest.fixture(name="version", scope="module")
def _version(run, tmp_path_factory):
    """What the command writes."""
    path = tmp_path_factory.mktemp("served") / "street" / "1"
    assert export.main(["--workdir", str(run), "--output", str(path)]) == 0
    return path


@pytest.fixture(name="predictor", scope="module")
def _predictor(run):
    return load_predictor(run)


@pytest.fixture(name="signatures", scope="module")
def _signatures(version):
    return tf.saved_model.load(str(version)).signatures


def expected_depths(predictor, images):
    """Depth [N, h, w] of uint8 images [N, h, w, 3], not by the package's own steps."""
    frames = tf.round(tf.image.resize(images, predictor.size, antialias=True)) / 255.0
    depths = np.concatenate([predictor.system.predict_depth(frames[k:k + 50], None).depth.numpy()
                             for k in range(0, len(frames), 50)])[..., 0]
    height, width = images.shape[1:3]
    assert height >= predictor.size[0] and width >= predictor.size[1]  # else Pillow would smooth
    return np.stack([np.array(Image.fromarray(depth).resize((width, height), Image.BILINEAR))
                     for depth in depths])


def test_what_is_written(version):
    facts = json.loads((version / "export.json").read_text())
    assert facts["system"] == "SfMLearner" and facts["checkpoint_step"] == 7
    assert facts["scale"] == "relative" and "one unknown factor" in facts["scale_reason"]
    assert facts["signatures"]["depth"]["outputs"]["depth"].endswith("relative units")
    assert set(facts["verified_errors"]) == {"depth", "depth_float", "depth_from_encoded", "pose"}
    assert max(facts["verified_errors"].values()) < 1e-5
    assert facts["parity"]["max_relative_error"] < 1e-5 and facts["latency_seconds"] > 0
    assert facts["signatures"]["pose"] == {
        "inputs": {"target": "uint8 [B, h, w, 3]", "sources": "uint8 [B, 2, h, w, 3]"},
        "outputs": {"source_from_target":
            "float32 [B, 2, 4, 4], translation in relative units"}}
    assert sorted(path.name for path in version.parent.iterdir()) == [
        "1", "client.py", "docker-compose.yml", "model.config"]
    assert not list(version.rglob("*keras*"))


def test_saved_model_cli_shows_the_signatures(version):
    shown = subprocess.run(
        [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "show", "--all",
         "--dir", str(version)], check=True, capture_output=True, text=True).stdout
    for name in ("serving_default", "depth", "depth_float", "depth_from_encoded", "pose"):
        assert f"signature_def['{name}']:" in shown
    default = shown.split("signature_def['serving_default']:")[1].split("Method name")[0]
    assert all(f"'{name}'" not in default for name in ("sources", "encoded"))
    assert all(f"['{name}'] tensor_info" in default for name in ("images", "depth", "disparity"))


@pytest.mark.parametrize("size, count", [((45, 90), 3), (SIZE, 1)])
def test_depth_is_that_of_the_model(signatures, predictor, size, count):
    images = made_up_images(count, *size, seed=4)
    expected = expected_depths(predictor, images)
    assert np.ptp(expected) > 1
    files = [tf.io.encode_png(image) for image in images]
    for answer in (signatures["serving_default"](images=images),
                   signatures["depth"](images=images),
                   signatures["depth_float"](images=tf.constant(images / 255.0, tf.float32)),
                   signatures["depth_from_encoded"](encoded=tf.stack(files))):
        assert answer["depth"].shape == (count, *size, 1)
        # Half a colour step more or less, where floats are rounded to 8 bits, shows a little.
        np.testing.assert_allclose(answer["depth"][..., 0], expected, rtol=1e-3)
        np.testing.assert_allclose(answer["disparity"] * answer["depth"], 1.0, rtol=1e-6)
    np.testing.assert_allclose(signatures["depth"](images=images)["depth"][..., 0], expected,
                               rtol=5e-5)


def test_jpeg_and_grey_files(signatures):
    grey = made_up_images(1, 40, 70)[0][..., :1]
    jpeg = tf.io.encode_jpeg(grey).numpy()
    found = signatures["depth_from_encoded"](encoded=tf.constant([jpeg]))["depth"]
    image = tf.io.decode_image(jpeg, channels=3, expand_animations=False)
    np.testing.assert_array_equal(found, signatures["depth"](images=image[tf.newaxis])["depth"])


def test_motion_to_all_sources(signatures, predictor):
    target, sources = made_up_images(2, *SIZE), made_up_images(2, 2, *SIZE, seed=1)
    found = signatures["pose"](target=target, sources=sources)["source_from_target"].numpy()
    expected = predictor.system.predict_motion(
        tf.constant(target / 255.0, tf.float32), tf.constant(sources / 255.0, tf.float32)).numpy()
    assert found.shape == (2, 2, 4, 4)
    assert verification.relative_errors({"source_from_target": found},
                                        {"source_from_target": expected}).max() < 1e-4
    assert np.abs(found[:, 0] - found[:, 1]).max() > 1e3 * np.abs(found - expected).max()


def _malformed():
    """{name: (signature, inputs, words of the message)}."""
    image = made_up_images(2, 40, 70)
    png = tf.io.encode_png(image[0]).numpy()
    small = tf.io.encode_png(image[0, :20]).numpy()
    shape = "`images` must be RGB images \\[B, h, w, 3\\]"
    return {
        "rank": ("depth", {"images": image[0]}, f"{shape}.*got shape\\] \\[40 70 3\\]"),
        "scalar": ("depth", {"images": np.uint8(3)}, shape),
        "five axes": ("depth", {"images": image[None]}, shape),
        "grey": ("depth", {"images": image[..., :1]}, shape),
        "no batch": ("depth", {"images": image[:0]}, shape),
        "no rows": ("depth", {"images": image[:, :0]}, shape),
        "type": ("depth", {"images": image.astype(np.float32)}, "uint8"),
        "range": ("depth_float", {"images": image.astype(np.float32)}, r"must lie in \[0, 1\]"),
        "nan": ("depth_float", {"images": np.full([1, 9, 9, 3], np.nan, np.float32)},
                r"must lie in \[0, 1\]"),
        "float rank": ("depth_float", {"images": np.zeros([9, 9, 3], np.float32)}, shape),
        "no image": ("depth_from_encoded", {"encoded": [png, b"GIF89a, or text"]},
                     r"`encoded` must hold the bytes of JPEG or PNG files.*\[1\]"),
        "empty file": ("depth_from_encoded", {"encoded": [b""]}, "bytes of JPEG or PNG"),
        "truncated": ("depth_from_encoded", {"encoded": [png[:300]]}, "Invalid PNG data"),
        "one file": ("depth_from_encoded", {"encoded": png}, "vector of JPEG or PNG files"),
        "no file": ("depth_from_encoded", {"encoded": np.array([], object)}, "at least one"),
        "sizes": ("depth_from_encoded", {"encoded": [png, small]}, "must have one size"),
        "number of sources": ("pose", {"target": image, "sources": image[:, None]},
                              r"`sources` must be RGB images \[B, 2, h, w, 3\]"),
        "sources": ("pose", {"target": image, "sources": image[:, None, :30].repeat(2, axis=1)},
                    "must have the shape of `target`"),
    }


@pytest.mark.parametrize("name", list(_malformed()))
def test_malformed_requests(name, signatures):
    signature, inputs, words = _malformed()[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        signatures[signature](**{key: tf.constant(value, tf.string) if key == "encoded" else
                                 tf.constant(value) for key, value in inputs.items()})


def test_serving_files(version):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2
    found = {}
    for record in tf.data.TFRecordDataset(
            str(version / "assets.extra" / "tf_serving_warmup_requests")):
        request = logs.PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == "street"
        found[request.model_spec.signature_name] = {
            name: tf.make_ndarray(value).shape for name, value in request.inputs.items()}
    assert found == {"depth": {"images": (1, *SIZE, 3)}, "depth_float": {"images": (1, *SIZE, 3)},
                     "depth_from_encoded": {"encoded": (1,)},
                     "pose": {"target": (1, *SIZE, 3), "sources": (1, 2, *SIZE, 3)}}
    config = text_format.Parse((version.parent / "model.config").read_text(),
                               model_server_config_pb2.ModelServerConfig())
    served = config.model_config_list.config[0]
    compose = (version.parent / "docker-compose.yml").read_text()
    assert served.name == "street" and f"./:{served.base_path}:ro" in compose
    assert f"--model_config_file={served.base_path}/model.config" in compose


@pytest.fixture(name="server", scope="module")
def _server(version):
    """(gRPC port, REST port) of a process that serves the exported folder."""
    pytest.importorskip("tensorflow_serving")
    program = pathlib.Path(__file__).with_name("serving_process.py")
    with subprocess.Popen([sys.executable, "-I", str(program), str(version.parent), "street"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield tuple(map(int, process.stdout.readline().split()))
        process.stdin.close()


def test_a_thousand_requests_of_eight_clients(server, predictor):
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
    sizes = [(32, 64), (40, 64), (33, 81)]
    images = [made_up_images(REQUESTS // len(sizes) + 1, *size, seed=k)
              for k, size in enumerate(sizes)]
    expected = [expected_depths(predictor, each)[:, ::8, ::8] for each in images]
    malformed = [each for each in _malformed().values() if each[0] != "pose"]

    def ask(stub, signature, inputs):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "street", signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return tf.make_ndarray(stub.Predict(request, timeout=120).outputs["depth"])

    def client(first):
        refused, answers = 0, {}
        with grpc.insecure_channel(f"localhost:{server[0]}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for number in range(first, REQUESTS, CLIENTS):
                image = images[number % 3][number // 3]
                encoded = number % 5 == 0
                answers[number] = ask(stub, "depth_from_encoded" if encoded else "depth",
                                      {"encoded": [tf.io.encode_png(image).numpy()]} if encoded
                                      else {"images": image[np.newaxis]})[0, ::8, ::8, 0]
                if number % 20 == first % 20:
                    signature, inputs, _ = malformed[number // 20 % len(malformed)]
                    with pytest.raises(grpc.RpcError) as error:
                        ask(stub, signature, inputs)
                    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
                    assert error.value.details()
                    refused += 1
        return refused, answers

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        results = list(pool.map(client, range(CLIENTS)))
    answers = {number: answer for _, part in results for number, answer in part.items()}
    assert len(answers) == REQUESTS and sum(refused for refused, _ in results) >= CLIENTS
    for k, truth in enumerate(expected):
        found = np.stack([answers[number] for number in range(k, REQUESTS, 3)])
        errors = np.abs(found[:, np.newaxis] / truth[:len(found)] - 1).max(axis=(2, 3))
        own = np.diag(errors)
        assert own.max() < 1e-4
        assert (errors + np.eye(len(errors))).min() > 1e-3  # all other images' answers differ


@pytest.mark.parametrize("rest", [False, True])
def test_client_script(rest, server, version, predictor, tmp_path):
    image = made_up_images(1, 50, 90, seed=9)
    Image.fromarray(image[0]).save(tmp_path / "photo.png")
    address = ["--rest", "--server", f"http://localhost:{server[1]}"] if rest else [
        "--server", f"localhost:{server[0]}"]

    def run(path):
        return subprocess.run(
            [sys.executable, "-I", str(version.parent / "client.py"), *address, "--output",
             str(tmp_path), str(path)], check=False, capture_output=True, text=True)

    done = run(tmp_path / "photo.png")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "photo.npy"),
                               expected_depths(predictor, image)[0], rtol=5e-5)
    (tmp_path / "text.png").write_text("no image")
    done = run(tmp_path / "text.png")
    assert done.returncode == 1 and "must hold the bytes of JPEG or PNG files" in done.stderr


def test_model_that_needs_the_frame_before(tmp_path):
    run = make_run(tmp_path, IdceHamConfig(), (64, 64))
    predictor, signatures = exported_in_process(tmp_path, run)
    images, previous = made_up_images(2, 2, 70, 90)
    assert set(signatures["depth"].structured_input_signature[1]) == {"images", "previous"}
    found = signatures["depth"](images=images, previous=previous)["depth"].numpy()
    alone = signatures["depth"](images=images, previous=images)["depth"].numpy()
    for k in range(2):
        for answer, before in ((found, previous), (alone, images)):
            expected = predictor.depth_of_image(images[k], before[k])
            inverse = tf.image.resize(1 / expected[..., np.newaxis], (70, 90))
            np.testing.assert_allclose(1 / answer[k], inverse, rtol=1e-4)
    assert np.abs(found / alone - 1).max() > 1e-3
    files = [tf.stack([tf.io.encode_png(each) for each in clip]) for clip in (images, previous)]
    encoded = signatures["depth_from_encoded"](encoded=files[0], previous=files[1])["depth"]
    np.testing.assert_allclose(encoded, found, rtol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`previous` must have the shape of"):
        signatures["depth"](images=images, previous=previous[:, :60])
    with pytest.raises(tf.errors.InvalidArgumentError, match="`previous` must have the shape of"):
        signatures["depth_from_encoded"](encoded=files[0], previous=files[1][:1])
    # Pairs of frames: the same network as towards both sources.
    target, later = (tf.cast(clip[:, :64, :64], tf.uint8) for clip in (images, previous))
    motion = signatures["pose"](target=target, source=later)["source_from_target"]
    both = predictor.system.predict_motion(
        tf.cast(target, tf.float32) / 255, tf.stack(2 * [tf.cast(later, tf.float32) / 255], axis=1))
    np.testing.assert_allclose(motion, both[:, 1], atol=1e-6)


def test_model_that_needs_the_camera(tmp_path):
    run = make_run(tmp_path, BtsConfig(encoder="resnet18", decoder_width=32), (64, 64), (),
                   dataset="kitti_depth")
    predictor, signatures = exported_in_process(tmp_path, run)
    assert "pose" not in signatures
    images = made_up_images(2, 80, 160)
    cameras = np.array([[[70, 0, 80], [0, 90, 40], [0, 0, 1]],
                        [[35, 0, 80], [0, 90, 40], [0, 0, 1]]], np.float32)
    found = signatures["depth"](images=images, intrinsics=cameras)["depth"].numpy()
    frames = tf.round(tf.image.resize(images, (64, 64), antialias=True)) / 255.0
    expected = predictor.system.predict_depth(
        frames, None, resize_intrinsics(tf.constant(cameras), (0.8, 0.4))).depth
    np.testing.assert_allclose(found, tf.image.resize(expected, (80, 160)), rtol=1e-4)
    for bad, words in ((cameras[:1], "one matrix an image"), (cameras[0], "one matrix an image"),
                       (-cameras, "fx and fy above 0"), (np.nan * cameras, "fx and fy above 0")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=words):
            signatures["depth"](images=images, intrinsics=tf.constant(bad))


def test_half_precision(run, predictor, tmp_path, monkeypatch):
    half = load_predictor(run, "mixed_bfloat16")
    write_saved_model(tmp_path / "1", half, "model")
    monkeypatch.setattr(verification, "reload_and_ask", lambda folder, requests: (
        {name: tf.nest.map_structure(lambda value: value.numpy(), signatures[name](
            **{key: tf.constant(value) for key, value in inputs.items()}))
         for name, inputs in requests.items()}, 0.1))  # in this process, to save the start
    signatures = tf.saved_model.load(str(tmp_path / "1")).signatures
    facts = verify_saved_model(tmp_path / "1", half, predictor, "mixed_bfloat16")
    assert 1e-4 < facts["parity"]["abs_rel"] < 0.05
    assert facts["verified_errors"]["depth"] <= verification.TOLERANCES["mixed_bfloat16"]


def test_a_calibrated_run_is_exported_in_metres(run, signatures, tmp_path, capsys):
    """Every signature says the factor times what it said before; verified like any other."""
    calibrated = shutil.copytree(run, tmp_path / "run")
    write_scale(calibrated, Scale(6.5, "camera height of 1.65 m (9 images, spread 2.0%)",
                                  "camera_height=1.65", "", 9, 0.02, 7,
                                  fingerprint(calibrated / "checkpoints", 7)))
    output = tmp_path / "served" / "1"
    assert export.main(["--workdir", str(calibrated), "--output", str(output)]) == 0
    assert ("depth is metric: metres, 6.5 times what the model predicts, calibrated by camera "
            "height") in capsys.readouterr().out
    facts = json.loads((output / "export.json").read_text())
    assert facts["scale"] == "metric" and facts["scale_factor"] == 6.5
    assert "camera height of 1.65 m (9 images" in facts["scale_reason"]
    assert max(facts["verified_errors"].values()) < 1e-5
    described = facts["signatures"]
    assert described["depth"]["outputs"]["depth"] == "float32 [B, h, w, 1], metres"
    assert described["pose"]["outputs"]["source_from_target"].endswith("translation in metres")
    metric = tf.saved_model.load(str(output)).signatures
    images, sources = made_up_images(2, *SIZE), made_up_images(2, 2, *SIZE, seed=1)
    for name, inputs in (("depth", {"images": images}), ("pose", {
            "target": images, "sources": sources}),
                         ("depth_float", {"images": tf.constant(images / 255.0, tf.float32)})):
        before, after = (each[name](**{key: tf.constant(value) for key, value in inputs.items()})
                         for each in (signatures, metric))
        if name == "pose":
            before, after = before["source_from_target"], after["source_from_target"]
            np.testing.assert_allclose(after[..., :3], before[..., :3], atol=1e-6)
            np.testing.assert_allclose(after[..., :3, 3], 6.5 * before[..., :3, 3], rtol=1e-5)
            continue
        np.testing.assert_allclose(after["depth"], 6.5 * before["depth"], rtol=1e-5)
        np.testing.assert_allclose(after["disparity"] * after["depth"], 1.0, rtol=1e-6)


def _mistakes(folder, run):
    """{name: (workdir, output, flags, words)}."""
    (folder / "there" / "1").mkdir(parents=True)
    (folder / "file").write_text("")
    new = folder / "new" / "1"
    return {
        "no run": (folder, new, (), "expected a run folder with a config.json"),
        "no version": (run, folder / "new" / "model", (), "DIR/<version>, a whole number"),
        "version 0": (run, folder / "new" / "0", (), "at least 1"),
        "name": (run, folder / "my model" / "1", (), "found 'my model'"),
        "exists": (run, folder / "there" / "1", (), "does not exist yet; it does"),
        "empty": (run, "", (), "--output: expected"),
        "in a file": (run, folder / "file" / "1", (), "expected a folder that can be made"),
        "format": (run, new, ("--format=pb",), "--format must be one of saved_model, tflite"),
        "precision": (run, new, ("--precision=int4",), "--precision must be one of float32"),
        "half onnx": (run, new, ("--format=onnx", "--precision=mixed_float16"),
                      "expected float32 with --format onnx"),
    }


@pytest.mark.parametrize("name", ["no run", "no version", "version 0", "name", "exists", "empty",
                                  "in a file", "format", "precision", "half onnx"])
def test_mistakes(name, run, tmp_path, capsys):
    workdir, output, flags, words = _mistakes(tmp_path, run)[name]
    before = sorted(tmp_path.rglob("*"))
    assert export.main(["--workdir", str(workdir), "--output", str(output), *flags]) == 2
    message = capsys.readouterr().err
    assert message.startswith("export.py: ") and message.count("\n") == 1 and words in message
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_that_says_something_else_is_not_written(run, tmp_path, monkeypatch, capsys):
    answers = lambda value: {"depth": {"depth": np.full([1, 2, 2, 1], value)}}
    monkeypatch.setattr(verification, "reload_and_ask", lambda *arguments: (answers(1.1), 0.0))
    monkeypatch.setattr(exporting.saved_model, "write_saved_model",
                        lambda folder, *arguments: (folder / "saved_model.pb").write_text(""))
    monkeypatch.setattr(
        exporting.saved_model, "verify_saved_model",
        lambda folder, *arguments: verification.verify(folder, {}, answers(1.0), "float32"))
    assert export.main(["--workdir", str(run), "--output", str(tmp_path / "new" / "1")]) == 1
    assert "signature depth differs from the Python model by 0.1" in capsys.readouterr().err
    assert not list((tmp_path / "new").iterdir())
