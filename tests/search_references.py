"""Searches once more, naively: float64, plain Python and NumPy, whole sequences at a time; and models to search in.

Nothing of `tf_seq2seq.decoding` is used but what a test runs (`Conditions`).

Shapes: **R** sources, **S** source length, **W** what a step emits, **T** target length, **n** sequences.
"""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.decoding.conditions import Conditions
from tf_seq2seq.models.contracts import StepOutput

NEVER = -np.inf


def emitted(width):
    return [token for token in range(width) if token not in (PAD, START)]


# models


class Sources(NamedTuple):
    """Sources of different lengths and what a model of the last two tokens says of them.

    Fields:
        mask: (R, S) bool.
        tables: (R, W, W, W) log-probs of the next token, nats.
        attention: (R, W, W, S) alignments of the next token: above 0 at real positions, 0 on padding.
        shift: (R, W, W, 1), what the model adds to its log-probs, so that they are logits.
    """

    mask: Any
    tables: Any
    attention: Any
    shift: Any

    def of(self, rows):
        return Sources(*(field[rows] for field in self))

    @property
    def lengths(self):
        return self.mask.sum(1)


def random_sources(count, width, seed, longest=4, sharpness=2.0):
    """Tables are sums over the source's real tokens of what each token says."""
    rng = np.random.default_rng(seed)
    mask = np.arange(longest) < rng.integers(1, longest + 1, count)[:, None]
    of_token = rng.normal(size=(7, width, width, width))
    ids = rng.integers(0, 7, (count, longest))
    logits = np.einsum("rsvwx,rs->rvwx", of_token[ids], mask / np.sqrt(mask.sum(1, keepdims=True)))
    logits = sharpness * (logits + rng.normal(size=logits.shape) * 0.5)
    tables = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    looked = np.exp(rng.normal(size=(count, width, width, longest)) * 2) * mask[:, None, None]
    attention = looked / looked.sum(-1, keepdims=True)
    return Sources(mask, tables, attention, rng.normal(size=(count, width, width, 1)) * 5)


def model_step(ids, state, memory):
    """A model with the token before the last one in its state, and tables and attention of a source in its memory."""
    (before,), (tables, attention) = state, memory
    places = tf.stack([tf.range(tf.shape(ids)[0]), tf.cast(before[:, 0], tf.int32), ids], axis=1)
    logits, alignments = tf.gather_nd(tables, places), tf.gather_nd(attention, places)
    return StepOutput(logits, (tf.cast(ids, tf.float32)[:, None],), alignments)


def memory_of(sources):
    return tuple(np.float32(field) for field in (sources.tables + sources.shift, sources.attention))


def call(strategy, memory, conditions, step=model_step):
    rows = tf.shape(memory[0])[0]
    return strategy(step, (tf.fill([rows, 1], float(START)),), memory, rows, conditions)


def search(strategy, sources, step=model_step, **conditions):
    """Hypotheses (NumPy), searched eagerly."""
    conditions = Conditions(source_mask=sources.mask, **conditions)
    return to_numpy(call(strategy, tuple(map(tf.constant, memory_of(sources))), conditions, step))


def in_graph(strategy):
    """As `search`, in one graph for all calls with arrays of the same shapes."""
    run = tf.function(lambda memory, conditions: call(strategy, memory, conditions), reduce_retracing=True)
    return lambda sources, **conditions: to_numpy(
        run(memory_of(sources), Conditions(source_mask=sources.mask, **conditions))
    )


def to_numpy(hypotheses):
    return type(hypotheses)(*(None if field is None else field.numpy() for field in hypotheses))


def said(found, row, place):
    """A hypothesis' tokens, a tuple."""
    return tuple(found.ids[row, place, : found.lengths[row, place]].tolist())


# the formulas

DIVISORS = {
    "none": lambda length, alpha, beta: 1.0,
    "word_reward": lambda length, alpha, beta: 1.0,
    "average": lambda length, alpha, beta: length**alpha,
    "gnmt": lambda length, alpha, beta: ((5 + length) / 6) ** alpha,
    "gnmt_tf": lambda length, alpha, beta: ((5 + length + 1) / 6) ** alpha,
    "sockeye": lambda length, alpha, beta: ((beta + length) / (beta + 1)) ** alpha,
}


def length_score(penalty, log_prob, length):
    """The score of a sum of log-probs under (name, alpha, beta, offset)."""
    name, alpha, beta, offset = penalty
    length = length + float(offset)
    reward = alpha * length if name == "word_reward" else 0.0
    return log_prob / DIVISORS[name](length, alpha, beta) + reward


def coverage_score(penalty, coverage, mask):
    """What (name, beta, stepwise) adds for attention (..., S) paid in all."""
    if penalty is None:
        return np.zeros(coverage.shape[:-1])
    name, beta, _ = penalty
    each = (
        np.log(np.minimum(np.maximum(coverage, 1e-9), 1)) if name == "gnmt" else 1 - np.maximum(coverage, 1)
    )
    return beta * np.where(mask, each, 0.0).sum(-1)


# brute force


class Sequences(NamedTuple):
    """All there are, finished or not: ids (n, T) padded with PAD, lengths (n,), finished (n,)."""

    ids: Any
    lengths: Any
    finished: Any

    @property
    def tuples(self):
        return [tuple(ids[:length].tolist()) for ids, length in zip(self.ids, self.lengths)]


@functools.lru_cache
def every_sequence(width, longest):
    """Sequences of at most `longest` tokens, of which only the last may be END."""
    inner = [token for token in emitted(width) if token != END]
    found = [
        (*body, last)
        for size in range(longest)
        for body in itertools.product(inner, repeat=size)
        for last in emitted(width)
    ]
    ids = np.array([ids + (PAD,) * (longest - len(ids)) for ids in found])
    lengths = np.array([len(ids) for ids in found])
    return Sequences(ids, lengths, np.array([ids[-1] == END for ids in found]))


def along(sources, ids, lengths):
    """The model's log-probs (R, n, T) and alignments (R, n, T, S) of sequences (n, T) or, row by row, (R, n, T)."""
    ids = np.broadcast_to(ids, (len(sources.mask), *ids.shape[-2:]))
    before = np.pad(ids, [(0, 0), (0, 0), (2, 0)], constant_values=START)
    rows = np.arange(len(ids))[:, None, None]
    inside = np.arange(ids.shape[2]) < np.broadcast_to(lengths, ids.shape[:2])[..., None]
    log_probs = sources.tables[rows, before[..., :-2], before[..., 1:-1], ids]
    alignments = sources.attention[rows, before[..., :-2], before[..., 1:-1]]
    return np.where(inside, log_probs, 0.0), np.where(inside[..., None], alignments, 0.0)


def scored(sources, ids, lengths, penalty, coverage_penalty, factors=1.0):
    """Scores (R, n) of sequences, whose tokens count as `factors` times their log-probs."""
    log_probs, alignments = along(sources, ids, lengths)
    scores = length_score(penalty, (log_probs * factors).sum(2), np.asarray(lengths))
    return scores + coverage_score(coverage_penalty, alignments.sum(2), sources.mask[:, None])


# beam search


class PlainBeam:
    """The documented beam search of one source, a step at a time.

    Args:
        sources, row: the model.
        size, n_best, limit: K, H and the most tokens.
        penalty, coverage_penalty: as above.
        wanted: how many finished hypotheses end it; "optimal"; None: it runs to the limit.
        may: ``may(ids, token)``, whether constraints allow it.
    """

    def __init__(
        self, sources, row, size, n_best, limit, penalty, coverage_penalty=None, wanted=None, may=None
    ):
        self.table, self.attention = sources.tables[row], sources.attention[row]
        self.mask, self.size, self.n_best, self.limit = sources.mask[row], size, n_best, limit
        self.penalty, self.coverage_penalty, self.wanted = penalty, coverage_penalty, wanted
        self.live, self.pool, self.finished, self.time = [((), 0.0, np.zeros(len(self.mask)))], [], 0, 0
        self.may = may or (lambda ids, token: True)

    @property
    def done(self):
        if self.time == 0 or not self.live or self.time >= self.limit:
            return self.time > 0
        if self.wanted == "optimal":
            best = max(map(self.best_to_come, self.live))
            return len(self.pool) == self.n_best and best <= self.pool[-1][0]
        return self.wanted is not None and self.finished >= self.wanted

    def best_to_come(self, live):
        """The best score that a live hypothesis may still get: of any length, with all other log-probs 0."""
        _, log_prob, covered = live
        scores = [
            length_score(self.penalty, log_prob, length) for length in range(self.time + 1, self.limit + 1)
        ]
        kept = self.coverage_penalty and self.coverage_penalty[0] == "summary"
        return max(scores) + (coverage_score(self.coverage_penalty, covered, self.mask) if kept else 0.0)

    def advance(self, bonus=lambda token: 0.0):
        """One step; gives the tokens taken, END as often as a hypothesis finished."""
        self.time += 1
        stepwise = self.coverage_penalty and self.coverage_penalty[2]
        expansions = []
        for ids, total, coverage in self.live:
            history = (START, START, *ids)[-2:]
            covered = coverage + self.attention[history]
            more = coverage_score(self.coverage_penalty, covered, self.mask) if stepwise else 0.0
            for token in emitted(len(self.table)):
                if not self.may(ids, token):
                    continue
                log_prob = total + self.table[(*history, token)]
                if log_prob == NEVER:
                    continue
                expansions.append((log_prob + more + bonus(token), (*ids, token), log_prob, covered))
        expansions.sort(key=lambda each: -each[0])
        ended = [each[1:] for each in expansions[: self.size] if each[1][-1] == END]
        self.pool += [(self.score(*each), *each) for each in ended]
        self.pool = sorted(self.pool, key=lambda each: -each[0])[: self.n_best]
        self.finished += len(ended)
        self.live = [each[1:] for each in expansions if each[1][-1] != END][: self.size]
        return [ids[-1] for ids, *_ in self.live] + [END] * len(ended)

    def score(self, ids, log_prob, covered):
        more = coverage_score(self.coverage_penalty, covered, self.mask)
        return length_score(self.penalty, log_prob, len(ids)) + more

    def result(self):
        """(finished, score, ids), best first."""
        unfinished = sorted([(self.score(*each), each[0]) for each in self.live], key=lambda each: -each[0])
        found = [(True, score, ids) for score, ids, *_ in self.pool]
        return (found + [(False, *each) for each in unfinished])[: self.n_best]

    def run(self):
        while not self.done:
            self.advance()
        return self.result()


def assert_same(found, row, expected, tolerance=1e-4):
    """Row `row` of hypotheses is the list of (finished, score, ids), up to swaps among nearly equal scores."""
    count = len(expected)
    np.testing.assert_allclose(
        found.scores[row, :count], [each[1] for each in expected], rtol=tolerance, atol=tolerance
    )
    assert found.finished[row, :count].tolist() == [each[0] for each in expected]
    got = [said(found, row, place) for place in range(count)]
    assert len(set(got)) == count
    for ids, (_, score, _) in zip(got, expected):
        assert ids in {each[2] for each in expected if abs(each[1] - score) < 2 * tolerance}
    assert (found.scores[row, count:] == NEVER).all() and (found.lengths[row, count:] == 0).all()
    inside = np.arange(found.ids.shape[2]) < found.lengths[row][:, None]
    assert (found.ids[row][~inside] == PAD).all()
