"""Depth and camera motion learned from video, in TensorFlow 2 / Keras.

Importing this package does not import TensorFlow.
"""
import sys

__version__ = "0.1.0"

if not (3, 9) <= sys.version_info[:2] <= (3, 11):
    raise SystemExit("tfdepth needs Python 3.9, 3.10 or 3.11 (TensorFlow 2.15 supports no other); "
                     f"this is Python {sys.version_info[0]}.{sys.version_info[1]}.")
