"""The heap of the C library, which TensorFlow's threads share with Python.

Settings of the whole process, for tools. What environment variables say of them (MALLOC_ARENA_MAX,
MALLOC_MMAP_THRESHOLD_, GLIBC_TUNABLES) stands; C libraries other than glibc are left as they are.
"""
import ctypes
import os

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # of mallopt(3)
_LARGE = 2**20  # bytes


def share_heap():
    """Lets all threads take memory from one heap; to be called before there are threads.

    By itself glibc gives each thread a heap of its own. What a thread frees there helps no other, so
    a process keeps growing while its work does not.
    """
    _set(_M_ARENA_MAX, 1, "MALLOC_ARENA_MAX", "arena_max")


def return_large_blocks():
    """Gives blocks of a MiB or more back to the system as soon as they are freed.

    By itself glibc learns to keep blocks of up to 32 MiB in its heap. Between small ones that stay,
    they leave holes that the next does not fit, so a process that takes the same blocks again and
    again still grows by some of them. It costs up to a tenth of a network's time on a CPU.
    """
    _set(_M_MMAP_THRESHOLD, _LARGE, "MALLOC_MMAP_THRESHOLD_", "mmap_threshold")


def _set(option, value, variable, tunable):
    """mallopt(option, value) unless an environment variable or a tunable says otherwise."""
    if variable in os.environ or tunable in os.environ.get("GLIBC_TUNABLES", ""):
        return
    try:
        ctypes.CDLL(None).mallopt(option, value)
    except (AttributeError, OSError, TypeError):  # not glibc; no such name; Windows
        pass
