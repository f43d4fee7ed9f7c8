"""The heap of the C library, which TensorFlow's threads share with Python."""
import ctypes
import os

_M_ARENA_MAX = -8  # of mallopt(3)


def share_heap():
    """Lets all threads take memory from one heap; to be called before there are threads.

    By itself glibc gives each thread a heap of its own. What a thread frees there helps no other, so
    a process keeps growing while its work does not. What the environment variables
    MALLOC_ARENA_MAX or GLIBC_TUNABLES say of it stands; other C libraries are left as they are.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (AttributeError, OSError, TypeError):  # not glibc; no such name; Windows
        pass
