"""Switches that change how functions are traced."""
import contextlib
import threading


class Switch(threading.local):
    """Off, but within its context, in the thread that entered it: replicas are traced in threads of
    their own."""
    on = False

    @contextlib.contextmanager
    def turned(self, on):
        """A context in which it is on, or off."""
        before, self.on = self.on, on
        try:
            yield
        finally:
            self.on = before
