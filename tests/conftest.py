"""Settings shared by all tests: one fixed seed, few threads, quiet logs."""

import contextlib
import ctypes
import fcntl
import gc
import os
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:  # there are as many processes as cores
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import pytest

# Models and graphs are many objects that live long: looking through all of them again and again takes a tenth of all time.
gc.set_threshold(50_000, 20, 100)  # `_tidy` does it once a module


@pytest.fixture(autouse=True)
def _seed():
    """Every test starts from seed 0, in any order.

    TensorFlow's own `set_seed` throws away all kernels and functions as well, since a kernel may hold the state of a
    generator. None does here, and to make them again takes a quarter of the time of all tests.
    """
    import keras
    from tensorflow.python import pywrap_tfe

    with mock.patch.object(pywrap_tfe, "TFE_ContextClearCaches"):
        keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True, scope="module")
def _tidy():
    """What a module's tests leave behind goes before the next one's come: models, functions, kernels."""
    from tensorflow.python.eager.context import context

    yield
    gc.collect()
    context().clear_kernel_cache()
    with contextlib.suppress(OSError, AttributeError):  # glibc's: gives the system back what is free
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory):
    """The exported folder of `tiny_generator()`, only to be read: one for all processes, as it takes half a minute."""
    import tensorflow_text  # noqa: F401 a process that loads what another exported has its operations, too
    from tiny_generator import tiny_generator

    from tf_seq2seq.export.saved_model import export_saved_model

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of the run, not of this process
    with open(folder / "tiny_export.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "tiny_export" / "1").exists():
            export_saved_model(tiny_generator(), folder / "tiny_export")
    return folder / "tiny_export" / "1"


@pytest.fixture
def eagerly():
    """Functions run without being traced, which takes ten times as long: for those that are called once."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def pytest_collection(session):
    """Graphs run as they were traced, updates of weights uncompiled: what it takes to make them faster takes longer.

    Said before TensorFlow runs anything, it holds for the functions of tf.data, too, which each pass instantiates anew.
    """
    config = session.config
    hands_out = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if not hands_out:
        _optimize(False)


@pytest.fixture
def optimized():
    """Graphs are rewritten and updates compiled, as in use. Tests marked `learning` have this without saying so."""
    _optimize(True)
    yield
    _optimize(False)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("learning"):
            item.fixturenames.append("optimized")


def _optimize(whether):
    import tensorflow as tf

    from tf_seq2seq.models.seq2seq import Seq2Seq

    Seq2Seq.jit_update = whether
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not whether})
