"""Depth of images from a model that TensorFlow Serving serves.

    python client.py --output depth photo.jpg                    gRPC, localhost:8500
    python client.py --rest --server http://localhost:8501 --output depth a.png b.png

writes OUTPUT/NAME.npy, float32 [h, w], depth at the size of the image, for every image. The model's
name is that of the folder in which this file lies, or --model. Models that need the frame before
(--previous) get the image named before, the first one itself; models that need the camera get
--intrinsics fx,fy,cx,cy, in pixels of the images.

gRPC needs `pip install tensorflow-serving-api numpy`, --rest numpy alone.
"""
import argparse
import base64
import json
import os
import pathlib
import sys
import urllib.error
import urllib.request

import numpy as np

SIGNATURE = "depth_from_encoded"


def ask_grpc(server, model, inputs, timeout):
    """Asks a PredictionService: {input: array or list of bytes} -> {output: array}."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's chatter
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, SIGNATURE
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    try:
        with grpc.insecure_channel(server, options=unlimited) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(request, timeout=timeout)
    except grpc.RpcError as error:
        raise SystemExit(f"{server}: {error.code().name}: {error.details()}") from None
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


def ask_rest(server, model, inputs, timeout):
    """The same by HTTP and JSON."""
    def plain(value):
        if isinstance(value, list):
            return [{"b64": base64.b64encode(data).decode()} for data in value]
        return value.tolist()

    body = json.dumps({"signature_name": SIGNATURE,
                       "inputs": {name: plain(value) for name, value in inputs.items()}})
    request = urllib.request.Request(f"{server.rstrip('/')}/v1/models/{model}:predict",
                                     body.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            outputs = json.load(answer)["outputs"]
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{server}: {error.code}: {error.read().decode()}") from None
    except OSError as error:
        raise SystemExit(f"{server}: {error}") from None
    return {name: np.array(value, np.float32) for name, value in outputs.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", help="JPEG or PNG files")
    parser.add_argument("--output", required=True, help="folder for the .npy files")
    parser.add_argument("--rest", action="store_true", help="HTTP and JSON in place of gRPC")
    parser.add_argument("--server", help="default localhost:8500, of --rest http://localhost:8501")
    parser.add_argument("--model", default=pathlib.Path(__file__).resolve().parent.name)
    parser.add_argument("--previous", action="store_true", help="send the image before as well")
    parser.add_argument("--intrinsics", help="fx,fy,cx,cy in pixels")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds an image")
    options = parser.parse_args()
    ask, server = (ask_rest, "http://localhost:8501") if options.rest else (
        ask_grpc, "localhost:8500")
    output = pathlib.Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    before = None
    for path in map(pathlib.Path, options.images):
        inputs = {"encoded": [path.read_bytes()]}
        if options.previous:
            inputs["previous"] = before or inputs["encoded"]
            before = inputs["encoded"]
        if options.intrinsics:
            fx, fy, cx, cy = map(float, options.intrinsics.split(","))
            inputs["intrinsics"] = np.array([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]], np.float32)
        depth = ask(options.server or server, options.model, inputs, options.timeout)["depth"]
        np.save(output / f"{path.stem}.npy", depth[0, ..., 0])
        print(f"{path}: depth {depth.min():.4g} to {depth.max():.4g}, "
              f"{depth.shape[2]}x{depth.shape[1]}")


if __name__ == "__main__":
    sys.exit(main())
