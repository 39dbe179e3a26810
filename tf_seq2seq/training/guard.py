"""Stopping a training that has diverged, before it wastes hours."""

import keras

from tf_seq2seq.errors import InputError


class DivergenceGuard(keras.callbacks.Callback):
    """Stops `fit` when so many steps in a row could not be made, because loss or gradient were not finite.

    `Seq2Seq` never applies a gradient that holds a NaN or an infinity: the step is skipped, the weights stay, and one
    odd batch costs nothing. float16 skips steps by design while its loss scale is halved until gradients fit: from 2^15
    down to 1 that takes 15 steps. More than that in a row means that the weights themselves have left the range in which
    the model computes, from which no further step leads back. The weights on disk, those of `BestModel` and of `Resume`,
    are as they were before: all of them finite.

    A loss that grows but stays finite is left to Keras's ``EarlyStopping``, which knows the validation.

    >>> guard = DivergenceGuard(patience=20)
    >>> guard.in_a_row
    0

    Args:
        patience: how many steps in a row are skipped before `fit` stops.

    Raises:
        InputError: for a patience below 1; when `fit` begins, for a model that counts no skipped steps; in training,
            after `patience` skipped steps in a row.
    """

    def __init__(self, patience=20):
        super().__init__()
        if patience < 1:
            raise InputError(f"patience is a number of steps of at least 1, not {patience}")
        self.patience = patience
        self.in_a_row = 0
        self._skipped = 0

    def get_state(self):
        """What `Resume` keeps: the skipped steps in a row."""
        return {"in_a_row": self.in_a_row}

    def set_state(self, state):
        """Takes up what `get_state` gave."""
        self.in_a_row = state["in_a_row"]

    def on_train_begin(self, logs=None):
        if "skipped" not in getattr(self.model, "trackers", {}):
            raise InputError(
                "DivergenceGuard reads how many steps a Seq2Seq skipped; this model does not count them"
            )
        self.in_a_row = 0

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:  # after `Resume` has put back the sums of an epoch that was begun before
            self._skipped = self._count()

    def on_train_batch_end(self, batch, logs=None):
        before, self._skipped = self._skipped, self._count()
        self.in_a_row = self.in_a_row + self._skipped - before if self._skipped > before else 0
        if self.in_a_row >= self.patience:
            step = int(self.model.optimizer.iterations.numpy())
            raise InputError(
                f"training has diverged: after step {step} the gradients of {self.in_a_row} batches in a row were not "
                "finite, and none was applied; go on from the best weights with a smaller learning rate, "
                "global_clipnorm=1.0 in the optimizer, or the policy float32 or mixed_bfloat16"
            )

    def _count(self):
        return round(float(self.model.trackers["skipped"].total.numpy()))
