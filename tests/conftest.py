"""Set-up of the test session: quiet TensorFlow, `import helpers`, no writes to the user's cache."""
import contextlib
import ctypes
import gc
import os
import pathlib
import sys

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tools"))


def pytest_configure(config):
    """Four logical CPUs, before TensorFlow starts: replicas can be tested without a GPU."""
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)


@pytest.fixture(scope="module", autouse=True)
def memory_of_the_module():
    """Models and graphs of a module end with it, and so does the memory that they took."""
    yield
    import tensorflow as tf
    tf.keras.backend.clear_session()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def toy(monkeypatch):
    """Makes the toy system a row of SYSTEMS for one test."""
    from toy_system import Toy, ToyConfig
    from tfdepth import systems
    monkeypatch.setitem(systems.SYSTEMS, ToyConfig, Toy)


@pytest.fixture(params=["programs", "plain"])
def either_way(request):
    """Functions that are `compiled_on_cpus` as CPUs run them, and as GPUs do."""
    from tfdepth import tracing
    with contextlib.nullcontext() if request.param == "programs" else tracing.without_programs():
        yield


@pytest.fixture(autouse=True)
def graphs_released():
    """What a test traced is freed at its end: all tests together would take tens of gigabytes."""
    from tfdepth import tracing
    with tracing.gradients_released():
        yield


@pytest.fixture(scope="session")
def two_replicas():
    """One strategy of two replicas: another in this process would reuse its collective keys."""
    import tensorflow as tf
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """A cache folder of the session's own."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield os.environ["XDG_CACHE_HOME"]
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before
