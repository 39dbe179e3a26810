"""Averaged weights: a moving average during training, or the mean of several checkpoints after it.

Both lie nearer to the middle of a flat minimum than the last step does, and cost nothing when translating. The moving
average itself is Keras's: ``keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.999)`` keeps it in the optimizer,
and `fit` puts it into the model when it ends.
"""

import contextlib
import math
from pathlib import Path

import h5py
import keras

from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

_ENDING = ".weights.h5"


@contextlib.contextmanager
def averaged(model):
    """Lets a model have its moving average for weights inside of a ``with``; afterwards it has its own again.

    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(0.1, use_ema=True), "mse")
    >>> with averaged(model):
    ...     text = model.to_json()  # or evaluate, generate, save

    Args:
        model: compiled with an optimizer that has ``use_ema=True``. Before the first step it has no average yet and
            keeps its weights.

    Yields:
        the model.

    Raises:
        InputError: if the optimizer keeps no moving average.
    """
    optimizer = _with_average(model)
    if not int(optimizer.iterations.numpy()):
        yield model
        return
    weights = optimizer._trainable_variables
    own = [weight.numpy() for weight in weights]
    for weight, average in zip(weights, optimizer._model_variables_moving_average):
        if average is not None:
            weight.assign(average)
    try:
        yield model
    finally:
        for weight, value in zip(weights, own):
            weight.assign(value)


def _with_average(model):
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # inside of a LossScaleOptimizer
    if not getattr(optimizer, "use_ema", False):
        raise InputError(
            "the optimizer keeps no moving average of the weights: make it with use_ema=True, ema_momentum=0.999"
        )
    return optimizer


class MovingAverage(keras.callbacks.CallbackList):
    """Validates with the moving average of the weights, and shows it to other callbacks; `fit` trains the own ones.

    ::

        average = momentum average + (1 - momentum) weights      after each step

    The callbacks given here see the average at an epoch's end, so that `Monitor` translates with it, `BestModel`
    saves it and `EarlyStopping` restores it. `Resume` stands outside, in the list of `fit`. Keras's own
    `SwapEMAWeights` exchanges the two by additions, whose rounding changes the weights that are trained, so that a
    resumed training is not what it would have been; here they come back bit by bit.

    >>> stop = keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True)
    >>> len(MovingAverage([stop]).callbacks)
    1

    Args:
        callbacks: list of callbacks that shall see the average.

    Raises:
        InputError: when `fit` begins, if the optimizer keeps no moving average.

    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging" (1992), with weights that
        fall exponentially.
    """

    def __init__(self, callbacks=()):
        self._open = contextlib.ExitStack()
        super().__init__([*callbacks])

    def on_train_begin(self, logs=None):
        """Refuses an optimizer without an average."""
        _with_average(self.model)
        super().on_train_begin(logs)

    def on_test_begin(self, logs=None):
        """Puts the average into the model."""
        self._open.enter_context(averaged(self.model))
        super().on_test_begin(logs)

    def on_test_end(self, logs=None):
        """Puts the trained weights back."""
        super().on_test_end(logs)
        self._open.close()

    def on_epoch_end(self, epoch, logs=None):
        """Shows the average to the callbacks."""
        with averaged(self.model):
            super().on_epoch_end(epoch, logs)


class WeightHistory(keras.callbacks.Callback):
    """Keeps the weights of the last epochs, or of the best, as files for `average_weights`.

    >>> history = WeightHistory("runs/first/weights", count=5, monitor="val_bleu")
    >>> history.paths
    []

    Args:
        folder: where ``epoch-0001.weights.h5`` and so on shall stand, without the optimizer's variables.
        count: how many are kept.
        monitor: name among the epoch's logs; the best by it are kept. None: the last.
        mode: ``"min"`` or ``"max"``; by default ``"min"`` for losses and perplexities, ``"max"`` otherwise.

    Raises:
        InputError: for another mode, or a count that is no number above 0; at an epoch's end, if the logs have no
            such name.
    """

    def __init__(self, folder, count=5, monitor=None, mode=None):
        super().__init__()
        if mode not in (None, "min", "max"):
            raise InputError(f"mode is 'min' or 'max', not {mode!r}")
        if count < 1:
            raise InputError(f"count is a number of epochs of at least 1, not {count}")
        self.folder = Path(folder)
        self.count = count
        self.monitor = monitor
        self.mode = mode or ("min" if (monitor or "").endswith(("loss", "perplexity")) else "max")

    @property
    def paths(self):
        """The files that are kept, the best or the last first."""
        return sorted(self.folder.glob(f"epoch-*{_ENDING}"), key=_rank, reverse=True)

    def on_epoch_end(self, epoch, logs=None):
        rank = float(epoch)
        if self.monitor is not None:
            if self.monitor not in (logs or {}):
                names = ", ".join(sorted(logs or {})) or "nothing"
                raise InputError(f"WeightHistory watches {self.monitor!r}, but the epoch logged {names}")
            rank = float(logs[self.monitor]) * (-1 if self.mode == "min" else 1)
        twin = _twin(self.model)
        twin.set_weights(self.model.get_weights())
        with replacing(self.folder / f"epoch-{epoch + 1:04d}{_ENDING}") as new:
            twin.save_weights(new)
            with h5py.File(new, "a") as file:
                file.attrs["rank"] = -math.inf if math.isnan(rank) else rank
        for path in self.paths[self.count :]:
            path.unlink()


def average_weights(model, paths):
    """Puts the mean of the weights of several checkpoints into a model.

    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    >>> average_weights(model, [])
    Traceback (most recent call last):
    tf_seq2seq.errors.InputError: there is no checkpoint to average: give some paths, such as WeightHistory's

    Args:
        model: the model, built; its optimizer stays as it is.
        paths: list of ``*.weights.h5`` or ``*.keras`` files of models like it, e.g. ``WeightHistory(...).paths``.

    Returns:
        the model.

    Raises:
        InputError: for no paths, or a file that cannot be read or is of another model.

    Source: Vaswani et al., "Attention Is All You Need" (2017), section 6.1: the last 5 checkpoints.
    """
    sums, twin = None, _twin(model)
    for path in paths:
        weights = [value.astype("float64") for value in _weights_of(twin, Path(path))]
        sums = weights if sums is None else [one + other for one, other in zip(sums, weights)]
    if sums is None:
        raise InputError("there is no checkpoint to average: give some paths, such as WeightHistory's")
    for weight, total in zip(model.weights, sums):
        weight.assign((total / len(paths)).astype(weight.dtype))
    return model


def _twin(model):
    """A model of the same form without an optimizer."""
    return type(model).from_config(model.get_config())


def _weights_of(twin, path):
    """The weights in a file, list of arrays like those of `twin`."""
    try:
        if path.name.endswith(_ENDING):
            twin.load_weights(path)
            return twin.get_weights()
        weights = keras.models.load_model(path, compile=False).get_weights()
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"cannot average {path}: it is damaged or of another model ({reason})") from error
    if [value.shape for value in weights] != [tuple(weight.shape) for weight in twin.weights]:
        raise InputError(f"cannot average {path}: it is of another model")
    return weights


def _rank(path):
    with h5py.File(path, "r") as file:
        return float(file.attrs["rank"])
