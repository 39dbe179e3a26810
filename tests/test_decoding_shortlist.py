"""Vocabulary shortlists against the whole vocabulary with the same tokens masked, and tables against loops.

Shapes: **B** sources, **S** source length, **V** vocabulary, **W** columns.
"""

import collections

import batteries
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.decoding import lexical_table
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.conditions import Conditions
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.decoding.lexical_table import LexicalTable
from tf_seq2seq.decoding.shortlist import Shortlist, Shortlisted
from tf_seq2seq.errors import InputError
from tf_seq2seq.models.seq2seq import Seq2Seq

V, TARGET_V = batteries.SOURCE_V, batteries.TARGET_V
SOURCES = np.array([[5, 6, 3, 0], [7, 3, 0, 0], [9, 12, 8, 3]], "int32")


def drawn(per_source=2, always=(4,)):
    """A shortlist of random candidates, some rows of which are not full."""
    random = np.random.default_rng(0)
    table = random.integers(4, TARGET_V, (V, per_source))
    table[random.random(table.shape) < 0.3] = PAD
    return Shortlist(table, always)


def tokens_of(shortlist, source, wanted=()):
    """The tokens of one source, by the rule."""
    listed = {int(token) for one in source[source != PAD] for token in shortlist.candidates[one]}
    return {0, 1, 2, 3} | {*shortlist.always.tolist()} | listed | {*wanted}


def masked(model, shortlist):
    """The model with what its sources may not say at -inf, over the whole vocabulary."""

    def begin(sources):
        state, memory = model.start({"source_ids": sources})
        allowed = np.full((len(sources), TARGET_V), -np.inf, "float32")
        for row, source in enumerate(sources):
            allowed[row, [*tokens_of(shortlist, source)]] = 0

        def step(ids, state, memory):
            memory, allowed = memory
            output = model.step(ids, state, memory)
            return output._replace(logits=output.logits + allowed)

        return step, state, (memory, tf.constant(allowed))

    return begin


@pytest.mark.parametrize("shape", [(V, 0), (V, 1), (V, 3)])
def test_a_source_may_say_what_its_tokens_bring(shape):
    shortlist = drawn(shape[1], always=[] if shape[1] == 1 else [4, 9])
    wanted = np.array([[5, 0], [0, 0], [6, 7]])
    allowed = shortlist.allowed(tf.constant(SOURCES), TARGET_V, tf.constant(wanted)).numpy()
    for row, source in enumerate(SOURCES):
        assert {*np.flatnonzero(allowed[:, row])} == tokens_of(shortlist, source, wanted[row])


def test_tokens_outside_the_vocabularies_are_read_as_unknown():
    shortlist = Shortlist([[0]] + [[6]] + [[0]] * (V - 2))
    allowed = shortlist.allowed(tf.constant([[V, 3], [-1, 3]]), TARGET_V, tf.constant([[TARGET_V], [0]]))
    assert np.flatnonzero(allowed[:, 0]).tolist() == np.flatnonzero(allowed[:, 1]).tolist() == [0, 1, 2, 3, 6]


@pytest.mark.parametrize(
    "name", [*batteries.ZOO, next(name for name in batteries.DECODERS if "tied" in name)]
)
def test_the_columns_are_those_of_the_whole_projection(name):
    model = batteries.shared(name)
    step, state, memory = Shortlisted(model, drawn()).begin({"source_ids": tf.constant(SOURCES)})
    output, whole = (
        step(tf.constant([2, 5, 6]), state, memory),
        model.step(tf.constant([2, 5, 6]), *model.start({"source_ids": SOURCES})),
    )
    columns = output.columns.numpy()
    assert columns[:4].tolist() == [0, 1, 2, 3] and (np.diff(columns) > 0).all()
    assert len(columns) % 128 == 0
    beyond = columns >= batteries.TARGET_V  # no tokens; they fill the width
    assert (output.logits.numpy()[:, beyond] == -np.inf).all()
    columns = columns[~beyond]
    assert {*columns} == set().union(*(tokens_of(drawn(), source) for source in SOURCES))
    for row, source in enumerate(SOURCES):
        expected = np.where(
            np.isin(columns, [*tokens_of(drawn(), source)]), whole.logits.numpy()[row, columns], -np.inf
        )
        np.testing.assert_allclose(output.logits.numpy()[row, ~beyond], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strategy", [Greedy(6), BeamSearch(3, max_length=6)], ids=["greedy", "beam"])
def test_a_search_is_that_of_the_masked_model(strategy):
    model, shortlist = batteries.searchable("luong2015"), drawn()
    step, state, memory = Shortlisted(model, shortlist).begin({"source_ids": tf.constant(SOURCES)})
    found = strategy(step, state, memory, len(SOURCES))
    expected = strategy(*masked(model, shortlist)(SOURCES), len(SOURCES))
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-5)
    free = batteries.search(strategy, model, SOURCES).ids
    assert found.ids.numpy().tolist() != free.numpy().tolist()


def test_a_source_comes_out_the_same_in_any_batch_in_a_graph():
    shortlisted, strategy = (
        Shortlisted(batteries.searchable("luong2015"), drawn()),
        BeamSearch(3, max_length=6),
    )
    spec = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[spec])
    def search(ids):
        found = strategy(*shortlisted.begin({"source_ids": ids}), tf.shape(ids)[0])
        return found.ids, found.scores

    ids, scores = search(SOURCES)
    for row, source in enumerate(SOURCES):
        alone_ids, alone_scores = search(source[None][:, source != PAD])
        steps = alone_ids.shape[2]
        np.testing.assert_array_equal(ids[row : row + 1, :, :steps], alone_ids)
        assert not ids[row, :, steps:].numpy().any()
        np.testing.assert_allclose(scores[row : row + 1], alone_scores, rtol=1e-5)


def test_a_forced_beginning_may_be_off_the_list():
    model, empty = batteries.searchable("luong2015"), Shortlist(np.zeros((V, 1), int))
    prefix = np.array([[7, 5], [9, 0], [0, 0]])
    step, state, memory = Shortlisted(model, empty).begin(
        {"source_ids": tf.constant(SOURCES)}, tf.constant(prefix)
    )
    ids = BeamSearch(2, max_length=4)(step, state, memory, 3, Conditions(prefix=prefix)).ids.numpy()
    assert (ids[0, :, :2] == [7, 5]).all() and (ids[1, :, 0] == 9).all()
    assert not {*ids[1].flat} & {7, 5} and {*ids[2].flat} <= {0, 1, 3}


def test_a_list_of_everything_is_no_list():
    model, everything = (
        batteries.searchable("bahdanau2015"),
        Shortlist(np.zeros((V, 0), int), range(TARGET_V)),
    )
    found = BeamSearch(3, max_length=6)(*Shortlisted(model, everything).begin({"source_ids": SOURCES}), 3)
    expected = batteries.search(BeamSearch(3, max_length=6), model, SOURCES)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 40, 10**6])
def test_a_table_holds_the_sums_of_attention(monkeypatch, chunk):
    """However often what was added is summed up."""
    monkeypatch.setattr(lexical_table, "_CHUNK", chunk)
    random, table = np.random.default_rng(1), LexicalTable(V, TARGET_V)
    sums, counts = collections.Counter(), collections.Counter()
    for seed in range(5):
        inputs, labels = batteries.batch(seed=seed)
        sources = inputs["source_ids"]
        alignments = random.random((*labels.shape, sources.shape[1])).astype("float32")
        table.add(sources, labels, alignments)
        for row, time, place in np.ndindex(alignments.shape):
            if labels[row, time] != PAD and sources[row, place] != PAD:
                sums[sources[row, place], labels[row, time]] += alignments[row, time, place]
        counts.update(labels[labels > 3].tolist())
    assert table.most_frequent(3).tolist() == sorted(counts, key=lambda one: (-counts[one], one))[:3]
    best = table.best(2, but=[6])
    for source in range(V):
        ours = {
            target: mass
            for (one, target), mass in sums.items()
            if one == source and target > 3 and target != 6
        }
        expected = sorted(ours, key=ours.get, reverse=True)[:2]
        assert best[source].tolist() == expected + [PAD] * (2 - len(expected))


def test_a_table_forgets_its_weakest_entries():
    table = LexicalTable(6, 200, kept=2)
    table.add([[4, 5]] * 190, np.arange(10, 200)[:, None], np.stack([np.linspace(1, 2, 190)] * 2, 1)[:, None])
    assert (table.best(20) != PAD).sum() == 2 * 6
    assert {*table.best(6)[4], *table.best(6)[5]} == {*range(194, 200)}


def test_a_shortlist_is_learnt_from_alignments():
    model = batteries.shared("luong2015")
    batches = [batteries.batch(seed=seed) for seed in range(3)]
    shortlist = Shortlist.learn(model, batches, per_source=2, always=1)
    table = LexicalTable(V, TARGET_V)
    for inputs, labels in batches:
        lengths = (inputs["source_ids"] != PAD).sum(1)[:, None, None]
        table.add(inputs["source_ids"], labels, model.alignments(inputs) + 1 / lengths)
    assert shortlist.always.tolist() == table.most_frequent(1).tolist()
    np.testing.assert_array_equal(shortlist.candidates, table.best(2, but=shortlist.always))


def test_a_model_without_attention_teaches_none():
    with pytest.raises(InputError, match="give a model with attention"):
        Shortlist.learn(batteries.shared("plain"), [batteries.batch()])


def test_a_shortlist_comes_back_from_its_file(tmp_path):
    shortlist = drawn()
    shortlist.save(tmp_path / "shortlist.npz")
    loaded = Shortlist.load(tmp_path / "shortlist.npz")
    np.testing.assert_array_equal(loaded.candidates, shortlist.candidates)
    np.testing.assert_array_equal(loaded.always, shortlist.always)
    assert (tmp_path / "shortlist.npz").exists()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04"])
def test_another_file_is_no_shortlist(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="is no shortlist"):
        Shortlist.load(tmp_path / "a.npz")
    with pytest.raises(InputError, match="is no shortlist"):
        Shortlist.load(tmp_path / "none.npz")


@pytest.mark.parametrize("candidates, always", [([[0.5]], []), ([1], []), ([[-1]], []), ([[5]], [[5]])])
def test_ids_of_another_kind_are_refused(candidates, always):
    with pytest.raises(InputError, match="token ids with"):
        Shortlist(candidates, always)


@pytest.mark.parametrize("shortlist", [Shortlist([[5]] * (V + 1)), Shortlist([[5]] * V, [TARGET_V])])
def test_a_shortlist_of_another_model_is_refused(shortlist):
    with pytest.raises(InputError, match=f"the model has {V} and {TARGET_V}: learn one with this model"):
        Shortlisted(batteries.shared("plain"), shortlist)


def test_half_precision_weights_have_a_shortlist_too():
    model = batteries.searchable("luong2015")
    source = {"source_ids": tf.constant(SOURCES)}
    outputs = []
    for one in (model, model.with_weights("bfloat16")):
        assert isinstance(one, Seq2Seq)
        step, state, memory = Shortlisted(one, drawn()).begin(source)
        outputs.append(step(tf.constant([2, 5, 6]), state, memory))
    assert outputs[1].logits.dtype == tf.float32
    np.testing.assert_allclose(outputs[0].logits, outputs[1].logits, atol=0.3)
    np.testing.assert_array_equal(outputs[0].columns, outputs[1].columns)
