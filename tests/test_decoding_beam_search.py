"""Beam search and greedy search by hand and on random tables; `test_oracle_*` have brute force and plain searches.

Shapes: **B** sources, **K** beam, **W** what a step emits, **T** target length, **N = B*K** rows.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, START, UNK
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.conditions import Conditions
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.decoding.penalties import LengthPenalty
from tf_seq2seq.errors import InputError
from tf_seq2seq.models.contracts import StepOutput

EMITTED = lambda width: [token for token in range(width) if token not in (PAD, START)]


def random_tables(count, width, seed, sharpness=2.0):
    """(count, width, width, width) log-probs of the next token given the last two, PAD and START too."""
    logits = np.random.default_rng(seed).normal(size=(count, width, width, width)) * sharpness
    return (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype("float32")


def table_step(ids, state, memory):
    """A model with two tokens of memory in its state, and a table a source in its memory; no attention."""
    (before,), (tables,) = state, memory
    rows = tf.range(tf.shape(ids)[0])
    log_probs = tf.gather_nd(tables, tf.stack([rows, tf.cast(before[:, 0], tf.int32), ids], axis=1))
    return StepOutput(log_probs, (tf.cast(ids, tf.float32)[:, None],), None)


def search(strategy, tables, limit=None):
    """Hypotheses (NumPy) of a source for each table."""
    run = tf.function(lambda tables, limit: _call(strategy, tables, limit))
    limit = np.full(len(tables), strategy.max_length) if limit is None else np.asarray(limit)
    return to_numpy(run(tf.constant(tables), tf.constant(limit, tf.int32)))


def _call(strategy, tables, limit):
    rows = tf.shape(tables)[0]
    state = (tf.fill([rows, 1], float(START)),)
    return strategy(table_step, state, (tables,), rows, Conditions(limit=limit))


def to_numpy(hypotheses):
    return type(hypotheses)(*(None if field is None else field.numpy() for field in hypotheses))


def log_prob(table, ids):
    """The log-prob of a sequence of ids under one table, recomputed."""
    history = [START, START, *ids]
    return sum(float(table[history[i - 2], history[i - 1], history[i]]) for i in range(2, len(history)))


def assert_same(found, row, expected):
    """Row `row` of hypotheses is the list of (finished, score, ids), up to swaps of scores within 1e-4."""
    lengths = found.lengths[row]
    got = [tuple(found.ids[row, k, : lengths[k]].tolist()) for k in range(len(expected))]
    np.testing.assert_allclose(
        found.scores[row, : len(expected)], [e[1] for e in expected], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(found.finished[row, : len(expected)], [e[0] for e in expected])
    for k, each in enumerate(expected):
        near = {e[2] for e in expected if abs(e[1] - each[1]) < 1e-4}
        assert got[k] in near
    assert len(set(got)) == len(got)
    for k, length in enumerate(lengths):
        assert (found.ids[row, k, length:] == PAD).all()


def chain(share, last):
    """A step: after START END with 1 - share, 4 with share; then 5, 6 ... `last`, END with certainty."""

    def step(ids, state, memory):
        first = tf.math.log([0.0, 0.0, 0.0, 1 - share, share, 0.0, 0.0, 0.0, 0.0, 0.0])
        following = tf.math.log(tf.one_hot(tf.where(ids >= last, END, ids + 1), 10))
        return StepOutput(tf.where((ids == START)[:, None], first, following), state, None)

    return step


chain_step = chain(0.4, 9)


def test_a_finished_hypothesis_is_frozen_while_a_chain_goes_on():
    found = to_numpy(BeamSearch(2, "none", max_length=9)(chain_step, (), (), rows=1))
    assert found.ids[0].tolist() == [[END] + [PAD] * 6, [4, 5, 6, 7, 8, 9, END]]
    np.testing.assert_allclose(np.exp(found.scores[0]), [0.6, 0.4], rtol=1e-6)
    cut = to_numpy(BeamSearch(2, "none", max_length=4)(chain_step, (), (), rows=1))
    assert cut.ids[0].tolist() == [[END, PAD, PAD, PAD], [4, 5, 6, 7]]
    assert cut.finished[0].tolist() == [True, False]
    np.testing.assert_allclose(np.exp(cut.scores[0]), [0.6, 0.4], rtol=1e-6)
    long = to_numpy(BeamSearch(2, LengthPenalty("average"), max_length=9)(chain_step, (), (), rows=1))
    np.testing.assert_allclose(long.scores[0], [np.log(0.4) / 7, np.log(0.6)], rtol=1e-6)


def test_a_finished_hypothesis_comes_before_a_better_unfinished_one():
    found = to_numpy(BeamSearch(2, "average", max_length=4)(chain_step, (), (), rows=1))
    assert found.finished[0].tolist() == [True, False]
    assert found.scores[0, 0] < found.scores[0, 1]


def counting(step):
    """`step` and a variable that counts its runs."""
    runs = tf.Variable(0)

    def counted(ids, state, memory):
        runs.assign_add(1)
        return step(ids, state, memory)

    return counted, runs


def test_the_optimal_stop_stops():
    step, runs = counting(chain_step)
    BeamSearch(2, "none", max_length=50, n_best=1)(step, (), (), rows=1)
    assert runs.numpy() == 1
    BeamSearch(2, "none", max_length=50)(step, (), (), rows=1)
    assert runs.numpy() == 1 + 7


@pytest.mark.parametrize(
    "alpha, share, last, length", [(1.0, 0.3, 9, 7), (1.0, 0.2, 9, 1), (-1.0, 0.7, 4, 2), (-1.0, 0.6, 4, 1)]
)
def test_the_optimal_stop_waits_for_a_better_hypothesis_of_any_length(alpha, share, last, length):
    """Long ones gain with alpha 1: log .3 / 7 > log .7 / 1; short ones with -1: 2 log .7 > log .3."""
    strategy = BeamSearch(2, LengthPenalty("average", alpha), max_length=9, n_best=1)
    found = strategy(chain(share, last), (), (), rows=1)
    assert found.lengths.numpy().tolist() == [[length]]
    total = np.log(share if length > 1 else 1 - share)
    np.testing.assert_allclose(found.scores, [[total / length**alpha]], rtol=1e-5)


def test_first_finished_stops_at_the_first_one():
    found = to_numpy(
        BeamSearch(2, "average", max_length=9, stop="first_finished")(chain_step, (), (), rows=1)
    )
    assert found.ids[0].tolist() == [[END], [4]]
    assert found.finished[0].tolist() == [True, False]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "arguments", [{"length_penalty": "gnmt", "stop": "first_finished"}, {"length_penalty": "none"}]
)
def test_a_beam_of_one_is_greedy_search(arguments):
    tables = random_tables(60, 9, seed=4)
    limit = np.arange(60) % 5 + 4
    beam = search(BeamSearch(1, max_length=8, **arguments), tables, limit)
    greedy = search(Greedy(max_length=8), tables, limit)
    for name in ("ids", "lengths", "finished"):
        np.testing.assert_array_equal(getattr(beam, name), getattr(greedy, name), err_msg=name)
    np.testing.assert_allclose(beam.log_probs, greedy.log_probs, rtol=1e-6)
    assert 0.2 < greedy.finished.mean() < 0.95


def test_greedy_takes_the_likeliest_token_of_each_step():
    tables = random_tables(50, 7, seed=5)
    found = search(Greedy(max_length=6), tables)
    for row, table in enumerate(tables):
        ids = []
        while len(ids) < 6 and END not in ids:
            history = [START, START, *ids]
            ids.append(max(EMITTED(7), key=lambda token: table[history[-2], history[-1], token]))
        assert_same(found, row, [(ids[-1] == END, log_prob(table, ids), tuple(ids))])
        assert found.lengths[row, 0] == len(ids)


def test_unk_may_be_emitted_and_pad_and_start_may_not():
    def step(ids, state, memory):
        return StepOutput(tf.math.log([[0.4, 0.2, 0.3, 0.1]]), state, None)

    assert BeamSearch(1, max_length=2, stop="first_finished")(step, (), (), 1).ids.numpy().tolist() == [
        [[UNK, UNK]]
    ]
    assert Greedy(max_length=2)(step, (), (), 1).ids.numpy().tolist() == [[[UNK, UNK]]]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("strategy", [Greedy(8), BeamSearch(4, "average", 8, n_best=1)])
def test_a_row_comes_out_the_same_in_any_batch(strategy):
    tables = random_tables(24, 8, seed=7)
    limit = np.arange(24) % 6 + 3
    whole = search(strategy, tables, limit)
    order = np.random.default_rng(0).permutation(24)
    run = tf.function(lambda tables, limit: _call(strategy, tables, limit), reduce_retracing=True)
    batches = [order[:1], order[1:3], order[3:10], order[10:]]
    for rows in batches:
        part = to_numpy(run(tf.constant(tables[rows]), tf.constant(limit[rows], tf.int32)))
        steps = part.ids.shape[2]
        assert (whole.ids[rows][:, :, steps:] == PAD).all()
        np.testing.assert_array_equal(part.ids, whole.ids[rows][:, :, :steps])
        np.testing.assert_allclose(part.scores, whole.scores[rows], rtol=1e-6)
        np.testing.assert_array_equal(part.lengths, whole.lengths[rows])


def spelling_step(ids, state, memory):
    """Aligns each step to a hash of the tokens before it, so that a wrong parent shows."""
    (hashes, before), (tables, place) = state, memory
    rows = tf.range(tf.shape(ids)[0])
    log_probs = tf.gather_nd(tables, tf.stack([rows, tf.cast(before, tf.int32), ids], axis=1))
    hashes = tf.math.floormod(hashes * 31.0 + tf.cast(ids, tf.float32) + 1.0, 10007.0)
    alignments = tf.stack([hashes, tf.cast(place, tf.float32)], axis=1)
    return StepOutput(log_probs, (hashes, tf.cast(ids, tf.float32)), alignments)


@pytest.mark.parametrize(
    "strategy", [Greedy(7), BeamSearch(4, "none", 7), BeamSearch(5, "average", 7, n_best=3)]
)
def test_alignments_follow_the_hypotheses(strategy):
    tables = random_tables(20, 8, seed=8, sharpness=1.0)
    state = (tf.zeros([20]), tf.fill([20], float(START)))
    limit = np.arange(20) % 4 + 4
    found = to_numpy(
        strategy(spelling_step, state, (tf.constant(tables), tf.range(20)), 20, Conditions(limit=limit))
    )
    assert found.alignments.shape == (*found.ids.shape, 2)
    for row in range(20):
        for k, length in enumerate(found.lengths[row]):
            code = 0.0
            for time, token in enumerate([START, *found.ids[row, k, : length - 1]]):
                code = (code * 31 + token + 1) % 10007
                assert found.alignments[row, k, time].tolist() == [code, row]
            assert (found.alignments[row, k, length:] == 0).all()


def test_eager_and_graph_agree_and_the_state_is_any_nest():
    """A dict with a tuple, an empty tuple and a matrix; the shape of the batch is unknown in the graph."""
    tables = random_tables(4, 7, seed=9)

    def step(ids, state, memory):
        output = table_step(ids, (state["last"][0],), memory["tables"])
        return StepOutput(
            output.logits, {"last": [output.state], "empty": (), "more": state["more"] + 1.0}, None
        )

    def run(strategy, tables):
        rows = tf.shape(tables)[0]
        state = {"last": [tf.fill([rows, 1], float(START))], "empty": (), "more": tf.zeros([rows, 2, 3])}
        return strategy(step, state, {"tables": (tables,), "empty": ()}, rows)

    for strategy in (Greedy(5), BeamSearch(3, max_length=5)):
        eager = to_numpy(run(strategy, tf.constant(tables)))
        graph = tf.function(
            lambda tables, strategy=strategy: run(strategy, tables),
            input_signature=[tf.TensorSpec([None, None, None, None], tf.float32)],
        )
        graph = to_numpy(graph(tf.constant(tables)))
        for one, other in zip(eager[:5], graph[:5]):
            np.testing.assert_allclose(one, other, rtol=1e-6)
        assert eager.alignments is None and graph.alignments is None


def test_no_rows_give_no_hypotheses():
    tables = random_tables(0, 7, seed=9).reshape(0, 7, 7, 7)
    for strategy in (Greedy(5), BeamSearch(3, max_length=5)):
        assert search(strategy, tables).ids.shape == (0, getattr(strategy, "n_best", 1), 1)


@pytest.mark.parametrize(
    "strategy", [Greedy(7), BeamSearch(3, LengthPenalty("average", 0.3), 9, 2, "first_finished")]
)
def test_strategies_are_serialisable(strategy):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(strategy))
    assert again.get_config() == strategy.get_config()
    assert type(again) is type(strategy)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: BeamSearch(0), "beam_size must be a whole number of at least 1, not 0"),
        (lambda: BeamSearch(2.5), "beam_size"),
        (lambda: BeamSearch(4, max_length=0), "max_length"),
        (lambda: BeamSearch(4, n_best=5), "n_best is 5"),
        (lambda: BeamSearch(4, stop="soon"), "optimal, all_finished"),
        (lambda: BeamSearch(4, "long"), "none, average, gnmt, gnmt_tf"),
        (lambda: Greedy(max_length=-1), "max_length"),
    ],
)
def test_bad_settings_say_what_to_do(make, words):
    with pytest.raises(InputError, match=words):
        make()
