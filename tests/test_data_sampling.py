"""Subword sampling: what is drawn, how often, against all segmentations; `batches` of it; what stays deterministic."""

from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.data.subwords import train_subwords
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.errors import InputError

WORDS = ["low", "lower", "lowest", "slow", "slower", "new", "newer", "newest", "wide", "wider", "widest"] * 20
DRAWN = 4000
SIZES = {"unigram": 23, "bpe": 30}


def processor(algorithm, **options):
    return TextProcessor(
        "subwords", model=train_subwords(WORDS, SIZES[algorithm], algorithm=algorithm), **options
    )


@pytest.fixture(scope="module")
def texts():
    return {algorithm: processor(algorithm) for algorithm in ("unigram", "bpe")}


def scores(text):
    """The score of each piece that text can be made of."""
    pieces = ModelProto.FromString(text.pieces.model).pieces
    return {piece.piece: piece.score for piece in pieces if piece.type == piece.NORMAL}


def unigram_probabilities(score, characters, alpha):
    """{segmentation: probability} over all ways to cut the characters into pieces."""

    def cuts(rest):
        if not rest:
            yield ()
        for end in range(1, len(rest) + 1):
            if rest[:end] in score:
                yield from ((rest[:end], *more) for more in cuts(rest[end:]))

    weights = {pieces: np.exp(alpha * sum(score[piece] for piece in pieces)) for pieces in cuts(characters)}
    return {pieces: weight / sum(weights.values()) for pieces, weight in weights.items()}


def bpe_probabilities(score, characters, alpha):
    """{segmentation: probability} over all draws: the best open merge is done, or closed with probability alpha.

    A merge is of two neighbours, named by the places where they begin and end; doing one opens those with its
    own neighbours.
    """

    @cache
    def results(cuts, closed):
        candidates = [
            (score[characters[cuts[i] : cuts[i + 2]]], -cuts[i], cuts[i : i + 3])
            for i in range(len(cuts) - 2)
            if characters[cuts[i] : cuts[i + 2]] in score and cuts[i : i + 3] not in closed
        ]
        if not candidates:
            return {cuts: 1.0}
        merge = max(candidates)[2]
        total = Counter()
        for share, after in (
            (alpha, results(cuts, closed | {merge})),
            (1 - alpha, results(tuple(cut for cut in cuts if cut != merge[1]), closed)),
        ):
            for pieces, probability in after.items():
                total[pieces] += share * probability
        return dict(total)

    found = results(tuple(range(len(characters) + 1)), frozenset())
    return {
        tuple(characters[a:b] for a, b in pairwise(cuts)): share for cuts, share in found.items() if share
    }


REFERENCES = {"unigram": unigram_probabilities, "bpe": bpe_probabilities}


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("algorithm", REFERENCES)
def test_segmentations_are_drawn_as_often_as_the_papers_say(texts, algorithm, alpha):
    text = texts[algorithm]
    expected = REFERENCES[algorithm](scores(text), "▁lowest", alpha)
    rows = text.sampled(alpha).tokens_of_text(["lowest"] * DRAWN).to_list()
    found = Counter(tuple(token.decode() for token in row[:-1]) for row in rows)
    assert set(found) <= set(expected) and sum(expected.values()) == pytest.approx(1)
    for pieces, probability in expected.items():
        spread = (probability * (1 - probability) / DRAWN) ** 0.5
        assert abs(found[pieces] / DRAWN - probability) <= 5 * spread + 1e-9, pieces


@pytest.mark.parametrize("algorithm", REFERENCES)
def test_rows_and_calls_differ_but_every_draw_reads_as_the_text(texts, algorithm):
    drawn = texts[algorithm].sampled(0.1)
    sentences = ["the newest slower lowest wide"] * 30
    one, other = (drawn.ids(sentences) for _ in range(2))
    assert len({*map(tuple, one.to_list())}) > 3
    assert one.to_list() != other.to_list()
    assert {*drawn.text(one).numpy()} == {*texts[algorithm].text(texts[algorithm].ids(sentences)).numpy()}


def test_settings_stay_and_what_is_saved_draws_nothing(tmp_path):
    text = processor("unigram", lowercase=True, max_length=4, add_end=False)
    drawn = text.sampled(0.0)
    assert (text.sampling, drawn.sampling) == (None, 0.0)
    assert drawn.vocabulary.tokens == text.vocabulary.tokens
    rows = drawn.ids(["SLOWEST"] * 20)
    assert int(tf.reduce_max(rows.row_lengths())) == 4 and 3 not in rows.flat_values.numpy()
    drawn.save(tmp_path / "text")
    again = TextProcessor.load(tmp_path / "text")
    assert again.sampling is None
    assert again.ids(["SLOWEST"] * 20).to_list() == text.ids(["SLOWEST"] * 20).to_list()


@pytest.mark.parametrize("algorithm", REFERENCES)
def test_batches_of_a_sampled_side_differ_by_epoch_and_the_other_side_does_not(texts, algorithm):
    text = texts[algorithm]
    split = tf.data.Dataset.from_tensor_slices((WORDS, WORDS))
    data = batches(split, text.sampled(0.3), text, batch_size=110, shuffle=False)
    (one, labels), (other, same) = (next(iter(data)) for _ in range(2))
    assert one["source_ids"].shape != other["source_ids"].shape or np.any(
        one["source_ids"] != other["source_ids"]
    )
    assert np.all(labels == same)
    assert {*text.text(one["source_ids"]).numpy()} == {word.encode() for word in WORDS}


def test_what_cannot_be_sampled_is_refused(texts):
    with pytest.raises(InputError, match="only subwords can be sampled, not bytes"):
        TextProcessor("bytes").sampled(0.1)
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"share of merges in \[0, 1\], not"):
            texts["bpe"].sampled(alpha)
    for alpha in (-0.1, float("inf"), float("nan")):
        with pytest.raises(InputError, match="a number of at least 0, not"):
            texts["unigram"].sampled(alpha)
