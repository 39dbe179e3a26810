"""Shards: every pair once, in the corpus's order or shuffled by seed and epoch; each worker its own; damage is told."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.data.shards import RECORD, Shards, write_shards
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import END
from tf_seq2seq.errors import InputError

RANDOM = np.random.default_rng(0)
COUNT, FILES = 5 * RECORD + 17, 3
TEXT = TextProcessor("bytes")
ROWS = [
    [[4 + number, *RANDOM.integers(4, top, RANDOM.integers(0, 9))] for number in range(COUNT)]
    for top in (50, 90_000)  # numbers that need 4 bytes on one side
]
SPLIT = tf.data.Dataset.from_tensor_slices(tuple(tf.ragged.constant(rows, tf.int32) for rows in ROWS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "corpus"
    write_shards(SPLIT, folder, shards=FILES)
    return folder


def pairs(dataset):
    """(source, target) as tuples of ids."""
    return [tuple(tuple(side.numpy().tolist()) for side in pair) for pair in dataset]


def rows(made):
    """The pairs in batches, in order."""
    strip = lambda row: tuple(id for id in row if id)
    return [
        (strip(source), strip(target))
        for inputs, labels in made
        for source, target in zip(inputs["source_ids"].numpy().tolist(), labels.numpy().tolist())
    ]


WANTED = [(tuple([*map(int, source), END]), tuple([*map(int, target), END])) for source, target in zip(*ROWS)]


def test_a_split_is_the_corpus_in_its_order(folder):
    shards = Shards(folder)
    split = shards.split()
    assert pairs(split) == WANTED
    assert int(split.cardinality()) == COUNT == shards.counts["pairs"]
    assert shards.counts["target_tokens"] == sum(len(target) for _, target in WANTED)
    assert shards.source_text is None
    assert rows(batches(split, batch_size=50, shuffle=False)) == WANTED


@pytest.mark.parametrize("options", [{}, {"cache": True}, {"max_length": 6, "window": RECORD}])
def test_batches_hold_every_pair_once_in_the_order_of_seed_and_epoch(folder, options):
    tf.random.set_seed(7)  # the program's own seed has no say
    made = lambda seed: batches(Shards(folder).split(), batch_tokens=300, seed=seed, **options)
    data = made(1)
    first, second = rows(data), rows(data)
    limit = options.get("max_length", 99)
    kept = sorted(pair for pair in WANTED if max(map(len, pair)) <= limit)
    assert sorted(first) == sorted(second) == kept
    assert first != second
    tf.random.set_seed(8)
    later = made(1)
    later.position.epoch = 1
    assert rows(later) == second, "the order of an epoch does not depend on what came before"
    assert rows(made(2)) != first


def test_pairs_meet_other_pairs_in_each_epoch(folder):
    """Windows smaller than the corpus hold other records each time, from other files."""
    data = batches(Shards(folder).split(), batch_size=RECORD, window=2 * RECORD)
    firsts = [{row[0][0] for row in rows(data)[: 2 * RECORD]} for _ in range(4)]
    assert len({frozenset(one) for one in firsts}) > 2


def test_workers_share_the_files(folder):
    parts = [pairs(Shards(folder).split(worker, FILES)) for worker in range(FILES)]
    assert sorted(pair for part in parts for pair in part) == sorted(WANTED)
    assert all(parts)
    with pytest.raises(InputError, match="make more shards"):
        Shards(folder).split(0, FILES + 1)


@pytest.mark.parametrize("compress", [False, True])
def test_strings_are_tokenised_once_and_the_processors_stand_beside(tmp_path, compress):
    strings = tf.data.Dataset.from_tensor_slices((["a b", "c" * 40, "d"], ["x", "y", "z" * 3]))
    write_shards(strings, tmp_path / "corpus", TEXT, TEXT, shards=2, max_length=10, compress=compress)
    shards = Shards(tmp_path / "corpus")
    found = [tuple(TEXT.text(ids[None])[0].numpy().decode() for ids in pair) for pair in shards.split()]
    assert found == [("a b", "x"), ("d", "zzz")]
    assert shards.counts == {"pairs": 2, "source_tokens": 6, "target_tokens": 6, "dropped": 1}
    assert shards.target_text.vocab_size == TEXT.vocab_size


def test_shards_take_the_place_of_shards_and_of_nothing_else(tmp_path):
    write_shards(SPLIT.take(9), tmp_path / "corpus", shards=5)
    write_shards(SPLIT.take(8), tmp_path / "corpus", shards=2)
    assert len(pairs(Shards(tmp_path / "corpus").split())) == 8
    assert len(list((tmp_path / "corpus").iterdir())) == 3
    (tmp_path / "corpus" / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match=r"holds mine\.txt"):
        write_shards(SPLIT.take(7), tmp_path / "corpus", shards=2)
    with pytest.raises(InputError, match="no pair is left"):
        write_shards(SPLIT.take(0), tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_damage_is_told(tmp_path, folder):
    with pytest.raises(InputError, match="no folder of shards"):
        Shards(tmp_path)
    write_shards(SPLIT.take(99), tmp_path / "corpus", shards=2)
    [first, *_] = sorted((tmp_path / "corpus").glob("*.tfrecord"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(InputError, match="not as it was written"):
        Shards(tmp_path / "corpus")
    (tmp_path / "corpus" / "shards.json").write_text(json.dumps({"counts": {}}))
    with pytest.raises(InputError, match="no folder of shards"):
        Shards(tmp_path / "corpus")
