"""Beam search: the K likeliest beginnings are kept at every step.

What it does, exactly. A source has K live hypotheses, at first one (the empty one). At every step each is
expanded by every token but PAD and START; an expansion's log-prob is the sum of the model's own log-probs of
its tokens. Then

1. an expansion by END that is among its source's K best expansions is *finished*: it leaves the beam, is
   frozen, and enters the source's pool, which keeps the `n_best` finished hypotheses with the best scores.
   The score is the log-prob under the length penalty, plus the coverage penalty; END counts. An expansion by
   END that is not among the K best is dropped;
2. the K best expansions by another token are the next live hypotheses, so the beam does not become narrower
   as hypotheses finish (they are found among the 2K best of all: at most K of these are by END);
3. a source is done when its stopping rule says so, or when its hypotheses have reached their maximum length.
   What is still live then is *unfinished*; it is given back only if the pool is not full, after the finished
   ones, and marked.

With K at least as large as the number of sequences this is a search of all of them. Among equal scores the
hypothesis that finished earlier, else the one with the better parent, else the lower id, comes first.

*Best* is by log-prob. A repetition penalty changes what is summed (see `constraints`), a stepwise coverage penalty is
added to it, and phrases that must appear share the places of the beam (see `lexical`).

Shapes: **B** sources, **K** live hypotheses a source, **N = B*K** rows, **W** what a step can emit, **M** expansions of a
source, **H** = `n_best` hypotheses given back, **T** target length, **S** source length.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END
from tf_seq2seq.decoding import beams, lengths, lexical, loop, pool, stopping
from tf_seq2seq.decoding.candidates import NEVER
from tf_seq2seq.decoding.conditions import as_conditions
from tf_seq2seq.decoding.coverage import as_coverage_penalty
from tf_seq2seq.decoding.expansions import Expansions
from tf_seq2seq.decoding.penalties import as_length_penalty
from tf_seq2seq.decoding.rules import Rules
from tf_seq2seq.errors import InputError


class Beam(NamedTuple):
    """The live hypotheses of each source and what is known of it.

    Fields:
        ids: (B, K) int32, the last token.
        done: (B,) bool.
        totals: (B, K) float32, what hypotheses are ranked by, nats; -inf: an empty place.
        log_probs: (B, K) float32, nats, the model's own.
        length: (B,) int32, tokens of the live hypotheses.
        limits: (B,) int32, the most tokens.
        finished: (B,) int32, how many have finished so far.
        pool: `Pool`.
        followed, phrases: of the rules and of lexical constraints.
        coverage: (B, K, S) float32, attention paid so far; () without a coverage penalty.
        conditions: `Conditions`.
    """

    ids: Any
    done: Any
    totals: Any
    log_probs: Any
    length: Any
    limits: Any
    finished: Any
    pool: Any
    followed: Any
    phrases: Any
    coverage: Any
    conditions: Any


@keras.saving.register_keras_serializable("tf_seq2seq")
class BeamSearch:
    """Beam search with penalties, constraints, frozen finished hypotheses and an optimal stop; rules in the module.

    >>> from tf_seq2seq.models.contracts import StepOutput
    >>> table = tf.math.log([[0.0, 0.1, 0.0, 0.5, 0.4], [0.0, 0.2, 0.0, 0.3, 0.5]])
    >>> def step(ids, state, memory):
    ...     return StepOutput(tf.gather(table, tf.where(ids == 2, 1, 0)), state, None)
    >>> found = BeamSearch(2, length_penalty="none", max_length=5)(step, state=(), memory=(), rows=1)
    >>> found.ids.numpy().tolist(), [round(score, 3) for score in found.scores.numpy()[0].tolist()]
    ([[[3, 0], [4, 3]]], [-1.204, -1.386])

    Args:
        beam_size: K, live hypotheses a source.
        length_penalty: `LengthPenalty`, or the name of one with its default strength.
        max_length: the most tokens, END counted: an int, or (a, b) for a times the source's length plus b.
        n_best: H, hypotheses given back, at most `beam_size` (the default). The fewer, the earlier `optimal`
            ends.
        stop: the stopping rule, see `stopping`.
        min_length: the fewest tokens, END counted, as `max_length`.
        constraints: a list of constraints, see `constraints`.
        coverage_penalty: `CoveragePenalty`, the name of one, or None. It needs a model with attention.
        patience: p of the stopping rule `patience`.

    Inside a graph `beam_size`, `n_best`, `stop` and `patience`, all of them, and a length may be scalar tensors, which are
    not checked, and the penalties may be made of such.

    Raises:
        InputError: if a size is below 1, `n_best` above `beam_size`, or there is no rule or penalty of that
            name.

    Source: Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", section 3.2; Wu et
        al. 2016, section 7 (penalties).
    """

    def __init__(
        self,
        beam_size=4,
        length_penalty="gnmt",
        max_length=100,
        n_best=None,
        stop="optimal",
        min_length=1,
        constraints=(),
        coverage_penalty=None,
        patience=1.0,
    ):
        self.beam_size = beams.positive("beam_size", beam_size)
        self.length_penalty = as_length_penalty(length_penalty)
        self.max_length = lengths.checked("max_length", max_length)
        self.n_best = beams.positive("n_best", self.beam_size if n_best is None else n_best)
        self.stop, self.patience = stopping.checked(stop, patience)
        self.rules = Rules(constraints, min_length)
        self.coverage_penalty = as_coverage_penalty(coverage_penalty)
        if not tf.is_tensor(self.n_best) and self.n_best > self.beam_size:
            raise InputError(f"n_best is {n_best}, but only beam_size = {beam_size} hypotheses are kept")

    def __call__(self, step, state, memory, rows, conditions=None):
        """Searches in the graph.

        Args:
            step: `step(ids (N,) int32, state, memory) -> StepOutput`.
            state: nest, every leaf (B, ...); it is gathered by parent at every step.
            memory: nest, every leaf (B, ...); it is repeated K times, not gathered by parent.
            rows: B, int or int32 scalar.
            conditions: `Conditions` of the sources, or None.

        Returns:
            `Hypotheses` with K = `n_best`.

        Raises:
            InputError: if a length or penalty needs a source mask that the conditions lack.
        """
        beam, longest = self.start(rows, as_conditions(conditions, rows))
        beam, record = loop.search(step, state, memory, beam, self.choose, longest, self.beam_size)
        return pool.hypotheses(*pool.completed(beam.pool, self.unfinished(beam)), record)

    def start(self, rows, conditions):
        """The `Beam` of `rows` sources with one live hypothesis each, the empty one, and the most steps."""
        size = [rows, self.beam_size]
        limits = lengths.limits(self.max_length, conditions, rows)
        longest = beams.longest(limits)
        totals = tf.broadcast_to(tf.where(tf.range(self.beam_size) == 0, 0.0, NEVER), size)
        coverage = ()
        if self.coverage_penalty:
            conditions.source_lengths("a coverage penalty")
            coverage = tf.zeros([*size, tf.shape(conditions.source_mask)[1]])
        beam = Beam(
            ids=tf.broadcast_to(conditions.start_ids[:, None], size),
            done=tf.zeros([rows], tf.bool),
            totals=totals,
            log_probs=totals,
            length=tf.zeros([rows], tf.int32),
            limits=limits,
            finished=tf.zeros([rows], tf.int32),
            pool=pool.empty(rows, self.n_best),
            followed=self.rules.start(conditions, rows, self.beam_size, longest),
            phrases=lexical.start(conditions, rows, self.beam_size),
            coverage=coverage,
            conditions=conditions,
        )
        return beam, longest

    def choose(self, time, output, beam, each, bonus=None, more=0):
        """Goes on by a step, as `loop.search` has it.

        Args:
            time: () int32, tokens said so far.
            output: `StepOutput` of the live hypotheses; of the first step, of the sources.
            beam: `Beam`.
            each: k, the output's rows for each source, 1 at the first step, then K.
            bonus: function of token ids (B, M) -> (B, M) float32, added to ranks; or None.
            more: how many tokens the bonus may lower at most.

        Returns:
            `Beam` and `loop.Choice`.
        """
        beam = self._covered(beam, output, each)
        best = self._expand(time, output, beam, each, bonus, more).best(2 * self.beam_size)
        beam = self._finish(best, beam, time + 1)
        best = best.best(self.beam_size, tf.where(best.ids == END, NEVER, best.ranks))
        return self._go_on(best, beam, time), loop.Choice(best.ids, best.token_log_probs, best.parents)

    def _covered(self, beam, output, each):
        """The beam with the attention of this step in its coverage, of the rows that there are: (B, k, S)."""
        if not self.coverage_penalty:
            return beam
        if output.alignments is None:
            raise InputError("a coverage penalty needs a model with attention; this one gives no alignments")
        new = tf.reshape(output.alignments, [-1, each, tf.shape(output.alignments)[1]])
        new = tf.where(beam.done[:, None, None], 0.0, new)
        return beam._replace(coverage=beam.coverage[:, :each] + new)

    def _expand(self, time, output, beam, each, bonus, more):
        """The expansions of each source that may matter.

        The K + 1 best tokens of each row are enough: a row gives at most K expansions by another token than
        END to the next beam, and at most K to the K best of all. Twice K make the first step no exception.
        """
        count = 2 * self.beam_size + more
        if not beam.phrases:
            found = self.rules.best(output, count, time, beam.followed, beam.conditions)  # (N, w) each
        else:
            values, log_probs = self.rules.all(output, time, beam.followed, beam.conditions)
            found = lexical.candidates(values, log_probs, beam, each, count)
        totals = found.values + _column(beam.totals, each)
        sums = found.log_probs + _column(beam.log_probs, each)
        ranks = totals
        if self.coverage_penalty and self.coverage_penalty.stepwise:
            ranks += tf.reshape(self._coverage_score(beam), [-1, 1])
        expansions = Expansions.of_rows(each, ranks, totals, sums, found.log_probs, found.ids)
        if bonus is not None:
            expansions = expansions._replace(ranks=expansions.ranks + bonus(expansions.ids))
        return lexical.shared_out(expansions, beam) if beam.phrases else expansions

    def _coverage_score(self, beam):
        return self.coverage_penalty(beam.coverage, beam.conditions.source_mask)  # (B, k)

    def _finish(self, best, beam, length):
        """The beam with those of the K best expansions in its pool that finish at `length` tokens, END counted."""
        best = best.first(self.beam_size)
        scores = self.length_penalty.score(best.totals, length)
        if self.coverage_penalty:
            scores += tf.gather(self._coverage_score(beam), best.parents, batch_dims=1)
        ended = (best.ids == END) & ~beam.done[:, None] & (best.ranks > NEVER)
        scores = tf.where(ended, scores, NEVER)
        lengths = tf.fill(tf.shape(scores), length)
        new = pool.Pool(scores, best.log_probs, best.token_log_probs, lengths, best.parents)
        return beam._replace(
            pool=pool.joined(beam.pool, new),
            finished=beam.finished + tf.math.count_nonzero(ended, axis=1, dtype=tf.int32),
        )

    def _go_on(self, best, beam, time):
        """The beam whose live hypotheses are the best expansions.

        Of sources that are done, what is given back stays; what else is made of them from here on is never read.
        """
        done = beam.done[:, None]
        covered = beam.coverage
        if self.coverage_penalty:
            covered = tf.gather(covered, best.parents, batch_dims=1)
            covered = tf.where(done[:, :, None], beam.coverage, covered)  # (B, k or K, S) -> (B, K, S)
        beam = beam._replace(
            ids=best.ids,
            totals=tf.where(done, beam.totals, tf.where(best.ranks > NEVER, best.totals, NEVER)),
            log_probs=tf.where(done, beam.log_probs, best.log_probs),
            length=tf.where(beam.done, beam.length, time + 1),
            followed=self.rules.advance(beam.followed, time, best.ids, best.parents),
            phrases=lexical.advance(beam.phrases, beam.conditions, best.ids, best.parents),
            coverage=covered,
        )
        return beam._replace(done=beam.done | (time + 1 >= beam.limits) | self._stops(beam, time + 2))

    def _stops(self, beam, shortest):
        """Whether each source is done by its stopping rule, or as nothing is live: (B,) bool."""
        by_bound = self.stop == "optimal"
        if tf.is_tensor(by_bound):
            return tf.where(by_bound, self._beaten(beam, shortest), self._enough(beam))
        return self._beaten(beam, shortest) if by_bound else self._enough(beam)

    def _enough(self, beam):
        wanted = stopping.wanted(self.stop, self.patience, self.beam_size)
        enough = tf.cast(beam.finished, tf.float32) >= wanted
        return enough | (tf.reduce_max(beam.totals, axis=1) == NEVER)

    def _beaten(self, beam, shortest):
        """Whether nothing live can still enter the pool."""
        bounds = self.length_penalty.bound(beam.totals, shortest, beam.limits[:, None])
        if self.coverage_penalty:
            bounds += self.coverage_penalty.bound(beam.coverage, beam.conditions.source_mask)
        return tf.reduce_max(bounds, axis=1) <= beam.pool.scores[:, -1]

    def unfinished(self, beam):
        """What is live at the end as a `Pool`, by falling score."""
        scores = self.length_penalty.score(beam.totals, beam.length[:, None])
        if self.coverage_penalty:
            scores += self._coverage_score(beam)
        scores, places = tf.math.top_k(scores, self.beam_size)
        totals, log_probs = (tf.gather(f, places, batch_dims=1) for f in (beam.totals, beam.log_probs))
        said = tf.where(totals > NEVER, beam.length[:, None], 0)
        return pool.Pool(scores, log_probs, tf.zeros_like(scores), said, places)

    def get_config(self):
        return {
            "beam_size": self.beam_size,
            "length_penalty": keras.saving.serialize_keras_object(self.length_penalty),
            "max_length": lengths.as_config(self.max_length),
            "n_best": self.n_best,
            "stop": self.stop,
            "coverage_penalty": self.coverage_penalty
            and keras.saving.serialize_keras_object(self.coverage_penalty),
            "patience": self.patience,
            **self.rules.get_config(),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _column(field, each):
    """(B, K) -> (B*k, 1), of the first k hypotheses, which are all there are."""
    return tf.reshape(field if beams.alike(each, field.shape[1]) else field[:, :each], [-1, 1])
