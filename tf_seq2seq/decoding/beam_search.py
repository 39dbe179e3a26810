"""Beam search: the K likeliest beginnings are kept at every step.

What it does, exactly. A source has K live hypotheses, at first one (the empty one). At every step each is
expanded by every token but PAD and START; an expansion's log-prob is the sum of the model's own log-probs of
its tokens. Then

1. an expansion by END that is among its source's K best expansions is *finished*: it leaves the beam, is
   frozen, and enters the source's pool, which keeps the `n_best` finished hypotheses with the best scores.
   The score is the log-prob over the length penalty; END counts. An expansion by END that is not among the K
   best is dropped;
2. the K best expansions by another token are the next live hypotheses, so the beam does not become narrower
   as hypotheses finish (they are found among the 2K best of all: at most K of these are by END);
3. a source is done when its stopping rule says so, or when its hypotheses have reached their maximum length.
   What is still live then is *unfinished*; it is given back only if the pool is not full, after the finished
   ones, and marked.

With K at least as large as the number of sequences this is a search of all of them. Among equal scores the
hypothesis that finished earlier, else the one with the better parent, else the lower id, comes first.

Stopping rules: `optimal` ends when no live hypothesis can still enter the pool, whatever follows, up to the
maximum length: it gives what running to the maximum length gives. `first_finished` ends when one hypothesis
is finished; with a beam of 1 that is greedy search.

Shapes: **B** sources, **K** live hypotheses a source, **N = B*K** rows, **W** what a step can emit, **H** =
`n_best` hypotheses given back, **T** target length, **S** source length.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, START
from tf_seq2seq.decoding import beams
from tf_seq2seq.decoding.hypotheses import Hypotheses
from tf_seq2seq.decoding.penalties import as_length_penalty
from tf_seq2seq.errors import InputError

STOPPING_RULES = ("optimal", "first_finished")


class _Live(NamedTuple):
    ids: Any  # (B, K) int32, the last token
    log_probs: Any  # (B, K) float32, -inf: an empty place
    lengths: Any  # (B,) int32


class _Finished(NamedTuple):
    scores: Any  # (B, H) float32, -inf: an empty place
    log_probs: Any  # (B, H) float32
    lengths: Any  # (B, H) int32
    beams: Any  # (B, H) int32, the live hypothesis that END was added to


class _Expansions(NamedTuple):
    log_probs: Any  # (B, 2K) float32, best first
    ids: Any  # (B, 2K) int32
    parents: Any  # (B, 2K) int32


class _History(NamedTuple):
    parents: Any  # of each step (B, K) int32
    ids: Any  # of each step (B, K) int32
    alignments: Any  # of each step (N, S) float32


@keras.saving.register_keras_serializable("tf_seq2seq")
class BeamSearch:
    """Beam search with a length penalty, frozen finished hypotheses and an optimal stop; rules in the module.

    >>> from tf_seq2seq.models.contracts import StepOutput
    >>> table = tf.math.log([[0.0, 0.1, 0.0, 0.5, 0.4], [0.0, 0.2, 0.0, 0.3, 0.5]])
    >>> def step(ids, state, memory):
    ...     return StepOutput(tf.gather(table, tf.where(ids == START, 1, 0)), state, None)
    >>> found = BeamSearch(2, length_penalty="none", max_length=5)(step, state=(), memory=(), rows=1)
    >>> found.ids.numpy().tolist(), [round(score, 3) for score in found.scores.numpy()[0].tolist()]
    ([[[3, 0], [4, 3]]], [-1.204, -1.386])

    Args:
        beam_size: K, live hypotheses a source.
        length_penalty: `LengthPenalty`, or the name of one with its default strength.
        max_length: the most tokens, END counted.
        n_best: H, hypotheses given back, at most `beam_size` (the default). The fewer, the earlier `optimal`
            ends.
        stop: the stopping rule, `optimal` or `first_finished`.

    Raises:
        InputError: if a size is below 1, `n_best` above `beam_size`, or there is no rule or penalty of that
        name.

    Source: Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", section 3.2; Wu et
    al. 2016, section 7 (length penalty); Huang et al. 2017, "When to Finish? Optimal Beam Search" (the stop).
    """

    def __init__(self, beam_size=4, length_penalty="gnmt", max_length=100, n_best=None, stop="optimal"):
        self.beam_size = beams.positive("beam_size", beam_size)
        self.length_penalty = as_length_penalty(length_penalty)
        self.max_length = beams.positive("max_length", max_length)
        self.n_best = beams.positive("n_best", self.beam_size if n_best is None else n_best)
        self.stop = stop
        if self.n_best > self.beam_size:
            raise InputError(f"n_best is {n_best}, but only beam_size = {beam_size} hypotheses are kept")
        if stop not in STOPPING_RULES:
            raise InputError(
                f"no stopping rule is called {stop!r}; choose one of {', '.join(STOPPING_RULES)}"
            )

    def __call__(self, step, state, memory, rows, limit=None):
        """Searches in the graph.

        Args:
            step: `step(ids (N,) int32, state, memory) -> StepOutput`.
            state: nest, every leaf (B, ...); it is repeated K times and gathered by parent at every step.
            memory: nest, every leaf (B, ...); it is repeated K times once.
            rows: B, int or int32 scalar.
            limit: the most tokens of each source, () or (B,), where it is less than `max_length`.

        Returns:
            `Hypotheses` with K = `n_best`.
        """
        limits = beams.limits(self.max_length, limit, rows)
        longest = beams.longest(limits)
        memory = beams.repeat(memory, self.beam_size)
        aligned = False

        def advance(time, live, finished, done, state, history):
            nonlocal aligned
            output = step(tf.reshape(live.ids, [-1]), state, memory)
            aligned = output.alignments is not None
            expansions = self._expand(output.log_probs, live)
            finished = self._finish(expansions, finished, done, time + 1)
            live, parents = self._go_on(expansions, live, done, time + 1)
            history = _write(history, time, parents, live.ids, output.alignments)
            done |= (time + 1 >= limits) | self._stops(live, finished, time + 2, limits)
            state = beams.like(beams.gather(output.state, parents), state)
            return time + 1, live, finished, done, state, history

        start = (
            0,
            self._empty_beam(rows),
            self._empty_pool(rows),
            tf.zeros([rows], tf.bool),
            beams.repeat(state, self.beam_size),
            _new_history(longest),
        )
        going = lambda time, live, finished, done, *_: (time == 0) | ((time < longest) & ~tf.reduce_all(done))
        _, live, finished, _, _, history = tf.while_loop(going, advance, start)
        return self._collect(live, finished, history, aligned)

    def get_config(self):
        return {
            "beam_size": self.beam_size,
            "length_penalty": keras.saving.serialize_keras_object(self.length_penalty),
            "max_length": self.max_length,
            "n_best": self.n_best,
            "stop": self.stop,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def _empty_beam(self, rows):
        """One live hypothesis, empty; the other places are never expanded."""
        log_probs = tf.where(tf.range(self.beam_size) == 0, 0.0, beams.NEVER)
        return _Live(
            tf.fill([rows, self.beam_size], START),
            tf.broadcast_to(log_probs, [rows, self.beam_size]),
            tf.zeros([rows], tf.int32),
        )

    def _empty_pool(self, rows):
        never = tf.fill([rows, self.n_best], beams.NEVER)
        none = tf.zeros([rows, self.n_best], tf.int32)
        return _Finished(never, never, none, none)

    def _expand(self, log_probs, live):
        """The 2K best expansions of each source.

        The K + 1 best tokens of each row are enough: a row gives at most K expansions by another token than
        END to the next beam, and at most K to the K best of all.
        """
        best, ids = beams.best_tokens(log_probs, self.beam_size + 1)  # (N, w)
        width = tf.shape(best)[1]
        rows = tf.shape(live.ids)[0]
        totals = tf.reshape(best, [rows, self.beam_size, width]) + live.log_probs[:, :, None]
        totals = tf.reshape(totals, [rows, self.beam_size * width])  # (B, K, w) -> (B, K*w)
        totals, places = tf.math.top_k(totals, 2 * self.beam_size)  # (B, 2K)
        ids = tf.gather(tf.reshape(ids, [rows, self.beam_size * width]), places, batch_dims=1)
        return _Expansions(totals, ids, places // width)

    def _finish(self, expansions, finished, done, length):
        """The pool with the expansions in it that finish at `length` tokens, END counted."""
        totals, ids, parents = (field[:, : self.beam_size] for field in expansions)
        scores = tf.where(
            (ids == END) & ~done[:, None], self.length_penalty.score(totals, length), beams.NEVER
        )
        new = _Finished(scores, totals, tf.fill(tf.shape(ids), length), parents)
        pool = [tf.concat(pair, axis=1) for pair in zip(finished, new)]  # (B, H) + (B, K) -> (B, H+K)
        scores, places = tf.math.top_k(pool[0], self.n_best)
        return _Finished(scores, *(tf.gather(field, places, batch_dims=1) for field in pool[1:]))

    def _go_on(self, expansions, live, done, length):
        """The next live hypotheses and their parents (B, K).

        Of done sources log-probs and lengths stay; what else is made of them from here on is never read.
        """
        totals, places = tf.math.top_k(
            tf.where(expansions.ids == END, beams.NEVER, expansions.log_probs), self.beam_size
        )
        ids = tf.gather(expansions.ids, places, batch_dims=1)
        parents = tf.gather(expansions.parents, places, batch_dims=1)
        lengths = tf.where(done, live.lengths, length)
        return _Live(ids, tf.where(done[:, None], live.log_probs, totals), lengths), parents

    def _stops(self, live, finished, shortest, limits):
        """Whether each source is done by its stopping rule: (B,) bool."""
        if self.stop == "first_finished":
            return (finished.scores[:, 0] > beams.NEVER) | (live.log_probs[:, 0] == beams.NEVER)
        return self.length_penalty.bound(live.log_probs[:, 0], shortest, limits) <= finished.scores[:, -1]

    def _collect(self, live, finished, history, aligned):
        """`Hypotheses`: the finished ones, then as many unfinished ones as there are places left."""
        pool, ended = self._ranked(live, finished)
        times = tf.range(beams.longest(pool.lengths))
        parents, ids = history.parents.gather(times), history.ids.gather(times)  # (T, B, K)
        ids, path = beams.backtrace(parents, ids, pool.beams, pool.lengths, ended)
        alignments = None
        if aligned:
            alignments = history.alignments.gather(times)  # (T, N, S)
            alignments = beams.gather_alignments(alignments, path, pool.lengths, self.beam_size)
        return Hypotheses(ids, pool.lengths, pool.scores, pool.log_probs, ended, alignments)

    def _ranked(self, live, finished):
        """The best H of both, each field (B, H), and which of them are finished, (B, H) bool."""
        lengths = tf.where(live.log_probs > beams.NEVER, live.lengths[:, None], 0)  # (B, K)
        unfinished = _Finished(
            self.length_penalty.score(live.log_probs, live.lengths[:, None]),
            live.log_probs,
            lengths,
            tf.broadcast_to(tf.range(self.beam_size), tf.shape(lengths)),
        )
        count = tf.math.count_nonzero(finished.scores > beams.NEVER, axis=1, keepdims=True, dtype=tf.int32)
        places = tf.broadcast_to(tf.range(self.n_best), tf.shape(finished.scores))
        ended = places < count
        places = tf.where(ended, places, self.n_best + places - count)
        pool = [tf.concat(pair, axis=1) for pair in zip(finished, unfinished)]  # (B, H) + (B, K) -> (B, H+K)
        return _Finished(*(tf.gather(field, places, batch_dims=1) for field in pool)), ended


def _new_history(steps):
    return _History(
        tf.TensorArray(tf.int32, steps, element_shape=[None, None]),
        tf.TensorArray(tf.int32, steps, element_shape=[None, None]),
        tf.TensorArray(tf.float32, steps, element_shape=[None, None]),
    )


def _write(history, time, parents, ids, alignments):
    """The history with a step in it; alignments are those of the rows before it, ungathered."""
    return _History(
        history.parents.write(time, parents),
        history.ids.write(time, ids),
        history.alignments if alignments is None else history.alignments.write(time, alignments),
    )
