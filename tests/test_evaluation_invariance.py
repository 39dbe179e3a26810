"""Batch invariance: it holds for generators of every search, and what depends on the batch is found and named."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_generator import SOURCES, tiny_generator

from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.decoding.hypotheses import Hypotheses
from tf_seq2seq.decoding.sampling import Sampling
from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.invariance import Invariance, InvarianceRun, batch_invariance

WORDS = sorted({word for source in SOURCES for word in source.split()})
TEXTS = [" ".join(WORDS[(n * k) % len(WORDS)] for k in range(1, 2 + n % 9)) for n in range(30)] + ["", "gato"]


class AttendsToPadding:
    """A model whose attention does not know what is padding."""

    def __init__(self, model):
        self.model, self.encoder, self.decoder = model, model.encoder, model.decoder

    def begin(self, source):
        step, state, memory = self.model.begin(source)
        everywhere = lambda leaf: tf.ones_like(leaf) if leaf.dtype == tf.bool else leaf
        return step, state, tf.nest.map_structure(everywhere, memory)


class KnowsItsNeighbours:
    """A model to which all sources of a batch look like their mean, a little."""

    def __init__(self, model):
        self.model, self.encoder, self.decoder = model, model.encoder, model.decoder

    def begin(self, source):
        step, state, memory = self.model.begin(source)
        mixed = lambda leaf: leaf + 1e-3 * tf.reduce_mean(leaf, axis=0, keepdims=True)
        return step, tf.nest.map_structure(mixed, state), memory


def broken(kind, generator):
    parts = generator.source_text, generator.target_text, generator.strategy
    return TextGenerator(kind(generator.model), *parts)


@pytest.mark.parametrize(
    "strategy", [Greedy(8), BeamSearch(3, max_length=(1.5, 3)), Sampling(2, max_length=8)]
)
def test_it_holds(strategy):
    batches = []
    found = batch_invariance(tiny_generator(strategy), TEXTS, batch_tokens=60, window=2, done=batches.append)
    assert found.holds and found.faults == []
    names = ["in batches of 32", "one by one", "shuffled, in batches of 7", "shuffled, in batches of 64"]
    assert [run.name for run in found.runs] == [*names, "with 5 columns of padding"]
    assert all(run.texts == run.same == len(TEXTS) and run.rivals == 0 for run in found.runs)
    assert found.runs[0].difference == 0 and max(run.difference for run in found.runs) < 1e-5
    assert sum(batches) == 5 * len(TEXTS) and batches.count(1) >= len(TEXTS) and 7 in batches


def test_conditions_come_along():
    """Those of a batch may all be blank."""
    prefix = ["the dog" if n % 3 == 0 else "" for n in range(9)]
    generator = tiny_generator(Greedy(8))
    found = batch_invariance(generator, TEXTS[:9], conditions={"prefix": prefix}, sizes=(5,))
    assert found.holds and [run.same for run in found.runs] == [9] * 4
    crossed = type("Crossed", (), {"__call__": lambda self, texts, **_: generator(texts)})()
    crossed.source_text, crossed.target_text = generator.source_text, generator.target_text
    crossed.generate_ids = generator.generate_ids
    found = batch_invariance(crossed, TEXTS[:9], conditions={"prefix": prefix}, sizes=())
    assert {fault.row for fault in found.faults} == {
        0,
        3,
        6,
    }  # the run with padding got them, the others did not


@pytest.mark.parametrize("kind", [AttendsToPadding, KnowsItsNeighbours])
def test_a_broken_model_is_found(kind):
    generator = broken(kind, tiny_generator(Greedy(8)))
    found = batch_invariance(generator, TEXTS)
    assert not found.holds
    assert len(found.faults) > 5 and [fault.row for fault in found.faults] == sorted(
        {fault.row for fault in found.faults}
    )
    fault = found.faults[-1]
    assert fault.text == TEXTS[fault.row] and repr(fault.text) in str(fault) and fault.run in str(fault)
    assert max(run.difference for run in found.runs) > 1e-5


def test_attention_to_padding_is_found_by_padding_alone():
    """All texts are as long as one another, so that only the last run has any padding."""
    generator = broken(AttendsToPadding, tiny_generator(Greedy(8)))
    texts = [f"{first} {second} el" for first in ("gato", "perro", "casa") for second in ("come", "la", "y")]
    found = batch_invariance(generator, texts, sizes=(3,))
    assert {fault.run for fault in found.faults} == {"with 5 columns of padding"}
    assert [max(run.difference, run.gap) < 1e-5 for run in found.runs] == [True, True, True, False]


class Scripted:
    """A generator that answers with what it is given, call by call."""

    def __init__(self, *answers):
        self.answers = iter(answers)
        self.source_text = self.target_text = tiny_generator(Greedy(8)).target_text

    def __call__(self, texts):
        return type("Text", (), {"hypotheses": next(self.answers)})

    def generate_ids(self, ids):
        assert (ids[:, -5:].numpy() == PAD).all()
        return next(self.answers)


def hypotheses(ids, score, each):
    field = lambda value, dtype: tf.constant(np.array(value)[None], dtype)
    lengths = [len([token for token in row if token != PAD]) for row in ids]
    finished = [True] * len(ids)
    return Hypotheses(
        field(ids, tf.int32),
        field(lengths, tf.int32),
        field(score, tf.float32),
        field(score, tf.float32),
        field(finished, tf.bool),
        None,
        field(each, tf.float32),
    )


@pytest.mark.parametrize(
    "ids, score, each, same, rivals",
    [
        ([[5, 3]], [-1.0], [[-0.5, -0.5]], 1, 0),
        ([[5, 3]], [-1.000009], [[-0.5, -0.5]], 1, 0),
        ([[5, 3]], [-1.00002], [[-0.5, -0.5]], 1, None),  # the same tokens, another score
        ([[6, 3]], [-1.00009], [[-0.4, -0.6]], 0, 1),  # hypotheses with equal scores
        ([[6, 3]], [-2.0], [[-0.50005, -1.5]], 0, 1),  # tokens with equal log-probs
        ([[6, 3]], [-2.0], [[-0.6, -1.4]], 0, None),
        ([[5, 0]], [-1.0], [[-0.5, 0.0]], 0, 1),
        ([[5, 0]], [-0.5], [[-0.5, 0.0]], 0, None),  # one token fewer
        ([[0, 0]], [-np.inf], [[0.0, 0.0]], 0, None),  # none at all
    ],
)
def test_rivals_and_tolerances(ids, score, each, same, rivals):
    first = hypotheses([[5, 3]], [-1.0], [[-0.5, -0.5]])
    other = hypotheses(ids, score, each)
    found = batch_invariance(Scripted(first, other, other), ["the dog"], sizes=())
    assert [run.same for run in found.runs] == [1, same, same]
    assert [run.rivals for run in found.runs] == [0, rivals or 0, rivals or 0]
    assert found.holds == (rivals is not None) and len(found.faults) == (rivals is None)


def test_infinite_scores_are_equal():
    stuck = hypotheses([[3, 0]], [-np.inf], [[-np.inf, 0.0]])
    found = batch_invariance(Scripted(stuck, stuck, stuck), ["the dog"], sizes=())
    assert found.holds and [run.difference for run in found.runs] == [0.0] * 3


def test_the_table_has_a_line_for_a_run():
    runs = [
        InvarianceRun("in batches of 32", 200, 200),
        InvarianceRun("one by one", 200, 198, 2, 3.2e-7, 0.00004),
    ]
    lines = Invariance(runs, []).table().splitlines()
    assert lines[0].split() == ["texts", "same", "tokens", "rivals", "scores", "differ", "by", "rivals", "by"]
    assert lines[2].split() == ["one", "by", "one", "200", "198", "2", "3.2e-07", "4.0e-05"]
    assert len({*map(len, lines)}) == 1


def test_without_texts_there_is_nothing_to_check():
    with pytest.raises(InputError, match="there is no text"):
        batch_invariance(None, [])
