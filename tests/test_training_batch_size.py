"""Probing for the largest batch: the search, what is tried, what is measured, and that training then is as before."""

import contextlib
import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.errors import InputError
from tf_seq2seq.models import zoo
from tf_seq2seq.training import batch_size, memory
from tf_seq2seq.training.batch_size import largest_batch
from tf_seq2seq.training.losses import SequenceCrossEntropy

RNG = np.random.default_rng(6)
SIDES = [
    tf.ragged.constant([RNG.integers(4, 20, RNG.integers(1, 9)) for _ in range(60)], dtype=tf.int32)
    for _ in range(2)
]
SPLIT = tf.data.Dataset.from_tensor_slices(tuple(SIDES))


def make_batches(size, shuffle=False):
    return batches(SPLIT, batch_size=size, shuffle=shuffle)


def one_batch(size):
    """A dataset of 60 pairs at most, as cheap as can be."""
    ids = np.ones([min(size, 60), 3], np.int32)
    return tf.data.Dataset.from_tensors(({"source_ids": ids, "target_ids": ids}, ids))


class Stub:
    """A model whose memory is a function of the rows of a batch, in MiB."""

    class optimizer:
        built, variables = True, []

    variables = metrics_variables = []

    def __init__(self, memory, most=math.inf):
        self.memory, self.most, self.peaks = memory, most, []

    def fit(self, data):
        self.peaks.append(max(self.memory(int(labels.shape[0])) for _, labels in data))
        if self.peaks[-1] > self.most:
            raise tf.errors.ResourceExhaustedError(None, None, "used up")


@pytest.fixture
def stubbed(monkeypatch):
    def peak(data, spec):
        try:
            Stub.now.fit(data)
        except tf.errors.ResourceExhaustedError:
            return math.inf
        return Stub.now.peaks[-1]

    @contextlib.contextmanager
    def training_memory(model):
        yield peak

    monkeypatch.setattr(batch_size, "training_memory", training_memory)

    def make(memory, most=math.inf):
        Stub.now = Stub(memory, most)
        return Stub.now

    return make


@pytest.mark.parametrize("limit", [120, 143, 300, 611])
@pytest.mark.parametrize("memory", [lambda rows: 100 + 10 * rows, lambda rows: 100 + 10 * max(rows, 5)])
def test_the_search_finds_what_fits_and_never_tries_what_does_not(stubbed, memory, limit):
    model = stubbed(memory)
    found = largest_batch(model, one_batch, memory_mib=limit)
    best = max((size for size in range(1, 61) if memory(size) <= limit), default=0)
    assert best * 15 / 16 - 1 <= found.size <= best
    assert all(peak <= limit for peak in model.peaks[2:])
    if found.size:
        assert found.peak_mib == memory(found.size) and found.shapes[0][0] == found.size
        assert f"size {found.size} takes {found.peak_mib:.0f} MiB of {limit}; " in str(found)


def test_a_gpus_own_word_is_heeded(stubbed, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [kind] if kind == "GPU" else [])
    found = largest_batch(stubbed(lambda rows: rows, most=37), one_batch)
    assert 35 <= found.size <= 37 and found.memory_mib == math.inf
    assert {size for size, peak in found.tried.items() if peak == math.inf} == {
        size for size in found.tried if size > 37
    }
    assert "does not fit" in str(found)


def test_it_ends_where_the_data_or_the_range_do(stubbed):
    found = largest_batch(stubbed(lambda rows: rows), one_batch, memory_mib=1000)
    assert found.size == 64 and found.shapes[0][0] == 60 and "makes the same batches" in str(found)
    assert largest_batch(stubbed(lambda rows: rows), one_batch, memory_mib=1000, largest=20).size == 20
    nothing = largest_batch(stubbed(lambda rows: 2000), one_batch, memory_mib=1000)
    assert nothing.size == 0 and str(nothing) == "no size fits into 1000 MiB: 1 does not fit"


def test_the_worst_batches_are_those_of_the_most_tokens():
    made = make_batches(7, shuffle=True)
    worst = batch_size._worst(made)
    assert made.position.epoch == 0
    shapes = [batch_size._shape(batch) for batch in made]
    products = [
        lambda b, s, t: b * (s + t),
        lambda b, s, t: b * s,
        lambda b, s, t: b * t,
        lambda b, s, t: b * s * t,
    ]
    for cost in products:
        assert max(cost(*shape) for shape in shapes) == max(cost(*batch_size._shape(one)) for one in worst)
    assert len(worst) <= 4
    with pytest.raises(InputError, match="no batches to try"):
        batch_size._worst(make_batches(7).take(0))


def small_model(loss="mse"):
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones"), keras.layers.Dropout(0.5)]
    )
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def numbers(mib):
    spec = tf.TensorSpec([None, 1], tf.float32)
    return [(tf.zeros([mib * 2**18, 1]), tf.zeros([mib * 2**18, 1]))], (spec, spec)


@pytest.mark.survival
def test_a_process_of_its_own_tells_how_much_memory_training_takes():
    held = np.ones(2**30, np.uint8)  # what this process has does not count
    with memory.training_memory(small_model()) as peak:
        more, little = peak(*numbers(100)), peak(*numbers(1))
    assert held.sum() and 100 < little < 1000 and 200 <= more - little <= 2000


@pytest.mark.survival
def test_a_model_that_another_process_cannot_load_is_told():
    with (
        pytest.raises(InputError, match="cannot train this model"),
        memory.training_memory(
            small_model(lambda one, other: keras.losses.mean_squared_error(one, other))
        ) as peak,
    ):
        peak(*numbers(1))


def test_a_process_that_the_kernel_ends_took_too_much(monkeypatch):
    killed = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **options: run(killed, **options))
    with memory.training_memory(small_model()) as peak:
        assert peak(*numbers(1)) == math.inf


def test_on_a_gpu_the_model_is_afterwards_what_it_was(monkeypatch):
    model, before = small_model(), small_model()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [kind] if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", lambda device: None)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda device: {"peak": 3 * 2**20})
    data = tf.data.Dataset.from_tensors((tf.ones([8, 1]), tf.zeros([8, 1])))
    with memory.training_memory(model) as peak:
        assert peak([*data], data.element_spec) == 3.0
        assert int(model.optimizer.iterations) > 0
    assert int(model.optimizer.iterations) == 0
    histories = [one.fit(data, epochs=2, verbose=0).history["loss"] for one in (model, before)]
    assert histories[0] == histories[1]


def test_a_seq2seq_is_tried_and_stays_as_it_was():
    model = zoo.plain(20, 20, units=4, dropout=0.3)
    model.compile(keras.optimizers.Adam(0.01, use_ema=True), loss=SequenceCrossEntropy(0.1))
    before = model.get_weights()
    data = make_batches(30, shuffle=True)
    found = largest_batch(model, lambda size: data, memory_mib=1e6)
    assert found.size == 1 and 100 < found.peak_mib < 5000 and found.shapes[0][0] == 30
    assert data.position.epoch == 0
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_missing_is_told():
    with pytest.raises(InputError, match="on a CPU nothing tells when memory ends: say memory_mib"):
        largest_batch(Stub(None), one_batch)
    with pytest.raises(InputError, match="compile the model first"):
        largest_batch(zoo.plain(20, 20, units=4), make_batches, memory_mib=100)
