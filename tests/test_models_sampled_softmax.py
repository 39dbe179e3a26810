"""The sampled softmax against the full one, and its bias as samples grow.

Shapes: **M** tokens, **V** vocabulary.
"""

from types import SimpleNamespace

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.errors import InputError
from tf_seq2seq.models import zoo
from tf_seq2seq.models.objectives import maximum_likelihood
from tf_seq2seq.models.sampled_softmax import SampledSoftmax, _estimates, chances_of_ranks, draw_candidates
from tf_seq2seq.training.losses import SequenceCrossEntropy

V = 300


def model(tied=False, label_smoothing=0.0):
    """A model of a larger vocabulary whose logits differ."""
    made = zoo.luong2015(
        batteries.SOURCE_V, V, units=4, depth=1, embedding_size=5, dropout=0.0, tied=tied, input_feeding=False
    )
    batteries.randomised(made, 1.0)
    made.compile(keras.optimizers.SGD(0.1), SequenceCrossEntropy(label_smoothing), run_eagerly=True)
    return made


def batch():
    inputs, labels = batteries.batch(rows=6)
    return inputs, np.where(labels > 3, labels * 27, labels), None  # labels all over the vocabulary


def found(model, objective, data):
    """Loss and gradients by each trainable weight."""
    with tf.GradientTape() as tape:
        loss, _, metrics = objective(model, data, True)
    gradients = tape.gradient(loss, model.trainable_weights, unconnected_gradients="zero")
    return float(loss), [tf.convert_to_tensor(one).numpy() for one in gradients], metrics


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_with_all_tokens_as_candidates_it_is_the_full_softmax(tied, label_smoothing):
    made, data = model(tied, label_smoothing), batch()
    loss, gradients, metrics = found(made, SampledSoftmax(samples=V), data)
    full, expected, whole = found(made, maximum_likelihood, data)
    np.testing.assert_allclose(loss, full, rtol=1e-5)
    for one, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for name in whole:
        np.testing.assert_allclose(metrics[name], whole[name], rtol=1e-5)


def projection(kernel):
    """What the estimate reads of a decoder: a vector a token, (V, D)."""
    return SimpleNamespace(vocab_size=V, output_vectors=lambda: kernel, projection_bias=tf.zeros([V]))


def test_the_bias_shrinks_as_samples_grow():
    """Of the loss, which is too low on average, and of the gradient by the projection, along the true one."""
    random = np.random.default_rng(0)
    features, kernel = (
        tf.constant(random.normal(size=shape) * 0.6, tf.float32) for shape in ((9, 4), (V, 4))
    )
    labels = tf.constant(random.integers(4, V, 9), tf.int32)
    decoder = projection(kernel)

    @tf.function
    def estimate(samples, seed):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            candidates = draw_candidates(labels, V, samples, tf.stack([samples, seed]))
            loss = tf.reduce_sum(_estimates(decoder, features, labels, candidates, 0.1)[0])
        return loss, tf.convert_to_tensor(tape.gradient(loss, kernel))

    full, gradient = (one.numpy() for one in estimate(V, 0))
    losses, errors = [], []
    for samples in (5, 30, 150):
        seeds = [estimate(samples, tf.constant(seed)) for seed in range(400)]
        found = [np.mean(one, axis=0) for one in zip(*seeds)]
        losses.append(found[0])
        errors.append(abs((found[1] * gradient).sum() / (gradient**2).sum() - 1))
    assert losses[0] < losses[1] < losses[2] < full, (losses, full)
    assert errors[0] > 2 * errors[1] > 4 * errors[2], errors


@pytest.mark.parametrize("samples", [7, 60])
def test_the_normalizer_is_unbiased(samples):
    """exp(loss + o_y), the estimate of sum_v exp(o_v), is right on average."""
    logits = np.random.default_rng(0).normal(size=V).astype("float32")
    labels = tf.constant([5, 250, 17])
    decoder = projection(logits[:, None])

    @tf.function
    def estimate(seed):
        candidates = draw_candidates(labels, V, samples, tf.stack([7, seed]))
        return _estimates(decoder, tf.ones([3, 1]), labels, candidates, 0.0)[0]

    sums = [np.exp(estimate(tf.constant(seed)) + logits[labels.numpy()]) for seed in range(2000)]
    np.testing.assert_allclose(np.ptp(sums, axis=1), 0, atol=1e-2)  # one normalizer for all tokens
    error = np.std(sums, axis=0)[0] / np.sqrt(len(sums))
    whole = np.exp(logits).sum()
    assert abs(np.mean(sums) - whole) < 4 * error < 0.15 * whole


def test_candidates_are_labels_and_as_many_drawn_as_told():
    labels = tf.constant([299, 5, 299, 3])
    sizes = []
    for seed in range(100):
        ids, log_chances, slots = (
            one.numpy() for one in draw_candidates(labels, V, 50, tf.constant([1, seed]))
        )
        assert {0, 3, 5, 299} <= set(ids) and len(set(ids)) == len(ids)
        assert (np.diff(ids) > 0).all()
        np.testing.assert_array_equal(slots[ids], np.arange(len(ids)))
        assert (slots[np.setdiff1d(np.arange(V), ids)] == len(ids)).all()
        assert (log_chances[slots[labels.numpy()]] == 0).all()
        sizes.append(len(ids))
    assert 50 <= np.mean(sizes) <= 52.5 and np.std(sizes) > 1


@pytest.mark.parametrize("size, samples", [(10, 3), (5000, 700), (100_000, 8192), (7, 7), (7, 100)])
def test_chances_sum_to_the_samples_and_follow_zipf(size, samples):
    chances = chances_of_ranks(size, samples)
    assert chances.dtype == np.float32 and chances.max() <= 1
    np.testing.assert_allclose(chances.sum(dtype=np.float64), min(samples, size), rtol=1e-4)
    rest = chances < 1
    ratio = chances[rest] / np.log((np.arange(size) + 2) / (np.arange(size) + 1))[rest]
    assert np.ptp(ratio) < 1e-3 * max(1, ratio.max()) if rest.any() else True


def test_a_loss_that_reads_whole_logits_is_refused():
    made = model()
    made.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    with pytest.raises(InputError, match="SampledSoftmax computes no logits of the whole vocabulary"):
        SampledSoftmax(5)(made, batch(), True)
    with pytest.raises(InputError, match="samples is a number of tokens"):
        SampledSoftmax(0)
