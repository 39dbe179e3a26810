"""Learning rates that depend on the step; one step is one update of the weights.

What follows the warm-up is any Keras schedule, of ``keras.optimizers.schedules``::

    falls linearly to zero             Warmup(PolynomialDecay(rate, steps, 0.0), warmup)
    along a half cosine                Warmup(CosineDecay(rate, steps), warmup)
    a cosine, again and again          CosineDecayRestarts(rate, steps)
    in stairs                          PiecewiseConstantDecay([4000, 8000], [1e-3, 5e-4, 2.5e-4])
    with the root of the step          InverseSquareRootSchedule(peak, warmup), noam_schedule(units, warmup)

An optimizer takes each for its learning rate: ``keras.optimizers.Adam(noam_schedule(512))``. A rate that waits for a
score is a callback beside an optimizer with a number for its rate: ``keras.callbacks.ReduceLROnPlateau("val_loss",
factor=0.5, patience=2)``; for a score that shall rise, ``"val_bleu", mode="max"``, behind `Monitor` in the list.
``keras.callbacks.EarlyStopping("val_bleu", mode="max", patience=5, restore_best_weights=True)`` ends training in the same
way. A rate that falls with the clock is `tf_seq2seq.training.budget.TimeBudget`.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable("tf_seq2seq")
class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly for `steps` steps to where `rate` starts, then follows `rate` from its step 0.

    ::

        r(s) = rate(0) (s + 1) / steps      s < steps
             = rate(s - steps)              afterwards

    >>> falling = keras.optimizers.schedules.PolynomialDecay(0.1, decay_steps=100, end_learning_rate=0.0)
    >>> schedule = Warmup(falling, steps=10)
    >>> [round(float(schedule(step)), 3) for step in (0, 4, 9, 10, 60, 110)]
    [0.01, 0.05, 0.1, 0.1, 0.05, 0.0]

    Args:
        rate: a number, which is kept after the warm-up, or a Keras schedule.
        steps: length of the warm-up.
    """

    def __init__(self, rate, steps):
        self.rate = rate
        self.steps = steps

    def __call__(self, step):
        """Learning rate at `step`, float32 scalar."""
        step = ops.cast(step, "float32")
        rate = self.rate(ops.maximum(step - self.steps, 0.0)) if callable(self.rate) else self.rate
        return ops.cast(rate, "float32") * ops.minimum((step + 1.0) / max(self.steps, 1), 1.0)

    def get_config(self):
        rate = keras.saving.serialize_keras_object(self.rate) if callable(self.rate) else self.rate
        return {"rate": rate, "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        rate = config["rate"]
        if isinstance(rate, dict):
            rate = keras.saving.deserialize_keras_object(rate)
        return cls(rate, config["steps"])


@keras.saving.register_keras_serializable("tf_seq2seq")
class InverseSquareRootSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` at step `warmup_steps`, then falls with the square root of the step.

    ::

        r(s) = peak min(t / warmup_steps, sqrt(warmup_steps / t))      t = s + 1

    >>> schedule = InverseSquareRootSchedule(0.5, warmup_steps=100)
    >>> [round(float(schedule(step)), 3) for step in (49, 99, 399)]
    [0.25, 0.5, 0.25]

    Args:
        peak: highest learning rate.
        warmup_steps: steps of the rise.

    Source:
        Vaswani et al. 2017, Attention Is All You Need, equation 3, with the peak given outright.
    """

    def __init__(self, peak, warmup_steps=4000):
        self.peak = peak
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        """Learning rate at `step`, float32 scalar."""
        ratio = (ops.cast(step, "float32") + 1.0) / self.warmup_steps
        return self.peak * ops.minimum(ratio, ops.rsqrt(ratio))

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps}


def noam_schedule(units, warmup_steps=4000, scale=1.0):
    """The Transformer's schedule: inverse square root with a peak given by the model's width.

    ::

        r(s) = scale units^-0.5 min(t^-0.5, t warmup_steps^-1.5)      t = s + 1

    >>> round(float(noam_schedule(512, warmup_steps=4000)(3999)), 6)
    0.000699

    Args:
        units: width of the model.
        warmup_steps: steps of the rise.
        scale: factor on the whole.

    Returns:
        `InverseSquareRootSchedule`.

    Source:
        Vaswani et al. 2017, equation 3.
    """
    return InverseSquareRootSchedule(scale * (units * warmup_steps) ** -0.5, warmup_steps)
