"""What TensorFlow Serving wants beside a SavedModel: warm-up requests, its config, a way to start.

The few protocol buffers of the warm-up are written by hand, in protobuf's wire format, so that an
export does not need the package tensorflow-serving-api.
"""
import pathlib

import tensorflow as tf

from tfdepth.files import write_atomically

WARM_UP = "assets.extra/tf_serving_warmup_requests"
IMAGE = "tensorflow/serving:2.15.1"


def write_warm_up(folder, model_name, requests):
    """Writes requests that a server runs before it says that it is ready.

    Args:
      folder: the SavedModel's.
      requests: {signature: {input: array or list of bytes}}.

    Source: TensorFlow Serving, SavedModel Warmup: a TFRecord of PredictionLog.
    """
    path = pathlib.Path(folder) / WARM_UP
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            request = _predict_request(model_name, signature, inputs)
            writer.write(_field(6, _field(1, request)))  # PredictionLog.predict_log.request


def _predict_request(model_name, signature, inputs):
    """tensorflow.serving.PredictRequest, serialised."""
    spec = _field(1, model_name.encode()) + _field(3, signature.encode())
    request = _field(1, spec)
    for name, value in inputs.items():  # a map is a list of pairs
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    return request


def _field(number, payload):
    """A length-delimited field."""
    length, digits = len(payload), bytearray()
    while length > 127:
        digits.append(length % 128 + 128)
        length //= 128
    return bytes([8 * number + 2, *digits, length]) + payload


def write_companions(folder, model_name):
    """Writes model.config, docker-compose.yml and client.py beside the folders of the versions."""
    folder = pathlib.Path(folder)
    write_atomically(folder / "model.config", f'''model_config_list {{
  config {{
    name: "{model_name}"
    base_path: "/models/{model_name}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
''')
    write_atomically(folder / "docker-compose.yml", f'''# docker compose up
services:
  serving:
    image: {IMAGE}
    command: --model_config_file=/models/{model_name}/model.config
    ports: ["8500:8500", "8501:8501"]  # gRPC, REST
    volumes: ["./:/models/{model_name}:ro"]
''')
    client = pathlib.Path(__file__).with_name("client.py")
    write_atomically(folder / "client.py", client.read_text(encoding="utf-8"))
