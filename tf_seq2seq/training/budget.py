"""Training for so many minutes, on whatever machine."""

import math
import time

import keras

from tf_seq2seq.errors import InputError


class TimeBudget(keras.callbacks.Callback):
    """Lets the learning rate fall to zero with the clock, and stops `fit` when the time is used up.

    ::

        rate = peak min(1, (step + 1) / warmup_steps) f(used / budget)
        f(x) = 1 - x  (linear)      f(x) = (1 + cos(pi x)) / 2  (cosine)

    A fast machine so makes more steps than a slow one, and both end with a rate of nearly zero, where the
    weights are best. The rate is a variable of the optimizer: setting it (microseconds a batch) does not
    retrace. Give `fit` more epochs than it can reach, and an optimizer made with a number for its learning
    rate, not a schedule.

    >>> budget = TimeBudget(minutes=8, peak=2e-3, warmup_steps=100)
    >>> [round(budget.rate(step, share), 4) for step, share in [(49, 0.0), (1000, 0.5), (2000, 1.0)]]
    [0.001, 0.001, 0.0]

    Args:
        minutes: how long `fit` may take, from its first batch on, tracing and data included.
        peak: learning rate after the warm-up.
        warmup_steps: steps of the linear rise.
        decay: ``"linear"`` or ``"cosine"``.
        count_validation: whether validation, and the callbacks at an epoch's end, use up the budget as well;
            if not, stand first in the list of callbacks. Validation after the last batch comes on top in
            either case.
        clock: the function that tells the time in seconds.

    Raises:
        InputError: for another decay, for minutes that are not positive, or, when `fit` begins, for an
            optimizer that has a schedule.
    """

    def __init__(
        self, minutes, peak, warmup_steps=100, decay="linear", count_validation=True, clock=time.monotonic
    ):
        super().__init__()
        if decay not in ("linear", "cosine"):
            raise InputError(f"decay is 'linear' or 'cosine', not {decay!r}")
        if minutes <= 0:
            raise InputError(f"minutes of training must be above 0, not {minutes}")
        self.minutes = minutes
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.decay = decay
        self.count_validation = count_validation
        self._clock = clock
        self._step = None
        self._epoch_start = 0
        self._used = 0.0
        self._since = None

    @property
    def seconds_used(self):
        """Seconds of the budget used so far."""
        return self._used + (self._clock() - self._since if self._since is not None else 0.0)

    @property
    def share_used(self):
        """Share of the budget used so far, in [0, 1]."""
        return min(self.seconds_used / (60 * self.minutes), 1.0)

    def rate(self, step, share):
        """Learning rate at `step`, when `share` of the time is used."""
        left = 1 - share if self.decay == "linear" else (1 + math.cos(math.pi * share)) / 2
        return self.peak * min((step + 1) / max(self.warmup_steps, 1), 1.0) * left

    def get_state(self):
        """What `Resume` keeps: the seconds used."""
        return {"seconds": self.seconds_used}

    def set_state(self, state):
        """Goes on with the time that is left; stops `fit` if none is."""
        self._used, self._since = state["seconds"], self._clock()
        self._stop_when_used()

    def on_train_begin(self, logs=None):
        resolver = self.model.distribute_strategy.cluster_resolver
        if resolver is not None and len(resolver.cluster_spec().as_dict().get("worker", ())) > 1:
            raise InputError(
                "TimeBudget goes by the clock, and each worker would stop at another step: train for a number of epochs"
            )
        self._step = None
        self._used = 0.0
        self._since = self._clock()
        try:
            self.model.optimizer.learning_rate = self.rate(0, 0.0)
        except TypeError as error:
            raise InputError(
                "TimeBudget sets the learning rate itself: give the optimizer a number, not a schedule"
            ) from error

    def on_epoch_begin(self, epoch, logs=None):
        if self._since is None:
            self._since = self._clock()
        if self._step is None:  # not at the training's beginning: `Resume` may stand later in the list
            self._step = int(self.model.optimizer.iterations.numpy())
        self._epoch_start = self._step

    def on_train_batch_begin(self, batch, logs=None):
        self._step = self._epoch_start + batch
        self.model.optimizer.learning_rate = self.rate(self._step, self.share_used)

    def on_train_batch_end(self, batch, logs=None):
        self._step = self._epoch_start + batch + 1
        self._stop_when_used()

    def on_test_begin(self, logs=None):
        self._pause()

    def on_epoch_end(self, epoch, logs=None):
        self._pause()
        self._stop_when_used()

    def _stop_when_used(self):
        if self.share_used >= 1:
            self.model.stop_training = True

    def _pause(self):
        if not self.count_validation and self._since is not None:
            self._used, self._since = self.seconds_used, None
