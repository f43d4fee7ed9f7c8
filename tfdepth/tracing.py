"""Switches that change how functions are traced."""
import contextlib
import threading

import tensorflow as tf


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


_for_compilers = Switch()


def without_kernels():
    """A context in which functions are traced as operations that every compiler knows."""
    return _for_compilers.turned(True)


def on_cpu_kernels():
    """Whether what is traced runs by TensorFlow's kernels for CPUs: there are no GPUs that it may
    use, and no compiler makes kernels of its own."""
    return not (_for_compilers.on or tf.config.get_visible_devices("GPU"))
