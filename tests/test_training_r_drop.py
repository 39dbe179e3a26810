"""R-Drop against NumPy, and against the plain loss where nothing is dropped."""

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.errors import InputError
from tf_seq2seq.models.objectives import maximum_likelihood
from tf_seq2seq.training.losses import SequenceCrossEntropy
from tf_seq2seq.training.r_drop import RDrop, divergence


def test_divergence_and_its_gradient_equal_numpy_and_automatic_ones():
    random = np.random.default_rng(0)
    one, other = (tf.constant(random.normal(size=(7, 11)) * 3, tf.float32) for _ in range(2))
    weights = tf.constant(random.uniform(size=7), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([one, other])
        ours = divergence(one, other)
        log_p, log_q = tf.nn.log_softmax(one), tf.nn.log_softmax(other)
        plain = tf.reduce_sum((tf.exp(log_p) - tf.exp(log_q)) * (log_p - log_q), axis=-1)
        sums = [tf.reduce_sum(weights * value) for value in (ours, plain)]
    p, q = (np.exp(np.float64(x)) / np.exp(np.float64(x)).sum(-1, keepdims=True) for x in (one, other))
    expected = (p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    for found, wanted in zip(tape.gradient(sums[0], [one, other]), tape.gradient(sums[1], [one, other])):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, "rows", "tokens"])
def test_without_dropout_it_is_the_plain_loss(label_smoothing, weights):
    model = batteries.ZOO["luong2015"](depth=1)
    model.compile("sgd", SequenceCrossEntropy(label_smoothing), run_eagerly=True)
    inputs, labels = batteries.batch()
    random = np.random.default_rng(0)
    weights = {"rows": random.uniform(size=4), "tokens": random.uniform(size=labels.shape)}.get(weights)
    batch = tf.nest.map_structure(
        lambda one: one if one is None else tf.constant(one), (inputs, labels, weights)
    )
    found, expected = RDrop(4.0)(model, batch, True), maximum_likelihood(model, batch, True)
    tf.nest.map_structure(lambda *pair: np.testing.assert_allclose(*pair, rtol=1e-5), found, expected)


def test_with_dropout_it_adds_the_divergence_of_two_passes():
    """The passes are known: dropout is drawn again from the same seeds."""
    made = batteries.ZOO["luong2015"](depth=1, dropout=0.5)
    made.compile("sgd", run_eagerly=True)
    inputs, labels = batteries.batch()
    weights = tf.constant([1.0, 0.5, 2.0, 0.0])
    seeds = [one for one in made.variables if "seed" in one.path]
    assert seeds
    before = [one.numpy() for one in seeds]
    loss, weight, metrics = RDrop(alpha=3.0)(made, (inputs, tf.constant(labels), weights), True)
    for one, value in zip(seeds, before):
        one.assign(value)
    twice = {name: np.concatenate([ids, ids]) for name, ids in inputs.items()}
    logits = np.float64(made(twice, training=True))
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    first, second = np.split(log_probs, 2)
    assert np.abs(first - second).max() > 0.1
    real = (labels != 0) * weights.numpy()[:, None]
    nll = [-np.take_along_axis(one, labels[..., None], -1)[..., 0] for one in (first, second)]
    apart = ((np.exp(first) - np.exp(second)) * (first - second)).sum(-1)
    expected = ((nll[0] + nll[1]) / 2 * real).sum() + 3.0 / 2 * (apart / 2 * real).sum()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(weight, real.sum(), rtol=1e-6)
    np.testing.assert_allclose(metrics["perplexity"][0], ((nll[0] + nll[1]) / 2 * real).sum(), rtol=1e-5)


@pytest.mark.learning
def test_divergence_falls_in_training():
    """With a large alpha the two passes come closer than under plain likelihood."""
    inputs, labels = batteries.batch(rows=16)
    apart = []
    for alpha in (0.0, 20.0):
        keras.utils.set_random_seed(0)
        made = batteries.ZOO["luong2015"](depth=1, dropout=0.3)
        made.compile(keras.optimizers.Adam(0.02), objective=RDrop(alpha))
        for _ in range(30):
            made.train_on_batch(inputs, labels)
        passes = [made(inputs, labels=tf.constant(labels), training=True) for _ in range(2)]
        apart.append(float(tf.reduce_mean(divergence(*passes))))
    assert apart[1] < 0.5 * apart[0], apart


def test_a_negative_weight_is_refused():
    with pytest.raises(InputError, match="alpha is a weight, 0 or more"):
        RDrop(-1)
