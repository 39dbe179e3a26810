"""Where a training stands in its data: the epoch that the next pass over a dataset goes through.

With it, and with how many batches of that epoch were taken, a training that was interrupted finds its place again.
"""

import tensorflow as tf


class DataPosition:
    """The number of the epoch that the next pass goes through; every new pass takes it and adds one.

    It is read inside tf.data when a pass gives its first batch, so an iterator that is made and never used counts for
    nothing. It lives in a table, not in a `tf.Variable`, which a strategy of `tf.distribute` would spread over devices
    where no dataset can read it.

    >>> position = DataPosition()
    >>> dataset = position.passes().flat_map(lambda epoch: tf.data.Dataset.from_tensors(10 * epoch))
    >>> [int(next(iter(dataset))) for _ in range(3)], position.epoch
    ([0, 10, 20], 3)
    >>> position.epoch = 1
    >>> int(next(iter(dataset)))
    10
    """

    def __init__(self):
        self._table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, default_value=0)
        self._key = tf.constant(0, tf.int64)

    @property
    def epoch(self):
        """int: the epoch of the next pass."""
        return int(self._table.lookup(self._key))

    @epoch.setter
    def epoch(self, epoch):
        self._table.insert(self._key, tf.constant(epoch, tf.int64))

    def passes(self):
        """tf.data.Dataset of one element: the epoch, () int64; each pass over it is the next epoch."""

        def advance(key):
            epoch = self._table.lookup(key)
            with tf.control_dependencies([epoch]):
                advanced = self._table.insert(key, epoch + 1)
            with tf.control_dependencies([advanced]):
                return tf.identity(epoch)

        return tf.data.Dataset.from_tensors(self._key).map(advance)


def positions(dataset):
    """The positions of the datasets that `batches` made and of which `dataset` is made by transformations.

    >>> from tf_seq2seq.data.pipeline import batches
    >>> sides = tf.ragged.constant([[5, 6]]), tf.ragged.constant([[7]])
    >>> made = batches(tf.data.Dataset.from_tensor_slices(sides), batch_size=1)
    >>> positions(made.take(5).prefetch(1)) == [made.position]
    True

    Args:
        dataset: anything; of what is no tf.data.Dataset, such as one dealt to replicas, its attribute `batches`.

    Returns:
        list of `DataPosition`: empty if none of the datasets that it reads is of `batches`.
    """
    found, open_ends, seen = [], [dataset], set()
    while open_ends:
        one = open_ends.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(getattr(one, "position", None), DataPosition):
            found.append(one.position)
        if isinstance(one, tf.data.Dataset):
            open_ends.extend(reversed(one._inputs()))  # what every dataset must tell TensorFlow of itself
        elif hasattr(one, "batches"):
            open_ends.append(one.batches)
    return found
