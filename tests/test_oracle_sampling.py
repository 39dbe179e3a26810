"""What is drawn against exact probabilities of whole targets: sampling, its cut-offs, and sampling without replacement.

Shapes: **R** sources, **K** samples, **W** what a step emits.
"""

import collections
import itertools

import numpy as np
import pytest
from search_references import Sources, emitted, in_graph, random_sources, said, search

from tf_seq2seq.data.vocabulary import END, START, UNK
from tf_seq2seq.decoding.constraints import Banned, NoRepeatNGrams, RepetitionPenalty
from tf_seq2seq.decoding.sampling import Sampling
from tf_seq2seq.decoding.stochastic_beam_search import StochasticBeamSearch

pytestmark = pytest.mark.oracle


# cut-offs, from the papers' definitions, of probabilities (W,)


def kept(probabilities, tokens):
    left = np.zeros_like(probabilities)
    left[tokens] = probabilities[tokens]
    return left / left.sum()


def top_k(probabilities, k):
    """Fan, Lewis and Dauphin 2018, section 5.3."""
    return kept(probabilities, sorted(range(len(probabilities)), key=lambda v: -probabilities[v])[:k])


def fewest(probabilities, order, share):
    """The smallest beginning of `order` whose probabilities sum to the share or more."""
    size = next((n for n in range(1, len(order)) if sum(probabilities[order[:n]]) >= share), len(order))
    return kept(probabilities, order[:size])


def top_p(probabilities, p):
    """Holtzman et al. 2020, equations 2 and 3."""
    return fewest(probabilities, sorted(range(len(probabilities)), key=lambda v: -probabilities[v]), p)


def typical(probabilities, share):
    """Meister et al. 2023, equation 12 and section 5: by the distance of -log p from the conditional entropy."""
    real = [v for v in range(len(probabilities)) if probabilities[v] > 0]
    entropy = -sum(probabilities[v] * np.log(probabilities[v]) for v in real)
    return fewest(probabilities, sorted(real, key=lambda v: abs(entropy + np.log(probabilities[v]))), share)


def epsilon(probabilities, least):
    """Hewitt, Manning and Liang 2022, section 4.1."""
    large = [v for v in range(len(probabilities)) if probabilities[v] >= least]
    return kept(probabilities, large or [int(np.argmax(probabilities))])


CUTS = {"top_k": top_k, "top_p": top_p, "typical": typical, "epsilon": epsilon}


# exact probabilities


def distribution(table, ids, width, options, may, penalty=1.0):
    """Probabilities (W,) of what follows `ids`: allowed tokens, temperature, then the cut-offs in their order."""
    log_probs = table[(START, START, *ids)[-2:]].copy()
    for token in ids:
        log_probs[token] = table[(START, START, *ids)[-2:]][token] * penalty
    allowed = [token for token in emitted(width) if may(ids, token)]
    probabilities = np.zeros(width)
    probabilities[allowed] = np.exp(log_probs[allowed] / options.get("temperature", 1.0))
    probabilities /= probabilities.sum()
    for name, cut in CUTS.items():
        if options.get(name) is not None:
            probabilities = cut(probabilities, options[name])
    return probabilities


def exact(table, limit, options, may=lambda ids, token: True, penalty=1.0, ids=()):
    """The probability of every target: {ids: p}."""
    if ids[-1:] == (END,) or len(ids) == limit:
        return {ids: 1.0}
    found = {}
    for token, p in enumerate(distribution(table, ids, len(table), options, may, penalty)):
        if p > 0:
            later = exact(table, limit, options, may, penalty, (*ids, token))
            found |= {target: p * share for target, share in later.items()}
    return found


# the test


def critical(freedom):
    """The chi-squared value that is passed once in 10,000 (Wilson and Hilferty 1931)."""
    return freedom * (1 - 2 / (9 * freedom) + 3.719 * np.sqrt(2 / (9 * freedom))) ** 3


def test_critical_values():
    """Of printed tables: p = 0.0001."""
    for freedom, value in {5: 25.745, 10: 35.564, 30: 67.633, 100: 161.319}.items():
        assert 0 <= critical(freedom) / value - 1 < 0.025


def statistic(drawn, probabilities):
    """Chi-squared and degrees of freedom; cells that expect fewer than 5 count as one."""
    counts = collections.Counter(drawn)
    assert not set(counts) - set(probabilities), "something was drawn that has no probability"
    total = len(drawn)
    common = [cell for cell, p in probabilities.items() if p * total >= 5]
    observed = [counts[cell] for cell in common]
    expected = [probabilities[cell] * total for cell in common]
    rest = total - sum(expected)
    if rest >= 5:
        observed, expected = [*observed, total - sum(observed)], [*expected, rest]
    value = sum((o - e) ** 2 / e for o, e in zip(observed, expected))
    return value, len(expected) - 1


def assert_drawn_from(drawn, probabilities):
    value, freedom = statistic(drawn, probabilities)
    assert freedom == 0 or value < critical(freedom)
    return freedom


def test_the_test_sees_a_small_difference():
    rng = np.random.default_rng(0)
    p = np.array([0.5, 0.3, 0.15, 0.05])
    drawn = lambda q: rng.choice(4, 6000, p=q).tolist()
    assert_drawn_from(drawn(p), dict(enumerate(p)))
    with pytest.raises(AssertionError):
        assert_drawn_from(drawn([0.46, 0.33, 0.16, 0.05]), dict(enumerate(p)))


# sampling

OPTIONS = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.5},
    {"top_k": 1},
    {"top_k": 2},
    {"top_k": 100, "temperature": 1.5},
    {"top_p": 0.6},
    {"top_p": 0.95},
    {"top_p": 1.0},
    {"typical": 0.3},
    {"typical": 0.8},
    {"epsilon": 0.15},
    {"epsilon": 0.9},
    {"top_k": 3, "top_p": 0.8},
    {"top_p": 0.9, "typical": 0.7},
    {"typical": 0.9, "epsilon": 0.1, "temperature": 0.7},
    {"temperature": 1.6, "top_k": 4, "top_p": 0.9, "typical": 0.8, "epsilon": 0.12},
]
SAMPLES = 4000


def targets(found, row):
    return [said(found, row, place) for place in range(found.ids.shape[1])]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_samples_have_their_probabilities(options):
    """4,000 targets for each of three sources, whose limits are 1 to 3 tokens."""
    sources, limit = random_sources(3, 7, seed=1, sharpness=1.2), [3, 2, 1]
    found = search(Sampling(SAMPLES, max_length=3, **options), sources, limit=limit)
    cells = [
        assert_drawn_from(targets(found, row), exact(sources.tables[row], limit[row], options))
        for row in range(3)
    ]
    assert sum(cells) > 4 or options.get("top_k") == 1 or options.get("epsilon") == 0.9


CONSTRAINED = [
    ([Banned([UNK])], 1, lambda ids, token: token != UNK, 1.0),
    ([], 3, lambda ids, token: token != END or len(ids) == 2, 1.0),
    ([NoRepeatNGrams(1)], 1, lambda ids, token: token not in ids, 1.0),
    ([RepetitionPenalty(2.0)], 1, lambda ids, token: True, 2.0),
    (
        [Banned([[4, 5]]), RepetitionPenalty(0.5)],
        2,
        lambda ids, token: (token != END or ids) and (ids[-1:], token) != ((4,), 5),
        0.5,
    ),
]


@pytest.mark.parametrize(
    "constraints, least, may, penalty",
    CONSTRAINED,
    ids=["banned", "least", "no_repeat", "repetition", "several"],
)
def test_constraints_cut_and_the_rest_is_drawn_from(constraints, least, may, penalty):
    sources, options = random_sources(2, 7, seed=2, sharpness=1.2), {"top_p": 0.95, "temperature": 1.2}
    strategy = Sampling(SAMPLES, max_length=3, min_length=least, constraints=constraints, seed=5, **options)
    found = search(strategy, sources)
    for row in range(2):
        assert_drawn_from(targets(found, row), exact(sources.tables[row], 3, options, may, penalty))


def test_forced_beginnings_are_drawn_on_from():
    sources, prefix = random_sources(2, 7, seed=3, sharpness=1.2), [(4,), (UNK, 5)]
    found = search(Sampling(SAMPLES, max_length=4), sources, prefix=[[4, 0], [UNK, 5]])
    for row in range(2):
        assert_drawn_from(targets(found, row), exact(sources.tables[row], 4, {}, ids=prefix[row]))


def same_source(count, width, kinds, seed):
    """`count` rows, of `kinds` different sources in turn."""
    sources = random_sources(kinds, width, seed, sharpness=1.0)
    return Sources(*(np.resize(field, (count, *field.shape[1:])) for field in sources))


def test_seeds_and_places_draw_independently():
    """Pairs of samples of 3,000 seeds: p_i p_j. They come sorted, so unordered ones."""
    sources = same_source(3000, 5, 1, seed=4)
    found = in_graph(Sampling(2, max_length=2))(sources, seeds=np.arange(3000) * 7 - 3000)
    p = exact(sources.tables[0], 2, {})
    pairs = {
        frozenset(pair): p[pair[0]] * p[pair[1]] * (1 if pair[0] == pair[1] else 2)
        for pair in itertools.combinations_with_replacement(p, 2)
    }
    drawn = [frozenset(targets(found, row)) for row in range(3000)]
    assert assert_drawn_from(drawn, pairs) > 15
    steps = [said(found, row, 0)[0] for row in range(3000)]
    lag = np.corrcoef(np.equal(steps[1:], END), np.equal(steps[:-1], END))[0, 1]
    assert abs(lag) < 3.9 / np.sqrt(3000)


# without replacement


def sets_without_replacement(p, size):
    """The probabilities of unordered samples: the sum over orders of p_i, p_j / (1 - p_i) ..."""
    found = collections.Counter()
    for order in itertools.permutations(p, size):
        share, left = 1.0, 1.0
        for target in order:
            share, left = share * p[target] / left, left - p[target]
        found[frozenset(order)] += share
    return found


def test_probabilities_without_replacement():
    """By hand: p_i p_j / (1 - p_i) + p_j p_i / (1 - p_j)."""
    pairs = sets_without_replacement({"a": 0.5, "b": 0.3, "c": 0.2}, 2)
    np.testing.assert_allclose(pairs[frozenset("ab")], 0.5 * 0.3 / 0.5 + 0.3 * 0.5 / 0.7)
    np.testing.assert_allclose(sum(pairs.values()), 1.0)


@pytest.mark.parametrize(
    "size, width, length, options, constraints, may",
    [
        (1, 6, 3, {}, [], lambda ids, token: True),
        (2, 5, 3, {}, [], lambda ids, token: True),
        (3, 6, 2, {"temperature": 1.7}, [Banned([UNK])], lambda ids, token: token != UNK),
    ],
    ids=["one", "two", "three"],
)
def test_stochastic_beam_search_draws_without_replacement(size, width, length, options, constraints, may):
    """8,000 draws for two sources."""
    sources = same_source(8000, width, 2, seed=5)
    strategy = StochasticBeamSearch(size, max_length=length, constraints=constraints, **options)
    found = in_graph(strategy)(sources)
    assert (found.lengths > 0).all()
    for row in range(2):
        p = exact(sources.tables[row], length, options, may)
        drawn = [frozenset(targets(found, each)) for each in range(row, 8000, 2)]
        assert all(len(each) == size for each in drawn)
        assert assert_drawn_from(drawn, sets_without_replacement(p, size)) > 6


def test_a_beam_for_all_targets_draws_all():
    sources = random_sources(3, 5, seed=6)
    found = search(StochasticBeamSearch(9, max_length=2), sources)
    for row in range(3):
        assert set(targets(found, row)) - {()} == set(exact(sources.tables[row], 2, {}))
        assert (found.lengths[row] > 0).sum() == 7


# seeds

DRAWING = [
    Sampling(3, 1.3, top_p=0.95, typical=0.95, max_length=7, constraints=[NoRepeatNGrams(2)], seed=3),
    StochasticBeamSearch(3, max_length=7, temperature=1.2, constraints=[RepetitionPenalty(1.2)], seed=3),
]


def assert_same_rows(part, whole, rows):
    for place, row in enumerate(rows):
        assert targets(part, place) == targets(whole, row)
    np.testing.assert_allclose(part.scores, whole.scores[rows], rtol=1e-5)


@pytest.mark.parametrize("strategy", DRAWING, ids=lambda strategy: type(strategy).__name__)
def test_a_row_draws_the_same_in_any_batch(strategy):
    """Batches of 1, 7 and 64, in any order, with limits of their own."""
    sources = random_sources(64, 7, seed=7, sharpness=1.0)
    rng = np.random.default_rng(8)
    seeds, limit = rng.integers(-(2**62), 2**62, 64), np.arange(64) % 5 + 3
    whole = search(strategy, sources, seeds=seeds, limit=limit)
    batches = [rng.permutation(64), *rng.permutation(63).reshape(9, 7)[:4], *rng.permutation(64)[:6, None]]
    for rows in batches:
        part = search(strategy, sources.of(rows), seeds=seeds[rows], limit=limit[rows])
        assert_same_rows(part, whole, rows)
    other = search(strategy, sources, seeds=seeds + 1, limit=limit)
    config = strategy.get_config() | {"seed": 4}
    another = search(type(strategy).from_config(config), sources, seeds=seeds, limit=limit)
    for drawn in (other, another):
        assert np.mean([targets(drawn, row) != targets(whole, row) for row in range(64)]) > 0.9
    assert np.mean([len(set(targets(whole, row))) > 1 for row in range(64)]) > 0.9


def test_a_limit_cuts_samples_and_changes_nothing_before_it():
    sources = random_sources(20, 7, seed=9, sharpness=1.0)
    strategy, seeds = Sampling(5, max_length=9), np.arange(20)
    long, short = (search(strategy, sources, seeds=seeds, limit=np.full(20, limit)) for limit in (9, 4))
    for row in range(20):
        assert sorted(ids[:4] for ids in targets(long, row)) == sorted(targets(short, row))


def test_equal_seeds_draw_equally_and_rows_have_seeds_of_their_own():
    one = same_source(8, 7, 1, seed=10)
    strategy = Sampling(6, max_length=6)
    equal = search(strategy, one, seeds=np.full(8, 12))
    assert all(targets(equal, row) == targets(equal, 0) for row in range(8))
    own = search(strategy, one)
    assert len({tuple(targets(own, row)) for row in range(8)}) == 8
