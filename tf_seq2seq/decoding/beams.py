"""The rows of a search: gathering them by parent or by source, and following parents back.

Shapes: **B** sources, **K** live hypotheses a source, **N = B*K** rows (the rows of a source are adjacent),
**H** hypotheses given back, **T** target length, **S** source length.
"""

import tensorflow as tf

from tf_seq2seq.errors import InputError


def longest(lengths):
    """The largest of `lengths`, at least 1, also of none at all: a search takes one step even for no rows."""
    return tf.maximum(tf.reduce_max(lengths), 1)


def positive(name, value):
    """`value` as an int of at least 1, or a tensor as it is; InputError, naming it `name`, if it is neither."""
    if tf.is_tensor(value):
        return value
    if int(value) != value or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
    return int(value)


def alike(one, other):
    """Whether two widths are known to be the same: ints, or one and the same tensor.

    >>> width = tf.constant(3)
    >>> alike(3, 3), alike(width, width), alike(1, width)
    (True, True, False)
    """
    return one is other or (not tf.is_tensor(one) and not tf.is_tensor(other) and one == other)


def rows_each(rows, sources):
    """How many of the rows, the first axis of a tensor, each source has, at least 1; `sources`: (B, ...)."""
    return tf.maximum(tf.shape(rows)[0] // tf.maximum(tf.shape(sources)[0], 1), 1)


def rows_of(sources, width):
    """The rows of some sources, where each has `width` adjacent ones.

    >>> rows_of(tf.constant([0, 2]), 3).numpy().tolist()
    [0, 1, 2, 6, 7, 8]
    """
    return tf.reshape(sources[:, None] * width + tf.range(width), [-1])  # (B,) -> (B, K) -> (N,)


def gather(nest, rows):
    """Rows of every leaf of a nest: (N, ...) -> (M, ...).

    Args:
        nest: tensors, rows first in every leaf.
        rows: (M,) int32.
    """
    return tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), nest)


def put(nest, sources, new):
    """The nest with other rows at some places, as one may not have in another order: (B, ...), (M,), (M, ...)."""
    update = lambda leaf, rows: tf.tensor_scatter_nd_update(leaf, sources[:, None], rows)
    return tf.nest.map_structure(update, nest, new)


def like(new, old):
    """A nest in the structure and static shapes, but for the rows, of another, as a loop wants it."""
    leaves = tf.nest.flatten(new)
    for leaf, before in zip(leaves, tf.nest.flatten(old), strict=True):
        leaf.set_shape([None, *before.shape[1:]])
    return tf.nest.pack_sequence_as(old, leaves)


def backtrace(parents, beams, lengths, finished):
    """Follows each hypothesis from its last token back to the first.

    Args:
        parents: (T, B, K) int32, for each step and live hypothesis after it, which one before it it
            continues.
        beams: (B, H) int32: of a finished hypothesis, the live one that END was added to; else the live one
            itself.
        lengths: (B, H) int32, END counted.
        finished: (B, H) bool.

    Returns:
        beams (B, H, T) int32: the live hypothesis before each step that the token was added to.
        tokens (B, H, T) int32: the one after it, whose token it is; undefined where END was added.
    """

    def back(later, now):
        time, parents = now
        beams, _ = later
        ending = finished & (time == lengths - 1)
        before = tf.gather(parents, beams, batch_dims=1)
        return tf.where((time >= lengths) | ending, beams, before), beams

    time = tf.range(tf.shape(parents)[0])
    beams, tokens = tf.scan(back, (time, parents), (beams, beams), reverse=True)
    return tf.transpose(beams, [1, 2, 0]), tf.transpose(tokens, [1, 2, 0])  # (T, B, H) -> (B, H, T)


def gather_alignments(alignments, beams, lengths):
    """The alignments of each hypothesis' tokens, zero after its end.

    Args:
        alignments: (T, B, K, S) float32, of every step and live hypothesis.
        beams: (B, H, T) int32, as `backtrace` gives them.
        lengths: (B, H) int32.

    Returns:
        (B, H, T, S) float32.
    """
    found = tf.gather(alignments, tf.transpose(beams, [2, 0, 1]), batch_dims=2)  # (T, B, H, S)
    inside = tf.sequence_mask(lengths, tf.shape(beams)[2])[..., None]  # (B, H, T, 1)
    return tf.where(inside, tf.transpose(found, [1, 2, 0, 3]), 0.0)
