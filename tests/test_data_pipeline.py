"""The pipeline against plain Python: no pair lost, right shapes, tight padding, order fixed by the seed."""

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.pipeline import batches, token_counts
from tf_seq2seq.data.position import positions
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.errors import InputError

TEXT = TextProcessor("bytes")
COUNT = 700
RANDOM = np.random.default_rng(0)
ROWS = [
    ("s" * RANDOM.integers(1, 30) + str(number), "t" * RANDOM.integers(1, 30) + str(number))
    for number in range(COUNT)
]


def sides(rows):
    """Lists of the sources and of the targets."""
    return [source for source, _ in rows], [target for _, target in rows]


STRINGS = tf.data.Dataset.from_tensor_slices(sides(ROWS))


def made(dataset):
    """The batches as (source_ids, target_ids, labels) arrays."""
    return [(x["source_ids"].numpy(), x["target_ids"].numpy(), labels.numpy()) for x, labels in dataset]


def texts(parts):
    """The pairs of strings in batches, in order."""
    rows = [tf.ragged.constant([row for part in parts for row in part[side].tolist()]) for side in (0, 2)]
    return [tuple(one.decode() for one in pair) for pair in zip(*(TEXT.text(one).numpy() for one in rows))]


def padding(parts):
    """Shares of padding among source and target tokens."""
    return [np.mean(np.concatenate([part[side].ravel() == PAD for part in parts])) for side in (0, 2)]


OPTIONS = [
    {"batch_size": 64},
    {"batch_tokens": 500},
    {"batch_size": 50, "cache": True},
    {"batch_tokens": 500, "window": 1},
    {"batch_tokens": 500, "shuffle": False, "bucket": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_every_pair_comes_once_with_labels_shifted(options):
    parts = made(batches(STRINGS, TEXT, TEXT, **options))
    assert sorted(texts(parts)) == sorted(ROWS)
    for source_ids, target_ids, labels in parts:
        assert source_ids.dtype == target_ids.dtype == labels.dtype == np.int32
        assert target_ids.shape == labels.shape and len(source_ids) == len(labels)
        assert len(labels) <= options.get("batch_size", COUNT)
        assert labels.size <= options.get("batch_tokens", labels.size)
        for target, label in zip(target_ids.tolist(), labels.tolist()):
            length = label.index(END) + 1
            assert target == [START, *label[: length - 1], *[PAD] * (len(label) - length)]
            assert label[length:] == [PAD] * (len(label) - length)
        assert (source_ids[:, -1] != PAD).any() and (labels[:, -1] != PAD).any()


def test_without_shuffle_the_order_is_kept():
    for size in ({"batch_size": 64}, {"batch_tokens": 500}):
        parts = made(batches(STRINGS, TEXT, TEXT, shuffle=False, **size))
        assert texts(parts) == ROWS
        assert all(labels.size <= 500 for _, _, labels in parts) or "batch_size" in size


@pytest.mark.parametrize("cache", [False, True])
def test_buckets_are_tight_full_and_in_random_order_and_company(cache):
    rows = [("s" * one, "t" * two) for one, two in RANDOM.integers(1, 6, size=[2000, 2])]
    split = tf.data.Dataset.from_tensor_slices(
        sides([(f"{n:05}{one}", two) for n, (one, two) in enumerate(rows)])
    )
    dataset = batches(split, TEXT, TEXT, batch_tokens=60, cache=cache)
    epochs = [made(dataset) for _ in range(2)]
    source, target = padding(epochs[0])
    assert target < 0.01 and source < 0.05
    full = [labels.size > 60 - 2 * labels.shape[1] for _, _, labels in epochs[0]]
    assert np.mean(full) > 0.95
    lengths = [labels.shape[1] for _, _, labels in epochs[0]]
    assert abs(np.corrcoef(lengths, np.arange(len(lengths)))[0, 1]) < 0.35
    companies = [
        {frozenset(bytes(row).rstrip(b"\0") for row in part[0]) for part in parts} for parts in epochs
    ]
    assert not companies[0] & companies[1]


def test_a_seed_fixes_the_order_and_each_epoch_has_another():
    dataset = batches(STRINGS, TEXT, TEXT, seed=3, batch_size=32)
    first, second = texts(made(dataset)), texts(made(dataset))
    again = batches(STRINGS, TEXT, TEXT, seed=3, batch_size=32)
    assert (first, second) == (texts(made(again)), texts(made(again)))
    assert first != second
    assert first != texts(made(batches(STRINGS, TEXT, TEXT, seed=4, batch_size=32)))


def test_a_long_pair_is_dropped_on_request_and_otherwise_a_batch_of_its_own():
    rows = [*ROWS[:20], ("x " * 10_000, "y " * 10_000)]
    split = tf.data.Dataset.from_tensor_slices(sides(rows))
    shapes = [labels.shape for _, _, labels in made(batches(split, TEXT, TEXT, batch_tokens=200))]
    assert (1, 20_001) in shapes
    assert sorted(texts(made(batches(split, TEXT, TEXT, batch_tokens=200, max_length=60)))) == sorted(
        ROWS[:20]
    )
    counts = token_counts(split, TEXT, TEXT, max_length=60)
    assert (counts["pairs"], counts["dropped"]) == (20, 1)
    assert counts["target_tokens"] == sum(len(target) + 1 for _, target in ROWS[:20])
    wanted = [row for row in ROWS if len(row[0]) < 20 and len(row[1]) < 10]
    assert sorted(texts(made(batches(STRINGS, TEXT, TEXT, batch_size=9, max_length=(20, 10))))) == sorted(
        wanted
    )


def test_nothing_left_gives_no_batches():
    assert not made(batches(STRINGS, TEXT, TEXT, batch_tokens=99, max_length=1))


@pytest.mark.parametrize(
    "dtype, text, with_end", [(tf.int32, TEXT, True), (tf.int64, None, True), (tf.int64, None, False)]
)
def test_ids_are_as_good_an_input(dtype, text, with_end):
    ids = [tf.cast(TEXT.ids(side), dtype) for side in sides(ROWS[:50])]
    split = tf.data.Dataset.from_tensor_slices(tuple(ids if with_end else [side[:, :-1] for side in ids]))
    from_strings = made(batches(STRINGS.take(50), TEXT, TEXT, batch_size=8))
    for one, other in zip(made(batches(split, text, text, batch_size=8)), from_strings, strict=True):
        assert all((left == right).all() for left, right in zip(one, other))


def test_other_lengths_do_not_retrace():
    traces = []

    @tf.function
    def step(inputs, labels):
        traces.append(labels.shape)
        return tf.reduce_sum(labels)

    dataset = batches(STRINGS, TEXT, TEXT, batch_tokens=500)
    for inputs, labels in dataset.take(20):
        step(inputs, labels)
    assert len({labels.shape[1] for _, labels in dataset}) > 5
    assert len(traces) > 1, "eager tensors have known shapes"
    traces.clear()
    strategy = tf.function(lambda iterator: step(*next(iterator)))
    iterator = iter(dataset)
    for _ in range(20):
        strategy(iterator)
    assert traces == [tf.TensorShape([None, None])]


BAD = [
    ({}, "one of batch_size"),
    ({"batch_size": 2, "batch_tokens": 3}, "one of batch_size"),
    ({"batch_tokens": 0}, "at least 1"),
    ({"batch_size": 2, "source_text": None}, "the pairs are strings"),
    ({"batch_size": 2, "split": ROWS}, "tf.data.Dataset of"),
]


@pytest.mark.parametrize("options, told", BAD)
def test_bad_arguments_are_told(options, told):
    arguments = {"split": STRINGS, "source_text": TEXT, "target_text": TEXT, **options}
    with pytest.raises(InputError, match=told):
        batches(
            arguments.pop("split"), arguments.pop("source_text"), arguments.pop("target_text"), **arguments
        )


NOISES = [
    lambda inputs, labels, seed: (
        {**inputs, "seed": tf.broadcast_to(seed, [tf.shape(labels)[0], 2])},
        labels,
    )
]


@pytest.mark.parametrize(
    "options", [{}, {"cache": True}, {"window": 100, "batch_size": 7}, {"noise": NOISES}]
)
def test_an_epoch_is_a_function_of_seed_and_number_only(options):
    def epochs(start, count):
        dataset = batches(STRINGS, TEXT, TEXT, seed=5, **{"batch_size": 32, **options})
        dataset.position.epoch = start
        return [[*dataset.as_numpy_iterator()] for _ in range(count)]

    whole = epochs(0, 2)
    tf.random.set_seed(99)  # the program's own seed has no say
    [later] = epochs(1, 1)
    for left, right in zip(whole[1], later, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, left, right)
    assert whole[0][0][0]["source_ids"].tolist() != whole[1][0][0]["source_ids"].tolist()
    if "noise" in options:
        seeds = {tuple(batch[0]["seed"][0]) for epoch in whole for batch in epoch}
        assert len(seeds) == sum(map(len, whole))


def test_a_pass_is_counted_at_its_first_batch_and_datasets_share_nothing():
    one, other = (batches(STRINGS, TEXT, TEXT, batch_size=32) for _ in range(2))
    unused = iter(one)
    assert (one.position.epoch, other.position.epoch) == (0, 0)
    next(unused)
    next(unused)
    assert (one.position.epoch, other.position.epoch) == (1, 0)


def test_a_position_is_found_behind_transformations():
    data = batches(STRINGS, TEXT, TEXT, batch_size=32)
    for made in (
        data,
        data.take(5).prefetch(2),
        data.map(lambda inputs, labels: (inputs, labels)).repeat(),
        tf.data.Dataset.zip(data, tf.data.Dataset.range(9)),
        data.with_options(tf.data.Options()),
    ):
        assert positions(made) == [data.position]
    assert positions(STRINGS.take(3)) == positions(np.zeros(3)) == []


@pytest.mark.parametrize("ids", [False, True])
def test_weights_go_with_their_pairs(ids):
    sources = TEXT.ids(sides(ROWS)[0]) if ids else tf.constant(sides(ROWS)[0])
    targets = TEXT.ids(sides(ROWS)[1]) if ids else tf.constant(sides(ROWS)[1])
    weights = tf.constant([float(source.lstrip("s")) for source, _ in ROWS])
    split = tf.data.Dataset.from_tensor_slices((sources, targets, weights))
    data = batches(split, TEXT, TEXT, batch_tokens=500, max_length=(20, 30))
    count = 0
    for inputs, labels, weight in data:
        count += len(labels)
        assert weight.dtype == tf.float32 and weight.shape == labels.shape[:1]
        for source, one in zip(TEXT.text(inputs["source_ids"]).numpy(), weight.numpy()):
            assert float(source.lstrip(b"s")) == one
    assert count == token_counts(split, TEXT, TEXT, (20, 30))["pairs"] > 100
