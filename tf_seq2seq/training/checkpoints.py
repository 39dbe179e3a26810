"""Keeping the best model, and going on after an interruption; every file takes its place whole or not at all.

Early stopping is Keras's own: ``keras.callbacks.EarlyStopping("val_loss", patience=3,
restore_best_weights=True)``.
"""

import math
import shutil
import warnings
from pathlib import Path

import keras
import tensorflow as tf

from tf_seq2seq.data.position import positions
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing
from tf_seq2seq.training.checkpoint_files import read_checkpoint, write_checkpoint
from tf_seq2seq.training.fitting import Fitting
from tf_seq2seq.training.states import (
    callback_states,
    metric_arrays,
    restore_callbacks,
    restore_metrics,
    restore_variables,
    variable_arrays,
)

_LOWER_IS_BETTER = ("loss", "perplexity")


class BestModel(keras.callbacks.Callback):
    """Saves the model at the end of each epoch that is the best so far.

    Keras's `ModelCheckpoint` writes over the last best file in place, so that a full disk leaves neither;
    this one writes beside it and renames, and it can save a whole generator.

    >>> best = BestModel("best.weights.h5", monitor="val_bleu")
    >>> best.mode
    'max'

    Args:
        path: ``*.keras`` for the model, ``*.weights.h5`` for its weights only; with a generator, a folder.
        monitor: name among the epoch's logs, such as ``"val_loss"`` or `Monitor`'s ``"val_bleu"``.
        mode: ``"min"`` or ``"max"``; by default ``"min"`` for losses and perplexities, ``"max"`` otherwise.
        generator: a `TextGenerator` around the model, saved whole in the model's stead.
        verbose: whether to print a line at each new best.

    Raises:
        InputError: for another ending or mode; at an epoch's end, if the logs have no such name.
    """

    def __init__(self, path, monitor="val_loss", mode=None, generator=None, verbose=False):
        super().__init__()
        path = Path(path)
        if generator is None and not path.name.endswith((".keras", ".weights.h5")):
            raise InputError(
                f"a model is saved as *.keras or *.weights.h5, not {path.name!r}; or give the generator"
            )
        if mode not in (None, "min", "max"):
            raise InputError(f"mode is 'min' or 'max', not {mode!r}")
        self.path = path
        self.monitor = monitor
        self.mode = mode or ("min" if monitor.endswith(_LOWER_IS_BETTER) else "max")
        self.generator = generator
        self.verbose = verbose
        self.best = None

    def on_epoch_end(self, epoch, logs=None):
        if self.monitor not in (logs or {}):
            names = ", ".join(sorted(logs or {})) or "nothing"
            raise InputError(
                f"BestModel watches {self.monitor!r}, but the epoch logged {names}; "
                "give fit validation data, or Monitor samples, and put Monitor before BestModel"
            )
        value = float(logs[self.monitor])
        if not self._better(value):
            return
        self.best = value
        self._save()
        if self.verbose:
            print(f"\nbest {self.monitor} so far {value:.4f}, saved as {self.path}")

    def get_state(self):
        """What `Resume` keeps: the best value so far."""
        return {"best": self.best}

    def set_state(self, state):
        """Takes up what `get_state` gave."""
        self.best = state["best"]

    def _better(self, value):
        if math.isnan(value) or self.best is None:
            return not math.isnan(value)
        return value < self.best if self.mode == "min" else value > self.best

    def _save(self):
        with replacing(self.path) as new:
            if self.generator is not None:
                self.generator.save(new)
            elif self.path.suffix == ".keras":
                self.model.save(new)
            else:
                self.model.save_weights(new)


class Resume(keras.callbacks.Callback):
    """Goes on where an interrupted `fit` stopped, as if it had not been interrupted.

    The same script run again reads the newest checkpoint before its first batch and goes on with the batch after: with
    the weights, everything of the optimizer (learning rate, slots, moving averages, loss scale), the seeds of dropout,
    the sums behind the epoch's logs, the place in the data, and what callbacks remember (`TimeBudget` its seconds,
    `BestModel` and Keras's `EarlyStopping` and `ReduceLROnPlateau` their best). On a CPU with the same number of
    threads, all that comes after of a `Seq2Seq` is bit by bit what it would have been, without TensorFlow's
    ``enable_op_determinism``. Two things are not: subword sampling, whose operation has no seed, and what goes by the
    clock, as `TimeBudget`'s learning rate does.

    A checkpoint is one file that takes its place whole or not at all, and it notices any damage: then the one before
    is taken, and a warning says so. A training that was over stays so, unless it gets more epochs, minutes or patience
    than it had; an epoch that a callback cut short counts as done. Of several workers of a `tf.distribute` strategy
    the first one writes, into a folder that all can read.

    In the list of callbacks it may stand anywhere outside of `MovingAverage`: it is called after all others.

    >>> Resume("runs/first", every=1000).checkpoints
    []

    Args:
        folder: where ``epoch-00000-batch-00001000.npz`` and so on shall stand.
        every: batches between two checkpoints; one more comes at the end of each epoch. None: only these, whatever
            the data; a place within an epoch is only kept in data that `batches` made.
        keep: how many of the last checkpoints are kept.
        data: the dataset of `batches`, for the rare case that it cannot be found in what `fit` is given.

    Raises:
        InputError: for numbers below 1; when `fit` begins, if all checkpoints are damaged, if they are of another
            model or optimizer, or if the data is not of `batches`.
    """

    def __init__(self, folder, every=500, keep=2, data=None):
        super().__init__()
        if min(1 if every is None else every, keep) < 1:
            raise InputError(f"every={every}, keep={keep}: give at least 1")
        self.folder = Path(folder)
        self.every = every
        self.keep = keep
        self.data = data
        self._fit = None
        self._positions = []
        self._forget()

    def _forget(self):
        """Stands at the beginning of an epoch."""
        self._begun = 0  # batches of this epoch before this process
        self._batch = 0  # batches of this epoch
        self._metrics = {}  # what their metrics came to, until it is put back

    @property
    def checkpoints(self):
        """The files, the newest first."""
        return sorted(self.folder.glob("epoch-*-batch-*.npz"), reverse=True)

    def on_train_begin(self, logs=None):
        self._fit = Fitting.running()
        if self._fit is not None:
            if not self._fit.holds(self):
                raise InputError("Resume stands in the list of fit itself, not in MovingAverage's")
            if not self._fit.put_last(self):
                return
            self._find_positions()
        self._forget()
        self.model.train_function = _step_of(self.model)
        self._clean()
        found = self._newest()
        if found is not None:
            self._restore(*found)

    def _find_positions(self):
        self._positions = positions(self._fit.data) or positions(self.data)
        if self.every and not self._positions:
            raise InputError(
                "Resume keeps the place in data of `batches`, but found none in what fit was given: give it, or "
                "data= to Resume, or every=None to go on from the ends of epochs only"
            )
        if self._positions and self._fit.steps_per_epoch is not None:
            raise InputError(
                "Resume wants epochs of one pass: leave out steps_per_epoch; batches(...).take(n) makes short ones"
            )

    def _newest(self):
        """Arrays and facts of the newest checkpoint that is whole; None if there is no checkpoint."""
        paths = self.checkpoints
        for number, path in enumerate(paths):
            try:
                found = read_checkpoint(path)
            except (OSError, ValueError):
                continue
            if number:
                damaged = ", ".join(one.name for one in paths[:number])
                warnings.warn(f"{damaged} in {self.folder} damaged; going on from {path.name}", stacklevel=2)
            return found
        if paths:
            raise InputError(
                f"all checkpoints in {self.folder} are damaged ({', '.join(path.name for path in paths)}); delete "
                "them to train from the start, or put back a copy"
            )

    def _restore(self, arrays, facts):
        restore_variables(self.model, arrays)
        self._begun = self._batch = facts["batch"]
        if self._begun:
            self._metrics = {name: value for name, value in arrays.items() if name.startswith("metrics/")}
        for position, epoch in zip(self._positions, facts["positions"]):
            position.epoch = epoch
        self.model._initial_epoch = facts["epoch"]  # the one way, which BackupAndRestore takes too
        if self._fit is not None:
            restore_callbacks(self._fit.callbacks, facts["callbacks"], arrays)
            if self.model.stop_training:
                self.model._initial_epoch = max(facts["epoch"], self.params.get("epochs", 0))

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._passes = [position.epoch for position in self._positions]
        self._metrics = restore_metrics(self.model, self._metrics)
        if self._begun:
            self._skip()

    def _skip(self):
        """Lets the first step of the epoch take the batches that came before it from the data first."""
        model, step = self.model, _step_of(self.model)

        def skipping(iterator):
            model.train_function = step
            for _ in range(self._begun):
                next(iterator)
            try:
                return step(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                # The checkpoint was at the epoch's last batch: Keras has no step's logs to end the epoch with.
                restore_metrics(model, self._metrics)
                model._get_metrics_result_or_logs = lambda logs: model.get_metrics_result()
                raise

        skipping.step = step
        model.train_function = skipping

    def on_train_batch_end(self, batch, logs=None):
        before, self._batch = self._batch, self._begun + batch + 1
        if self._metrics:
            self._metrics = restore_metrics(self.model, self._metrics, add=True)
        if self.every and self._batch // self.every > before // self.every:
            self._write(self._epoch, self._batch)

    def on_epoch_end(self, epoch, logs=None):
        vars(self.model).pop("_get_metrics_result_or_logs", None)
        self._forget()
        self._passes = [position.epoch for position in self._positions]
        if self._fit is not None:
            self._fit.forget_length()
        self._write(epoch + 1, 0)

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None  # for a `fit` without this callback

    def _write(self, epoch, batch):
        facts, arrays = callback_states(self._fit.callbacks if self._fit else [])
        arrays.update(variable_arrays(self.model))  # by every worker: some are sums over workers
        arrays.update(metric_arrays(self.model) if batch else {})
        if not self._is_writer():
            return
        facts = {"epoch": epoch, "batch": batch, "positions": self._passes, "callbacks": facts}
        write_checkpoint(self.folder / f"epoch-{epoch:05}-batch-{batch:08}.npz", arrays, facts)
        for path in self.checkpoints[self.keep :]:
            path.unlink()

    def _is_writer(self):
        resolver = self.model.distribute_strategy.cluster_resolver
        return resolver is None or (resolver.task_type, resolver.task_id) in (
            ("chief", 0),
            ("worker", 0),
            (None, None),
        )

    def _clean(self):
        """Removes what a kill in the middle of writing left."""
        if self._is_writer():
            for path in self.folder.glob(".epoch-*-batch-*.npz.*"):
                shutil.rmtree(path, ignore_errors=True)


def _step_of(model):
    """What `fit` calls at each step, even if a `fit` that was cut off left a `skipping` in its place."""
    return getattr(model.train_function, "step", model.train_function)
