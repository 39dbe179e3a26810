"""Searches whose hypotheses never meet: each row goes on by a token of its own, picked from its distribution.

Shapes: **B** sources, **K** hypotheses a source, **N** rows, **T** target length, **S** source length.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD
from tf_seq2seq.decoding import beams, lengths, loop
from tf_seq2seq.decoding.conditions import as_conditions
from tf_seq2seq.decoding.hypotheses import Hypotheses
from tf_seq2seq.errors import InputError


class Rows(NamedTuple):
    """The hypotheses of each source.

    Fields:
        ids: (B, K) int32, the last token.
        done: (B,) bool, whether all have ended.
        ended: (B, K) bool.
        lengths: (B, K) int32, tokens.
        log_probs: (B, K) float32, nats.
        limits: (B,) int32, the most tokens.
        followed, conditions: of the rules, `Conditions`.
        more: the picking's own, a nest of (B, ...).
    """

    ids: Any
    done: Any
    ended: Any
    lengths: Any
    log_probs: Any
    limits: Any
    followed: Any
    conditions: Any
    more: Any


def search(step, state, memory, rows, conditions, *, width, max_length, rules, pick, more=lambda *_: ()):
    """Searches in the graph.

    Args:
        step, state, memory, rows, conditions: as a strategy has them.
        width: K.
        max_length: as `lengths.checked` gives it.
        rules: `Rules`.
        pick: ``pick(time, output, Rows) -> ids (N, n), log_probs (N, n)``; n = 1, or K at the first step, where there
            is one row a source.
        more: ``more(conditions, longest) -> nest`` of what `pick` needs besides.

    Returns:
        `Hypotheses` in the order of the rows, scores = log_probs.
    """
    conditions = as_conditions(conditions, rows)
    if not isinstance(conditions.phrases, tuple):
        raise InputError(
            "phrases that must appear need a beam search: this strategy has no beam to share out"
        )
    limits = lengths.limits(max_length, conditions, rows)
    longest = beams.longest(limits)
    size = [rows, width]
    start = Rows(
        ids=tf.broadcast_to(conditions.start_ids[:, None], size),
        done=tf.zeros([rows], tf.bool),
        ended=tf.zeros(size, tf.bool),
        lengths=tf.zeros(size, tf.int32),
        log_probs=tf.zeros(size),
        limits=limits,
        followed=rules.start(conditions, rows, width, longest),
        conditions=conditions,
        more=more(conditions, longest),
    )

    def choose(time, output, now, each):
        ids, log_probs = (
            tf.reshape(field, [-1, width]) for field in pick(time, output, now)
        )  # (N, n) -> (B, K)
        ids, log_probs = tf.where(now.ended, PAD, ids), tf.where(now.ended, 0.0, log_probs)
        counted = now.lengths + tf.cast(~now.ended, tf.int32)
        ended = now.ended | (ids == END) | (time + 1 >= now.limits[:, None])
        now = now._replace(
            ids=ids,
            done=tf.reduce_all(ended, axis=1),
            ended=ended,
            lengths=counted,
            log_probs=now.log_probs + log_probs,
            followed=rules.advance(now.followed, time, ids),
        )
        return now, loop.Choice(ids, log_probs)

    found, record = loop.search(step, state, memory, start, choose, longest, width)
    return _hypotheses(found, record)


def _hypotheses(found, record):
    """`Hypotheses` of rows that followed no parents; what came after a source was done is left out."""
    ids, log_probs = (tf.transpose(field, [1, 2, 0]) for field in record[:2])  # (T, B, K) -> (B, K, T)
    inside = tf.sequence_mask(found.lengths, tf.shape(ids)[2])  # (B, K, T)
    ids = tf.where(inside, ids, PAD)
    alignments = record.alignments
    if alignments is not None:  # (T, B, K, S) -> (B, K, T, S)
        alignments = tf.where(inside[..., None], tf.transpose(alignments, [1, 2, 0, 3]), 0.0)
    return Hypotheses(
        ids=ids,
        lengths=found.lengths,
        scores=found.log_probs,
        log_probs=found.log_probs,
        finished=tf.reduce_any(ids == END, axis=2),
        alignments=alignments,
        token_log_probs=tf.where(inside, log_probs, 0.0),
    )
