"""The parts that searches are made of, against NumPy and TensorFlow's own operations."""

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.decoding import beams


@pytest.mark.parametrize("width", [5, 200, 1279, 1280, 1281, 3000, 8000])
@pytest.mark.parametrize("count", [1, 3, 8, 20, 30])
@pytest.mark.parametrize("different", [4, 10_000_000])
def test_top_k_is_tensorflows_with_ties(width, count, different):
    """With 4 different values nearly everything is a tie."""
    values = np.random.default_rng(0).integers(0, different, (6, width)).astype("float32")
    values[:2] -= np.inf
    values[1, width // 2] = 0.0
    best, places = beams.top_k(tf.constant(values), count)
    expected, expected_places = tf.math.top_k(values, min(count, width))
    np.testing.assert_array_equal(best, expected)
    np.testing.assert_array_equal(places, expected_places)


def test_top_k_of_an_unknown_width():
    run = tf.function(lambda values: beams.top_k(values, 3), input_signature=[tf.TensorSpec([None, None])])
    assert run(tf.constant([[1.0, 5.0]]))[1].numpy().tolist() == [[1, 0]]


def test_best_tokens_are_at_least_as_many_as_asked_for_without_pad_and_start():
    log_probs = np.random.default_rng(1).normal(size=(50, 12)).astype("float32")
    best, ids = (field.numpy() for field in beams.best_tokens(tf.constant(log_probs), 4))
    allowed = np.delete(np.arange(12), [PAD, START])
    for row in range(50):
        expected = allowed[np.argsort(-log_probs[row, allowed])][:4]
        kept = np.isfinite(best[row])
        assert ids[row, kept][:4].tolist() == expected.tolist()
        np.testing.assert_array_equal(best[row, kept][:4], log_probs[row, expected])


def test_gather_takes_each_leaf_by_parent_within_its_source():
    state = {"one": tf.range(6), "two": (tf.reshape(tf.range(24), [6, 2, 2]), ())}
    parents = tf.constant([[2, 2, 0], [1, 0, 1]])
    found = beams.gather(state, parents)
    assert found["one"].numpy().tolist() == [2, 2, 0, 4, 3, 4]
    np.testing.assert_array_equal(found["two"][0], state["two"][0].numpy()[[2, 2, 0, 4, 3, 4]])
    assert found["two"][1] == ()


def test_repeat_keeps_the_rows_of_a_source_together():
    found = beams.repeat({"a": tf.constant([[1, 2], [3, 4]]), "b": ()}, 2)
    assert found["a"].numpy().tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
    assert beams.repeat((), 3) == ()


def test_backtrace_by_hand():
    """The tokens 4, 6, 8 by their parents, and 5, 7 with END added."""
    ids = tf.constant([[[4, 5]], [[7, 6]], [[8, 9]]])
    parents = tf.constant([[[0, 0]], [[1, 0]], [[1, 1]]])
    found, path = beams.backtrace(
        parents, ids, tf.constant([[0, 0, 1]]), tf.constant([[3, 3, 0]]), tf.constant([[False, True, False]])
    )
    assert found.numpy().tolist() == [[[4, 6, 8], [5, 7, END], [PAD, PAD, PAD]]]
    assert path.numpy()[0, :2].tolist() == [[0, 0, 1], [0, 1, 0]]


def test_limits_are_between_one_and_the_maximum():
    assert beams.limits(6, None, 2).numpy().tolist() == [6, 6]
    assert beams.limits(6, 4, 2).numpy().tolist() == [4, 4]
    assert beams.limits(6, tf.constant([0, 3, 9], tf.int64), 3).numpy().tolist() == [1, 3, 6]
