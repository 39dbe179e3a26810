"""What every strategy reports, recomputed from its ids; diverse beam search, ensembles and greedy search once more.

Shapes: **R** sources, **K** hypotheses, **T** target length, **W** what a step emits.
"""

import numpy as np
import pytest
import tensorflow as tf
from search_references import (
    NEVER,
    PlainBeam,
    Sources,
    along,
    assert_same,
    coverage_score,
    every_sequence,
    length_score,
    model_step,
    random_sources,
    said,
    scored,
    search,
    to_numpy,
)

from tf_seq2seq.data.vocabulary import END, PAD, START, UNK
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.conditions import Conditions
from tf_seq2seq.decoding.constraints import AllowedTokens, Banned, NoRepeatNGrams, RepetitionPenalty
from tf_seq2seq.decoding.coverage import CoveragePenalty
from tf_seq2seq.decoding.diverse_beam_search import DiverseBeamSearch
from tf_seq2seq.decoding.ensemble import Ensemble
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.decoding.penalties import LengthPenalty
from tf_seq2seq.decoding.sampling import Sampling
from tf_seq2seq.decoding.stochastic_beam_search import StochasticBeamSearch
from tf_seq2seq.decoding.trie import Trie
from tf_seq2seq.models.contracts import StepOutput

pytestmark = pytest.mark.oracle

GNMT, NONE = ("gnmt", 0.6, 0.0, 0), ("none", 0.0, 0.0, 0)
AVERAGE, REWARD = ("average", 1.0, 0.0, 0), ("word_reward", 0.7, 0.0, 1)
COVERAGE = ("summary", 0.6, True)
PENALISED = {"length_penalty": LengthPenalty(*AVERAGE), "coverage_penalty": CoveragePenalty(*COVERAGE)}
LONGEST, PENALTY = 7, 1.4

STRATEGIES = {  # how to make one, its penalties, and whether it is a beam's sum that the score is made of
    "greedy": (Greedy, NONE, None, False),
    "beam": (lambda **options: BeamSearch(4, **options), GNMT, None, True),
    "beam_penalised": (lambda **options: BeamSearch(3, **PENALISED, **options), AVERAGE, COVERAGE, True),
    "diverse": (
        lambda **options: DiverseBeamSearch(6, 3, length_penalty=LengthPenalty(*REWARD), **options),
        REWARD,
        None,
        True,
    ),
    "diverse_penalised": (
        lambda **options: DiverseBeamSearch(4, 2, 0.8, n_best=3, **PENALISED, **options),
        AVERAGE,
        COVERAGE,
        True,
    ),
    "stochastic": (lambda **options: StochasticBeamSearch(3, temperature=1.5, **options), NONE, None, False),
    "sampling": (lambda **options: Sampling(4, 0.8, top_p=0.9, **options), NONE, None, False),
}
CONSTRAINTS = {
    "constraints": [NoRepeatNGrams(2), RepetitionPenalty(PENALTY), Banned([[4, 5]])],
    "min_length": (0.5, 1.0),
    "max_length": (1.0, 3.0),
}


def conditions_of(name, count):
    """Limits, beginnings of no, one or two tokens, and phrases for those that can have them."""
    found = {
        "limit": np.arange(count) % 4 + LONGEST - 3,
        "prefix": np.resize([[PAD, PAD], [4, PAD], [5, UNK]], [count, 2]),
    }
    if "beam" in name or "diverse" in name:
        found["phrases"] = np.resize([[[6, PAD]], [[PAD, PAD]], [[5, 6]], [[4, 4]]], [count, 1, 2])
    return found


@pytest.mark.parametrize("constrained", [False, True], ids=["free", "constrained"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_reported_can_be_recomputed(name, constrained):
    """Log-probs of tokens and in all, alignments, scores, lengths and order, of 60 sources."""
    make, penalty, coverage, summed = STRATEGIES[name]
    sources = random_sources(60, 8, seed=1, sharpness=1.5)
    if constrained:
        conditions = conditions_of(name, 60)
        found = search(make(**CONSTRAINTS), sources, **conditions)
        forced = (conditions["prefix"] != PAD).sum(1)
    else:
        found, forced = search(make(max_length=LONGEST), sources), np.zeros(60, int)
    real, ids = found.lengths > 0, found.ids
    assert real[:, 0].all() and (found.scores[~real] == NEVER).all()
    assert (found.log_probs[~real] == NEVER).all()
    inside = np.arange(ids.shape[2]) < found.lengths[..., None]
    assert (ids[~inside] == PAD).all() and not np.isin(ids[inside], [PAD, START]).any()
    np.testing.assert_array_equal(found.finished, (ids == END).any(2))
    ends = np.take_along_axis(ids, np.maximum(found.lengths - 1, 0)[..., None], 2)[..., 0]
    np.testing.assert_array_equal(found.finished[real], ends[real] == END)
    log_probs, alignments = along(sources, ids, found.lengths)
    np.testing.assert_allclose(found.token_log_probs, log_probs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.alignments, alignments, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.log_probs[real], log_probs.sum(2)[real], rtol=1e-4)
    factors = counted(ids, forced) if constrained and summed else 1.0
    scores = length_score(penalty, (log_probs * factors).sum(2), np.maximum(found.lengths, 1))
    scores += coverage_score(coverage, alignments.sum(2), sources.mask[:, None])
    np.testing.assert_allclose(found.scores[real], scores[real], rtol=1e-4, atol=1e-4)
    order = np.where(found.finished, 1e6, 0.0) + np.maximum(found.scores, -1e5)
    assert (np.diff(order, axis=1) <= 1e-2).all()


def counted(ids, forced):
    """What each token's log-prob counts: the penalty's factor if it was said before and is not forced."""
    again = [
        [[place >= free and token in one[:place] for place, token in enumerate(one)] for one in row]
        for row, free in zip(ids.tolist(), forced)
    ]
    return np.where(again, PENALTY, 1.0)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_source_gets_the_same_alone_and_in_any_batch(name):
    """With constraints, penalties and limits; another order with more padding, batches of 7 and 1."""
    sources, conditions = random_sources(24, 8, seed=2, sharpness=1.5), conditions_of(name, 24)
    conditions["seeds"] = np.arange(24) * 3
    strategy = STRATEGIES[name][0](**CONSTRAINTS)
    whole = search(strategy, sources, **conditions)
    order = np.random.default_rng(3).permutation(24)
    for rows, padding in ((order, 5), (order[:7], 0), (order[:1], 2), (order[7:8], 0)):
        parts = {field: value[rows] for field, value in conditions.items()}
        part = search(strategy, padded(sources.of(rows), padding), **parts)
        for place, row in enumerate(rows):
            for k in range(part.ids.shape[1]):
                assert said(part, place, k) == said(whole, row, k)
        np.testing.assert_allclose(part.scores, whole.scores[rows], rtol=1e-5, atol=1e-6)
        steps = part.ids.shape[2]
        np.testing.assert_allclose(part.token_log_probs, whole.token_log_probs[rows][:, :, :steps], atol=1e-5)
        alignments = whole.alignments[rows][:, :, :steps]
        np.testing.assert_allclose(part.alignments[..., :4], alignments, rtol=1e-5)
        assert not part.alignments[..., 4:].any()


def padded(sources, more):
    pad = lambda field: np.pad(field, [*[(0, 0)] * (field.ndim - 1), (0, more)])
    return sources._replace(mask=pad(sources.mask), attention=pad(sources.attention))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_selection_of_columns_is_a_model_of_these_tokens(name):
    """A step that emits columns 0 to 3, 5 and 6 only, against one that gives the others no probability."""
    columns = np.array([PAD, UNK, START, END, 5, 6], np.int32)
    sources = random_sources(30, 8, seed=5, sharpness=1.5)
    never = np.full_like(sources.tables, -1e6)
    never[..., columns] = sources.tables[..., columns]
    tables = never - np.log(np.exp(never).sum(-1, keepdims=True))

    def step(ids, state, memory):
        output = model_step(ids, state, memory)
        return output._replace(logits=tf.gather(output.logits, columns, axis=1), columns=tf.constant(columns))

    seldom = name in ("greedy", "diverse", "sampling")  # the others the other way, too
    for options in ({"max_length": LONGEST}, CONSTRAINTS)[: 1 if seldom else 2]:
        strategy = STRATEGIES[name][0](**options)
        some = search(strategy, sources, step)
        every = search(strategy, sources._replace(tables=tables))
        for row, k in np.ndindex(some.lengths.shape):
            if some.scores[row, k] > NEVER:
                assert said(some, row, k) == said(every, row, k)
        np.testing.assert_allclose(
            some.scores, np.where(every.scores < -1e5, NEVER, every.scores), rtol=1e-4, atol=1e-5
        )


# diverse beam search


def plain_groups(sources, row, groups, size, n_best, limit, diversity, penalty, coverage, wanted, may=None):
    """The documented search: all groups go a step, in turn; each sees what those before took at this step."""
    each = [
        PlainBeam(sources, row, size, min(n_best, size), limit, penalty, coverage, wanted, may)
        for _ in range(groups)
    ]
    while not all(group.done for group in each):
        taken = []
        for group in each:
            if not group.done:
                taken += group.advance(lambda token, before=tuple(taken): -diversity * before.count(token))
    found = [one for group in each for one in group.result()]
    return sorted(found, key=lambda one: (-one[0], -one[1]))[:n_best]


def assert_same_list(found, row, expected):
    """As `assert_same`, of a list that may hold a hypothesis more than once."""
    count = len(expected)
    np.testing.assert_allclose(found.scores[row, :count], [one[1] for one in expected], rtol=1e-4, atol=1e-4)
    got = [(bool(found.finished[row, k]), said(found, row, k)) for k in range(count)]
    assert sorted(got) == sorted((one[0], one[2]) for one in expected)


@pytest.mark.parametrize(
    "size, groups, n_best, diversity, width, penalty, coverage, stop",
    [
        (6, 3, None, 0.5, 9, GNMT, None, "optimal"),
        (4, 4, 2, 1.5, 7, AVERAGE, ("gnmt", 0.3, False), "optimal"),
        (6, 2, 4, 0.7, 9, REWARD, COVERAGE, "all_finished"),
        (4, 2, None, 3.0, 8, NONE, None, "first_finished"),
        (8, 2, None, 1.0, 6, AVERAGE, None, "patience"),  # a group is wider than what a step emits
    ],
)
def test_diverse_beam_search(size, groups, n_best, diversity, width, penalty, coverage, stop):
    """60 sources each, with limits of their own."""
    sources, limit = random_sources(60, width, seed=size, sharpness=1.2), np.arange(60) % 3 + 4
    strategy = DiverseBeamSearch(
        size,
        groups,
        diversity,
        n_best,
        length_penalty=LengthPenalty(*penalty),
        coverage_penalty=coverage and CoveragePenalty(*coverage),
        stop=stop,
        patience=2.0,
        max_length=6,
    )
    found = search(strategy, sources, limit=limit)
    each = size // groups
    wanted = {"all_finished": each, "first_finished": 1, "patience": 2 * each, "optimal": "optimal"}[stop]
    for row in range(60):
        expected = plain_groups(
            sources, row, groups, each, n_best or size, limit[row], diversity, penalty, coverage, wanted
        )
        assert_same_list(found, row, expected)


@pytest.mark.parametrize("size, groups", [(4, 2), (6, 2), (3, 3), (9, 3)])
def test_places_that_are_empty_take_no_tokens(size, groups):
    """A narrow tree leaves groups with fewer hypotheses than places; what would stand there is not taken."""
    sources, rng = random_sources(60, 9, seed=7, sharpness=1.0), np.random.default_rng(size)
    tree = [tuple(rng.choice([UNK, 4, 5, 6], rng.integers(1, 4)).tolist()) for _ in range(9)]
    starts = {(*ids, END)[:length] for ids in tree for length in range(1, len(ids) + 2)}
    may = lambda ids, token: (*ids, token) in starts
    strategy = DiverseBeamSearch(
        size, groups, 0.9, constraints=[Trie(tree)], max_length=5, length_penalty="none", stop="all_finished"
    )
    found, each = search(strategy, sources), size // groups
    for row in range(60):
        expected = plain_groups(sources, row, groups, each, size, 5, 0.9, NONE, None, each, may)
        assert_same_list(found, row, expected)


@pytest.mark.parametrize("options", [{}, CONSTRAINTS], ids=["free", "constrained"])
def test_without_diversity_every_group_is_a_plain_beam(options):
    sources, options = random_sources(40, 8, seed=8, sharpness=1.5), {"max_length": LONGEST, **options}
    plain = search(BeamSearch(3, **options), sources)
    groups = search(DiverseBeamSearch(9, 3, diversity=0.0, **options), sources)
    for row in range(40):
        one = [(bool(plain.finished[row, k]), said(plain, row, k)) for k in range(3)]
        assert sorted(one * 3) == sorted(
            (bool(groups.finished[row, k]), said(groups, row, k)) for k in range(9)
        )
    np.testing.assert_allclose(np.repeat(plain.scores, 3, 1), groups.scores, rtol=1e-5, atol=1e-5)


# a beam of one


def even(ids, time, width):
    return ((tf.range(width) + time) % 2 == 0)[None] | (tf.range(width) == END)


@pytest.mark.parametrize(
    "options",
    [
        CONSTRAINTS,
        {"constraints": [AllowedTokens(even)], "max_length": LONGEST},
        {"constraints": [Trie([[4, 5, 6], [4, 4], [UNK], [7, 7, 7, 7]])], "max_length": LONGEST},
        {"constraints": [NoRepeatNGrams(1, [4])], "max_length": LONGEST, "min_length": 4},
    ],
)
def test_a_beam_of_one_is_greedy_search(options):
    sources, conditions = random_sources(80, 8, seed=9, sharpness=1.5), conditions_of("greedy", 80)
    if options is not CONSTRAINTS:
        conditions.pop("prefix")
    beam = search(BeamSearch(1, "none", stop="first_finished", **options), sources, **conditions)
    greedy = search(Greedy(**options), sources, **conditions)
    for name in ("ids", "lengths", "finished"):
        np.testing.assert_array_equal(getattr(beam, name), getattr(greedy, name), err_msg=name)
    for name in ("log_probs", "token_log_probs", "alignments"):
        np.testing.assert_allclose(getattr(beam, name), getattr(greedy, name), rtol=1e-5, err_msg=name)
    assert greedy.finished.mean() > 0.1


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(
    "options", [{"min_length": 4}, {"constraints": [NoRepeatNGrams(1, [4])], "min_length": 3}]
)
def test_narrow_beams_with_constraints(size, options):
    """Against the plain search, in which what may not stand is no expansion."""
    sources, least = random_sources(100, 8, seed=10, sharpness=1.5), options["min_length"]
    repeated = lambda ids, token: "constraints" in options and token in ids and token != 4
    may = lambda ids, token: not repeated(ids, token) and (token != END or len(ids) + 1 >= least)
    found = search(BeamSearch(size, LengthPenalty(*GNMT), LONGEST, **options), sources)
    for row in range(100):
        plain = PlainBeam(sources, row, size, size, LONGEST, GNMT, may=may)
        assert_same(found, row, plain.run())


# several models


class Tables:
    """A model, to whoever generates with it, that has tables for sources; attention or none, all columns or some."""

    def __init__(self, sources, attends=True, columns=None):
        self.sources, self.attends, self.columns = sources, attends, columns

    def begin(self, source):
        def step(ids, state, memory):
            output = model_step(ids, state, memory)
            if self.columns is not None:
                logits = tf.gather(output.logits, self.columns, axis=1)
                output = output._replace(logits=logits, columns=tf.constant(self.columns))
            return output if self.attends else output._replace(alignments=None)

        fields = (self.sources.tables + self.sources.shift, self.sources.attention)
        memory = tuple(tf.constant(np.float32(field)) for field in fields)
        return step, (tf.fill([len(self.sources.mask), 1], float(START)),), memory


def combined(kind, weights, tables):
    """The formulas of ensembles and of shallow fusion."""
    if kind == "probs":
        return np.log(sum(weight * np.exp(table) for weight, table in zip(weights, tables)))
    sums = sum(weight * table for weight, table in zip(weights, tables))
    return sums - np.log(np.exp(sums).sum(-1, keepdims=True)) if kind == "renormalize" else sums


@pytest.mark.parametrize(
    "kind, weights",
    [
        ("log_probs", None),
        ("log_probs", [0.5, 0.2, 0.3]),
        ("log_probs", [1.0, 0.3, 0.0]),  # shallow fusion
        ("renormalize", [1.0, 0.5, 0.2]),
        ("probs", None),
        ("probs", [0.6, 0.4, 0.0]),
    ],
)
def test_ensembles_at_every_step_and_against_brute_force(kind, weights):
    """Three models of 30 sources, the second without attention: each step, then whole searches."""
    models = [random_sources(30, 6, seed, sharpness=1.5) for seed in (11, 12, 13)]
    models = [model._replace(mask=models[0].mask) for model in models]
    names = {"combine": "probs"} if kind == "probs" else {"renormalize": kind == "renormalize"}
    ensemble = Ensemble([Tables(model, number != 1) for number, model in enumerate(models)], weights, **names)
    shares = np.array(weights or [1 / 3] * 3)
    tables = combined(kind, shares, [model.tables for model in models])
    attention = (shares[0] * models[0].attention + shares[2] * models[2].attention) / (shares[0] + shares[2])
    step, state, memory = ensemble.begin(None)
    before, ids = np.random.default_rng(0).integers(0, 6, (2, 30))
    output = step(tf.constant(before, tf.int32), state, memory)
    output = step(tf.constant(ids, tf.int32), output.state, memory)
    assert isinstance(output, StepOutput)
    np.testing.assert_allclose(output.log_probs, tables[range(30), before, ids], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output.alignments, attention[range(30), before, ids], rtol=1e-4, atol=1e-6)
    strategy = BeamSearch(256, LengthPenalty(*GNMT), 4, n_best=5)
    conditions = Conditions(source_mask=models[0].mask)
    found = to_numpy(strategy(step, state, memory, 30, conditions))
    joint = Sources(models[0].mask, tables, attention, models[0].shift)
    sequences = every_sequence(6, 4)
    scores = scored(joint, sequences.ids, sequences.lengths, GNMT, None)
    may = sequences.finished | (sequences.lengths == 4)
    for row in range(30):
        order = np.lexsort([-scores[row], ~sequences.finished, ~may])[:5]
        tuples = [sequences.tuples[place] for place in order]
        expected = zip(sequences.finished[order].tolist(), scores[row, order].tolist(), tuples)
        assert_same(found, row, list(expected))
    log_probs, alignments = along(joint, found.ids, found.lengths)
    np.testing.assert_allclose(found.token_log_probs, log_probs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.alignments, alignments, rtol=1e-4, atol=1e-6)


def test_an_ensemble_of_one_is_the_model():
    sources = random_sources(20, 8, seed=14)
    step, state, memory = Ensemble([Tables(sources)]).begin(None)
    strategy, conditions = BeamSearch(3, max_length=LONGEST), Conditions(source_mask=sources.mask)
    together = to_numpy(strategy(step, state, memory, 20, conditions))
    alone = search(strategy, sources)
    np.testing.assert_array_equal(together.ids, alone.ids)
    np.testing.assert_allclose(together.scores, alone.scores, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"combine": "probs"}, {"renormalize": True}], ids=str)
def test_an_ensemble_of_models_with_other_columns(options):
    """Of models that emit a selection of columns each, one up to token 6, the other up to 5."""
    columns = [np.array([0, 1, 2, 3, *more], np.int32) for more in ([4, 6], [4, 5])]
    models = [random_sources(20, 8, seed, sharpness=1.5) for seed in (15, 16)]
    models[1] = models[1]._replace(mask=models[0].mask)
    tables = []
    for model, some in zip(models, columns):
        never = np.full_like(model.tables, -np.inf)
        never[..., some] = model.tables[..., some]
        tables.append(never - np.log(np.exp(never).sum(-1, keepdims=True)))
    kind = "renormalize" if "renormalize" in options else options.get("combine", "log_probs")
    with np.errstate(divide="ignore"):
        joint = models[0]._replace(tables=combined(kind, [0.5, 0.5], tables))
    step, state, memory = Ensemble(
        [Tables(*each) for each in zip(models, [True] * 2, columns)], **options
    ).begin(None)
    found = to_numpy(BeamSearch(3, "none", LONGEST)(step, state, memory, 20))
    for row in range(20):
        assert_same(found, row, PlainBeam(joint, row, 3, 3, LONGEST, NONE).run())
