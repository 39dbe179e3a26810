"""The rows of a search, by hand."""

import numpy as np
import tensorflow as tf

from tf_seq2seq.decoding import beams


def test_gather_takes_the_rows_of_each_leaf():
    state = {"one": tf.range(6), "two": (tf.reshape(tf.range(24), [6, 2, 2]), ())}
    found = beams.gather(state, tf.constant([2, 2, 0, 4, 3, 4]))
    assert found["one"].numpy().tolist() == [2, 2, 0, 4, 3, 4]
    np.testing.assert_array_equal(found["two"][0], state["two"][0].numpy()[[2, 2, 0, 4, 3, 4]])
    assert found["two"][1] == ()


def test_put_changes_only_the_rows_named():
    nest = {"a": tf.constant([1, 2, 3]), "b": (tf.constant([[True], [False], [True]]),)}
    new = {"a": tf.constant([9, 8]), "b": (tf.constant([[False], [True]]),)}
    found = beams.put(nest, tf.constant([2, 1]), new)
    assert found["a"].numpy().tolist() == [1, 8, 9]
    assert found["b"][0].numpy().tolist() == [[True], [True], [False]]


def test_backtrace_by_hand():
    """Steps chose the tokens [4 5], [7 6], [8 9]: followed are 4 6 8, and 5 7 with END added to it."""
    ids = np.array([[4, 5], [7, 6], [8, 9]])
    parents = tf.constant([[[0, 0]], [[1, 0]], [[1, 1]]])
    before, own = beams.backtrace(
        parents, tf.constant([[0, 0, 1]]), tf.constant([[3, 3, 0]]), tf.constant([[False, True, False]])
    )
    assert ids[np.arange(3), own[0, 0]].tolist() == [4, 6, 8]
    assert ids[np.arange(2), own[0, 1, :2]].tolist() == [5, 7]
    assert before.numpy()[0, :2].tolist() == [[0, 0, 1], [0, 1, 0]]
