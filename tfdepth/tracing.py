"""How functions are traced: switches, and sizes that are known by then."""
import contextlib
import functools
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


def sizes(tensor):
    """Sizes of a tensor's axes, each an int where it is static and else a scalar tensor: what
    is known while tracing needs no operations, which cost memory and time of every start."""
    static = list(tensor.shape)
    if None not in static:
        return static
    return [size if known is None else known
            for known, size in zip(static, tf.unstack(tf.shape(tensor)))]


_for_compilers = Switch()


def without_kernels():
    """A context in which functions are traced for a compiler, without what suits the kernels that
    TensorFlow has for CPUs."""
    return _for_compilers.turned(True)


def on_cpu_kernels():
    """Whether what is traced runs by TensorFlow's kernels for CPUs: there are no GPUs that it may
    use, and no compiler makes kernels of its own."""
    return not (_for_compilers.on or tf.config.get_visible_devices("GPU"))


def compiled_on_cpus(function):
    """Decorates a function of tensors and Python values: where `on_cpu_kernels`, it is one program
    of XLA, which passes over memory once where TensorFlow's kernels do at each operation."""
    program = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*arguments):
        return (program if on_cpu_kernels() else function)(*arguments)

    return call
