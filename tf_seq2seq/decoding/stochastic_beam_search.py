"""Stochastic beam search: K different targets of a source, a sample without replacement.

Every sequence gets the perturbed log-probability log P + Gumbel noise; the K largest of all are such a sample. A beam finds
them, as the noise of a beginning is the largest of its continuations' and can be drawn first.

Shapes: **B** sources, **K** hypotheses a source, **k** the same, 1 at the first step, **W** what a step can emit.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD
from tf_seq2seq.decoding import beams, lengths, loop, pool
from tf_seq2seq.decoding.candidates import NEVER
from tf_seq2seq.decoding.conditions import as_conditions
from tf_seq2seq.decoding.expansions import Expansions
from tf_seq2seq.decoding.hypotheses import best_first
from tf_seq2seq.decoding.rules import Rules
from tf_seq2seq.errors import InputError


class Drawn(NamedTuple):
    """The hypotheses of each source, (B, K) each but for those of a source.

    Fields:
        ids: int32, the last token, PAD after END.
        done: (B,) bool.
        ended: bool.
        perturbed: float32, the perturbed log-probability; -inf: an empty place.
        totals: float32, nats, the log-probability in the distribution that is drawn from.
        log_probs: float32, nats, the model's own.
        lengths: int32, tokens.
        steps: (B,) int32, until the source was done.
        limits: (B,) int32, the most tokens.
        followed, conditions: of the rules, `Conditions`.
    """

    ids: Any
    done: Any
    ended: Any
    perturbed: Any
    totals: Any
    log_probs: Any
    lengths: Any
    steps: Any
    limits: Any
    followed: Any
    conditions: Any


@keras.saving.register_keras_serializable("tf_seq2seq")
class StochasticBeamSearch:
    """Draws K different targets for each source: without replacement, in proportion to their probabilities.

    ::

        G(y) = log Q(y) + Gumbel noise,   Q = softmax(log P / temperature) token by token; the K largest G

    With K = 1 that is `Sampling`. Constraints cut tokens out of Q, which is renormalised; scores are sums of the model's own
    log-probs.

    >>> from tf_seq2seq.models.contracts import StepOutput
    >>> def step(ids, state, memory):
    ...     first = tf.math.log([0.0, 0.0, 0.0, 0.0, 0.9, 0.1])
    ...     then = tf.math.log([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    ...     return StepOutput(tf.where((ids == 2)[:, None], first, then), state, None)
    >>> StochasticBeamSearch(2)(step, (), (), rows=1).ids.numpy().tolist()
    [[[4, 3], [5, 3]]]

    Args:
        beam_size: K.
        temperature: above 0; above 1 the unlikely become likelier.
        seed: joined to the seed of each row, so that another one draws anew.
        max_length, min_length, constraints: as `Sampling` has them.

    Raises:
        InputError: for a setting out of its range; the message names it.

    Source: Kool, van Hoof and Welling 2019, "Stochastic Beams and Where to Find Them", algorithm 1 and appendix B.3.
    """

    def __init__(self, beam_size=4, temperature=1.0, seed=0, max_length=100, min_length=1, constraints=()):
        self.beam_size = beams.positive("beam_size", beam_size)
        if not temperature > 0:
            raise InputError(f"temperature is above 0, not {temperature!r}")
        self.temperature = float(temperature)
        self.seed = int(seed)
        self.max_length = lengths.checked("max_length", max_length)
        self.rules = Rules(constraints, min_length)

    def __call__(self, step, state, memory, rows, conditions=None):
        """Draws in the graph.

        Args:
            step: `step(ids (N,) int32, state, memory) -> StepOutput`.
            state: nest, every leaf (B, ...).
            memory: nest, every leaf (B, ...).
            rows: B, int or int32 scalar.
            conditions: `Conditions` of the sources, or None. Without seeds, row i has the seed i.

        Returns:
            `Hypotheses` with K = `beam_size`, best first.
        """
        conditions = as_conditions(conditions, rows)
        if not isinstance(conditions.phrases, tuple):
            raise InputError("phrases that must appear need BeamSearch: this one draws")
        limits = lengths.limits(self.max_length, conditions, rows)
        longest = beams.longest(limits)
        start = self._start(rows, conditions, limits, longest)
        end, record = loop.search(step, state, memory, start, self._choose, longest, self.beam_size)
        return _hypotheses(end, record)

    def _start(self, rows, conditions, limits, longest):
        size = [rows, self.beam_size]
        first = tf.broadcast_to(tf.where(tf.range(self.beam_size) == 0, 0.0, NEVER), size)
        return Drawn(
            ids=tf.broadcast_to(conditions.start_ids[:, None], size),
            done=tf.zeros([rows], tf.bool),
            ended=tf.zeros(size, tf.bool),
            perturbed=first,
            totals=first,
            log_probs=first,
            lengths=tf.zeros(size, tf.int32),
            steps=tf.zeros([rows], tf.int32),
            limits=limits,
            followed=self.rules.start(conditions, rows, self.beam_size, longest),
            conditions=conditions,
        )

    def _choose(self, time, output, now, each):
        best = self._expand(time, output, now, each).best(self.beam_size)
        of_parents = lambda field: tf.gather(field[:, :each], best.parents, batch_dims=1)
        before = of_parents(now.ended)
        ended = before | (best.ids == END)
        counted = of_parents(now.lengths) + tf.cast(~before, tf.int32)
        keep = lambda old, new: tf.where(now.done[:, None], old, new)
        done = tf.reduce_all(ended | (best.ranks == NEVER), axis=1) | (time + 1 >= now.limits)
        new = now._replace(
            ids=best.ids,
            done=now.done | done,
            ended=keep(now.ended, ended),
            perturbed=keep(now.perturbed, best.ranks),
            totals=keep(now.totals, best.totals),
            log_probs=keep(now.log_probs, best.log_probs),
            lengths=keep(now.lengths, counted),
            steps=tf.where(now.done, now.steps, time + 1),
            followed=self.rules.advance(now.followed, time, best.ids, best.parents),
        )
        return new, loop.Choice(best.ids, best.token_log_probs, best.parents)

    def _expand(self, time, output, now, each):
        """The K best expansions of each row; a hypothesis that has ended has one, itself."""
        values, log_probs = self.rules.all(output, time, now.followed, now.conditions)  # (N, W)
        rows = lambda field: tf.reshape(field[:, :each], [-1, 1])
        ended, itself = rows(now.ended), tf.range(tf.shape(values)[1]) == PAD
        chosen_by = tf.nn.log_softmax(values / self.temperature)
        chosen_by = tf.where(tf.math.is_nan(chosen_by), NEVER, chosen_by)  # of rows where all are -inf
        chosen_by = tf.where(ended, tf.where(itself, 0.0, NEVER), chosen_by)
        log_probs = tf.where(ended, 0.0, log_probs)
        totals = rows(now.totals) + chosen_by
        ranks = _given_largest(totals + self._noise(time, now, each, totals), rows(now.perturbed))
        ranks, ids = tf.math.top_k(ranks, tf.minimum(self.beam_size, tf.shape(values)[1]))
        take = lambda field: tf.gather(field, ids, batch_dims=1)
        each_log_prob = take(log_probs)
        return Expansions.of_rows(
            each, ranks, take(totals), rows(now.log_probs) + each_log_prob, each_log_prob, ids
        )

    def _noise(self, time, now, each, like):
        """Gumbel noise (N, W), from the seeds of sources and the step; a token's is the same whatever W is."""
        shape = tf.stack(
            [tf.shape(like)[1], each]
        )  # a generator's first numbers do not depend on their count
        place = tf.cast(self.seed, tf.int64) * 2**32 + tf.cast(time, tf.int64)
        draw = lambda seed: tf.random.stateless_uniform(shape, tf.stack([seed, place]), minval=1e-20)
        numbers = tf.map_fn(draw, now.conditions.seeds, fn_output_signature=tf.float32)
        numbers = tf.transpose(numbers, [0, 2, 1])  # (B, W, k) -> (B, k, W)
        return -tf.math.log(-tf.math.log(tf.reshape(numbers, tf.shape(like))))

    def get_config(self):
        return {
            "beam_size": self.beam_size,
            "temperature": self.temperature,
            "seed": self.seed,
            "max_length": lengths.as_config(self.max_length),
            **self.rules.get_config(),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _given_largest(perturbed, largest):
    """Gumbel variables (N, W), given that the largest of each row is `largest` (N, 1).

    ::

        v = T - G + log(1 - exp(G - Z)),   G' = T - max(0, v) - log(1 + exp(-|v|)),   Z = max G
    """
    most = tf.reduce_max(perturbed, axis=1, keepdims=True)
    gap = tf.where(perturbed > NEVER, perturbed - most, -1e9)  # at most 0
    shift = largest - tf.where(perturbed > NEVER, perturbed, -1e9) + tf.math.log1p(-tf.exp(gap))
    new = largest - tf.maximum(shift, 0.0) - tf.math.softplus(-tf.abs(shift))
    return tf.where((perturbed > NEVER) & (largest > NEVER), new, NEVER)


def _hypotheses(end, record):
    """`Hypotheses`, best first: every place is followed back from the last step of its source."""
    rows, width = tf.unstack(tf.shape(end.ids))
    steps = tf.broadcast_to(end.steps[:, None], [rows, width])
    places = tf.broadcast_to(tf.range(width), [rows, width])
    scores = tf.where(end.perturbed > NEVER, end.log_probs, NEVER)
    own = pool.Pool(scores, scores, tf.zeros_like(scores), steps, places)
    found = pool.hypotheses(own, tf.zeros([rows, width], tf.bool), record)
    said = tf.where(end.perturbed > NEVER, end.lengths, 0)
    inside = tf.sequence_mask(said, tf.shape(found.ids)[2])
    alignments = found.alignments
    if alignments is not None:
        alignments = tf.where(inside[..., None], alignments, 0.0)
    return best_first(
        found._replace(
            ids=tf.where(inside, found.ids, PAD),
            lengths=said,
            finished=end.ended & (said > 0),
            alignments=alignments,
            token_log_probs=tf.where(inside, found.token_log_probs, 0.0),
        )
    )
