"""How likely a model thinks given targets: the step function along them, as a search would have gone.

Shapes: **B** sources, **S** source length, **T** target length.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD, UNK
from tf_seq2seq.decoding import beams
from tf_seq2seq.layers.unroll import unroll


class Scored(NamedTuple):
    """Log-probs of given targets, as tensors.

    Fields:
        log_probs: (B,) float32, nats: sums over a target's tokens.
        token_log_probs: (B, T) float32, nats, zero after the end.
        lengths: (B,) int32, tokens.
        ids: (B, T) int32, the tokens that were scored.
    """

    log_probs: Any
    token_log_probs: Any
    lengths: Any
    ids: Any


def score_ids(model, source, target_ids, start_ids):
    """Log-probs of targets under a model, in the graph.

    ::

        log P(target | source) = sum over t of log P(token t | start, tokens before t, source)

    It is what a search sums up: the same step function at the same state. Ids that the model cannot emit count as UNK.

    Args:
        model: anything with ``begin(source) -> step, state, memory``.
        source: the model's inputs.
        target_ids: (B, T) int32, without a start, padded with PAD on the right.
        start_ids: () or (B,) int32, the token before the first one.

    Returns:
        `Scored`.
    """
    step, state, memory = model.begin(source)
    rows, steps = tf.unstack(tf.shape(target_ids))
    by_time = tf.transpose(target_ids)  # (B, T) -> (T, B)

    def advance(time, carried):
        ids, state = carried
        output = step(ids, state, memory)
        labels = tf.where(by_time[time] < tf.shape(output.logits)[1], by_time[time], UNK)
        each = tf.gather(output.log_probs, labels, batch_dims=1)
        return each, (by_time[time], beams.like(output.state, state))

    first = tf.broadcast_to(tf.cast(start_ids, tf.int32), [rows])
    each, _ = unroll(advance, (first, state), steps, tf.TensorSpec([None], tf.float32))
    inside = target_ids != PAD
    each = tf.where(inside, tf.transpose(each), 0.0)  # (T, B) -> (B, T)
    lengths = tf.math.count_nonzero(inside, axis=1, dtype=tf.int32)
    return Scored(tf.reduce_sum(each, axis=1), each, lengths, target_ids)


def with_end(ids, end):
    """Rows of ids with END after the last token, where it is not there already: (B, T) -> (B, T+1), PAD-padded."""
    lengths = tf.math.count_nonzero(ids != PAD, axis=1, dtype=tf.int32)
    last = tf.gather(ids, tf.maximum(lengths - 1, 0), batch_dims=1)
    place = tf.where((last == end) & (lengths > 0), -1, lengths)
    ids = tf.pad(ids, [[0, 0], [0, 1]], constant_values=PAD)
    return tf.where(tf.range(tf.shape(ids)[1]) == place[:, None], end, ids)
