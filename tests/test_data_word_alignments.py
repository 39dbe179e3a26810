"""Alignments of a file beside the batches of its corpus."""

import functools
import re

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.noise import WordDropout
from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.data.subwords import train_subwords
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import UNK
from tf_seq2seq.data.word_alignments import WordAlignments, link_matrices
from tf_seq2seq.errors import InputError

CORPUS = [
    ("ein kleiner hund", "a little dog"),
    ("der hund schläft heute", "today the dog sleeps"),
    ("ja", "yes"),
    ("ein hund und ein kind", "a dog and a child"),
]
LINES = ["0-0 1-1 2-2", "0-1 1-2 2-3 3-0", "", "0-0 1-1 2-2 3-3 4-4 4-1"]


@functools.cache
def subwords(side):
    texts = [pair[side] for pair in CORPUS]
    return TextProcessor("subwords", model=train_subwords(texts * 20, 30, algorithm="bpe"))


def words(side, **options):
    return TextProcessor.fit([pair[side] for pair in CORPUS], "words", **options)


def dataset():
    return tf.data.Dataset.from_tensor_slices(tuple(map(list, zip(*CORPUS))))


def linked_words(text_of, matrix):
    """The words that linked tokens are of: pairs of places."""
    spans = [text.word_spans([token.decode() for token in row]) for text, row in text_of]
    return {
        (int(spans[0].word_of[s]), int(spans[1].word_of[t]))
        for t, s in np.argwhere(matrix[: len(spans[1].word_of), : len(spans[0].word_of)])
    }


@pytest.mark.parametrize("make", [subwords, words])
@pytest.mark.parametrize("shuffle", [False, True])
def test_each_row_has_the_links_of_its_pair(make, shuffle):
    source_text, target_text = make(0), make(1)
    noise = [WordAlignments(CORPUS, LINES, source_text, target_text)]
    made = batches(dataset(), source_text, target_text, batch_size=3, shuffle=shuffle, seed=1, noise=noise)
    seen = []
    for inputs, labels in made:
        alignments = inputs["alignments"].numpy()
        assert alignments.shape == (*labels.shape, inputs["source_ids"].shape[1])
        assert set(np.unique(alignments)) <= {0.0, 1.0}
        for source_ids, label_ids, matrix in zip(inputs["source_ids"], labels, alignments):
            pair = tuple(
                text.text(ids[None])[0].numpy().decode()
                for text, ids in ((source_text, source_ids), (target_text, label_ids))
            )
            line = LINES[CORPUS.index(pair)]
            tokens = [
                (text, text.tokens_of_text([side])[0].numpy())
                for text, side in zip((source_text, target_text), pair)
            ]
            wanted = {tuple(map(int, link.split("-"))) for link in line.split()}
            assert linked_words(tokens, matrix) == wanted
            spans = [text.word_spans([token.decode() for token in row]) for text, row in tokens]
            pieces = sum(
                spans[0].word_of.count(source) * spans[1].word_of.count(target) for source, target in wanted
            )
            assert matrix.sum() == pieces
            seen.append(pair)
    assert sorted(seen) == sorted(CORPUS)


def test_a_file_a_dataset_weights_noise_and_pairs_that_are_not_in_the_corpus(tmp_path):
    text = words(0), words(1)
    path = tmp_path / "it.align"
    path.write_text("\n".join(LINES[:3]) + "\n", encoding="utf-8")
    weighted = dataset().map(lambda source, target: (source, target, 2.0))
    noise = [WordAlignments(dataset().take(3), path, *text), WordDropout(1.0, "both")]
    ((inputs, _, weights),) = batches(weighted, *text, batch_size=4, shuffle=False, noise=noise)
    assert inputs["alignments"].numpy().sum((1, 2)).tolist() == [3, 4, 0, 0] and weights.shape == (4,)
    assert (inputs["source_ids"].numpy()[:, 0] == UNK).all()


def test_links_of_tokens_and_links_into_what_was_cut_off():
    text = subwords(0), subwords(1)
    noise = [WordAlignments(CORPUS[:1], ["0-2 3-1"], *text, of="tokens")]
    ((inputs, _),) = batches(dataset().take(1), *text, batch_size=1, shuffle=False, noise=noise)
    assert np.argwhere(inputs["alignments"][0]).tolist() == [[1, 3], [2, 0]]
    short = words(0, max_length=3), words(1, max_length=3)
    noise = [WordAlignments(CORPUS[:1], LINES[:1], *short)]
    ((inputs, _),) = batches(dataset().take(1), *short, batch_size=1, shuffle=False, noise=noise)
    assert inputs["alignments"][0].numpy().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_matrices_are_those_of_a_loop():
    random = np.random.default_rng(0)
    dense = random.uniform(size=(6, 4, 5)) < 0.3
    dense[2] = False
    lines = [" ".join(f"{s}-{t}" for t, s in np.argwhere(one)) for one in dense]
    np.testing.assert_array_equal(link_matrices(tf.constant(lines), [6, 4, 5]), dense.astype("float32"))
    doubled = link_matrices(tf.constant(["1-1 1-1"]), [1, 2, 2])
    assert doubled.numpy().max() == 1.0


@pytest.mark.parametrize(
    "lines, message",
    [
        (
            ["0-0", "0-9", "", ""],
            "line 2 of the alignments has '0-9', but its pair has 4 source and 4 target",
        ),
        (["0-0", "0:1", "", ""], "line 2 of the alignments has '0:1'"),
        (["0-0"], "more pairs than"),
        ([*LINES, "0-0"], "more lines of alignments than"),
    ],
)
def test_a_wrong_file_is_told(lines, message):
    text = words(0), words(1)
    with pytest.raises(InputError, match=re.escape(message)):
        WordAlignments(CORPUS, lines, *text)


def test_sampled_subwords_and_other_units_are_refused():
    text = subwords(0)
    with pytest.raises(InputError, match="have no fixed alignments"):
        WordAlignments(CORPUS, LINES, text.sampled(0.1), text)
    with pytest.raises(InputError, match='links are of "words" or of "tokens"'):
        WordAlignments(CORPUS, LINES, text, text, of="pieces")
