"""A program: serves a SavedModel as TensorFlow Serving does, by gRPC and by REST, without tfdepth.

    python -I serving_process.py DIR MODEL_NAME

DIR holds versions, of which the highest is served. Prints the two ports, and ends with its input.
Errors of the model become the status codes that TensorFlow Serving gives them.
"""
import base64
import concurrent.futures
import http.server
import json
import pathlib
import sys
import threading

sys.modules.update(dict.fromkeys(("tfdepth", "tensorflow_graphics")))

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc)

CODES = {code.value[0]: code for code in grpc.StatusCode}  # TensorFlow's are the same numbers
NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Model:
    """The highest version of a folder, warmed up by the requests that came with it."""

    def __init__(self, folder, name):
        version = max((path for path in pathlib.Path(folder).iterdir() if path.name.isdigit()),
                      key=lambda path: int(path.name))
        self.name, self.loaded = name, tf.saved_model.load(str(version))
        warm_up = version / "assets.extra" / "tf_serving_warmup_requests"
        for record in tf.data.TFRecordDataset(str(warm_up)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            self.predict(log.predict_log.request)

    def predict(self, request):
        """PredictRequest -> (name of the signature, {output: tensor})."""
        inputs = {name: tf.constant(tf.make_ndarray(value))
                  for name, value in request.inputs.items()}
        return self.run(request.model_spec.name, request.model_spec.signature_name, inputs)

    def run(self, name, signature_name, inputs):
        if name != self.name:
            raise tf.errors.NotFoundError(None, None, f"Servable not found: {name}")
        signature_name = signature_name or "serving_default"
        function = self.loaded.signatures[signature_name]
        wanted = function.structured_input_signature[1]
        if set(wanted) != set(inputs):
            raise tf.errors.InvalidArgumentError(
                None, None, f"expected the inputs {sorted(wanted)}; got {sorted(inputs)}")
        return signature_name, function(**inputs)


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model):
        self.model = model

    def Predict(self, request, context):
        try:
            signature, outputs = self.model.predict(request)
        except tf.errors.OpError as error:
            context.abort(CODES[error.error_code], error.message)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = signature
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response


def rest_handler(model):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name, _, verb = self.path.rpartition("/")[2].partition(":")
            assert verb == "predict" and self.path.startswith("/v1/models/")
            wanted = model.loaded.signatures[request["signature_name"]]
            types = wanted.structured_input_signature[1]
            try:
                inputs = {key: tf.constant(_decoded(value), types[key].dtype)
                          for key, value in request["inputs"].items()}
                _, outputs = model.run(name, request["signature_name"], inputs)
                status, answer = 200, {"outputs": {
                    key: value.numpy().tolist() for key, value in outputs.items()}}
            except tf.errors.OpError as error:
                status, answer = 400, {"error": error.message}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass
    return Handler


def _decoded(value):
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [base64.b64decode(each["b64"]) for each in value]
    return value


def main(folder, name):
    model = Model(folder, name)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=NO_LIMIT)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(model), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    rest = http.server.ThreadingHTTPServer(("localhost", 0), rest_handler(model))
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    print(port, rest.server_address[1], flush=True)
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main(*sys.argv[1:])
