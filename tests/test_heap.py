"""One heap for all threads."""
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
@pytest.mark.parametrize("setting, fits", [
    ({}, lambda heaps: heaps == 1),
    ({"MALLOC_ARENA_MAX": "3"}, lambda heaps: 1 < heaps <= 3),
    ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=3"}, lambda heaps: 1 < heaps <= 3)])
def test_heaps_of_threads(setting, fits):
    others = {name: value for name, value in os.environ.items()
              if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    environment = {**others, **setting}
    run = subprocess.run([sys.executable, "-c", _HEAPS], env=environment, check=True,
                         capture_output=True, text=True)
    assert fits(run.stdout.count("<heap nr="))
