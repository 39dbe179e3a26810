"""The rows of a search: repeating, choosing, gathering by parent, and following parents back.

Shapes: **B** sources, **K** live hypotheses a source, **N = B*K** rows (the rows of a source are adjacent),
**W** what a step can emit, **H** hypotheses given back, **T** target length, **S** source length.
"""

import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.errors import InputError

NEVER = float("-inf")
_BLOCKS = 80  # measured: 64 to 160 are alike at 8,000 columns


def limits(max_length, limit, rows):
    """The most tokens, END counted, that each source's hypotheses may have.

    >>> limits(5, [3, 9], rows=2).numpy().tolist()
    [3, 5]

    Args:
        max_length: tokens, int.
        limit: None, a number of tokens, or (B,) of them, one a source.
        rows: B.

    Returns:
        (B,) int32, between 1 and `max_length`.
    """
    limit = max_length if limit is None else tf.clip_by_value(tf.cast(limit, tf.int32), 1, max_length)
    return tf.broadcast_to(limit, [rows])


def longest(lengths):
    """The largest of `lengths`, at least 1, also of none at all: a search takes one step even for no rows."""
    return tf.maximum(tf.reduce_max(lengths), 1)


def positive(name, value):
    """`value` as an int of at least 1; InputError, naming it `name`, if it is not one."""
    if int(value) != value or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
    return int(value)


def repeat(nest, times):
    """Every row of every leaf `times` times: (B, ...) -> (B*times, ...).

    >>> repeat((tf.constant([1, 2]), ()), 2)[0].numpy().tolist()
    [1, 1, 2, 2]
    """
    return nest if times == 1 else tf.nest.map_structure(lambda leaf: tf.repeat(leaf, times, axis=0), nest)


def gather(nest, parents):
    """The rows of the live hypotheses' parents, of every leaf: (N, ...) -> (N, ...).

    Args:
        nest: the state after a step, rows first in every leaf.
        parents: (B, K) int32, which of its source's K rows each new hypothesis continues.
    """
    rows, beam_size = tf.shape(parents)[0], tf.shape(parents)[1]
    parents = tf.reshape(parents + (tf.range(rows) * beam_size)[:, None], [-1])  # (B, K) -> (N,)
    return tf.nest.map_structure(lambda leaf: tf.gather(leaf, parents), nest)


def best_tokens(log_probs, count):
    """At least the `count` best tokens that may be emitted; PAD and START may not.

    These are the `count + 2` best of all with PAD and START among them masked: masking W columns would cost
    more.

    >>> log_probs, ids = best_tokens(tf.constant([[-1.0, -9.0, -2.0, -4.0, -3.0]]), 2)
    >>> ids.numpy().tolist(), log_probs.numpy().tolist()
    ([[0, 2, 4, 3]], [[-inf, -inf, -3.0, -4.0]])

    Args:
        log_probs: (N, W) float32, nats.
        count: how many are needed.

    Returns:
        log_probs (N, w) float32, -inf where masked, and ids (N, w) int32; w = min(count + 2, W).
    """
    best, ids = top_k(log_probs, count + 2)
    return tf.where((ids == PAD) | (ids == START), NEVER, best), ids


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
    if width is None or width < 16 * _BLOCKS or 4 * count > _BLOCKS:
        return tf.math.top_k(values, tf.minimum(count, width or tf.shape(values)[1]))
    rows, size = tf.shape(values)[0], -(-width // _BLOCKS)
    if size * _BLOCKS > width:
        values = tf.pad(values, [[0, 0], [0, size * _BLOCKS - width]], constant_values=NEVER)
    blocks = tf.reshape(values, [rows, _BLOCKS, size])  # (N, W) -> (N, blocks, size)
    _, chosen = tf.math.top_k(tf.reduce_max(blocks, axis=2), count)
    chosen = tf.sort(chosen, axis=1)  # (N, count)
    inside = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), [rows, count * size])
    best, places = tf.math.top_k(inside, count)
    return best, tf.gather(chosen, places // size, batch_dims=1) * size + places % size


def like(new, old):
    """The state after a step in the structure and static shapes of the one before it, as a loop wants it."""
    leaves = tf.nest.flatten(new)
    for leaf, before in zip(leaves, tf.nest.flatten(old), strict=True):
        leaf.set_shape(before.shape)
    return tf.nest.pack_sequence_as(old, leaves)


def backtrace(parents, ids, beams, lengths, finished):
    """Follows each hypothesis from its last token back to the first.

    Args:
        parents: (T, B, K) int32, for each step and live hypothesis after it, which one before it it
            continues.
        ids: (T, B, K) int32, the token with which it does.
        beams: (B, H) int32: of a finished hypothesis, the live one that END was added to; else the live one
            itself.
        lengths: (B, H) int32, END counted.
        finished: (B, H) bool.

    Returns:
        ids (B, H, T) int32, PAD after the end, and beams (B, H, T) int32: the live hypothesis that each token
        was expanded from.
    """

    def back(later, now):
        time, parents, ids = now
        beams, _ = later
        ending = finished & (time == lengths - 1)
        before = tf.gather(parents, beams, batch_dims=1)
        token = tf.where(ending, END, tf.gather(ids, beams, batch_dims=1))
        over = time >= lengths
        return tf.where(over | ending, beams, before), tf.where(over, PAD, token)

    time = tf.range(tf.shape(ids)[0])
    beams, ids = tf.scan(back, (time, parents, ids), (beams, tf.zeros_like(beams)), reverse=True)
    return tf.transpose(ids, [1, 2, 0]), tf.transpose(beams, [1, 2, 0])  # (T, B, H) -> (B, H, T)


def gather_alignments(alignments, beams, lengths, beam_size):
    """The alignments of each hypothesis' tokens, zero after its end.

    Args:
        alignments: (T, N, S) float32, of every step and row.
        beams: (B, H, T) int32, as `backtrace` gives them.
        lengths: (B, H) int32.
        beam_size: K.

    Returns:
        (B, H, T, S) float32.
    """
    rows, count, steps = tf.unstack(tf.shape(beams))
    lines = tf.transpose(
        beams + tf.range(rows)[:, None, None] * beam_size, [2, 0, 1]
    )  # (B, H, T) -> (T, B, H)
    found = tf.gather(alignments, tf.reshape(lines, [steps, -1]), batch_dims=1)  # (T, B*H, S)
    found = tf.reshape(found, [steps, rows, count, tf.shape(alignments)[2]])
    inside = tf.sequence_mask(lengths, steps)[..., None]  # (B, H, T, 1)
    return tf.where(inside, tf.transpose(found, [1, 2, 0, 3]), 0.0)
