"""A training that the tests kill: `Resume` in a folder, and one worker that dies once, at a step that is given.

tf-seq2seq launch --workers 2 --restarts 1 tests/distributed_resuming.py FOLDER --die-at 7
"""

import argparse
import json
import os
import signal
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import batteries
import keras
import numpy as np
import tensorflow as tf
from distributed_training import BATCH_SIZE, pairs

from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.models import zoo
from tf_seq2seq.training.checkpoints import Resume

EPOCHS = 3  # of five batches


class Die(keras.callbacks.Callback):
    """Kills this process after so many steps of the process, unless a file says that it died before."""

    def __init__(self, step, died):
        super().__init__()
        self.step, self.died, self.steps = step, died, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.step and not self.died.exists():
            self.died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--die-at", type=int, default=0)
    options = parser.parse_args()
    keras.utils.set_random_seed(1)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    worker = strategy.cluster_resolver.task_id
    with strategy.scope():
        model = batteries.tiny(zoo.luong2015, dropout=0.2)
        model.compile(keras.optimizers.Adam(1e-2))
    train, valid = (batches(pairs(seed), batch_size=BATCH_SIZE) for seed in (0, 1))
    callbacks = [Resume(options.folder / "checkpoints", every=2)]
    if worker == 1 and options.die_at:
        callbacks.append(Die(options.die_at, options.folder / "died"))
    logs = model.fit(train, validation_data=valid, epochs=EPOCHS, verbose=0, callbacks=callbacks).history
    print(json.dumps(logs), flush=True)
    np.savez(options.folder / f"end-{worker}.npz", *model.get_weights(), logs=json.dumps(logs))


if __name__ == "__main__":
    main()
