"""Drawing an index a row, from a seed alone.

Shapes: **B** rows, **N** weights of each.
"""

import tensorflow as tf


def drawn(weights, seed):
    """An index a row, with probabilities proportional to the row's weights.

    ::

        i = min {i: sum_{j <= i} w_j > u sum_j w_j}        u ~ U[0, 1)

    `tf.random.stateless_categorical` is not used, since what it draws hangs on the number of threads.

    >>> drawn(tf.constant([[0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]), tf.constant([1, 2])).numpy().tolist()
    [1, 2]

    Args:
        weights: (B, N) floating, not negative, a positive one in each row.
        seed: (2,) int32 or int64.

    Returns:
        (B,) int32, of positive weights.
    """
    sums = tf.cumsum(tf.cast(weights, tf.float32), axis=1)
    total = sums[:, -1:]
    bound = total * tf.random.stateless_uniform([tf.shape(sums)[0], 1], seed)
    first = lambda below: tf.math.count_nonzero(below, axis=1, dtype=tf.int32)
    return tf.minimum(first(sums <= bound), first(sums < total))  # the second where rounding makes u a 1
