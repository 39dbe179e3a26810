"""Token cross-entropy against NumPy, and every objective with every model."""

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.errors import InputError
from tf_seq2seq.models.objectives import maximum_likelihood, token_cross_entropy
from tf_seq2seq.training.losses import SequenceCrossEntropy


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


# Every objective with every model


def batch_with_links(rows=5):
    """A batch whose links are its diagonal."""
    inputs, labels = batteries.batch(rows=rows)
    size = (*labels.shape, inputs["source_ids"].shape[1])
    return {**inputs, "alignments": np.eye(*size[1:], dtype="float32")[None].repeat(size[0], 0)}, labels


@pytest.mark.parametrize("objective", batteries.OBJECTIVES)
@pytest.mark.parametrize(
    "name, policy", [*((name, "float32") for name in batteries.ZOO), ("luong2015", "mixed_bfloat16")]
)
def test_every_model_trains_with_every_objective_and_is_validated_by_likelihood(name, objective, policy):
    """With label smoothing, sample weights and dropout; all variables move, and nothing becomes NaN."""
    keras.config.set_dtype_policy(policy)
    model = batteries.ZOO[name](dropout=0.2)
    loss = SequenceCrossEntropy(0.1)
    model.compile(
        keras.optimizers.SGD(0.5), loss, objective=batteries.OBJECTIVES[objective](), run_eagerly=True
    )
    inputs, labels = batch_with_links()
    weights = np.array([1.0, 0.5, 2.0, 1.0, 0.0])
    if objective == "guided alignment" and name in ("plain", "sutskever2014", "cho2014"):
        with pytest.raises(InputError, match="has none of"):
            model.train_on_batch(inputs, labels)
        return
    before = [weight.numpy() for weight in model.trainable_weights]
    logs = model.train_on_batch(inputs, labels, sample_weight=weights, return_dict=True)
    assert np.isfinite([*logs.values()]).all()
    moved = [np.abs(weight - old).max() > 0 for weight, old in zip(model.trainable_weights, before)]
    assert all(moved) and all(np.isfinite(weight).all() for weight in model.trainable_weights)
    logs = model.test_on_batch(inputs, labels, sample_weight=weights, return_dict=True)
    model.compile(keras.optimizers.SGD(0.5), loss, run_eagerly=True)
    plain = model.test_on_batch(inputs, labels, sample_weight=weights, return_dict=True)
    assert {key: logs[key] for key in plain} == plain


@pytest.mark.parametrize("objective", ["half a teacher", "sampled softmax", "r-drop"])
def test_a_graph_in_parts_and_in_mixed_precision_trains(objective):
    """Loops in graphs check shapes and dtypes that eager ones let pass."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = batteries.ZOO["luong2015"](depth=1, dropout=0.1)
    made = batteries.OBJECTIVES[objective]()
    model.compile(keras.optimizers.SGD(0.5), SequenceCrossEntropy(0.1), objective=made, parts=2)
    losses = model.fit(*batch_with_links(), batch_size=5, epochs=3, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and len(set(losses)) == 3


@pytest.mark.parametrize("objective", batteries.OBJECTIVES)
def test_a_saved_model_has_its_objective_and_parts(objective, tmp_path):
    model, made = batteries.ZOO["luong2015"](depth=1), batteries.OBJECTIVES[objective]()
    model.compile("sgd", SequenceCrossEntropy(0.1), objective=made, parts=2)
    model.save(tmp_path / "it.keras")
    loaded = keras.models.load_model(tmp_path / "it.keras")
    assert type(loaded.objective) is type(made) and loaded.objective.get_config() == made.get_config()
    assert loaded.parts == 2 and loaded.loss.label_smoothing == 0.1


def test_parts_give_the_whole_batchs_gradient():
    """Of an objective that draws nothing."""
    weights = []
    for parts in (1, 3):
        model = batteries.ZOO["luong2015"](depth=1)
        objective = batteries.OBJECTIVES["guided alignment"]()
        model.compile(keras.optimizers.SGD(0.5), objective=objective, parts=parts, run_eagerly=True)
        model.fit(*batch_with_links(), batch_size=5, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_plain_function_is_not_saved(tmp_path):
    model = batteries.ZOO["plain"]()
    model.compile("sgd", objective=lambda *batch: maximum_likelihood(*batch))
    model.save(tmp_path / "it.keras")
    assert keras.models.load_model(tmp_path / "it.keras").objective is maximum_likelihood
