"""What was generated, in Python's types: words, their alignments, pairs, log-probs of tokens."""

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.decoding.generated import GeneratedSentence, GeneratedText
from tf_seq2seq.decoding.hypotheses import Hypotheses
from tf_seq2seq.errors import InputError

SOURCE = ["▁la", "▁ca", "sa", "▁", "?", "</s>"]
TARGET = ["▁", "the", "▁ho", "us", "e", "?", "</s>"]
SOURCE_WORDS, WORDS = {"la": [0], "casa": [1, 2], "?": [3, 4]}, {"the": [0, 1], "house?": [2, 3, 4, 5]}


def sentence(alignments, tokens=None, source=SOURCE, split="subwords"):
    tokens = [TARGET] * len(alignments) if tokens is None else tokens
    n = len(tokens)
    return GeneratedSentence(
        [""] * n,
        [0.0] * n,
        [0.0] * n,
        [True] * n,
        tokens,
        source,
        alignments,
        source_split=split,
        target_split=split,
    )


def random_alignments(seed):
    draw = np.random.default_rng(seed)
    return draw.dirichlet(np.full(len(SOURCE), 0.5), len(TARGET)).astype("float32")


def test_word_alignments_are_sums_over_source_pieces_and_means_over_target_pieces():
    alignments = [random_alignments(seed) for seed in range(3)]
    found = sentence(alignments)
    assert found.source_words == [*SOURCE_WORDS] and found.words == [[*WORDS]] * 3
    for given, result, pairs in zip(alignments, found.word_alignments, found.pairs, strict=True):
        mass = [
            [np.mean([given[t, own].sum() for t in pieces]) for own in SOURCE_WORDS.values()]
            for pieces in WORDS.values()
        ]
        expected = np.array(mass) / np.sum(mass, axis=1, keepdims=True)
        assert result.dtype == np.float32 and result.shape == (2, 3)
        np.testing.assert_allclose(result, expected, rtol=1e-5)
        np.testing.assert_allclose(result.sum(axis=1), 1.0, rtol=1e-6)
        assert pairs == " ".join(f"{row.argmax()}-{j}" for j, row in enumerate(expected))
    assert len({*found.pairs}) > 1


def test_the_share_of_end_is_left_out():
    found = sentence(
        [np.array([[0.1, 0.3, 0.6], [0.9, 0.1, 0.0]])], [["a", "</s>"]], ["x", "y", "</s>"], "words"
    )
    np.testing.assert_allclose(found.word_alignments[0], [[0.25, 0.75]])
    assert found.pairs == ["1-0"] and found.words == [["a"]]


def test_a_word_that_looked_at_end_alone_has_no_pair():
    alignments = np.array([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    found = sentence([alignments], [["a", "b", "c"]], ["x", "y", "</s>"], "words")
    assert found.word_alignments[0].tolist() == [[0.0, 0.0], [0.5, 0.5], [1.0, 0.0]]
    assert found.pairs == ["0-1 0-2"]


def test_a_source_without_a_word_has_no_pairs():
    found = sentence([np.ones([2, 1], "float32")], [["▁a", "</s>"]], ["</s>"])
    assert found.source_words == [] and found.word_alignments[0].shape == (1, 0) and found.pairs == [""]


def test_source_and_target_have_their_own_splits():
    found = sentence([np.eye(3, dtype="float32")], [["a", " ", "b"]], ["▁x", "y", "▁z"])
    found = found._replace(target_split="characters")
    assert (found.source_words, found.words) == (["xy", "z"], [["a", "b"]])
    np.testing.assert_allclose(found.word_alignments[0], [[1.0, 0.0], [0.5, 0.5]])


def test_without_attention_there_are_words_but_no_alignments():
    found = sentence(None, [TARGET])
    assert found.words == [[*WORDS]] and found.word_alignments is None and found.pairs is None


def test_words_of_tokens_of_an_unknown_split_are_refused():
    with pytest.raises(InputError, match="set source_split and target_split"):
        _ = sentence(None, [TARGET])._replace(target_split=None).words


def generated(**changes):
    """Two texts, two hypotheses each; of the second text the second place is empty."""
    token_log_probs = -np.arange(12, dtype="float32").reshape(2, 2, 3)
    lengths = [[3, 2], [1, 0]]
    hypotheses = Hypotheses(
        ids=tf.zeros([2, 2, 3], tf.int32),
        lengths=tf.constant(lengths),
        scores=tf.constant([[-1.0, -2.0], [-1.0, -np.inf]]),
        log_probs=tf.constant([[-1.0, -2.0], [-1.0, -np.inf]]),
        finished=tf.constant([[True, True], [True, False]]),
        alignments=tf.constant(np.random.default_rng(0).dirichlet(np.ones(3), [2, 2, 3]), tf.float32),
        token_log_probs=tf.constant(token_log_probs),
    )
    fields = {
        "text": tf.constant([["a b", "é"], ["", ""]]),
        "tokens": tf.constant(
            [[["a", "b", "</s>"], ["é", "</s>", "<pad>"]], [["</s>", "<pad>", "<pad>"]] * 2]
        ),
        "source_tokens": tf.constant([["x", "y", "</s>"], ["z", "</s>", "<pad>"]]),
        "source_lengths": tf.constant([3, 2]),
        "hypotheses": hypotheses,
        "splits": tf.constant(["words", "words"]),
    }
    return GeneratedText(**{**fields, **changes})


def test_sentences_have_words_and_log_probs_of_tokens():
    one, two = generated().sentences()
    assert one.token_log_probs == [[-0.0, -1.0, -2.0], [-3.0, -4.0]] and two.token_log_probs == [[-6.0]]
    assert one.words == [["a", "b"], ["é"]] and one.source_words == ["x", "y"]
    assert two.words == [[]] and two.pairs == [""] and two.text == [""]
    assert [alignments.shape for alignments in one.word_alignments] == [(2, 2), (1, 2)]
    weights = generated().alignments[0, 0, :2, :2].numpy()
    np.testing.assert_allclose(one.word_alignments[0], weights / weights.sum(1, keepdims=True), rtol=1e-6)


def test_what_a_search_does_not_tell_is_none():
    bare = generated().hypotheses._replace(alignments=None, token_log_probs=None)
    found = generated(hypotheses=bare, splits=None).sentences()[0]
    assert (found.alignments, found.token_log_probs, found.source_split, found.pairs) == (None,) * 4


def test_splits_pass_through_a_graph():
    found = tf.function(lambda: generated(splits=tf.constant(["subwords", "bytes"])))().sentences()[0]
    assert (found.source_split, found.target_split) == ("subwords", "bytes")


def test_n_best_leaves_empty_places_out_but_keeps_a_text_for_each_source():
    assert generated().n_best() == [["a b", "é"], [""]]
    nothing = generated().hypotheses._replace(lengths=tf.zeros([2, 2], tf.int32))
    assert generated(hypotheses=nothing).n_best() == [["a b"], [""]]
