"""Beams as wide as all sequences against brute force: every penalty, with every constraint.

A constraint is checked on whole sequences: an *offence* is a place whose token may not stand there. Forced beginnings are
asked of nothing, so offences inside them do not count.

Shapes: **R** sources, **n** sequences.
"""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from search_references import (
    NEVER,
    every_sequence,
    in_graph,
    random_sources,
    said,
    scored,
    search,
)

from tf_seq2seq.data.vocabulary import END, PAD, UNK
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.constraints import AllowedTokens, Banned, NoRepeatNGrams, RepetitionPenalty
from tf_seq2seq.decoding.coverage import CoveragePenalty
from tf_seq2seq.decoding.penalties import LengthPenalty
from tf_seq2seq.decoding.trie import Trie

pytestmark = pytest.mark.oracle

PENALTIES = [  # name, alpha, beta, offset
    ("none", 0.0, 0.0, 0),
    ("average", 1.0, 0.0, 0),
    ("average", 0.5, 0.0, 1),
    ("average", -0.7, 0.0, 0),
    ("gnmt", 0.6, 0.0, 0),
    ("gnmt", 1.4, 0.0, -1),
    ("gnmt_tf", 0.6, 0.0, 0),
    ("gnmt_tf", 1.0, 0.0, -2),
    ("sockeye", 1.0, 0.0, 0),
    ("sockeye", 0.8, 2.5, 0),
    ("word_reward", 1.3, 0.0, 0),
    ("word_reward", -0.6, 0.0, -1),
]
EACH_NAME = [PENALTIES[place] for place in (0, 1, 4, 6, 9, 10)]
COVERAGES = [
    None,
    ("gnmt", 0.4, False),
    ("summary", 0.7, False),
    ("summary", 0.7, True),
    ("gnmt", 0.4, True),
]


class Row(NamedTuple):
    """What a source's constraints depend on."""

    source_length: Any
    prefix: Any = ()
    phrases: Any = ()


# offences: the places of a sequence of tokens where one may not stand


def phrase_offences(phrases):
    def offences(ids, row):
        return [
            start + len(phrase) - 1
            for phrase in phrases
            for start in range(len(ids))
            if ids[start : start + len(phrase)] == phrase
        ]

    return offences


def repeat_offences(size, exclude=()):
    def offences(ids, row):
        grams = [ids[start : start + size] for start in range(len(ids) - size + 1)]
        return [
            later + size - 1
            for early, later in itertools.combinations(range(len(grams)), 2)
            if grams[early] == grams[later] and not set(grams[later]) & set(exclude)
        ]

    return offences


def trie_offences(sequences):
    whole = [(*sequence, END) for sequence in sequences]
    starts = {sequence[:size] for sequence in whole for size in range(len(sequence) + 1)}
    return lambda ids, row: [place for place in range(len(ids)) if ids[: place + 1] not in starts]


def short_offences(least):
    def offences(ids, row):
        fewest = least if isinstance(least, int) else int(least[0] * row.source_length + least[1])
        return [len(ids) - 1] if ids[-1] == END and len(ids) < fewest else []

    return offences


def climb_offences(ids, row):
    """After a token comes END or one that is not smaller by one, modulo 3, than it."""
    return [
        place
        for place in range(1, len(ids))
        if ids[place] != END and (ids[place] - ids[place - 1]) % 3 == (place + 1) % 3
    ]


def climb(ids, time, width):
    before = tf.gather(ids, tf.maximum(time - 1, 0), axis=1)[:, None]
    wrong = (tf.range(width) - before) % 3 == (time + 1) % 3
    return ~wrong | (tf.range(width) == END) | (time == 0)


class Case(NamedTuple):
    """A constraint, and what it means.

    Fields:
        name: for the test's id.
        options: of `BeamSearch`.
        offences: functions (ids, Row) -> places.
        width, longest: W and T.
        penalty: of repetition.
        prefixes, phrases, limits: whether sources have them.
    """

    name: str
    options: dict
    offences: tuple = ()
    width: int = 6
    longest: int = 4
    penalty: float = 1.0
    prefixes: bool = False
    phrases: bool = False
    limits: bool = False


SEQUENCES = [(4,), (4, 5), (5, 4, 4), (UNK, 5, 5), (5, 5, UNK, 4)]
BANNED = [(UNK,), (4, 4), (5, 4, 5), (4, END), (4,) * 7]
NAMES = ("min_length", "max_length", "constraints")
options = lambda *values: {name: value for name, value in zip(NAMES, values) if value is not None}
only = lambda *constraints: {"constraints": list(constraints)}

CASES = [
    Case("free", {}),
    Case("min_length", options(3), (short_offences(3),)),
    Case("min_length_ratio", options((0.5, 1.5)), (short_offences((0.5, 1.5)),)),
    Case("max_length", options(None, 2)),
    Case("max_length_ratio", options(None, (1.5, -0.5))),
    Case("both_ratios", options((1.0, 0.0), (1.0, 1.0)), (short_offences((1.0, 0.0)),)),
    Case("limits", {}, limits=True),
    Case("prefix", {}, prefixes=True),
    Case("banned", only(Banned([UNK, *map(list, BANNED[1:])])), (phrase_offences(BANNED),)),
    Case("unk_blocked", only(Banned([UNK])), (phrase_offences([(UNK,)]),)),
    Case("no_repeat_1", only(NoRepeatNGrams(1, [4])), (repeat_offences(1, [4]),)),
    Case("no_repeat_2", only(NoRepeatNGrams(2)), (repeat_offences(2),), 5, 5),
    Case("no_repeat_2_but", only(NoRepeatNGrams(2, [UNK])), (repeat_offences(2, [UNK]),), 5, 5),
    Case("no_repeat_3", only(NoRepeatNGrams(3, [END])), (repeat_offences(3),), 5, 6),
    Case("repetition", only(RepetitionPenalty(1.7)), penalty=1.7),
    Case("repetition_sought", only(RepetitionPenalty(0.4)), penalty=0.4),
    Case("trie", only(Trie([*map(list, SEQUENCES)])), (trie_offences(SEQUENCES),)),
    Case(
        "trie_left_by_a_prefix",
        only(Trie([*map(list, SEQUENCES)])),
        (trie_offences(SEQUENCES),),
        prefixes=True,
    ),
    Case("allowed", only(AllowedTokens(climb)), (climb_offences,)),
    Case("phrases", {}, phrases=True),
    Case(
        "much",
        options((0.5, 1.0), (1.0, 2.0), [NoRepeatNGrams(2), RepetitionPenalty(1.3), Banned([[5, 5]])]),
        (short_offences((0.5, 1.0)), repeat_offences(2), phrase_offences([(5, 5)])),
        penalty=1.3,
        prefixes=True,
    ),
    Case(
        "much_with_phrases",
        options(2, (0.5, 3.0), [RepetitionPenalty(1.5), Banned([[4, 4]])]),
        (short_offences(2), phrase_offences([(4, 4)])),
        penalty=1.5,
        phrases=True,
    ),
    Case("prefix_and_phrases", {}, prefixes=True, phrases=True),
]
PREFIXES = [(), (4,), (5, UNK), (4, END), (UNK, UNK, 5)]
PHRASES = [(), ((4,),), ((5, 4),), ((4, 4), (4,)), ((4, 5), (5, 4)), ((5,), (5,)), ((UNK, 4), (5,))]


def own_limits(case, sources):
    """Of each source, what a search is told besides its maximum length."""
    return np.arange(len(sources.mask)) % case.longest + 1 if case.limits else case.longest


def limits(case, sources):
    most = case.options.get("max_length", case.longest)
    if isinstance(most, tuple):
        most = np.floor(most[0] * sources.lengths + most[1]).astype(int)
    return np.clip(most, 1, own_limits(case, sources)) * np.ones(len(sources.mask), int)


def rows_of(case, sources):
    count = len(sources.mask)
    prefixes = [PREFIXES[place % 5] if case.prefixes else () for place in range(count)]
    phrases = [PHRASES[place % 7] if case.phrases else () for place in range(count)]
    return list(map(Row, sources.lengths.tolist(), prefixes, phrases))


def conditions_of(case, sources):
    """What `Conditions` are made of, as arrays padded with PAD."""
    rows = rows_of(case, sources)
    found = {"limit": np.broadcast_to(own_limits(case, sources), len(rows))}
    padded = lambda ids, size: [*ids, *[PAD] * (size - len(ids))]
    if case.prefixes:
        found["prefix"] = np.array([padded(row.prefix, 3) for row in rows])
    if case.phrases:
        none = ((),) * 2
        found["phrases"] = np.array(
            [[padded(ids, 2) for ids in (*row.phrases, *none)[:2]] for row in rows], np.int32
        )
    return found


@functools.cache
def allowed(offences, width, longest, row, limit):
    """Which of all sequences (n,) a source may have, checked one by one."""
    return np.array([fits(offences, row, limit, ids) for ids in every_sequence(width, longest).tuples])


def fits(offences, row, limit, ids):
    forced = len(row.prefix)
    finished = ids[-1] == END
    contains = lambda phrase: any(ids[place : place + len(phrase)] == phrase for place in range(len(ids)))
    return (
        (len(ids) <= limit if finished else len(ids) == limit)
        and ids[:forced] == row.prefix[: len(ids)]
        and all(place < forced for each in offences for place in each(ids, row))
        and (not finished or all(map(contains, row.phrases)))
    )


def factors(case, sequences, rows):
    """What each token's log-prob counts: a token that was said before, and is not forced, the repetition penalty."""
    again = np.zeros(sequences.ids.shape, bool)
    for number, ids in enumerate(sequences.tuples):
        again[number, : len(ids)] = [token in ids[:place] for place, token in enumerate(ids)]
    free = np.arange(case.longest) >= np.array([len(row.prefix) for row in rows])[:, None, None]
    return np.where(again & free, case.penalty, 1.0)


def brute_force(case, sources, penalty, coverage):
    """Sequences, their scores and which are allowed (R, n)."""
    sequences, rows = every_sequence(case.width, case.longest), rows_of(case, sources)
    most = limits(case, sources).tolist()
    may = np.array([allowed(case.offences, case.width, case.longest, *each) for each in zip(rows, most)])
    scores = scored(
        sources, sequences.ids, sequences.lengths, penalty, coverage, factors(case, sequences, rows)
    )
    return sequences, np.where(may, scores, NEVER), may


def assert_brute_force(found, case, sources, penalty, coverage):
    """The best hypotheses, all of them and their scores, finished ones first."""
    sequences, scores, may = brute_force(case, sources, penalty, coverage)
    number = {ids: place for place, ids in enumerate(sequences.tuples)}
    size = found.scores.shape[1]
    for row in range(len(may)):
        order = np.lexsort([-scores[row], ~sequences.finished])
        order = order[may[row, order]][:size]
        got = [number[said(found, row, place)] for place in range(len(order))]
        assert len(set(got)) == len(got)
        np.testing.assert_allclose(found.scores[row, : len(got)], scores[row, order], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.scores[row, : len(got)], scores[row, got], rtol=1e-4, atol=1e-4)
        assert (found.finished[row, : len(got)] == sequences.finished[order]).all()
        assert (found.lengths[row, : len(got)] == sequences.lengths[got]).all()
        assert (found.scores[row, len(got) :] == NEVER).all() and not found.lengths[row, len(got) :].any()


def strategy_of(case, penalty, coverage, n_best=None, beam_size=None):
    size = beam_size or (case.width - 2) ** case.longest
    return BeamSearch(
        **{
            "beam_size": size,
            "n_best": n_best or min(size, 256),
            "length_penalty": LengthPenalty(*penalty),
            "coverage_penalty": coverage and CoveragePenalty(*coverage),
            "max_length": case.longest,
            **case.options,
        }
    )


CONSTRAINED = ["much_with_phrases", "prefix", "trie", "no_repeat_2", "much", "phrases"]


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("number", range(6), ids=[penalty[0] for penalty in EACH_NAME])
def test_batches_of_three(number, constrained):
    """60 tables in batches of B = 3 sources of different lengths, for each penalty, without and with constraints."""
    penalty, coverage = EACH_NAME[number], COVERAGES[number % 5]
    case = next(case for case in CASES if case.name == (CONSTRAINED[number] if constrained else "free"))
    sources = random_sources(60, case.width, seed=number)
    run = in_graph(strategy_of(case, penalty, coverage))
    conditions = conditions_of(case, sources)
    parts = [
        run(sources.of(rows), **{name: field[rows] for name, field in conditions.items()})
        for rows in np.arange(60).reshape(20, 3)
    ]
    steps = max(part.ids.shape[2] for part in parts)
    pad = lambda ids: np.pad(ids, [(0, 0), (0, 0), (0, steps - ids.shape[2])])
    parts = [part._replace(ids=pad(part.ids), alignments=None, token_log_probs=None) for part in parts]
    found = type(parts[0])(*(None if field[0] is None else np.concatenate(field) for field in zip(*parts)))
    assert_brute_force(found, case, sources, penalty, coverage)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_constraint(case):
    """Under three length penalties and three coverage penalties each, so that every pair of the two comes up."""
    first = CASES.index(case) * 3
    for number in range(first, first + 3):
        penalty = PENALTIES[number % len(PENALTIES)]
        coverage = COVERAGES[number % len(COVERAGES)]
        n_best = [None, 3, 1][number % 3]
        sources = random_sources(48, case.width, seed=100 + number)
        found = search(strategy_of(case, penalty, coverage, n_best), sources, **conditions_of(case, sources))
        assert_brute_force(found, case, sources, penalty, coverage)


def test_the_cases_can_fail():
    """Every constraint changes something for many sources: a search that ignored it would be seen."""
    for case in CASES[1:]:
        sources = random_sources(100, case.width, seed=1)
        free = case._replace(
            name="free", options={}, offences=(), prefixes=False, phrases=False, limits=False
        )
        with_it = brute_force(case, sources, PENALTIES[0], None)[1]
        without = brute_force(free._replace(penalty=1.0), sources, PENALTIES[0], None)[1]
        assert (with_it != without).any(axis=1).mean() > 0.2, case.name
