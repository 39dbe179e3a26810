"""How much memory training takes, on a GPU in this process, otherwise in one of its own.

What a process on a CPU has resident tells little of its next batch: allocators keep what was freed, and libraries keep
kernels for each shape that came. So there another process loads the model, trains on the batches that it is given,
says how much memory it ever had, and ends.
"""

import contextlib
import importlib
import math
import os
import pickle
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from tf_seq2seq.errors import InputError

_MIB = 2**20


@contextlib.contextmanager
def training_memory(model):
    """Yields a function that tells how much memory a model needs to train on some batches.

    Args:
        model: a compiled Keras model; it stays as it is. Without a GPU it is saved and loaded again, so what it is
            made of must be known to Keras.

    Yields:
        function ``peak(batches, spec)`` of a list of batches and the nest of `tf.TensorSpec` that they are of, to
        MiB: the most that a GPU had allocated, or that a process had resident which did nothing else; inf if there was
        not so much.
    """
    if tf.config.list_physical_devices("GPU"):
        with _untouched(model):
            yield lambda batches, spec: _on_gpu(model, batches, spec)
        return
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        yield lambda batches, spec: _apart(Path(folder), batches, spec)


def _apart(folder, batches, spec):
    arrays = tf.nest.map_structure(lambda one: one.numpy(), batches)
    modules = {one.__module__ for one in keras.saving.get_custom_objects().values()} - {"__main__"}
    (folder / "batches").write_bytes(pickle.dumps((arrays, spec, sorted(modules))))
    command = [sys.executable, "-m", __name__, str(folder)]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return float(done.stdout.split()[-1])
    if done.returncode < 0:  # a signal's number: the kernel ends who takes too much
        return math.inf
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise InputError(f"the process that tries batches cannot train this model: {reason[:200]}")


def _main(folder):
    """The process apart: trains on what stands in a folder and prints its memory, MiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory ends, this process goes first
    batches, spec, modules = pickle.loads((folder / "batches").read_bytes())
    for module in modules:  # Keras knows a class when its module is loaded
        importlib.import_module(module)
    model = keras.models.load_model(folder / "model.keras")
    try:
        model.fit(_dataset(batches, spec), verbose=0)
    except (tf.errors.ResourceExhaustedError, MemoryError):
        print(math.inf)
        return
    print(_highest())


def _highest():
    """The most that this process ever had resident, MiB."""
    with contextlib.suppress(OSError):  # getrusage counts what the parent had when it started this process
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) / 1024
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / _MIB if sys.platform == "darwin" else highest / 1024


def _dataset(batches, spec):
    """Batches as `fit` takes them, of shapes that the graph does not know."""
    return tf.data.Dataset.from_generator(lambda: batches, output_signature=spec)


def _on_gpu(model, batches, spec):
    tf.config.experimental.reset_memory_stats("GPU:0")
    try:
        model.fit(_dataset(batches, spec), verbose=0)
    except tf.errors.ResourceExhaustedError:
        return math.inf
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / _MIB


@contextlib.contextmanager
def _untouched(model):
    """Gives all variables back what they held."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    kept = [variable.numpy() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, kept):
            variable.assign(value)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
