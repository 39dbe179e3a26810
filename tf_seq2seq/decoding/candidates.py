"""The best tokens of each row, taken from the logits; only these are normalised.

Shapes: **N** rows, **W** what a step can emit, **w** how many are kept of a row.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD, START

NEVER = float("-inf")
_BLOCKS = 80  # at most; measured: 64 to 160 are alike at 8,000 columns


class Candidates(NamedTuple):
    """Tokens that may follow, a selection of each row.

    Fields:
        values: (N, w) float32, what they are ranked by, -inf: not to be chosen.
        log_probs: (N, w) float32, nats: the model's own.
        ids: (N, w) int32.
    """

    values: Any
    log_probs: Any
    ids: Any


def best_tokens(output, count):
    """At least the `count` best tokens that may be emitted; PAD and START may not.

    These are the `count + 2` best of all with PAD and START among them masked: masking W columns would cost
    more.

    >>> from tf_seq2seq.models.contracts import StepOutput
    >>> logits = tf.math.log([[0.5, 0.0, 0.3, 0.05, 0.15]])
    >>> found = best_tokens(StepOutput(logits, (), None), 2)
    >>> found.ids.numpy().tolist(), tf.exp(found.values).numpy().round(3).tolist()
    ([[0, 2, 4, 3]], [[0.0, 0.0, 0.15000000596046448, 0.05000000074505806]])

    Args:
        output: `StepOutput`.
        count: how many are needed.

    Returns:
        `Candidates` with w = min(count + 2, W), by falling log-prob except for those masked.
    """
    best, columns = top_k(output.logits, count + 2)
    if not output.normalized:
        best -= log_normalizer(output.logits, best[:, :1], columns[:, :1])
    ids = columns if output.columns is None else tf.gather(output.columns, columns)
    best = tf.where((ids == PAD) | (ids == START), NEVER, best)
    return Candidates(best, best, ids)


def likeliest_token(output):
    """The likeliest token of each row that may be emitted, of equal ones the one with the lowest id.

    >>> from tf_seq2seq.models.contracts import StepOutput
    >>> ids, log_probs = likeliest_token(StepOutput(tf.math.log([[0.5, 0.0, 0.3, 0.05, 0.15]]), (), None))
    >>> ids.numpy().tolist(), tf.exp(log_probs).numpy().round(3).tolist()
    ([[4]], [[0.15000000596046448]])

    Args:
        output: `StepOutput`.

    Returns:
        ids (N, 1) int32, and their log-probs (N, 1) float32.
    """
    width = output.logits.shape[1]
    if width is None or output.columns is not None:
        found = best_tokens(output, 1)
        place = tf.argmax(found.values, axis=1, output_type=tf.int32)[:, None]
        return tuple(tf.gather(field, place, batch_dims=1) for field in (found.ids, found.log_probs))
    never = np.zeros([1, width], "float32")
    never[0, [PAD, START]] = NEVER
    ids = tf.argmax(output.logits + never, axis=1, output_type=tf.int32)[:, None]
    if output.normalized:
        return ids, tf.gather(output.logits, ids, batch_dims=1)
    return ids, tf.math.log(tf.gather(tf.nn.softmax(output.logits), ids, batch_dims=1))


def log_normalizer(logits, highest, column):
    """What is to be subtracted from logits to make them log-probs: log of the sum of their exponentials.

    ::

        log sum exp(logits) = max(logits) - log(softmax(logits) at the maximum)

    >>> logits = tf.math.log([[2.0, 6.0]])
    >>> tf.exp(log_normalizer(logits, tf.math.log([[6.0]]), tf.constant([[1]]))).numpy().round(3).tolist()
    [[8.0]]

    Args:
        logits: (N, W) float32.
        highest: (N, 1) float32, the largest of each row.
        column: (N, 1) int32, where it is.

    Returns:
        (N, 1) float32, nats. The softmax is the fastest pass over W columns that there is.
    """
    return highest - tf.math.log(tf.gather(tf.nn.softmax(logits), column, batch_dims=1))


def all_log_probs(output):
    """The log-probs of all tokens up to the last one that can be chosen, (N, W): -inf where there is no column."""
    if output.columns is None:
        return output.log_probs
    spread = tf.fill([output.columns[-1] + 1, tf.shape(output.logits)[0]], NEVER)  # rows scatter faster
    spread = tf.tensor_scatter_nd_update(spread, output.columns[:, None], tf.transpose(output.log_probs))
    return tf.transpose(spread)  # (W, N) -> (N, W)


def top_k(values, count):
    """What `tf.math.top_k` gives, ties included, about twice as fast where rows are long.

    The `count` best are in the `count` blocks with the largest maxima; the blocks are kept in their order, so
    that among equals the one further left still wins.

    >>> [field.numpy().tolist() for field in top_k(tf.constant([[1.0, 3.0, 2.0]]), 2)]
    [[[3.0, 2.0]], [[1, 2]]]

    Args:
        values: (N, W) float32.
        count: how many; W if that is less.

    Returns:
        values (N, count) float32, falling, and their places (N, count) int32.
    """
    width = values.shape[1]
    few = lambda: tuple(tf.math.top_k(values, tf.minimum(count, width or tf.shape(values)[1])))
    pays = 4 * count <= _BLOCKS
    if pays is False or (width is not None and width < 16 * _BLOCKS):
        return few()
    if pays is True and width is not None:
        return _top_k_of_blocks(values, count)
    if width is None:
        pays &= (tf.shape(values)[1] >= 5 * _BLOCKS) & (tf.size(values) > 200 * _BLOCKS)
    return tf.cond(pays, lambda: _top_k_of_blocks(values, count), few)


def _top_k_of_blocks(values, count):
    rows, width = tf.shape(values)[0], values.shape[1] or tf.shape(values)[1]
    size = -(-width // (8 * _BLOCKS)) * 8  # a multiple of 8 is far faster to reduce
    blocks = -(-width // size)
    values = tf.pad(values, [[0, 0], [0, blocks * size - width]], constant_values=NEVER)
    values = tf.reshape(values, [rows, blocks, size])  # (N, W) -> (N, blocks, size)
    _, chosen = tf.math.top_k(tf.reduce_max(values, axis=2), count)
    chosen = tf.sort(chosen, axis=1)  # (N, count)
    inside = tf.reshape(tf.gather(values, chosen, batch_dims=1), [rows, count * size])
    best, places = tf.math.top_k(inside, count)
    return best, tf.gather(chosen, places // size, batch_dims=1) * size + places % size
