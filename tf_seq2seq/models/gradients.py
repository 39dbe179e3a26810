"""The gradient of a training step: that of one large batch, however it is cut up.

A batch is cut into *parts* to save memory and dealt to *replicas* to save time. Each gives the gradient g_i of its own
mean loss and its weight w_i, the number of its real tokens (times sample weights). The gradient of the mean over all
tokens is their weighted mean, not their mean, as parts differ in tokens::

    g = sum_i w_i g_i / sum_i w_i
"""

import tensorflow as tf


def joined_parts(gradients_of, data, parts, shapes):
    """Gradient of a batch from its parts, one after the other, so that memory holds the activations of one.

    >>> mean = lambda rows: ([tf.reduce_mean(rows)], tf.cast(tf.size(rows), tf.float32))
    >>> gradients, weight = joined_parts(mean, tf.constant([1.0, 2.0, 6.0]), 2, [tf.TensorShape([])])
    >>> float(gradients[0]), float(weight)
    (3.0, 3.0)

    Args:
        gradients_of: function of a batch -> (list of dense gradients of its mean loss, weight () float32).
        data: nest of (B, ...) tensors.
        parts: into how many parts of equal rows the batch is cut; a batch of fewer rows is cut into its rows.
        shapes: static shapes of the gradients.

    Returns:
        gradients of the mean over the whole batch, float32, and its weight.
    """
    if parts == 1:
        return gradients_of(data)
    rows = tf.shape(tf.nest.flatten(data)[0])[0]
    parts = tf.minimum(parts, rows)

    def add(part, sums, total):
        first, end = part * rows // parts, (part + 1) * rows // parts
        gradients, weight = gradients_of(
            tf.nest.map_structure(lambda one: None if one is None else one[first:end], data)
        )
        sums = [old + weight * tf.cast(new, tf.float32) for old, new in zip(sums, gradients)]
        return part + 1, sums, total + weight

    begin = (tf.constant(0), [tf.zeros(shape) for shape in shapes], tf.constant(0.0))
    _, sums, total = tf.while_loop(lambda part, *_: part < parts, add, begin, parallel_iterations=1)
    return _mean(sums, total), total


def joined_replicas(gradients, weight):
    """Gradient of the global batch, the same on every replica.

    Args:
        gradients: this replica's, dense.
        weight: () float32, this replica's.

    Returns:
        list of gradients.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return gradients
    *sums, total = context.all_reduce(
        "SUM", [*(one * tf.cast(weight, one.dtype) for one in gradients), weight]
    )
    return _mean(sums, total)


def _mean(sums, total):
    return [one / tf.cast(tf.maximum(total, 1e-9), one.dtype) for one in sums]
