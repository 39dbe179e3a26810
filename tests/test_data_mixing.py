"""Mixed corpora: proportions, order, where an epoch ends, sample weights."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.mixing import mixed, weighted
from tf_seq2seq.errors import InputError


def corpus(name, size):
    pairs = [(f"{name}{number}", f"{name}{number}") for number in range(size)]
    return tf.data.Dataset.from_tensor_slices(tuple(map(list, zip(*pairs))))


def sources(split):
    return [source.decode() for batch, *_ in split.batch(4096).as_numpy_iterator() for source in batch]


MIXTURES = [
    ([("a", 60, 1)], 60),
    ([("a", 60, 1), ("b", 60, 1)], 120),
    ([("a", 60, 3), ("b", 7, 1)], 80),
    ([("a", 60, 1), ("b", 7, 3)], 240),
    ([("a", 500, 0.7), ("b", 30, 0.2), ("c", 110, 0.1)], 1100),
    ([("a", 25_000, 5.5), ("b", 1, 1e-2)], 25_046),
]


@pytest.mark.parametrize("corpora, size", MIXTURES)
def test_shares_are_kept_at_each_place_and_every_pair_comes(corpora, size):
    split = mixed([(corpus(name, pairs), weight) for name, pairs, weight in corpora])
    names, total = sources(split), sum(weight for *_, weight in corpora)
    assert len(names) == int(split.cardinality()) and abs(len(names) - size) < 10
    for name, pairs, weight in corpora:
        of_it = np.array([one[0] == name for one in names])
        lag = np.cumsum(of_it) - np.arange(1, len(names) + 1) * weight / total
        assert np.abs(lag).max() < len(corpora)
        counts = Counter(one for one in names if one[0] == name)
        assert len(counts) == pairs and max(counts.values()) - min(counts.values()) <= 1
        assert [one for one in names if one[0] == name][:pairs] == [f"{name}{n}" for n in range(pairs)]
    once = [name for name, pairs, _ in corpora if sum(one[0] == name for one in names) == pairs]
    assert once, "one corpus comes once"
    assert sources(split) == names, "the next epoch is the same"


def test_a_corpus_that_does_not_know_its_size_is_counted():
    unknown = corpus("b", 10).filter(lambda *_: True)
    assert int(unknown.cardinality()) == tf.data.UNKNOWN_CARDINALITY
    assert len(sources(mixed([(corpus("a", 4), 1), (unknown, 1)]))) == 20


def test_corpora_may_be_weighted_and_of_ids():
    split = mixed([(weighted(corpus("a", 2), 1.0), 1), (weighted(corpus("b", 2), 0.5), 1)])
    assert [float(weight) for *_, weight in split] == [1.0, 0.5, 1.0, 0.5]
    ids = tf.data.Dataset.from_tensor_slices(
        (tf.ragged.constant([[5], [6, 7]]), tf.ragged.constant([[8], [9]]))
    )
    assert [source.tolist() for source, _ in mixed([(ids, 1)]).as_numpy_iterator()] == [[5], [6, 7]]


def test_bad_corpora_are_told():
    pairs = corpus("a", 3)
    for corpora in ([], [(pairs, 0)], [(pairs, -1)], [(pairs, float("nan"))]):
        with pytest.raises(InputError, match=r"wants a list of \(split, weight\), weights above 0"):
            mixed(corpora)
    with pytest.raises(InputError, match="a corpus is endless"):
        mixed([(pairs.repeat(), 1)])
    with pytest.raises(InputError, match="a corpus is empty"):
        mixed([(pairs.take(0), 1)])
    with pytest.raises(InputError, match="a corpus is empty"):
        mixed([(pairs.filter(lambda *_: False), 1)])
    with pytest.raises(InputError, match="differ in structure"):
        mixed([(pairs, 1), (weighted(pairs, 1.0), 1)])
    with pytest.raises(InputError, match="corpus 1 has less than one pair in 10000"):
        mixed([(pairs, 1), (pairs, 1e-5)])
    with pytest.raises(InputError, match="a sample weight is a number of at least 0, not -1"):
        weighted(pairs, -1)
