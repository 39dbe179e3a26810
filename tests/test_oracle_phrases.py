"""Phrases that must appear, with beams that prune: against the documented search in plain Python, and brute force.

Shapes: **R** sources, **K** beam, **n** sequences.
"""

import numpy as np
import pytest
from search_references import (
    PlainBeam,
    assert_same,
    coverage_score,
    emitted,
    every_sequence,
    random_sources,
    said,
    scored,
    search,
)

from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.coverage import CoveragePenalty
from tf_seq2seq.decoding.penalties import LengthPenalty

pytestmark = pytest.mark.oracle

WIDTH, LONGEST = 7, 6
AVERAGE = ("average", 1.0, 0.0, 0)


def contains(ids, phrase):
    return any(ids[place : place + len(phrase)] == phrase for place in range(len(ids)))


def bank(ids, phrases):
    """Phrase tokens of a hypothesis: of a phrase that it contains all, else how many of the first ones it ends with."""
    ends = lambda phrase: max(
        size for size in range(len(phrase) + 1) if ids[len(ids) - size :] == phrase[:size]
    )
    return sum(len(phrase) if contains(ids, phrase) else ends(phrase) for phrase in phrases)


class PlainPhrases(PlainBeam):
    """The documented search with phrases: `phrases`, tuples of tokens, must all appear."""

    phrases = ()

    def advance(self):
        self.time += 1
        expansions = [each for one in self.live for each in self.expanded(*one)]
        expansions = self.shared_out(sorted(expansions, key=lambda each: -each[0]))
        ended = [each[1:] for each in expansions[: self.size] if each[1][-1] == END]
        self.pool += [(self.score(*each), *each) for each in ended]
        self.pool = sorted(self.pool, key=lambda each: -each[0])[: self.n_best]
        self.live = [each[1:] for each in expansions if each[1][-1] != END][: self.size]

    def expanded(self, ids, total, coverage):
        """By the 2K best tokens, and by the next one of every phrase."""
        missing = [phrase for phrase in self.phrases if not contains(ids, phrase)]
        history = (START, START, *ids)[-2:]
        may = [token for token in emitted(len(self.table)) if not (missing and token == END)]
        best = sorted(may, key=lambda token: -self.table[(*history, token)])[: 2 * self.size]
        wanted = {phrase[bank(ids, [phrase])] for phrase in missing}
        covered = coverage + self.attention[history]
        stepwise = self.coverage_penalty and self.coverage_penalty[2]
        more = coverage_score(self.coverage_penalty, covered, self.mask) if stepwise else 0.0
        for token in {*best, *wanted}:
            log_prob = total + self.table[(*history, token)]
            yield log_prob + more, (*ids, token), log_prob, covered

    def shared_out(self, expansions):
        """In rounds, each the best one left of every bank, the fullest bank first."""
        banks = {}
        for each in expansions:
            banks.setdefault(bank(each[1], self.phrases), []).append(each)
        order = []
        while any(banks.values()):
            order += [banks[number].pop(0) for number in sorted(banks, reverse=True) if banks[number]]
        return order


def random_phrases(count, most, longest, seed):
    """For each source up to `most` phrases; few different tokens, so that they overlap and repeat."""
    rng = np.random.default_rng(seed)
    token = lambda: int(rng.choice([1, 4, 5, 6], p=[0.1, 0.4, 0.3, 0.2]))
    phrase = lambda: tuple(token() for _ in range(rng.integers(1, longest + 1)))
    return [[phrase() for _ in range(rng.integers(0, most + 1))] for _ in range(count)]


def padded(phrases, most, longest):
    """(R, C, L), phrases of PAD where a source has fewer; in the last places or between the others."""
    found = np.full([len(phrases), most, longest], PAD, np.int32)
    for row, each in enumerate(phrases):
        for place, phrase in enumerate(each):
            found[row, (place + row) % most, : len(phrase)] = phrase
    return found


COVERAGE = ("summary", 0.5, True)


@pytest.mark.parametrize(
    "beam_size, n_best, most, longest, coverage",
    [
        (1, 1, 1, 2, None),
        (2, 2, 2, 3, None),
        (3, 2, 2, 2, COVERAGE),
        (4, 4, 1, 3, None),
        (5, 5, 3, 2, ("gnmt", 0.3, False)),
        (8, 1, 3, 3, None),
    ],
)
def test_narrow_beams_with_phrases(beam_size, n_best, most, longest, coverage):
    """150 sources each: equal to the plain search; all that is finished has every phrase; brute force is no worse."""
    sources = random_sources(150, WIDTH, seed=beam_size, sharpness=1.5)
    phrases = random_phrases(150, most, longest, seed=beam_size)
    strategy = BeamSearch(
        beam_size,
        LengthPenalty(*AVERAGE),
        LONGEST,
        n_best=n_best,
        coverage_penalty=coverage and CoveragePenalty(*coverage),
    )
    limit = np.arange(150) % 3 + LONGEST - 2
    found = search(strategy, sources, phrases=padded(phrases, most, longest), limit=limit)
    sequences = every_sequence(WIDTH, LONGEST)
    scores = scored(sources, sequences.ids, sequences.lengths, AVERAGE, coverage)
    number = {ids: place for place, ids in enumerate(sequences.tuples)}
    met = 0
    for row in range(150):
        reference = PlainPhrases(sources, row, beam_size, n_best, limit[row], AVERAGE, coverage)
        reference.phrases = phrases[row]
        assert_same(found, row, reference.run())
        for place in range(n_best):
            ids = said(found, row, place)
            if found.finished[row, place]:
                assert all(contains(ids, phrase) for phrase in phrases[row])
                np.testing.assert_allclose(
                    found.scores[row, place], scores[row, number[ids]], rtol=1e-4, atol=1e-5
                )
        met += bool(found.finished[row, 0] and phrases[row])
        if found.finished[row, 0] and row % 3 == 0:
            best = max(
                scores[row, number[ids]]
                for ids in number
                if ids[-1] == END
                and len(ids) <= limit[row]
                and all(contains(ids, phrase) for phrase in phrases[row])
            )
            assert found.scores[row, 0] <= best + 1e-4
    assert met > 20


def test_one_place_in_the_beam_is_enough_for_likely_phrases():
    """Phrases of the likeliest targets: with K = 1 or more they are found again."""
    sources = random_sources(60, WIDTH, seed=9)
    free = search(BeamSearch(1, "none", LONGEST), sources)
    phrases = [[said(free, row, 0)[:-1][:2]] if free.finished[row, 0] else [] for row in range(60)]
    phrases = [[phrase for phrase in each if phrase] for each in phrases]
    again = search(BeamSearch(1, "none", LONGEST), sources, phrases=padded(phrases, 1, 2))
    for row in range(60):
        if phrases[row]:
            assert said(again, row, 0) == said(free, row, 0)
    assert sum(map(bool, phrases)) > 20
