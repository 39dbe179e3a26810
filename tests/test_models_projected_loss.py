"""Projection and cross-entropy in one piece: against NumPy, in every precision, and where probabilities vanish."""

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.layers.affine import TILE
from tf_seq2seq.models import projected_loss
from tf_seq2seq.models.projected_loss import projected_cross_entropy
from tf_seq2seq.training.losses import SequenceCrossEntropy

SIZES = [TILE - 1, TILE, TILE + 3, 2 * TILE, 3 * TILE]  # of the vocabulary


def reference(features, kernel, bias, labels, eps, upstream):
    """Loss, nll, right, and the gradients of the loss times `upstream`, summed, in float64."""
    z = features @ kernel.T + bias
    exact = np.exp(z - z.max(-1, keepdims=True))
    p = exact / exact.sum(-1, keepdims=True)
    log_p = z - z.max(-1, keepdims=True) - np.log(exact.sum(-1, keepdims=True))
    one_hot = np.eye(z.shape[-1])[labels]
    q = (1 - eps) * one_hot + eps / z.shape[-1]
    g = (p - q) * upstream[:, None]
    right = (z * one_hot).sum(-1) >= z.max(-1)
    return -(q * log_p).sum(-1), -(one_hot * log_p).sum(-1), right, (g @ kernel, g.T @ features, g.sum(0))


def drawn(size, scale, rows=9, width=6):
    rng = np.random.default_rng(size)
    features, kernel = rng.normal(size=(rows, width)), rng.normal(size=(size, width)) * scale
    # What bfloat16 can hold, so that rounding what goes in is none of the errors
    features, kernel = (tf.cast(tf.cast(one, tf.bfloat16), tf.float64).numpy() for one in (features, kernel))
    return features, kernel, rng.normal(size=size), rng.integers(1, size, rows), rng.uniform(0.5, 2, rows)


def computed(features, kernel, bias, labels, eps, upstream, dtype="float32"):
    inputs = tf.constant(features, dtype), tf.constant(kernel, "float32"), tf.constant(bias, "float32")
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss, nll, right = projected_cross_entropy(*inputs, tf.constant(labels, tf.int32), eps)
        total = tf.reduce_sum(loss * tf.cast(upstream, tf.float32))
    return loss, nll, right, tape.gradient(total, inputs)


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [0.3, 40.0])  # of the latter most probabilities are 0 in float32
def test_equals_numpy(size, eps, scale):
    given = drawn(size, scale)
    *expected, gradients = reference(*given[:4], eps, given[4])
    *found, found_gradients = computed(*given[:4], eps, given[4])
    for one, other in zip(found[:2], expected[:2]):
        assert one.dtype == tf.float32
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-5 * scale)
    assert found[2].numpy().tolist() == expected[2].tolist()
    for one, other in zip(found_gradients, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(1.0, scale))


@pytest.mark.parametrize("dtype, rounding", [("bfloat16", 2.0**-8), ("float16", 2.0**-11)])
@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rows", [1, TILE, TILE + 9])
def test_low_precision_rounds_products_and_nothing_else(rows, size, eps, dtype, rounding):
    given = drawn(size, 0.3, rows)
    *expected, gradients = reference(*given[:4], eps, given[4])
    *found, found_gradients = computed(*given[:4], eps, given[4], dtype)
    for one, other in zip(found[:2], expected[:2]):
        assert one.dtype == tf.float32 and one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=8 * rounding)
    dtypes = [dtype, "float32", "float32"]
    for one, other, name in zip(found_gradients, gradients, dtypes, strict=True):
        assert one.dtype == name and one.shape == other.shape
        np.testing.assert_allclose(tf.cast(one, tf.float32), other, atol=24 * rounding)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_more_logits_than_an_int32_counts_have_the_same_gradient(dtype, monkeypatch):
    given = drawn(TILE + 3, 0.3)
    gradients = []
    for largest in (projected_loss.LARGEST, 9):
        monkeypatch.setattr(projected_loss, "LARGEST", largest)
        gradients.append(computed(*given[:4], 0.1, given[4], dtype)[-1])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_array_equal(tf.cast(one, tf.float32), tf.cast(other, tf.float32))


@pytest.mark.parametrize("name", ["luong2015", "plain"])
@pytest.mark.parametrize("loss", [None, SequenceCrossEntropy(0.1)])
def test_a_metric_given_to_compile_changes_nothing_but_the_way(name, loss):
    """Metrics read logits, so that the loss is made of logits: it and the weights after a step are the same."""
    found = []
    for metrics in (None, [keras.metrics.SparseCategoricalAccuracy(name="shown")]):
        model = batteries.ZOO[name]()
        model.compile(keras.optimizers.SGD(0.5), loss, metrics=metrics, run_eagerly=True)
        logs = model.train_on_batch(*batteries.batch(), return_dict=True)
        assert not metrics or logs.pop("shown") == logs["accuracy"]
        found.append((logs, model.get_weights()))
    (logs, weights), (others, other_weights) = found
    assert logs == pytest.approx(others, rel=1e-5)
    for one, other in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_frequent_tokens_vector_gets_a_sum_in_float32():
    """In bfloat16 a sum of 1,000 like numbers stops growing at 256 of them."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = batteries.ZOO["plain"](depth=1)
    ids = tf.fill([1, 1000], 5)

    def gradient(repeats):
        with tf.GradientTape() as tape:
            vectors = model.decoder.embedded(ids[:, :repeats])
            total = tf.reduce_sum(tf.cast(vectors, tf.float32))
        rows = tape.gradient(total, model.decoder.embeddings.value)
        return tf.convert_to_tensor(rows)[5].numpy()

    np.testing.assert_array_equal(gradient(1000), 1000.0)


def test_a_copy_with_weights_in_bfloat16_can_be_evaluated():
    model = batteries.ZOO["luong2015"]()
    other = model.with_weights("bfloat16")
    losses = []
    for one in (model, other):
        one.compile(loss=SequenceCrossEntropy(0.1))
        losses.append(one.evaluate(*batteries.batch(), verbose=0))
    np.testing.assert_allclose(*losses, rtol=0.05, atol=0.05)
