"""DivergenceGuard, and steps whose loss or gradient is not finite."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.errors import InputError
from tf_seq2seq.models import zoo
from tf_seq2seq.models.objectives import maximum_likelihood
from tf_seq2seq.training.guard import DivergenceGuard

BATCHES = 12
RANDOM = np.random.default_rng(4)


def make_data(bad):
    """Batches whose source begins with 5 where the loss shall be NaN, otherwise with 4."""
    ids = RANDOM.integers(4, 9, size=[BATCHES, 2, 4]).astype("int32")
    ids[:, :, 0] = [[5 if number in bad else 4] * 2 for number in range(BATCHES)]
    data = tf.data.Dataset.from_tensor_slices(ids)
    return data.map(lambda rows: ({"source_ids": rows, "target_ids": rows}, rows))


@tf.custom_gradient
def with_gradient_times(value, factor):
    return tf.identity(value), lambda upstream: (upstream * factor, None)


def sick(model, batch, training):
    """Maximum likelihood, and where the data says so a loss, or only its gradient, that is not finite."""
    loss, weight, metrics = maximum_likelihood(model, batch, training)
    factor = tf.where(batch[0]["source_ids"][0, 0] == 5, model.sickness, 1.0)
    if model.only_gradient:
        return with_gradient_times(loss, factor), weight, metrics
    return loss * factor, weight, metrics


class Watch(keras.callbacks.Callback):
    """Weights after each step."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(
            [*self.model.get_weights(), *(one.numpy() for one in self.model.optimizer.variables)]
        )


def fit(bad, patience, sickness=np.nan, only_gradient=False):
    model, watch = zoo.plain(10, 10, units=4), Watch()
    model.sickness, model.only_gradient = sickness, only_gradient
    model.compile(keras.optimizers.Adam(0.01, use_ema=True), objective=sick)
    guard = DivergenceGuard(patience)
    try:
        model.fit(make_data(bad), epochs=1, verbose=0, callbacks=[watch, guard])
    finally:
        model.seen = watch.weights
        fit.model = model
    return model, guard


@pytest.mark.survival
@pytest.mark.parametrize("sickness, only_gradient", [(np.nan, False), (np.inf, False), (-np.inf, True)])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(sickness, only_gradient):
    model, guard = fit({3, 4, 7, 11}, 3, sickness, only_gradient)
    for number, (before, after) in enumerate(zip(model.seen, model.seen[1:]), 1):
        same = all(np.array_equal(one, other) for one, other in zip(before, after))
        assert same == (number in {3, 4, 7, 11})
    assert float(model.trackers["skipped"].total) == 4
    assert int(model.optimizer.iterations) == BATCHES - 4
    assert guard.in_a_row == 1
    assert np.isfinite(float(model.trackers["loss"].result()))


def test_the_guard_stops_after_so_many_in_a_row_and_says_what_to_do():
    told = r"diverged: after step 5 the gradients of 3 batches in a row .* smaller learning rate, global_clipnorm"
    with pytest.raises(InputError, match=told):
        fit({2, 3, 7, 8, 9, 10}, patience=3)
    assert len(fit.model.seen) == 10
    assert all(np.isfinite(weights).all() for weights in fit.model.get_weights())


@pytest.mark.survival
def test_the_guard_goes_on_counting_over_epochs_and_after_a_break():
    guard = DivergenceGuard(5)
    guard.set_state({"in_a_row": 3})
    assert guard.get_state() == {"in_a_row": 3}
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(InputError, match="reads how many steps a Seq2Seq skipped"):
        model.fit(np.zeros([2, 1]), np.zeros(2), verbose=0, callbacks=[guard])
    with pytest.raises(InputError, match="at least 1, not 0"):
        DivergenceGuard(0)
