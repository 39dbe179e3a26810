"""Random numbers of an objective, made of what a resumed training has again: nothing is to be saved."""

import tensorflow as tf


def step_seed(seed, model, ids):
    """A seed that differs from step to step, from part to part of a batch, and from replica to replica.

    >>> from tf_seq2seq.models import zoo
    >>> model = zoo.plain(10, 12, units=4)
    >>> model.compile()
    >>> tuple(step_seed(0, model, tf.constant([[4, 3]])).shape)
    (2,)

    Args:
        seed: int.
        model: a compiled `Seq2Seq`, for its step: the updates that its optimizer has made.
        ids: integers of the batch.

    Returns:
        (2,) int32, for TensorFlow's stateless operations.
    """
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    step = tf.cast(model.optimizer.iterations, tf.int32)
    seed = tf.stack([tf.constant(seed, tf.int32), step])
    for data in (tf.reduce_sum(ids), tf.convert_to_tensor(replica)):
        seed = tf.random.experimental.stateless_fold_in(seed, data)
    return seed
