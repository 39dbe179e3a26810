"""Batches dealt to the replicas of a `tf.distribute` strategy, so that n replicas train as one would.

Shapes: **B** rows of a batch, **N** replicas in sync, over all workers.
"""

import tensorflow as tf

from tf_seq2seq.data.pipeline import without_tuning


def dealt(batches, strategy):
    """Cuts each batch by rows: replica i of N gets rows ``[i B // N, (i + 1) B // N)``, in whatever worker it is.

    TensorFlow's own way cuts batches whose size it does not know into as many pieces as fit, and picks files or batches
    for each worker by looking into the graph; here it is plain what a replica gets. Every worker makes all batches and
    keeps its rows, so all must make the same ones: `batches` of the same pairs with the same seed. `each_its_own`
    lets workers read different files.

    >>> batches = tf.data.Dataset.range(3).batch(2)
    >>> one = tf.distribute.MirroredStrategy(["CPU:0"])
    >>> [batch.numpy().tolist() for batch in dealt(batches, one)]
    [[0, 1], [2]]

    Args:
        batches: tf.data.Dataset of nests of (B, ...) tensors; anything else is given back, as are batches of strategy
            None.
        strategy: a tf.distribute.Strategy, or None.

    Returns:
        a tf.distribute.DistributedDataset; its attribute `batches` is what it was made of. A batch of fewer rows than
        replicas leaves some without a row.
    """
    if strategy is None or not isinstance(batches, tf.data.Dataset):
        return batches

    def of_worker(context):
        replicas = context.num_replicas_in_sync
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        pieces = tf.data.Dataset.range(first, first + local)
        cut = batches.flat_map(lambda *batch: pieces.map(lambda piece: _rows(batch, piece, replicas)))
        return without_tuning(cut.prefetch(local))

    distributed = strategy.distribute_datasets_from_function(of_worker)
    distributed.batches = batches
    return distributed


def each_its_own(make, strategy):
    """Batches that each worker makes of pairs of its own, which no other reads: for corpora in shards.

    A step takes one batch for every replica, so `batch_tokens` is that of a replica here. The gradient is still that of
    the mean over all their tokens. A worker that has come to its end before others takes empty batches.

    >>> one = tf.distribute.MirroredStrategy(["CPU:0"])
    >>> [int(batch) for batch in each_its_own(lambda worker, workers: tf.data.Dataset.range(worker, workers), one)]
    [0]

    Args:
        make: ``make(worker, workers)`` -> tf.data.Dataset of batches.
        strategy: a tf.distribute.Strategy.

    Returns:
        a tf.distribute.DistributedDataset for `fit`; its attribute `batches` is what this process's worker made.
    """
    made = []

    def of_worker(context):
        made.append(make(context.input_pipeline_id, context.num_input_pipelines))
        return without_tuning(made[-1])

    distributed = strategy.distribute_datasets_from_function(of_worker)
    distributed.batches = made[-1]
    return distributed


def _rows(batch, piece, pieces):
    """The rows of one of so many pieces of a nest of (B, ...) tensors; static shapes stay so, as TPUs want them."""
    batch = batch[0] if len(batch) == 1 else batch
    rows = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]
    first, end = piece * rows // pieces, (piece + 1) * rows // pieces

    def cut(one):
        part = one[first:end]
        if one.shape[0] is not None and one.shape[0] % pieces == 0:
            part.set_shape([one.shape[0] // pieces, *one.shape[1:]])
        return part

    return tf.nest.map_structure(cut, batch)
