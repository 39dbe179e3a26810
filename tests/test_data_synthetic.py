"""Synthetic tasks: right answers, disjoint splits, the same from the same seed."""

import itertools

import pytest

from tf_seq2seq.data.synthetic import SYNTHETIC_TASKS, SyntheticTask
from tf_seq2seq.errors import InputError

ANSWERS = {
    "copy": ("b a c", "b a c"),
    "reverse": ("b a c", "c a b"),
    "sort": ("b a c a", "a a b c"),
    "addition": ("9 9 + 1", "1 0 0"),
}


def strings(dataset):
    return [(source.decode(), target.decode()) for source, target in dataset.as_numpy_iterator()]


@pytest.mark.parametrize("task", SYNTHETIC_TASKS)
@pytest.mark.parametrize("spaced", [True, False])
def test_answers_lengths_and_counts(task, spaced):
    synthetic = SyntheticTask(task, spaced=spaced)
    source, target = (text if spaced else text.replace(" ", "") for text in ANSWERS[task])
    assert synthetic.answer(source) == target
    rows = strings(synthetic.pairs(train=1500, valid=5, test=5).train)
    assert len(rows) == 1500
    assert all(target == synthetic.answer(source) for source, target in rows)
    lengths = {len(source.split() if spaced else source) for source, _ in rows}
    assert lengths == set(range(3, 8 if task == "addition" else 21))
    assert all((" " in source) == spaced for source, _ in rows)


@pytest.mark.parametrize("task", SYNTHETIC_TASKS)
def test_splits_are_disjoint_also_for_other_seeds(task):
    seen = {"train": set(), "valid": set(), "test": set()}
    for seed in range(2):
        pairs = SyntheticTask(task, min_length=3, max_length=4, symbols=3, seed=seed).pairs(500, 100, 100)
        for use, sources in seen.items():
            sources.update(source for source, _ in strings(getattr(pairs, use)))
    assert all(seen.values())
    for one, other in itertools.combinations(seen.values(), 2):
        assert not one & other


def test_a_seed_gives_the_same_examples_in_every_epoch_and_another_seed_others():
    train = SyntheticTask("copy", seed=1).pairs(train=50).train
    assert strings(train) == strings(train) == strings(SyntheticTask("copy", seed=1).pairs(train=50).train)
    assert strings(train) != strings(SyntheticTask("copy", seed=2).pairs(train=50).train)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"task": "translate"}, "no synthetic task"),
        ({"task": "copy", "min_length": 9, "max_length": 5}, "min_length=9"),
    ],
)
def test_bad_options_are_told(options, told):
    with pytest.raises(InputError, match=told):
        SyntheticTask(**options)


def test_too_few_sources_for_a_split_are_told():
    with pytest.raises(Exception, match="too few different sources"):
        pairs = SyntheticTask("copy", min_length=1, max_length=1, symbols=1).pairs(1, 1, 1)
        list(pairs.train), list(pairs.valid), list(pairs.test)
