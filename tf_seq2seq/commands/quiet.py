"""Keeping off standard error what TensorFlow says about the machine."""

import contextlib
import os
import sys


@contextlib.contextmanager
def quiet_import():
    """TensorFlow is imported here, quietly; whatever else is imported in the block finds it there."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        with _no_standard_error():  # these lines come from C++, before any level is looked at
            import tensorflow as tf
            import tensorflow_text  # noqa: F401
        tf.get_logger().setLevel("ERROR")
    yield


@contextlib.contextmanager
def _no_standard_error():
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
