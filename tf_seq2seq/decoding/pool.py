"""The finished hypotheses of each source: they enter once and stay as they are.

Shapes: **B** sources, **K** live hypotheses a source, **H** hypotheses given back.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD
from tf_seq2seq.decoding import beams
from tf_seq2seq.decoding.candidates import NEVER
from tf_seq2seq.decoding.hypotheses import Hypotheses


class Pool(NamedTuple):
    """The best finished hypotheses of each source, by falling score; empty places have the score -inf.

    Fields:
        scores: (B, H) float32.
        log_probs: (B, H) float32, nats.
        ends: (B, H) float32, nats, the log-prob of the last token, END.
        lengths: (B, H) int32, END counted.
        beams: (B, H) int32, the live hypothesis that END was added to.
    """

    scores: Any
    log_probs: Any
    ends: Any
    lengths: Any
    beams: Any

    @property
    def filled(self):
        """Which places are not empty: (B, H) bool."""
        return self.scores > NEVER


def empty(rows, size):
    """A `Pool` of `rows` sources with `size` empty places each."""
    never, none = tf.fill([rows, size], NEVER), tf.zeros([rows, size], tf.int32)
    return Pool(never, never, tf.zeros([rows, size]), none, none)


def joined(pool, new):
    """The best of two pools, as many as the first one holds; of equal scores the first one's come first."""
    scores, places = tf.math.top_k(tf.concat([pool.scores, new.scores], axis=1), tf.shape(pool.scores)[1])
    fields = [tf.concat(pair, axis=1) for pair in zip(pool[1:], new[1:])]  # (B, H) + (B, K) -> (B, H+K)
    return Pool(scores, *(tf.gather(field, places, batch_dims=1) for field in fields))


def completed(pool, unfinished):
    """A pool whose empty places unfinished hypotheses (another `Pool`, by falling score) fill.

    Returns:
        `Pool`, and which of its places are finished, (B, H) bool.
    """
    size = tf.shape(pool.scores)[1]
    count = tf.math.count_nonzero(pool.filled, axis=1, keepdims=True, dtype=tf.int32)
    places = tf.broadcast_to(tf.range(size), tf.shape(pool.scores))
    ended = places < count
    places = tf.where(ended, places, size + places - count)
    fields = [tf.concat(pair, axis=1) for pair in zip(pool, unfinished)]  # (B, H) + (B, K) -> (B, H+K)
    return Pool(*(tf.gather(field, places, batch_dims=1) for field in fields)), ended


def hypotheses(pool, finished, record):
    """`Hypotheses`: every place of a pool followed back through the record of a search.

    Args:
        pool: `Pool`, in the order in which they are given back.
        finished: (B, H) bool; of the others, `beams` is their own place and `lengths` what they have said.
        record: `loop.Record`.
    """
    steps = beams.longest(pool.lengths)
    before, own = beams.backtrace(record.parents[:steps], pool.beams, pool.lengths, finished)  # (B, H, T)
    time = tf.range(steps)
    length = pool.lengths[:, :, None]
    ending = finished[:, :, None] & (time == length - 1)
    said = lambda field: tf.transpose(
        tf.gather(field[:steps], tf.transpose(own, [2, 0, 1]), batch_dims=2), [1, 2, 0]
    )  # (T, B, K) -> (B, H, T)
    inside = time < length
    alignments = record.alignments
    if alignments is not None:
        alignments = beams.gather_alignments(alignments[:steps], before, pool.lengths)
    return Hypotheses(
        ids=tf.where(inside, tf.where(ending, END, said(record.ids)), PAD),
        lengths=pool.lengths,
        scores=pool.scores,
        log_probs=tf.where(pool.lengths > 0, pool.log_probs, NEVER),
        finished=finished,
        alignments=alignments,
        token_log_probs=tf.where(
            inside, tf.where(ending, pool.ends[:, :, None], said(record.log_probs)), 0.0
        ),
    )
