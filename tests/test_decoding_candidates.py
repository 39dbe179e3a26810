"""The best tokens of each row against NumPy and TensorFlow's own operations."""

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD, START
from tf_seq2seq.decoding import candidates
from tf_seq2seq.models.contracts import StepOutput


@pytest.mark.parametrize("width", [5, 200, 1279, 1280, 1281, 3000, 8000])
@pytest.mark.parametrize("count", [1, 3, 8, 20, 30])
@pytest.mark.parametrize("different", [4, 10_000_000])
def test_top_k_is_tensorflows_with_ties(width, count, different):
    """With 4 different values nearly everything is a tie."""
    values = np.random.default_rng(0).integers(0, different, (6, width)).astype("float32")
    values[:2] -= np.inf
    values[1, width // 2] = 0.0
    best, places = candidates.top_k(tf.constant(values), count)
    expected, expected_places = tf.math.top_k(values, min(count, width))
    np.testing.assert_array_equal(best, expected)
    np.testing.assert_array_equal(places, expected_places)


@pytest.mark.parametrize("count", [1, 7, 30])
def test_top_k_of_an_unknown_width(count):
    """Few and many, short and long rows: what is done is chosen as it runs."""
    spec = tf.TensorSpec([None, None], tf.float32)
    run = tf.function(lambda values: candidates.top_k(values, count), input_signature=[spec])
    for rows, width in [(1, 2), (2000, 9), (50, 399), (50, 400), (50, 641), (1, 3000), (8, 3000), (20, 1281)]:
        values = np.random.default_rng(width).integers(0, 40, (rows, width)).astype("float32")
        expected = tf.math.top_k(values, min(count, width))
        for found, true in zip(run(values), expected):
            np.testing.assert_array_equal(found, true)


def test_best_tokens_are_at_least_as_many_as_asked_for_without_pad_and_start():
    log_probs = np.random.default_rng(1).normal(size=(50, 12)).astype("float32")
    found = candidates.best_tokens(StepOutput(tf.constant(log_probs), (), None), 4)
    best, ids = found.values.numpy(), found.ids.numpy()
    log_probs -= np.log(np.exp(log_probs).sum(1, keepdims=True))
    allowed = np.delete(np.arange(12), [PAD, START])
    for row in range(50):
        expected = allowed[np.argsort(-log_probs[row, allowed])][:4]
        kept = np.isfinite(best[row])
        assert ids[row, kept][:4].tolist() == expected.tolist()
        np.testing.assert_allclose(best[row, kept][:4], log_probs[row, expected], rtol=1e-5)


@pytest.mark.parametrize("scale", [0.1, 10.0, 300.0])
def test_the_normalizer_is_log_sum_exp(scale):
    """Of flat rows, of peaked ones, and of logits whose exponentials are no float32."""
    logits = (np.random.default_rng(2).normal(size=(20, 900)) * scale).astype("float32")
    highest = logits.max(1, keepdims=True), logits.argmax(1)[:, None]
    found = candidates.log_normalizer(tf.constant(logits), *highest)
    exact = logits.astype("float64")
    exact = np.log(np.exp(exact - exact.max(1, keepdims=True)).sum(1)) + exact.max(1)
    np.testing.assert_allclose(found[:, 0], exact, rtol=1e-6, atol=1e-6)


def test_sums_of_log_probs_stay_as_they_are():
    sums = tf.constant([[-9.0, -9.0, -1.0, -4.0, -2.0]])
    found = candidates.best_tokens(StepOutput(sums, (), None, normalized=True), 3)
    assert found.ids.numpy().tolist()[0][1:] == [4, 3, 0, 1]
    assert found.values.numpy().tolist() == [[-np.inf, -2.0, -4.0, -np.inf, -9.0]]


def test_a_selection_of_columns_is_spread_over_the_vocabulary():
    logits = tf.math.log([[0.1, 0.1, 0.2, 0.2, 0.4]])
    output = StepOutput(logits, (), None, columns=tf.constant([0, 1, 2, 3, 6]))
    assert candidates.best_tokens(output, 1).ids.numpy().tolist() == [[6, 2, 3]]
    spread = tf.exp(candidates.all_log_probs(output)).numpy()
    np.testing.assert_allclose(spread, [[0.1, 0.1, 0.2, 0.2, 0.0, 0.0, 0.4]], rtol=1e-6)
