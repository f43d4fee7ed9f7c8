"""Real processes of tools/train.py that train the toy system, without importing TensorFlow in each.

Run as a program it reads a JSON list of arguments a line, forks, and answers with the id of the
process; the next line is the number of a signal, 0 = none, to send to it, and the answer is how it
ended, as a return code of `subprocess`: -9 only if the signal met it alive. To fork is sound as
TensorFlow starts its threads at its first operation: there is one thread here, which is checked.
"""
import importlib
import json
import os
import pathlib
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parent


class TrainProcesses:
    """Starts trainings of tests/toy_run.py, one at a time."""

    def __init__(self, root, messages):
        """Args: root: KITTI folder. messages: file for what the last one prints."""
        self.root, self.messages = root, messages
        self._server = subprocess.Popen(
            [sys.executable, __file__], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MESSAGES": str(messages),
                 "PYTHONPATH": str(TESTS.parent), "TF_CPP_MIN_LOG_LEVEL": "3"})

    def arguments(self, workdir, *more):
        return [f"--config={TESTS / 'toy_run.py'}", f"--workdir={workdir}",
                f"--config.data.root={self.root}", *more]

    def start(self, workdir, *more):
        """Returns the id of the process."""
        return int(self._ask(json.dumps(self.arguments(workdir, *more))))

    def end(self, number=0):
        """Sends a signal, 0 = none, and waits. Returns the exit code, -number if it ended so."""
        return int(self._ask(str(int(number))))

    def close(self):
        self._server.communicate()

    def _ask(self, line):
        self._server.stdin.write(line + "\n")
        return self._server.stdout.readline()


def serve():
    sys.path.insert(0, str(TESTS.parent / "tools"))
    import train
    for module in ("toy_run", "tfdepth.training.loop"):  # so that each forked child has them
        importlib.import_module(module)
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
    sys.exit(serve())
