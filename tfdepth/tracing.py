"""How functions are traced: switches, sizes that are known by then, and programs on CPUs."""
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


_within_program = Switch()


def without_programs():
    """A context for what is traced into one program anyway, as `compiled_losses` does: functions
    that are `compiled_on_cpus` are plain in it, and the compiler sees all of them."""
    return _within_program.turned(True)


def has_programs():
    """Whether functions that are `compiled_on_cpus` are: TensorFlow has XLA and no GPUs to use, and
    this is not `without_programs`."""
    return (tf.test.is_built_with_xla() and not tf.config.get_visible_devices("GPU")
            and not _within_program.on)


def compiled_on_cpus(function):
    """Decorates a function of tensors and Python values: on CPUs it is a program of XLA for each
    shape, which passes over memory once where TensorFlow's kernels do at each operation.

    For functions of single elements or of their nearest neighbours. What needs, around each
    element, what another function computes there is a second program: XLA would compute it anew for
    each. Call it within a tf.custom_gradient, on what has passed tf.stop_gradient: a program whose
    call a tape sees keeps its inner results. So there are first derivatives only.
    """
    program = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*arguments):
        return (program if has_programs() else function)(*arguments)

    return call
