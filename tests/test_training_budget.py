"""TimeBudget with a clock of the test's own."""

import keras
import numpy as np
import pytest

from tf_seq2seq.errors import InputError
from tf_seq2seq.training.budget import TimeBudget


class Clock(keras.callbacks.Callback):
    """A clock that each training batch moves by one second and each validation by a hundred."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0
        self.rates = []

    def __call__(self):
        return self.now

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch, logs=None):
        self.now += 1

    def on_test_end(self, logs=None):
        self.now += 100


def fit(budget, clock, optimizer=None, epochs=100):
    traces = []

    class Counting(keras.Sequential):
        def call(self, inputs, training=None):
            traces.append(training)
            return super().call(inputs)

    model = Counting([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.SGD(0.5), "mse")
    data = np.ones((40, 2)), np.ones(40)
    model.fit(*data, batch_size=2, epochs=epochs, validation_data=data, callbacks=[budget, clock], verbose=0)
    return model, traces


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_rate_falls_to_zero_with_the_clock_and_training_stops(decay):
    clock = Clock()
    budget = TimeBudget(1.0, peak=0.1, warmup_steps=5, decay=decay, count_validation=False, clock=clock)
    model, _ = fit(budget, clock)
    used = np.arange(len(clock.rates)) / 60
    left = 1 - used if decay == "linear" else (1 + np.cos(np.pi * used)) / 2
    np.testing.assert_allclose(clock.rates, 0.1 * np.minimum((np.arange(60) + 1) / 5, 1) * left, atol=1e-7)
    assert int(model.optimizer.iterations) == 60
    assert budget.share_used == 1.0


def test_validation_counts_unless_told_otherwise():
    clock = Clock()
    model, _ = fit(TimeBudget(1.0, peak=0.1, clock=clock), clock)
    # 20 steps in the first epoch; the validation after them is over the budget
    assert int(model.optimizer.iterations) == 20


def test_setting_the_rate_does_not_trace_again():
    clock = Clock()
    _, few = fit(TimeBudget(0.1, peak=0.1, clock=clock), clock, epochs=1)
    _, many = fit(TimeBudget(1.0, peak=0.1, count_validation=False, clock=clock), clock)
    assert len(many) == len(few)


def test_what_it_cannot_use_is_refused():
    with pytest.raises(InputError, match="decay is 'linear' or 'cosine', not 'fast'"):
        TimeBudget(1, 0.1, decay="fast")
    with pytest.raises(InputError, match="above 0, not 0"):
        TimeBudget(0, 0.1)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    with pytest.raises(InputError, match="give the optimizer a number, not a schedule"):
        fit(TimeBudget(1, 0.1), Clock(), keras.optimizers.SGD(schedule))
