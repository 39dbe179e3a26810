"""Keeping the best model, and going on after an interruption; every file takes its place whole or not at all.

Early stopping is Keras's own: ``keras.callbacks.EarlyStopping("val_loss", patience=3,
restore_best_weights=True)``.
"""

import json
import math
from pathlib import Path

import h5py
import keras

from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

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
    """Goes on where an interrupted `fit` stopped: weights, optimizer and epoch.

    The checkpoint is one file, ``<folder>/latest.weights.h5``, written at the end of each epoch (Keras's
    `BackupAndRestore` writes two, in place, and a cut between them spoils both). The same script run again
    reads it before its first batch and goes on with the epoch after. An epoch that was cut is run again from
    its start; the place in the data and the random state of dropout are not kept. When the training ended by
    itself, running the script again with more epochs trains on.

    >>> resume = Resume("runs/first")
    >>> resume.path.name
    'latest.weights.h5'

    Args:
        folder: where the checkpoint stands or shall stand.

    Raises:
        InputError: when `fit` begins, if the checkpoint is damaged or is of another model.
    """

    def __init__(self, folder):
        super().__init__()
        self.path = Path(folder) / "latest.weights.h5"

    def on_train_begin(self, logs=None):
        if not self.path.exists():
            return
        epoch = self._epoch()
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        try:
            self.model.load_weights(self.path)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"checkpoint {self.path} does not fit this model and optimizer; build them as they were when "
                f"it was written, or give Resume another folder ({_first_line(error)})"
            ) from error
        self.model._initial_epoch = epoch  # the one way, which BackupAndRestore takes too, to tell `fit`

    def on_epoch_end(self, epoch, logs=None):
        with replacing(self.path) as new:
            self.model.save_weights(new)
            with h5py.File(new, "a") as file:
                file.attrs["training"] = json.dumps({"epoch": epoch + 1})

    def _epoch(self):
        try:
            with h5py.File(self.path, "r") as file:
                return json.loads(file.attrs["training"])["epoch"]
        except (OSError, KeyError, ValueError) as error:
            raise InputError(
                f"checkpoint {self.path} is damaged; delete it to train from the start, or put back a copy"
            ) from error


def _first_line(error):
    return str(error).strip().split("\n")[0]
