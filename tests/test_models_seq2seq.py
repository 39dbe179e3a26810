"""The trainable model's loss, logs, metrics and weights against NumPy.

Shapes: **B** batch, **T** target length, **M** real tokens, **V** vocabulary.
"""

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.errors import InputError
from tf_seq2seq.training.losses import SequenceCrossEntropy

UNEQUAL = [
    batteries.batch(4, 6, 5, seed=1),
    batteries.batch(1, 2, 2, seed=2),
    batteries.batch(3, 4, 7, seed=3),
]


def model(**options):
    """A fresh model, compiled to run eagerly."""
    made = batteries.ZOO["luong2015"](depth=1)
    made.compile(keras.optimizers.SGD(0.1), run_eagerly=True, **options)
    return made


def dataset(batches):
    """Batches of several shapes as `fit` takes them."""
    spec = tf.TensorSpec([None, None], tf.int32)
    signature = ({"source_ids": spec, "target_ids": spec}, spec)
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)


def tokens(model, batches, label_smoothing=0.0):
    """Loss, nll and rightness of every real token of all batches, float64, from whole logits."""
    losses, nlls, rights = [], [], []
    for inputs, labels in batches:
        z = np.float64(model(inputs))
        log_probs = z - np.log(np.exp(z).sum(-1, keepdims=True))
        nll = -np.take_along_axis(log_probs, labels[..., None], -1)[..., 0]
        loss = (1 - label_smoothing) * nll - label_smoothing * log_probs.mean(-1)
        for found, values in ((losses, loss), (nlls, nll), (rights, z.argmax(-1) == labels)):
            found.extend(values[labels != 0])
    return np.array(losses), np.array(nlls), np.array(rights)


def evaluated(model, data, **options):
    return model.evaluate(data, return_dict=True, verbose=0, **options)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("log_gradient_norm", [False, True])
def test_evaluate_gives_means_over_the_tokens_of_all_batches(label_smoothing, log_gradient_norm):
    """Perplexity is e to the sum of nats over the count of tokens, not a mean of batches' means."""
    made = model(loss=SequenceCrossEntropy(label_smoothing))
    made.log_gradient_norm = log_gradient_norm
    losses, nlls, rights = tokens(made, UNEQUAL, label_smoothing)
    logs = evaluated(made, dataset(UNEQUAL))
    assert len(nlls) == sum((labels != 0).sum() for _, labels in UNEQUAL)
    np.testing.assert_allclose(logs["loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["perplexity"], np.exp(nlls.mean()), rtol=1e-5)
    np.testing.assert_allclose(logs["accuracy"], rights.mean(), rtol=1e-6)
    assert np.abs(np.mean([tokens(made, [one])[1].mean() for one in UNEQUAL]) - nlls.mean()) > 1e-3


def test_fit_logs_the_same_names_for_training_and_validation():
    made = model()
    made.log_gradient_norm = True
    history = made.fit(dataset(UNEQUAL), validation_data=dataset(UNEQUAL), verbose=0).history
    losses, nlls, rights = tokens(made, UNEQUAL)
    np.testing.assert_allclose(history["val_loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(history["val_perplexity"], np.exp(nlls.mean()), rtol=1e-5)
    np.testing.assert_allclose(history["val_accuracy"], rights.mean(), rtol=1e-5)
    np.testing.assert_allclose(history["perplexity"], np.exp(history["loss"]), rtol=1e-5)
    assert history["gradient_norm"][0] > 0


@pytest.mark.parametrize("weights", [np.array([1.0, 0.0, 2.5, 0.5]), None], ids=["(B,)", "(B, T)"])
@pytest.mark.parametrize(
    "loss",
    [None, SequenceCrossEntropy(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)],
    ids=["none", "ours", "keras"],
)
def test_sample_weights_weigh_tokens(loss, weights):
    inputs, labels = UNEQUAL[0]
    weights = np.random.default_rng(0).uniform(0, 2, labels.shape) if weights is None else weights
    made = model(loss=loss)
    _, nlls, rights = tokens(made, UNEQUAL[:1])
    each = np.broadcast_to(weights.reshape(4, -1), labels.shape)[labels != 0]
    logs = made.test_on_batch(inputs, labels, sample_weight=weights, return_dict=True)
    np.testing.assert_allclose(logs["loss"], (nlls * each).sum() / each.sum(), rtol=1e-5)
    np.testing.assert_allclose(logs["perplexity"], np.exp((nlls * each).sum() / each.sum()), rtol=1e-5)
    np.testing.assert_allclose(logs["accuracy"], (rights * each).sum() / each.sum(), rtol=1e-5)


class Spy(keras.metrics.Mean):
    """Writes down what a metric is shown."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.seen = (y_true.numpy(), y_pred.shape)
        return super().update_state(tf.reduce_sum(y_true))


def test_a_users_loss_and_metrics_see_real_tokens_only():
    inputs, labels = UNEQUAL[0]
    seen = []

    def loss(y_true, y_pred):
        seen.append((y_true.numpy(), y_pred.shape, y_pred.dtype))
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)

    spy = Spy(name="spy")
    nats = keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="nats")
    made = model(loss=loss, metrics=[spy, nats, "accuracy"])
    _, nlls, rights = tokens(made, UNEQUAL[:1])
    logs = made.test_on_batch(inputs, labels, return_dict=True)
    real = labels[labels != 0]
    for y_true, shape in (seen[-1][:2], spy.seen):
        np.testing.assert_array_equal(y_true, real)
        assert shape == (len(real), batteries.TARGET_V)
    assert seen[-1][2] == tf.float32
    np.testing.assert_allclose([logs["loss"], logs["nats"]], nlls.mean(), rtol=1e-5)
    np.testing.assert_allclose([logs["accuracy"], logs["spy"]], [rights.mean(), real.sum()], rtol=1e-5)


def test_a_users_metric_called_perplexity_leaves_ours_alone():
    nats = keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="perplexity")
    made = model(metrics=[nats])
    logs = made.test_on_batch(*UNEQUAL[0], return_dict=True)
    np.testing.assert_allclose(logs["perplexity"], np.exp(logs["loss"]), rtol=1e-5)


def test_a_batch_of_nothing_but_padding_does_no_harm():
    made = model()
    before = [weight.numpy() for weight in made.trainable_weights]
    inputs, labels = UNEQUAL[0]
    logs = made.train_on_batch(inputs, np.zeros_like(labels), return_dict=True)
    assert logs["loss"] == 0 and np.isfinite([*logs.values()]).all()
    for one, weight in zip(before, made.trainable_weights):
        np.testing.assert_array_equal(one, weight)


def test_an_objective_of_ones_own_with_its_own_metric():
    def objective(model, batch, training):
        inputs, _, _ = batch
        nats = tf.reduce_sum(model(inputs, training=training) ** 2)
        return nats, 4.0, {"penalty": (tf.constant(6.0), tf.constant(3.0))}

    made = batteries.ZOO["plain"]()
    made.compile(keras.optimizers.SGD(0.1), objective=objective)
    inputs, labels = UNEQUAL[0]
    expected = (made(inputs).numpy() ** 2).sum() / 4
    logs = made.train_on_batch(inputs, labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)
    assert logs["penalty"] == 2.0
    made.train_on_batch(inputs, labels)
    assert made.test_on_batch(inputs, labels, return_dict=True)["penalty"] == 2.0


def test_the_gradient_norm_is_that_of_the_unscaled_loss():
    """Under mixed_float16 Keras multiplies the loss by some thousands before it takes gradients."""
    norms = []
    for policy in ("float32", "mixed_float16"):
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(policy)
        made = model()
        made.log_gradient_norm = True
        norms.append(float(made.train_on_batch(*UNEQUAL[0], return_dict=True)["gradient_norm"]))
    np.testing.assert_allclose(norms[0], norms[1], rtol=0.05)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", [SequenceCrossEntropy()]])
def test_a_loss_that_may_not_read_logits_is_refused(loss):
    with pytest.raises(
        InputError, match=r"loss is a Keras loss that reads logits, not .*; give SequenceCrossEntropy"
    ):
        model(loss=loss)


def test_real_tokens_logits_are_those_of_all():
    made = batteries.shared("luong2015")
    inputs, labels = UNEQUAL[0]
    np.testing.assert_allclose(
        made(inputs, labels=labels), made(inputs).numpy()[labels != 0], rtol=1e-5, atol=1e-6
    )
    assert made.alignments(inputs).shape == (*inputs["target_ids"].shape, inputs["source_ids"].shape[1])


@pytest.mark.parametrize("name", [*batteries.ZOO, *[*batteries.DECODERS][::4]])
def test_weights_of_another_dtype_give_nearly_the_same(name):
    """All weights follow, wherever the layers that hold them are made; what search reads stays float32."""
    model = batteries.shared(name)
    half = model.with_weights("bfloat16")
    assert {weight.dtype for weight in half.weights} == {"bfloat16"}
    inputs, labels = batteries.batch()
    inputs = {name: tf.constant(ids) for name, ids in inputs.items()}
    outputs = []
    for one in (model, half):
        state, memory = one.start(inputs)
        first = one.step(inputs["target_ids"][:, 0], state, memory)
        second = one.step(tf.constant(labels[:, 0]), first.state, memory)
        outputs.append(second)
        assert {leaf.dtype for leaf in tf.nest.flatten((first.logits, first.state))} == {tf.float32}
    difference = np.abs(outputs[0].logits - outputs[1].logits)
    assert 0 < difference.max() < 0.15, difference.max()
    back = half.with_weights("float32")
    assert {weight.dtype for weight in back.weights} == {"float32"}
    for ours, whole in zip(back.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, whole, rtol=2**-8)


def test_a_model_of_half_precision_weights_comes_back_from_its_file(tmp_path):
    half = batteries.shared("luong2015").with_weights("bfloat16")
    half.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert {weight.dtype for weight in loaded.weights} == {"bfloat16"}
    state, memory = half.start(batteries.batch()[0])
    ids = tf.constant([2, 2, 2, 2])
    np.testing.assert_array_equal(
        loaded.step(ids, state, memory).logits, half.step(ids, state, memory).logits
    )
