"""A program of its own: runs requests through a SavedModel where tfdepth cannot be imported.

    python -I reloading.py SAVED_MODEL REQUESTS.npz ANSWERS.npz

REQUESTS holds arrays "signature/input", ANSWERS gets "signature/output", and "seconds": the median
time of the signature depth on the first image alone. `verify` runs it.
"""
import sys
import time

# Before anything else, so that a model which needed one of these would not load.
FORBIDDEN = ("tfdepth", "tensorflow_graphics")
sys.modules.update(dict.fromkeys(FORBIDDEN))

import numpy as np
import tensorflow as tf

REPEATS = 11


def main(folder, requests_file, answers_file):
    with np.load(requests_file) as file:
        requests = {key: file[key] for key in file.files}
    signatures = tf.saved_model.load(folder).signatures
    by_signature, answers = {}, {}
    for key, value in requests.items():
        name, _, argument = key.partition("/")
        by_signature.setdefault(name, {})[argument] = tf.constant(value)
    for name, inputs in by_signature.items():
        for output, value in signatures[name](**inputs).items():
            answers[f"{name}/{output}"] = value.numpy()
    single = {argument: value[:1] for argument, value in by_signature["depth"].items()}
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        signatures["depth"](**single)["depth"].numpy()
        seconds.append(time.perf_counter() - start)
    assert not any(sys.modules[name] for name in FORBIDDEN)
    np.savez(answers_file, seconds=np.median(seconds), **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
