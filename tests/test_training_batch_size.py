"""Probing for the largest batch: the search, what is tried, what is measured, and that training then is as before."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.errors import InputError
from tf_seq2seq.models import zoo
from tf_seq2seq.training import batch_size
from tf_seq2seq.training.batch_size import largest_batch

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

    def fit(self, data, verbose):
        self.peaks.append(max(self.memory(int(labels.shape[0])) for _, labels in data))
        if self.peaks[-1] > self.most:
            raise tf.errors.ResourceExhaustedError(None, None, "used up")


@pytest.fixture
def stubbed(monkeypatch):
    monkeypatch.setattr(batch_size, "_most_memory", lambda function: (function(), Stub.now.peaks[-1])[1])
    monkeypatch.setattr(tf.data.Dataset, "from_generator", lambda generator, output_signature: generator())

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


@pytest.mark.parametrize("growth, limit", [(50, 400), (200, 400), (500, 400), (20, 127), (300, 127)])
def test_what_many_batches_leave_behind_counts(stubbed, growth, limit):
    memory = lambda rows: 100 + 10 * rows
    model = stubbed(memory)
    fit = model.fit
    model.fit = lambda data, verbose: (
        fit(data, verbose),
        model.peaks.append(model.peaks[-1] + growth * (len(data) > 2)),
    )
    found = largest_batch(model, one_batch, memory_mib=limit)
    best = max((size for size in range(1, 61) if memory(size) + growth <= limit), default=0)
    assert best * 7 / 8 - 1 <= found.size <= best
    assert not found.size or found.peak_mib == memory(found.size) + growth


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


def test_memory_is_measured_at_its_highest():
    def function(mib):
        return lambda: np.ones(mib * 2**20, np.uint8).sum()

    before = batch_size._most_memory(lambda: None)
    assert 290 <= batch_size._most_memory(function(300)) - before <= 330
    assert 90 <= batch_size._most_memory(function(100)) - before <= 130, "a peak of before counts no more"


def train(probe):
    keras.utils.set_random_seed(2)
    model = zoo.plain(20, 20, units=4, dropout=0.3)
    model.compile(keras.optimizers.Adam(0.01, use_ema=True))
    data = make_batches(30, shuffle=True)
    if probe:
        found = largest_batch(model, lambda size: data, memory_mib=1e6)
        assert found.size == 1 and found.peak_mib > 100
        assert int(model.optimizer.iterations) == 0
    history = model.fit(data, epochs=2, verbose=0).history["loss"]
    return history, model.get_weights()


def test_training_afterwards_is_as_if_nothing_had_been_tried():
    (history, weights), (same_history, same_weights) = train(probe=False), train(probe=True)
    assert history == same_history
    for one, other in zip(weights, same_weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_missing_is_told():
    with pytest.raises(InputError, match="on a CPU nothing tells when memory ends: say memory_mib"):
        largest_batch(Stub(None), one_batch)
    with pytest.raises(InputError, match="compile the model first"):
        largest_batch(zoo.plain(20, 20, units=4), make_batches, memory_mib=100)
