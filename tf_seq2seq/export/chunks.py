"""Many rows, some at a time, those of like length together.

Shapes: **B** rows.
"""

import tensorflow as tf


def in_chunks(answer, rows, lengths, size, specs):
    """Answers rows chunk by chunk in the graph, so that memory does not grow with their number, but for what is answered.

    >>> double = lambda rows: {"twice": 2 * rows["numbers"][:, : tf.shape(rows["numbers"])[0]]}
    >>> rows, specs = {"numbers": tf.constant([[3, 3], [1, 1], [2, 2]])}, {"twice": tf.TensorSpec([None, None], tf.int32)}
    >>> in_chunks(double, rows, tf.constant([3, 1, 2]), 2, specs)["twice"].numpy().tolist()
    [[6, 0], [2, 2], [4, 4]]

    Args:
        answer: function of a dict of (b, ...) tensors -> a dict of (b, ...) tensors; it is traced once.
        rows: dict of (B, ...) tensors.
        lengths: (B,) int32, by which rows are sorted.
        size: the most rows at once, () int32.
        specs: dict of `tf.TensorSpec`, the answer's dtypes and ranks.

    Returns:
        the answer for all rows, in their order; axes are as long as the longest answer's, filled with zeros.
    """
    order = tf.argsort(lengths, stable=True)
    rows = {name: tf.gather(value, order) for name, value in rows.items()}
    count = tf.shape(lengths)[0]

    def advance(start, found):
        new = answer({name: value[start : start + size] for name, value in rows.items()})
        return start + size, {name: _joined(found[name], new[name], spec) for name, spec in specs.items()}

    none = {name: tf.zeros([0] * len(spec.shape), spec.dtype) for name, spec in specs.items()}
    _, found = tf.while_loop(
        lambda start, _: (start < count) | (start == 0),  # no rows are a chunk of none
        advance,
        (0, none),
        shape_invariants=(
            tf.TensorShape([]),
            {name: tf.TensorShape([None] * len(spec.shape)) for name, spec in specs.items()},
        ),
        parallel_iterations=1,
    )
    back = tf.argsort(order)
    return {name: tf.gather(value, back) for name, value in found.items()}


def _joined(found, new, spec):
    """(b, ...) and (c, ...) -> (b + c, ...), the other axes as long as the longer one's."""
    if len(spec.shape) > 1:
        sizes = tf.maximum(tf.shape(found), tf.shape(new))
        found, new = _widened(found, sizes), _widened(new, sizes)
    return tf.concat([found, new], axis=0)


def _widened(value, sizes):
    more = (sizes - tf.shape(value))[1:]
    paddings = tf.stack([tf.zeros_like(more), more], axis=1)
    return tf.pad(value, tf.concat([[[0, 0]], paddings], axis=0))
