"""A file that one process at a time holds; the system lets go of it when that process dies."""
import contextlib
import os
import socket
import sys

from tfdepth.checks import UserError

try:
    import fcntl
except ImportError:
    fcntl = None        # Windows: a second process is not noticed


@contextlib.contextmanager
def held(path, what):
    """A context in which this process holds the file `path`, which names it.

    Args: path: made where it is missing, and left behind. what: beginning of the messages.
    Raises: UserError: if another process holds it. OSError: if it cannot be written.
    """
    with open(path, "a+", encoding="utf-8") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(f"{what}: expected a folder in which nothing trains; "
                            f"{file.read().strip() or 'another process'} trains in it.") from None
        except OSError as error:
            print(f"warning: {what}: {path} cannot be locked here ({error.strerror}); a second "
                  "process in the same folder would not be noticed", file=sys.stderr)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
