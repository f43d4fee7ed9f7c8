"""Files of named arrays: .npz, .safetensors and PyTorch's .pth, none of which is ever executed."""
import os
from typing import Dict

import numpy as np
from safetensors.numpy import load_file

from tfdepth.checks import UserError
from tfdepth.weights.torch_files import read_torch

SUFFIXES = (".pth", ".pt", ".safetensors", ".npz")


def read_arrays(path) -> Dict[str, np.ndarray]:
    """Reads all arrays of a file; numbers beside them become arrays without axes.

    A file without a suffix is read as PyTorch's.

    Raises: UserError: if the file is missing, damaged, of another kind, or holds more than arrays.
    """
    path = os.path.expanduser(str(path))
    readers = {".pth": read_torch, ".pt": read_torch, "": read_torch, ".npz": _read_npz,
               ".safetensors": load_file}
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in readers:
        raise UserError(f"{path}: expected weights as {', '.join(SUFFIXES)}; found {suffix}.")
    try:
        arrays = readers[suffix](path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: expected weights; {error.strerror or error}.") from None
    except Exception as error:  # foreign bytes can go wrong in any way
        reason = f"{type(error).__name__} {str(error)[:160]}".split("\n")[0].strip()
        raise UserError(f"{path}: expected weights as {suffix or '.pth'}; the file is damaged or "
                        f"of another kind ({reason}).") from error
    if not arrays:
        raise UserError(f"{path}: expected named arrays; found none.")
    return arrays


def _read_npz(path):
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("a single array without a name")
    with file:
        return {name: file[name] for name in file.files}
