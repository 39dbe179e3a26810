"""Noise on batches: how often, how far, what is never touched, and that the seed alone decides."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.noise import LocalShuffle, SwitchOut, TokenDeletion, WordDropout, with_noise
from tf_seq2seq.data.vocabulary import END, PAD, START, UNK
from tf_seq2seq.errors import InputError

V = 30
ROWS = 4000
RNG = np.random.default_rng(5)


def rows(lengths, end, begin=()):
    """Random ids (len(lengths), longest) right-padded, of `lengths` tokens between `begin` and `end`."""
    lists = [[*begin, *RNG.integers(4, V, length), *end] for length in lengths]
    longest = max(map(len, lists))
    return np.array([row + [PAD] * (longest - len(row)) for row in lists], np.int32)


LENGTHS = RNG.integers(0, 9, ROWS)
SOURCE, TARGET = rows(LENGTHS, [END]), rows(LENGTHS, [], [START])
NOISES = {
    "word dropout": WordDropout(0.3, "both"),
    "word dropout by type": WordDropout(0.3, "both", by_type=True),
    "deletion": TokenDeletion(0.3),
    "switch out": SwitchOut(V, 1.5, "both"),
    "local shuffle": LocalShuffle(2),
}


def noisy(noise, seed=1, source=SOURCE, target=TARGET):
    inputs = {"source_ids": tf.constant(source), "target_ids": tf.constant(target), "more": 7}
    changed, labels = noise(inputs, "labels", tf.constant([seed, 0], tf.int64))
    assert labels == "labels" and changed["more"] == 7 and np.all(inputs["source_ids"] == source)
    return changed["source_ids"].numpy(), changed["target_ids"].numpy()


def near(count, share, draws):
    """Whether a count of so many draws is within five deviations of its expectation."""
    return abs(count - share * draws) <= 5 * (share * (1 - share) * draws) ** 0.5 + 1e-9


@pytest.mark.parametrize("name", NOISES)
def test_the_seed_alone_decides_and_special_ids_stay(name):
    noise = NOISES[name]
    source, target = noisy(noise)
    for one, other in zip((source, target), noisy(noise)):
        np.testing.assert_array_equal(one, other)
    assert source.shape != noisy(noise, 2)[0].shape or np.any(source != noisy(noise, 2)[0])
    assert source.dtype == target.dtype == np.int32
    assert source.max() < V and np.isin(source[source < 4], [PAD, UNK, END]).all()
    np.testing.assert_array_equal((source == END).sum(1), 1)
    assert all(
        row[: list(row).index(END)].all() and not row[list(row).index(END) + 1 :].any() for row in source
    )
    for special in (PAD, START, END):
        np.testing.assert_array_equal(target == special, np.equal(TARGET, special))


@pytest.mark.parametrize("name", NOISES)
def test_the_same_inside_a_graph_and_for_batches_of_no_tokens(name):
    noise = NOISES[name]
    data = tf.data.Dataset.from_tensors(({"source_ids": SOURCE, "target_ids": TARGET}, TARGET))
    (inputs, _) = next(iter(data.map(lambda x, y: noise(x, y, tf.constant([1, 0], tf.int64)))))
    np.testing.assert_array_equal(inputs["source_ids"], noisy(noise)[0])
    empty = np.full([3, 1], END, np.int32)
    np.testing.assert_array_equal(
        noisy(noise, source=empty, target=np.full([3, 1], START, np.int32))[0], empty
    )


def test_word_dropout_makes_its_share_unknown_and_changes_nothing_else():
    for before, after in zip((SOURCE, TARGET), noisy(WordDropout(0.3, "both"))):
        real = before > END
        changed = after != before
        assert (after[changed] == UNK).all() and not changed[~real].any()
        assert near(changed.sum(), 0.3, real.sum())
    assert (noisy(WordDropout(0.3, "both"))[0][:, :8] == UNK).sum() != 0
    one, other = noisy(WordDropout(0.5, "both"), source=TARGET, target=TARGET)
    assert np.any(one != other), "the sides draw alike"
    source, target = noisy(WordDropout(1.0, "target"))
    assert np.all(source == SOURCE) and np.all(target[TARGET > END] == UNK)
    assert np.all(noisy(WordDropout(0.0, "both"))[0] == SOURCE)


def test_word_dropout_by_type_takes_all_of_a_sentences_equal_tokens_or_none():
    source = np.tile(np.array([[5, 6, 5, 7, 5, END]], np.int32), [ROWS, 1])
    dropped = noisy(WordDropout(0.3, by_type=True), source=source)[0] == UNK
    fives = dropped[:, [0, 2, 4]]
    assert np.all(fives.all(1) == fives.any(1)) and near(fives[:, 0].sum(), 0.3, ROWS)
    assert near((dropped[:, 0] & dropped[:, 1]).sum(), 0.09, ROWS), "types go independently"


def test_deletion_keeps_the_order_of_what_is_left():
    after, _ = noisy(TokenDeletion(0.3))
    left = 0
    for before, row in zip(SOURCE, after):
        rest = iter(before)
        assert all(token in rest for token in row[row != PAD])  # a subsequence
        left += (row > END).sum()
    assert near(left, 0.7, (SOURCE > END).sum())
    assert after.shape[1] == (after != PAD).sum(1).max(), "no column of padding alone"
    without_end = np.array([[5, 6, PAD], [7, PAD, PAD]], np.int32)
    np.testing.assert_array_equal(noisy(TokenDeletion(1.0), source=without_end)[0], without_end[:, :2])


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_switch_out_replaces_as_many_as_the_paper_says_anywhere_by_anything(temperature):
    length = 4
    source = np.tile(np.array([[V] * length + [END, PAD]], np.int32), [ROWS, 1])  # V itself is never drawn
    changed = noisy(SwitchOut(V, temperature), source=source)[0]
    replaced = changed[:, :length] != V
    weights = np.exp(-np.arange(length + 1) / temperature)
    for number, share in enumerate(weights / weights.sum()):
        assert near((replaced.sum(1) == number).sum(), share, ROWS), number
    for pair in ([0, 1], [2, 3], [0, 3]):  # of two replaced, each pair of places is equally likely
        assert near(replaced[replaced.sum(1) == 2][:, pair].all(1).sum(), 1 / 6, (replaced.sum(1) == 2).sum())
    tokens = Counter(changed[:, :length][replaced].tolist())
    assert set(tokens) == set(range(4, V))
    assert all(near(count, 1 / (V - 4), replaced.sum()) for count in tokens.values())


def test_switch_out_draws_from_the_vocabulary_of_the_side():
    source, target = noisy(SwitchOut((6, 9), 5.0, "both"))
    assert set(source[source != SOURCE]) == {4, 5} and set(target[target != TARGET]) == {4, 5, 6, 7, 8}


@pytest.mark.parametrize("distance", [0, 1, 3])
def test_local_shuffle_draws_orders_as_often_as_its_formula(distance):
    length, draws = 4, 200_000
    source = np.tile(np.array([[5, 6, 7, 8, END, PAD]], np.int32), [ROWS, 1])
    after = noisy(LocalShuffle(distance), source=source)[0]
    assert np.all(after[:, length:] == [END, PAD])
    orders = np.argsort(np.arange(length) + RNG.uniform(0, distance + 1, [draws, length]))
    expected = Counter(map(tuple, orders.tolist()))
    found = Counter(map(tuple, (after[:, :length] - 5).tolist()))
    for order in permutations(range(length)):
        share = expected[order] / draws
        spread = (share * (1 - share) * (1 / ROWS + 1 / draws)) ** 0.5
        assert abs(found[order] / ROWS - share) <= 5 * spread + 1e-9, order
    assert max(abs(token - place) for order in found for place, token in enumerate(order)) == distance


def test_several_noises_come_one_after_the_other_with_seeds_of_their_own():
    inputs, seed = {"source_ids": SOURCE, "target_ids": TARGET}, tf.constant([1, 2], tf.int64)
    both, _ = with_noise([WordDropout(0.5), WordDropout(0.5)], inputs, None, seed)
    assert near((both["source_ids"].numpy() == UNK).sum(), 0.75, (SOURCE > END).sum())
    both, _ = with_noise([WordDropout(1.0), LocalShuffle(3)], inputs, None, seed)
    np.testing.assert_array_equal(both["source_ids"], np.where(SOURCE > END, UNK, SOURCE))


def test_bad_arguments_are_told():
    for make in (lambda: WordDropout(1.5), lambda: TokenDeletion(-0.1), lambda: WordDropout(float("nan"))):
        with pytest.raises(InputError, match=r"share is a probability in \[0, 1\], not"):
            make()
    with pytest.raises(InputError, match="side is one of source, target, both, not 'left'"):
        WordDropout(0.1, "left")
    with pytest.raises(InputError, match="has no tokens besides the special ones"):
        SwitchOut((20, 4))
    with pytest.raises(InputError, match="temperature is above 0, not 0"):
        SwitchOut(20, 0)
    with pytest.raises(InputError, match="distance is a number of tokens of at least 0, not -1"):
        LocalShuffle(-1)
