"""When searches stop: no rule changes what is finished, `optimal` changes nothing, and sources that are done cost nothing.

Shapes: **R** sources, **K** beam, **T** target length.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from search_references import (
    NEVER,
    PlainBeam,
    along,
    assert_same,
    call,
    memory_of,
    model_step,
    random_sources,
    said,
    search,
)

from tf_seq2seq.data.vocabulary import END, START
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.conditions import Conditions
from tf_seq2seq.decoding.coverage import CoveragePenalty
from tf_seq2seq.decoding.diverse_beam_search import DiverseBeamSearch
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.decoding.penalties import LengthPenalty
from tf_seq2seq.decoding.sampling import Sampling
from tf_seq2seq.decoding.stochastic_beam_search import StochasticBeamSearch

pytestmark = pytest.mark.oracle

PENALTIES = [  # name, alpha, beta, offset; and (name, beta, stepwise) of coverage
    (("none", 0.0, 0.0, 0), None),
    (("average", 1.0, 0.0, 0), ("gnmt", 0.5, False)),
    (("average", -0.8, 0.0, 1), None),
    (("gnmt", 0.6, 0.0, 0), ("summary", 0.5, False)),
    (("gnmt", -0.6, 0.0, -1), ("summary", 0.8, True)),
    (("gnmt_tf", 1.2, 0.0, 0), None),
    (("sockeye", 1.0, 1.5, 0), ("gnmt", 0.5, True)),
    (("word_reward", 1.5, 0.0, 0), None),
    (("word_reward", 0.8, 0.0, 0), ("summary", 0.4, False)),
    (("word_reward", -1.0, 0.0, 0), ("gnmt", 1.0, False)),
]
IDS = [f"{penalty[0]}{penalty[1]:+}" for penalty, _ in PENALTIES]
WIDTH, LONGEST = 8, 8
FOREVER = {"stop": "patience", "patience": 1e9}


def beam(size, penalty, coverage, n_best=None, longest=LONGEST, **options):
    coverage = coverage and CoveragePenalty(*coverage)
    return BeamSearch(size, LengthPenalty(*penalty), longest, n_best, coverage_penalty=coverage, **options)


def chain(sources, share=0.4, last=7):
    """The sources with the first one a chain: END with 1 - share, else 4 and then 5, 6 ... `last`, END for sure."""
    tables = sources.tables.copy()
    with np.errstate(divide="ignore"):
        tables[0] = np.log(
            np.eye(WIDTH)[[min(token + 1, last) if token < last else END for token in range(WIDTH)]]
        )
        tables[0, START, START] = np.log([0.0, 0.0, 0.0, 1 - share, share, 0.0, 0.0, 0.0])
    return sources._replace(tables=tables, shift=sources.shift * 0)


@pytest.mark.parametrize("stop", ["optimal", "all_finished", "first_finished"])
def test_the_chain(stop):
    """P(END) = 0.6 against a chain of 0.4: END comes first, with its own score, however long the chain goes on."""
    sources = chain(random_sources(1, WIDTH, seed=0))
    found = search(beam(2, *PENALTIES[0], stop=stop), sources)
    assert said(found, 0, 0) == (END,) and found.finished[0, 0]
    np.testing.assert_allclose(np.exp(found.scores[0, 0]), 0.6, rtol=1e-6)
    assert said(found, 0, 1) == ((4,) if stop == "first_finished" else (4, 5, 6, 7, END))
    np.testing.assert_allclose(np.exp(found.scores[0, 1]), 0.4, rtol=1e-6)


@pytest.mark.parametrize("number", range(10), ids=IDS)
@pytest.mark.parametrize("rule", ["optimal", "all_finished", "patience", "first_finished"])
def test_every_rule_against_a_plain_search_and_what_is_finished_is_frozen(number, rule):
    """The chain and 5 tables, each with limits of 1 to T tokens: what is finished stays the same."""
    (penalty, coverage), size = PENALTIES[number], (number + len(rule)) % 3 + 2
    n_best = size - number % 2
    wanted = {"all_finished": size, "patience": 1.5 * size, "first_finished": 1}.get(rule)
    sources = chain(random_sources(6, WIDTH, seed=30 + number, sharpness=1.5))
    every, limit = sources.of(np.repeat(np.arange(6), LONGEST)), np.tile(np.arange(1, LONGEST + 1), 6)
    found = search(beam(size, penalty, coverage, n_best, stop=rule, patience=1.5), every, limit=limit)
    for row in range(len(limit)):
        plain = PlainBeam(every, row, size, n_best, limit[row], penalty, coverage, wanted)
        assert_same(found, row, plain.run())
    with np.errstate(invalid="ignore"):
        log_probs = along(every, found.ids, found.lengths)[0].sum(2)
    there = found.lengths > 0
    np.testing.assert_allclose(found.log_probs[there], log_probs[there], rtol=1e-4)
    assert_frozen(found, np.flatnonzero(limit < LONGEST))


def assert_frozen(found, rows):
    """What is finished in a row is the same in the next one, or was driven out by better ones."""
    n_best = found.scores.shape[1]
    numbers = lambda row: {
        said(found, row, place): (found.scores[row, place], found.log_probs[row, place])
        for place in range(n_best)
        if found.finished[row, place]
    }
    lasting = 0
    for row in rows:
        early, late = numbers(row), numbers(row + 1)
        worst = min((score for score, _ in late.values()), default=NEVER)
        for ids, both in early.items():
            np.testing.assert_allclose(late.get(ids, both), both, rtol=1e-6)
            assert ids in late or (len(late) == n_best and both[0] <= worst + 1e-6)
            lasting += ids in late
    assert lasting > 15


def test_patience_changes_nothing_that_is_finished():
    sources = random_sources(100, WIDTH, seed=2, sharpness=1.5)
    penalty, coverage = PENALTIES[1]
    found = [search(beam(3, penalty, coverage, stop="patience", patience=p), sources) for p in (0.4, 1, 3)]
    for few, many in itertools.pairwise(found):
        for row in range(100):
            later = {said(many, row, place): many.scores[row, place] for place in range(3)}
            for place in np.flatnonzero(few.finished[row]):
                score = few.scores[row, place]
                np.testing.assert_allclose(later.get(said(few, row, place), score), score, rtol=1e-6)
                assert said(few, row, place) in later or score <= min(later.values()) + 1e-6
    assert (found[1].scores[:, 0] > found[0].scores[:, 0] + 1e-3).mean() > 0.05


def limits(count):
    return np.arange(count) % 4 + LONGEST - 3


@pytest.mark.parametrize("number", range(10), ids=IDS)
def test_the_optimal_stop_changes_nothing(number):
    """300 tables with narrow beams and limits of their own: what running to the limit gives, and in fewer steps."""
    penalty, coverage = PENALTIES[number]
    size = number % 4 + 1
    n_best = max(1, size - number % 3)
    sources, limit = random_sources(300, WIDTH, seed=10 + number, sharpness=1.5), limits(300)
    step, rows = watched()
    found = search(beam(size, penalty, coverage, n_best), sources, step, limit=limit)
    stopped = rows.copy()
    rows.clear()
    to_the_end = search(beam(size, penalty, coverage, n_best, **FOREVER), sources, step, limit=limit)
    steps = min(found.ids.shape[2], to_the_end.ids.shape[2])
    assert not found.ids[:, :, steps:].any() and not to_the_end.ids[:, :, steps:].any()
    np.testing.assert_array_equal(found.ids[:, :, :steps], to_the_end.ids[:, :, :steps])
    for name in ("lengths", "finished", "scores", "log_probs"):
        np.testing.assert_allclose(getattr(found, name), getattr(to_the_end, name), rtol=1e-6)
    for row in range(0, 300, 5):
        assert_same(found, row, PlainBeam(sources, row, size, n_best, limit[row], penalty, coverage).run())
    assert sum(stopped) < sum(rows) or penalty[:2] == ("word_reward", 1.5)  # more is always better there


def watched():
    """A step function for eager searches that notes how many rows it sees."""
    rows = []

    def step(ids, state, memory):
        sizes = {int(tf.shape(leaf)[0]) for leaf in tf.nest.flatten((ids, state, memory))}
        assert len(sizes) == 1
        rows.append(sizes.pop())
        return model_step(ids, state, memory)

    return step, rows


def assert_only_the_living(rows, needed, width):
    """At first one row a source, then as many as those that are left need, and a third more at most."""
    needed = np.array(needed)
    assert len(rows) == needed.max() and rows[0] == len(needed)
    for time, count in enumerate(rows[1:], 1):
        living = (needed > time).sum() * width
        assert living <= count <= living / 0.75 and count % width == 0


STRATEGIES = [
    BeamSearch(3, max_length=30, **FOREVER),
    DiverseBeamSearch(4, 2, max_length=30, **FOREVER),
    Greedy(30),
    Sampling(3, max_length=30),
    StochasticBeamSearch(3, max_length=30),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize(
    "limit", [[1] * 15 + [12], [5, 9, 2, 2, 2, 9, 1, 7, 3, 3, 3, 3], [4] * 6], ids=["one", "many", "all"]
)
def test_sources_that_are_done_cost_nothing(strategy, limit):
    """Models without END, so that only limits end a search; and one may be left of sixteen."""
    sources = random_sources(len(limit), WIDTH, seed=3)
    sources.tables[..., END] = -1e4
    step, rows = watched()
    search(strategy, sources, step, limit=np.array(limit))
    width = {"Greedy": 1, "DiverseBeamSearch": 4}.get(type(strategy).__name__, 3)
    assert_only_the_living(rows, limit, width)


def test_sources_that_are_done_cost_nothing_in_a_graph():
    """Rows noted by a variable, step by step."""
    sources = random_sources(60, WIDTH, seed=4, sharpness=1.5)
    strategy = BeamSearch(3, max_length=20, stop="first_finished")
    seen, time = tf.Variable(tf.zeros([20], tf.int32)), tf.Variable(0)

    def step(ids, state, memory):
        seen.scatter_nd_update([[time.assign_add(1) - 1]], [tf.shape(ids)[0]])
        return model_step(ids, state, memory)

    conditions = Conditions(source_mask=sources.mask)
    found = tf.function(lambda *memory: call(strategy, memory, conditions, step))(*memory_of(sources))
    needed = found.lengths.numpy()[:, 0]
    assert_only_the_living(seen.numpy()[: time.numpy()].tolist(), needed, 3)
    assert seen.numpy().sum() < (60 + 60 * 3 * (needed.max() - 1)) / 2
