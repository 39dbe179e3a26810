"""What Keras's `fit` knows while it runs and tells no callback: how it counts batches, and the other callbacks."""

import inspect

import keras


class Fitting:
    """The `fit` from which a callback is called.

    Keras hands its callbacks neither the data nor each other. Both are found among the variables of its running
    function; this class is the one place that knows their names (as of Keras 3.15).

    >>> Fitting.running() is None
    True

    Attributes:
        callbacks: list of the callbacks, those of nested lists included.
        data: the dataset that epochs iterate over, as `fit` was given it, or as a strategy deals it.
        steps_per_epoch: as `fit` was given it.
    """

    def __init__(self, variables):
        self._list = variables["callbacks"]
        self._batches = variables["epoch_iterator"]
        self.callbacks = [*_flat(self._list)]
        self.data = getattr(self._batches.data_adapter, "_dataset", None)
        self.steps_per_epoch = self._batches.steps_per_epoch

    @classmethod
    def running(cls):
        """The `fit` that is running, or None."""
        frame = inspect.currentframe()
        while frame is not None and not {"epoch_iterator", "initial_epoch", "callbacks"} <= {*frame.f_locals}:
            frame = frame.f_back
        return None if frame is None else cls(frame.f_locals)

    def put_last(self, callback):
        """Lets a callback be called after all others from now on, this round of calls included.

        Returns:
            bool: whether it is last already; if not, its method will be called again when all others were.
        """
        if self._list.callbacks[-1] is not callback:
            self._list.callbacks.append(callback)  # which Keras is walking along just now
            return False
        self._list.callbacks = [*(one for one in self._list.callbacks if one is not callback), callback]
        return True

    def holds(self, callback):
        """Whether a callback stands in the list of `fit` itself, not in a nested one."""
        return any(one is callback for one in self._list.callbacks)

    def forget_length(self):
        """Lets the next epoch end where its data ends.

        Keras takes the number of batches of the first epoch it sees for that of all: an epoch with one more would lose
        it, and after an epoch that was begun in its middle all would end early.
        """
        self._batches._num_batches = self._batches.data_adapter.num_batches


def _flat(callbacks):
    for one in callbacks.callbacks:
        yield one
        if isinstance(one, keras.callbacks.CallbackList):
            yield from _flat(one)
