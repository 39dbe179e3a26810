"""Phrases that must appear: lexical constraints by dynamic beam allocation, vectorised.

Each phrase has an automaton of its own: how many of its first tokens end what has been said, until it is *met*, once for
all. Phrases may come in any order and overlap; END is not to be chosen before all are met. The expansions of a source
fall into *banks* by the number of phrase tokens that they have, and the beam's places go round the banks, the fullest first,
each time to the best expansion of a bank that is left. So hypotheses on their way to the phrases keep their places
against likelier ones that avoid them.

Besides the best tokens of each row, the tokens that its phrases want next are expanded.

Shapes: **B** sources, **K** live hypotheses, **k** the same, 1 at the first step, **C** phrases, **L** tokens of the
longest, **N = B*k** rows, **M** expansions of a source, **w** tokens kept of a row.

Source: Post and Vilar 2018, "Fast Lexically Constrained Decoding with Dynamic Beam Allocation"; Hu et al. 2019,
"Improved Lexically Constrained Decoding" (places in turn, without a loop).
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD
from tf_seq2seq.decoding import candidates as tokens
from tf_seq2seq.decoding.candidates import NEVER, Candidates

_NOTHING = -1  # said before the first token


class Progress(NamedTuple):
    """How far hypotheses are with their phrases.

    Fields:
        last: (B, K, L) int32, the last tokens said, -1 before the first.
        met: (B, K, C) bool.
        matched: (B, K, C) int32, how many of a phrase's first tokens have just been said.
    """

    last: Any
    met: Any
    matched: Any


def start(conditions, rows, width):
    """`Progress` of empty hypotheses; () without phrases. A phrase of PAD only is met."""
    if isinstance(conditions.phrases, tuple):
        return ()
    count, length = tf.unstack(tf.shape(conditions.phrases)[1:])
    met = tf.broadcast_to((_lengths(conditions.phrases) == 0)[:, None], [rows, width, count])
    return Progress(tf.fill([rows, width, length], _NOTHING), met, tf.zeros([rows, width, count], tf.int32))


def advance(progress, conditions, ids, parents):
    """`Progress` after the tokens (B, K) were added to the parents (B, K)."""
    if not progress:
        return progress
    last, met, _ = (tf.gather(field, parents, batch_dims=1) for field in progress)
    last = tf.concat([last[:, :, 1:], ids[:, :, None]], axis=2)
    matched = _matched(last, conditions.phrases)
    return Progress(last, met | (matched == _lengths(conditions.phrases)[:, None]), matched)


def candidates(values, log_probs, beam, each, count):
    """The `count` best tokens of each row and those that its phrases want next; no END before all are met.

    Args:
        values: (N, W) float32, what tokens are chosen by.
        log_probs: (N, W) float32.
        beam: `Beam`.
        each: k.
        count: how many.

    Returns:
        `Candidates` (N, count + C), none twice.
    """
    phrases = beam.conditions.phrases
    _, met, matched = (_rows(field[:, :each]) for field in beam.phrases)
    width = tf.shape(values)[1]
    early = ~tf.reduce_all(met, axis=1, keepdims=True) & (tf.range(width) == END)
    values = tf.where(early, NEVER, values)
    best, ids = tokens.top_k(values, count)
    next_ids = tf.gather(tf.repeat(phrases, each, axis=0), tf.where(met, 0, matched), batch_dims=2)  # (N, C)
    known = tf.reduce_any(next_ids[:, :, None] == ids[:, None], axis=2)
    earlier = tf.linalg.band_part(tf.ones([tf.shape(next_ids)[1]] * 2), -1, 0) - tf.eye(tf.shape(next_ids)[1])
    same = (next_ids[:, :, None] == next_ids[:, None]) & (earlier > 0) & ~met[:, None]
    useless = met | known | tf.reduce_any(same, axis=2) | (next_ids >= width)
    next_ids = tf.where(useless, PAD, next_ids)
    wanted = tf.where(useless, NEVER, tf.gather(values, next_ids, batch_dims=1))
    ids = tf.concat([ids, next_ids], axis=1)
    return Candidates(tf.concat([best, wanted], axis=1), tf.gather(log_probs, ids, batch_dims=1), ids)


def shared_out(expansions, beam):
    """The expansions with the ranks that share the beam's places out among the banks."""
    expansions = expansions.sorted(expansions.ranks)
    expansions = expansions.sorted(_banks(expansions, beam))
    banks = _banks(expansions, beam)
    size = tf.shape(banks)[1]
    turn = tf.range(size) - tf.searchsorted(-banks, -banks)  # place within its bank, (B, M)
    most = tf.reduce_max(banks, axis=1, keepdims=True) + 1
    ranks = -tf.cast(turn * most + (most - banks), tf.float32)
    return expansions._replace(ranks=tf.where(expansions.ranks > NEVER, ranks, NEVER))


def _banks(expansions, beam):
    """How many phrase tokens each expansion has, (B, M) int32."""
    phrases = beam.conditions.phrases
    last, met, _ = (tf.gather(field, expansions.parents, batch_dims=1) for field in beam.phrases)
    last = tf.concat([last[:, :, 1:], expansions.ids[:, :, None]], axis=2)
    matched, lengths = _matched(last, phrases), _lengths(phrases)[:, None]
    return tf.reduce_sum(tf.where(met, lengths, matched), axis=2)


def _matched(last, phrases):
    """How many of each phrase's first tokens end the tokens said: (B, M, L), (B, C, L) -> (B, M, C) int32."""
    length = tf.shape(phrases)[2]
    counts = tf.range(1, length + 1)  # of tokens
    places = tf.range(length)
    tails = tf.gather(last, tf.minimum(length - counts[:, None] + places, length - 1), axis=2)  # (B, M, L, L)
    same = tails[:, :, None] == phrases[:, None, :, None]  # (B, M, C, L, L)
    whole = tf.reduce_all(same | (places >= counts[:, None]), axis=4)
    whole &= (counts <= _lengths(phrases)[..., None])[:, None]
    return tf.maximum(tf.reduce_max(tf.where(whole, counts, 0), axis=3), 0)  # 0, too, if L = 0


def _lengths(phrases):
    return tf.math.count_nonzero(phrases != PAD, axis=2, dtype=tf.int32)  # (B, C)


def _rows(field):
    return tf.reshape(field, tf.concat([[-1], tf.shape(field)[2:]], axis=0))  # (B, k, ...) -> (N, ...)
