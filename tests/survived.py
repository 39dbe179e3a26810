"""A small real training that writes down each step, in processes that a test may kill.

    python tests/survived.py

imports TensorFlow once and reads orders from standard input, a line of JSON each: `train`'s arguments. Each training is
a fork, made before TensorFlow has begun to work; its process id is printed, and its exit status when it has ended.
"""

import json
import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import tensorflow as tf

from tf_seq2seq.data.noise import WordDropout
from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.models import zoo
from tf_seq2seq.training.averaging import MovingAverage
from tf_seq2seq.training.checkpoints import BestModel, Resume
from tf_seq2seq.training.guard import DivergenceGuard
from tf_seq2seq.training.losses import SequenceCrossEntropy
from tf_seq2seq.training.states import variable_arrays

EPOCHS, EVERY, PAIRS = 5, 4, 300


class Log(keras.callbacks.Callback):
    """Writes a line a step, and a line an epoch, each at once."""

    def __init__(self, path):
        super().__init__()
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def line(self, name, logs):
        numbers = " ".join(f"{key}={float(value).hex()}" for key, value in sorted(logs.items()))
        os.write(self.file, f"{name} {numbers}\n".encode())

    def on_train_batch_end(self, batch, logs=None):
        self.line(f"step-{int(self.model.optimizer.iterations)}", {"loss": logs["loss"]})

    def on_epoch_end(self, epoch, logs=None):
        self.line(f"epoch-{epoch}", logs)


def die_while_writing(count):
    """Kills this process in the middle of its count-th checkpoint, half of which is on the disk."""
    left = [count]

    def fsync(file):
        left[0] -= 1
        if not left[0]:
            os.truncate(file, os.fstat(file).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = fsync


def train(folder, threads=1, cache=False, dies_at_write=None):
    """Trains in a folder, or goes on there; writes ``final.npz`` at the end."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    keras.utils.set_random_seed(3)
    if dies_at_write:
        die_while_writing(dies_at_write)
    random = np.random.default_rng(0)
    words = ["".join(random.choice([*"abc"], size=random.integers(1, 6))) for _ in range(PAIRS)]
    split = tf.data.Dataset.from_tensor_slices((words, [word[::-1] for word in words]))
    text = TextProcessor.fit(words, "characters")
    data = batches(
        split, text, text, batch_tokens=48, seed=1, cache=cache, noise=[WordDropout(0.1, "target")]
    )
    model = zoo.bahdanau2015(text.vocab_size, text.vocab_size, units=16, embedding_size=8, dropout=0.2)
    optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9, global_clipnorm=1.0)
    model.compile(optimizer, loss=SequenceCrossEntropy(0.1))
    valid = batches(split.take(20), text, text, batch_size=10, shuffle=False)
    folder = Path(folder)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True)
    average = MovingAverage([BestModel(folder / "best.weights.h5"), stop])
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", patience=0, min_delta=1.0)
    callbacks = [
        Resume(folder / "resume", every=EVERY),
        average,
        plateau,
        Log(folder / "log"),
        DivergenceGuard(),
    ]
    model.fit(data, validation_data=valid, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    np.savez(folder / "final.npz", **variable_arrays(model))


def main():
    for line in sys.stdin:
        process = os.fork()
        if not process:
            train(**json.loads(line))
            os._exit(0)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
