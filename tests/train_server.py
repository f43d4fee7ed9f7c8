"""Starts tools/train.py again and again without importing TensorFlow each time.

Reads a JSON list of arguments a line, forks, and answers with the process's id; the next line is
the number of a signal, 0 = none, to send to it, and the answer is how it ended, as a return code of
`subprocess`: -9 only if the signal met it alive. To fork is sound as TensorFlow starts its threads
at its first operation: there is one thread here, which is checked.
"""
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))

import train
import toy_run  # noqa: F401, imports TensorFlow
import tfdepth.training.loop  # noqa: F401


def main():
    while line := sys.stdin.readline():
        assert len(os.listdir("/proc/self/task")) == 1, "threads do not survive a fork"
        child = os.fork()
        if not child:
            messages = os.open(os.environ["MESSAGES"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(messages, 1)
            os.dup2(messages, 2)
            return train.main(json.loads(line))
        print(child, flush=True)
        number = int(sys.stdin.readline())
        if number:
            os.kill(child, number)      # nobody has waited for it, so the id is still its own
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
