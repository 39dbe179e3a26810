"""A step of `fit` in parts is the step of the whole batch; a step that is not finite is not made."""

import functools

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.errors import InputError
from tf_seq2seq.models.objectives import maximum_likelihood
from tf_seq2seq.training.losses import SequenceCrossEntropy

BATCH = batteries.batch(7, 6, 5, seed=1)


@functools.cache
def whole():
    """Weights and logs after two steps of the whole batch."""
    return trained(1, keras.optimizers.SGD(0.5))[:2]


def trained(parts, optimizer, batch=BATCH, steps=2, **options):
    """Weights after some steps of `fit` on one batch, the model's logs, and the model."""
    keras.utils.set_random_seed(1)
    model = batteries.ZOO["luong2015"](depth=1)
    model.compile(optimizer, SequenceCrossEntropy(0.1), parts=parts, **options)
    logs = model.fit(tf.data.Dataset.from_tensors(batch).repeat(steps), verbose=0).history
    return model.get_weights(), logs, model


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 3, 20])
def test_parts_of_a_batch_make_the_step_of_the_whole(parts):
    """Rows differ in tokens, so a mean of the parts' means would be another step. SGD shows the gradient itself."""
    weights, logs = whole()
    cut, cut_logs, model = trained(parts, keras.optimizers.SGD(0.5))
    same(weights, cut)
    assert int(model.optimizer.iterations) == 2
    np.testing.assert_allclose(cut_logs["loss"], logs["loss"], rtol=1e-5)


def test_sample_weights_weigh_in_every_part():
    weights = np.float32([0, 1, 2, 3, 0.5, 0, 1])
    weighted, *_ = trained(1, keras.optimizers.SGD(0.5), (*BATCH, weights))
    cut, *_ = trained(3, keras.optimizers.SGD(0.5), (*BATCH, weights))
    same(weighted, cut)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(weighted, whole()[0]))


def test_a_single_batch_is_cut_as_well():
    """`train_on_batch` gives None for sample weights."""
    keras.utils.set_random_seed(1)
    model = batteries.ZOO["luong2015"](depth=1)
    model.compile(keras.optimizers.SGD(0.5), SequenceCrossEntropy(0.1), parts=3)
    for _ in range(2):
        model.train_on_batch(*BATCH)
    same(whole()[0], model.get_weights())


def spoilt_at(step):
    """Maximum likelihood whose loss is NaN at one step."""

    def objective(model, batch, training):
        loss, *others = maximum_likelihood(model, batch, training)
        spoilt = tf.equal(model.trackers["skipped"].count, float(step))  # one more a step, made or not
        return tf.where(spoilt, np.nan, 1.0) * loss, *others

    return objective


@pytest.mark.parametrize(
    "parts, eager",
    [
        (1, False),
        *(pytest.param(*one, marks=pytest.mark.survival) for one in ((3, False), (1, True), (3, True))),
    ],
)
def test_a_step_that_is_not_finite_is_skipped_and_counted(parts, eager, optimized):
    """Three steps of which the second is spoilt are two steps, for the weights, for Adam and for the logs."""
    optimizer = lambda: keras.optimizers.Adam(0.01, global_clipnorm=1.0)
    two, logs, _ = trained(parts, optimizer(), run_eagerly=eager)
    three, spoilt_logs, model = trained(
        parts, optimizer(), steps=3, objective=spoilt_at(1), run_eagerly=eager
    )
    same(two, three)
    assert float(model.trackers["skipped"].total) == 1
    assert int(model.optimizer.iterations) == 2
    np.testing.assert_allclose(spoilt_logs["loss"], logs["loss"], rtol=1e-5)


@pytest.mark.survival
def test_an_infinite_loss_is_skipped_though_its_gradient_is_finite():
    def objective(model, batch, training):
        loss, *others = maximum_likelihood(model, batch, training)
        return loss + tf.where(tf.equal(model.trackers["skipped"].count, 1.0), np.inf, 0.0), *others

    two, *_ = trained(1, keras.optimizers.SGD(0.5))
    three, _, model = trained(1, keras.optimizers.SGD(0.5), steps=3, objective=objective)
    same(two, three)
    assert float(model.trackers["skipped"].total) == 1


def test_no_seed_counts_on_when_an_epoch_has_no_more_batches():
    """Keras runs the step once more to see that the data has ended; dropout must not draw then."""
    model = batteries.ZOO["luong2015"](depth=1, dropout=0.3)
    model.compile("sgd")
    counted = []
    for steps in (3, 5):
        before = model.decoder.drop.seed_generator.state.numpy()
        model.fit(tf.data.Dataset.from_tensors(BATCH).repeat(steps), verbose=0)
        counted.append(model.decoder.drop.seed_generator.state.numpy() - before)
    np.testing.assert_array_equal(counted[0] * 5, counted[1] * 3)


def test_validation_does_not_hide_a_loss_that_is_not_finite():
    _, _, model = trained(1, keras.optimizers.SGD(0.5))
    model.compile(objective=lambda *batch: (tf.constant(np.nan), tf.constant(1.0), {}))
    assert np.isnan(model.evaluate(tf.data.Dataset.from_tensors(BATCH), return_dict=True, verbose=0)["loss"])


@pytest.mark.parametrize("parts", [0, -1, 2.0, True, "2"])
def test_parts_that_are_no_count_are_refused(parts):
    with pytest.raises(InputError, match="parts is the number of pieces"):
        batteries.ZOO["plain"]().compile(parts=parts)
