"""How functions are traced, and let go of."""
import gc
import weakref

import tensorflow as tf

from tfdepth.tracing import gradients_released


def test_released_gradients_let_go_of_their_graph():
    with gradients_released():
        function, graph = _step()
    assert graph() is not None and function(tf.constant(1.0)).numpy() == 27.0
    del function
    gc.collect()
    assert graph() is None


def test_others_are_kept():
    with gradients_released():
        _, before = _step()
        with gradients_released():
            _step()
        assert before() is not None


def _step():
    """A function whose graph has a custom gradient and a variable, and a weak reference to that."""
    variable = tf.Variable(3.0)

    @tf.custom_gradient
    def cube(x):
        return x**3, lambda upstream: upstream * 3.0 * x**2

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            total = cube(variable * x)
        return tape.gradient(total, variable)

    return step, weakref.ref(step.get_concrete_function(tf.TensorSpec([])).graph)
