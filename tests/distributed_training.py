"""What the tests of distribution run in processes of their own: trainings that end the same however they are dealt.

    python tests/distributed_training.py FILE [--replicas N] [--only NAME ...]

Writes weights and logs of each training. With a TF_CONFIG in the environment it is one of several workers, otherwise
one process with N replicas, each a logical CPU. (Groups of replicas of two sizes cannot be in one process.)
"""

import argparse
import itertools
import json
import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import batteries
import keras
import numpy as np
import tensorflow as tf

from tf_seq2seq.data.dealing import each_its_own
from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.data.shards import write_shards
from tf_seq2seq.models.objectives import maximum_likelihood
from tf_seq2seq.training.averaging import MovingAverage
from tf_seq2seq.training.guard import DivergenceGuard
from tf_seq2seq.training.losses import SequenceCrossEntropy

WORKERS = 2  # that read files of their own
EPOCHS, ROWS, BATCH_SIZE = 2, 29, 7  # the last batch has one row: fewer than there are replicas
SPOILT = 5  # a source id; batches with it are no good to the objective below


def pairs(seed=0):
    """Ragged pairs of ids, whose targets are from 1 to 30 tokens long, so that replicas differ in tokens."""
    random = np.random.default_rng(seed)
    sides = [
        tf.ragged.constant([random.integers(4, top, random.integers(1, 30)) for _ in range(ROWS)], tf.int32)
        for top in (batteries.SOURCE_V, batteries.TARGET_V)
    ]
    return tf.data.Dataset.from_tensor_slices(tuple(sides))


def weighted(inputs, labels):
    """A batch with a weight for each row."""
    return inputs, labels, 0.5 + tf.cast(inputs["source_ids"][:, 0] % 3, tf.float32)


def not_finite(model, batch, training):
    """Maximum likelihood, except that it and its gradient are NaN where a row begins with a certain source id."""
    loss, *others = maximum_likelihood(model, batch, training)
    spoilt = tf.reduce_any(batch[0]["source_ids"][:, 0] == SPOILT)
    return tf.where(spoilt & training, np.nan, 1.0) * loss, *others


def of_its_own(model, batch, training):
    """Maximum likelihood with one more number to log."""
    loss, total, sums = maximum_likelihood(model, batch, training)
    return loss, total, {**sums, "twice": (2 * sums["perplexity"][0], total)}


def own_files(strategy):
    """Batches of three files, read by two workers: two files and one; in one process, what both read at a step."""
    folder = tempfile.mkdtemp()
    shards = write_shards(pairs().repeat(40), f"{folder}/corpus", shards=3)
    make = lambda worker, workers: batches(shards.split(worker, workers), batch_size=100, seed=3)
    if "TF_CONFIG" in os.environ:
        return each_its_own(make, strategy)
    own = [make(worker, WORKERS) for worker in range(WORKERS)]
    return tf.data.Dataset.from_generator(
        lambda: map(joined, itertools.zip_longest(*own)), output_signature=own[0].element_spec
    )


def joined(parts):
    """One batch of several, as wide as the widest."""
    parts = [part for part in parts if part is not None]
    widen = lambda *rows: tf.concat(
        [tf.RaggedTensor.from_tensor(one, padding=0) for one in rows], 0
    ).to_tensor()
    return tf.nest.map_structure(widen, *parts)


TRAININGS = {  # name: the optimizer, and options of `fit_one`
    "sgd": (lambda: keras.optimizers.SGD(0.5), {}),
    "sgd in parts": (lambda: keras.optimizers.SGD(0.5), {"parts": 3}),
    "clipped by the norm of all": (lambda: keras.optimizers.SGD(0.5, global_clipnorm=0.05), {}),
    "clipped by the norm of each": (lambda: keras.optimizers.SGD(0.5, clipnorm=0.02), {"parts": 2}),
    "adam": (lambda: keras.optimizers.Adam(1e-2), {"loss": SequenceCrossEntropy(0.1)}),
    "weighted": (lambda: keras.optimizers.Adam(1e-2), {"data": weighted, "metrics": True}),
    "callbacks": (lambda: keras.optimizers.Adam(1e-2, use_ema=True), {"callbacks": True}),
    "skipped": (lambda: keras.optimizers.Adam(1e-2, weight_decay=0.1), {"objective": not_finite}),
    "objective": (lambda: keras.optimizers.SGD(0.5), {"objective": of_its_own}),
    "own files": (lambda: keras.optimizers.SGD(0.5), {"own": True}),
    "bfloat16": (lambda: keras.optimizers.Adam(1e-2), {"policy": "mixed_bfloat16"}),
    "float16": (lambda: keras.optimizers.Adam(1e-2), {"policy": "mixed_float16"}),
}


def fit_one(
    strategy, optimizer, data=None, own=False, metrics=False, callbacks=False, policy="float32", **options
):
    """Trains; weights and the epochs' logs."""
    keras.config.set_dtype_policy(policy)
    with strategy.scope():
        model = batteries.ZOO["luong2015"](depth=1)
        metrics = [keras.metrics.SparseTopKCategoricalAccuracy(3, name="top3")] if metrics else None
        model.compile(optimizer(), metrics=metrics, **options)
    train, valid = (
        batches(pairs(seed), batch_size=BATCH_SIZE, bucket=True, shuffle=seed == 0) for seed in (0, 1)
    )
    train, valid = (one.map(data) if data else one for one in (train, valid))
    train = own_files(strategy) if own else train
    callbacks = [DivergenceGuard(), MovingAverage([keras.callbacks.EarlyStopping()])] if callbacks else []
    logs = model.fit(train, validation_data=valid, epochs=EPOCHS, verbose=0, callbacks=callbacks).history
    logs["evaluated"] = [*model.evaluate(valid, return_dict=True, verbose=0).values()]
    logs["steps"] = [int(model.optimizer.iterations.numpy())]
    keras.config.set_dtype_policy("float32")
    return model.get_weights(), logs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--replicas", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[*TRAININGS])
    options = parser.parse_args()
    strategy = tf.distribute.get_strategy()
    if "TF_CONFIG" in os.environ:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif options.replicas:
        devices = [tf.config.LogicalDeviceConfiguration()] * options.replicas
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
        strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(options.replicas)])
    found = {}
    for name in options.only:
        optimizer, how = TRAININGS[name]
        weights, logs = fit_one(strategy, optimizer, **how)
        found.update({f"{name}/{number:02}": one for number, one in enumerate(weights)})
        found[f"{name}/logs"] = json.dumps(logs)
        print(name, json.dumps(logs), flush=True)
    resolver = strategy.cluster_resolver
    np.savez(options.file.format(worker=resolver.task_id if resolver else 0), **found)


if __name__ == "__main__":
    main()
