"""How functions are traced: switches, sizes that are known by then, programs on CPUs, and how
graphs are let go of."""
import contextlib
import functools
import gc
import os
import threading

import tensorflow as tf
from tensorflow.python.framework.ops import gradient_registry  # not public; see gradients_released


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


@functools.lru_cache(maxsize=None)
def _let_xla_say_its_lines():
    """XLA's first program of a process writes two lines to standard error that no setting silences:
    this is one, and nobody hears them."""
    try:
        stderr = os.dup(2)
    except OSError:  # closed, as a daemon's may be
        return
    with open(os.devnull, "wb") as nowhere, tf.init_scope():
        os.dup2(nowhere.fileno(), 2)
        try:
            with tf.device("CPU:0"):
                tf.function(lambda x: x + 1.0, jit_compile=True, autograph=False)(tf.zeros([]))
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


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
        if not has_programs():
            return function(*arguments)
        _let_xla_say_its_lines()
        with tf.init_scope():  # or it would keep the graph that it is first called in, a whole step
            traced = program.get_concrete_function(*(
                tf.TensorSpec(each.shape, each.dtype) if tf.is_tensor(each) else each
                for each in arguments))
        return traced(*arguments)

    return call


@contextlib.contextmanager
def gradients_released():
    """A context at whose end all graphs that were traced in it, and nobody holds, are freed.

    TensorFlow keeps the gradient of every tf.custom_gradient in a graph while the process lives,
    and with it the graph, and all variables: a search of twenty trials would end with the memory of
    twenty. Functions that were traced within, by any thread, can be called afterwards, but not
    differentiated.
    """
    registered = gradient_registry._registry
    before = set(registered)
    try:
        yield
    finally:
        released = [name for name in set(registered) - before if name.startswith("CustomGradient")]
        for name in released:
            del registered[name]
        if released:
            gc.collect()
