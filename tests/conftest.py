"""Settings shared by all tests: one fixed seed, few threads, quiet logs."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest


@pytest.fixture(autouse=True)
def _seed(request):
    """Every test starts from seed 0, in any order.

    That empties TensorFlow's caches: a function that was made before takes as long as the first time again, an exported
    model five seconds. A module that draws nothing says so: ``DRAWS = False``.
    """
    import keras

    if getattr(request.module, "DRAWS", True):
        keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True)
def _without_xla(request, monkeypatch):
    """Updates of weights are not compiled, which takes a second for each model, unless a module says ``XLA = True``."""
    from tf_seq2seq.models.seq2seq import Seq2Seq

    if not getattr(request.module, "XLA", False) and not request.node.get_closest_marker("learning"):
        monkeypatch.setattr(Seq2Seq, "jit_update", False)
