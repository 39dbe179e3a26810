"""Token cross-entropy against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.models.objectives import token_cross_entropy


def reference(logits, labels, label_smoothing):
    """Loss, nll and the gradient of the summed loss, in float64."""
    z = np.asarray(logits, np.float64)
    log_probs = (
        z - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True)) - z.max(-1, keepdims=True)
    )
    one_hot = np.eye(z.shape[-1])[labels]
    smoothed = (1 - label_smoothing) * one_hot + label_smoothing / z.shape[-1]
    real = labels != 0
    loss, nll = -(smoothed * log_probs).sum(-1), -(one_hot * log_probs).sum(-1)
    return loss * real, nll * real, (np.exp(log_probs) - smoothed) * real[..., None]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("shape", [(7,), (3, 5)])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_loss_nll_and_gradient_equal_numpy(label_smoothing, shape, scale):
    rng = np.random.default_rng(1)
    logits = tf.constant(rng.normal(size=(*shape, 11)) * scale, tf.float32)
    labels = rng.integers(1, 11, size=shape)
    labels[..., -1] = 0
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss, nll = token_cross_entropy(logits, labels, label_smoothing)
        total = tf.reduce_sum(loss)
    expected_loss, expected_nll, expected_gradient = reference(logits, labels, label_smoothing)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(nll, expected_nll, rtol=1e-5, atol=2e-5 * scale)
    gradient = tape.gradient(total, logits).numpy()
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)
    assert not gradient[labels == 0].any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_low_precision_logits_are_summed_in_float32(dtype, label_smoothing):
    logits = tf.cast(np.random.default_rng(2).normal(size=(4, 3000)), dtype)
    labels = np.array([5, 2999, 0, 17])
    loss, nll = token_cross_entropy(logits, labels, label_smoothing)
    assert loss.dtype == nll.dtype == tf.float32
    expected = reference(tf.cast(logits, tf.float64), labels, label_smoothing)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-5)
    np.testing.assert_allclose(nll, expected[1], rtol=1e-5)
