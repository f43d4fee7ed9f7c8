"""One heap for all threads; large blocks go back to the system."""
import os
import platform
import subprocess
import sys

import pytest

# Prints what glibc knows of its heaps after three threads have taken memory at the same time.
_HEAPS = """
import ctypes, sys, threading
from tfdepth import console
library = ctypes.CDLL(None)

def body(_):
    meeting = threading.Barrier(3)
    def take():
        meeting.wait()
        library.malloc(100_000)
        meeting.wait()
    threads = [threading.Thread(target=take) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    library.malloc_info(0, ctypes.c_void_p.in_dll(library, "stdout"))
    library.fflush(None)

sys.exit(console.run("tool.py: takes memory.", body, argv=[]))
"""


# Prints how many blocks come from the system after one of 20 MiB was freed and taken again.
_LARGE_BLOCKS = """
import ctypes
from tfdepth import heap
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
class Numbers(ctypes.Structure):  # mallinfo(3)
    _fields_ = [(name, ctypes.c_int) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost")]
library.mallinfo.restype = Numbers
{}
before = library.mallinfo().hblks
library.free(library.malloc(20 << 20))
library.malloc(20 << 20)
print(library.mallinfo().hblks - before)
"""
_ONLY_GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")


def _run(program, setting):
    others = {name: value for name, value in os.environ.items()
              if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"}
    return subprocess.run([sys.executable, "-c", program], env={**others, **setting}, check=True,
                          capture_output=True, text=True).stdout


@_ONLY_GLIBC
@pytest.mark.parametrize("setting, call, blocks", [
    ({}, "", 0),
    ({}, "heap.return_large_blocks()", 1),
    ({"MALLOC_MMAP_THRESHOLD_": str(2**25)}, "heap.return_large_blocks()", 0),
    ({"GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={2**25}"}, "heap.return_large_blocks()", 0)])
def test_large_blocks(setting, call, blocks):
    assert int(_run(_LARGE_BLOCKS.replace("{}", call), setting)) == blocks


@_ONLY_GLIBC
@pytest.mark.parametrize("setting, fits", [
    ({}, lambda heaps: heaps == 1),
    ({"MALLOC_ARENA_MAX": "3"}, lambda heaps: 1 < heaps <= 3),
    ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=3"}, lambda heaps: 1 < heaps <= 3)])
def test_heaps_of_threads(setting, fits):
    assert fits(_run(_HEAPS, setting).count("<heap nr="))
