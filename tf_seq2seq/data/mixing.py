"""Several corpora in one: how much of each, and how much each counts."""

import numpy as np
import tensorflow as tf

from tf_seq2seq.errors import InputError

PATTERN = 10_000  # pairs; shares are exact to one in so many


def mixed(corpora):
    """One split of several, in fixed proportions; `batches` takes it like any other.

    A weight of 3 beside 1 means three pairs of the one for each pair of the other, spread evenly. An epoch ends when
    every pair of every corpus has come at least once, so one of them (that with the most pairs for its weight) comes
    once and the others repeat, as users of OpenNMT and fairseq know it from their small in-domain corpora. Nothing is
    drawn at random: the order is the same each epoch until `batches` shuffles it.

    >>> large, small = (tf.data.Dataset.from_tensor_slices(([*name], [*name])) for name in ("ABCDEF", "xy"))
    >>> split = mixed([(large, 2), (small, 1)])
    >>> b"".join(source for source, _ in split.as_numpy_iterator())
    b'AxBCyDExF'

    A corpus of less worth, rather than of fewer pairs, has sample weights; the loss counts its tokens at so much:

    >>> split = mixed([(weighted(large, 1.0), 1), (weighted(small, 0.25), 1)])
    >>> [round(float(weight), 2) for *_, weight in split.take(3)]
    [1.0, 0.25, 1.0]

    Args:
        corpora: list of (split, weight): datasets of equal structure, as `batches` takes them, and numbers above 0. A
            split that does not know its number of pairs is read once to count them, unless
            `tf.data.experimental.assert_cardinality` tells it.

    Returns:
        tf.data.Dataset like the splits, which knows its number of pairs.

    Raises:
        InputError: for no corpora, weights that are not above 0, a corpus that is empty or endless, or corpora of
            different structure.
    """
    corpora = [(split, float(weight)) for split, weight in corpora]
    if not corpora or not all(0 < weight < float("inf") for _, weight in corpora):
        raise InputError("mixed wants a list of (split, weight), weights above 0")
    if len({str(split.element_spec) for split, _ in corpora}) > 1:
        raise InputError(
            "the corpora differ in structure: make all of them pairs of strings, or all weighted"
        )
    splits, weights = zip(*corpora)
    sizes = [_size(split) for split in splits]
    pattern = _pattern(np.array(weights))
    choices = tf.data.Dataset.from_tensor_slices(pattern).repeat()
    pairs = tf.data.Dataset.choose_from_datasets([split.repeat() for split in splits], choices)
    return pairs.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)).take(
        _pairs_until_all_came(pattern, sizes)
    )


def weighted(split, weight):
    """A split whose pairs carry a sample weight.

    >>> pairs = tf.data.Dataset.from_tensor_slices((["a"], ["b"]))
    >>> [tuple(map(lambda part: part.numpy(), triple)) for triple in weighted(pairs, 0.5)]
    [(b'a', b'b', np.float32(0.5))]

    Args:
        split: tf.data.Dataset of (source, target).
        weight: how much a token of it counts in the loss, a number of at least 0.

    Returns:
        tf.data.Dataset of (source, target, () float32).

    Raises:
        InputError: for a negative weight.
    """
    if not 0 <= weight < float("inf"):
        raise InputError(f"a sample weight is a number of at least 0, not {weight}")
    return split.map(lambda source, target: (source, target, tf.constant(weight, tf.float32)))


def _size(split):
    size = int(split.cardinality())
    if size == tf.data.UNKNOWN_CARDINALITY:
        size = int(split.batch(1024).reduce(tf.constant(0, tf.int64), _counted))
    if size <= 0:
        raise InputError(
            f"a corpus is {'empty' if size == 0 else 'endless'}: give each as one pass over its pairs"
        )
    return size


def _counted(count, *batch):
    first = tf.nest.flatten(batch)[0]
    return count + tf.shape(first, out_type=tf.int64)[0]


def _pattern(weights):
    """Which corpus each of the pairs is of, (PATTERN,) int64: always that which lags behind its share the most."""
    shares, lag = weights / weights.sum(), np.zeros(len(weights))
    pattern = np.empty(PATTERN, np.int64)
    for place in range(PATTERN):
        lag += shares
        pattern[place] = chosen = np.argmax(lag)
        lag[chosen] -= 1
    return pattern


def _pairs_until_all_came(pattern, sizes):
    """How many pairs go by until corpus i came sizes[i] times, for each i."""
    total = 0
    for number, size in enumerate(sizes):
        places = np.flatnonzero(pattern == number)
        if not len(places):
            raise InputError(f"corpus {number} has less than one pair in {PATTERN}: give it a larger weight")
        rounds, rest = divmod(size - 1, len(places))
        total = max(total, rounds * PATTERN + int(places[rest]) + 1)
    return total
