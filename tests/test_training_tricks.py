"""Each trick of training, through `fit` of a Seq2Seq, does what it says."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.mixing import mixed, weighted
from tf_seq2seq.data.noise import WordDropout
from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.data.subwords import train_subwords
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import UNK
from tf_seq2seq.errors import InputError
from tf_seq2seq.models import zoo
from tf_seq2seq.training.monitor import Monitor
from tf_seq2seq.training.schedules import InverseSquareRootSchedule, Warmup, noam_schedule

V = 14
RATE = 0.5
TINY = 1e-4  # a norm that every gradient here exceeds
schedules = keras.optimizers.schedules


def corpus(rows, seed, longest=4):
    rng = np.random.default_rng(seed)
    sides = [[rng.integers(4, V, rng.integers(1, longest + 1)) for _ in range(rows)] for _ in range(2)]
    return tf.data.Dataset.from_tensor_slices(
        tuple(tf.ragged.constant(side, dtype=tf.int32) for side in sides)
    )


DATA = batches(corpus(12, seed=1), batch_size=4, shuffle=False)
WORDS = batches(corpus(12, seed=1, longest=1), batch_size=4, shuffle=False)  # quicker steps
STEPS = 3  # an epoch of either


class Watch(keras.callbacks.Callback):
    """The weights before the first step and after each."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_begin(self, logs=None):
        self.weights.append(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.get_weights())


def fitted(optimizer, prepare=None, data=DATA, epochs=1, callbacks=(), eagerly=True):
    """A model and its weights after each step of `fit`; the same start for each optimizer."""
    keras.utils.set_random_seed(3)
    model, watch = zoo.plain(V, V, units=3, depth=1), Watch()
    if prepare:
        prepare(model)
    model.compile(optimizer, run_eagerly=eagerly)
    model.fit(data, epochs=epochs, verbose=0, callbacks=[watch, *callbacks])
    return model, watch.weights


def moves(weights, step=0):
    """What a step added to each weight."""
    return [after - before for before, after in zip(weights[step], weights[step + 1])]


def norm(arrays):
    return float(np.sqrt(sum((array**2).sum() for array in arrays)))


@pytest.fixture(scope="module")
def gradients():
    """Gradient of each weight at the first step, unclipped."""
    return [-move for move in moves(fitted(keras.optimizers.SGD(1.0))[1])]


# Gradient clipping


def test_clipping_by_the_whole_norm_shortens_the_step_and_keeps_its_direction(gradients):
    clip = norm(gradients) / 3
    step = moves(fitted(keras.optimizers.SGD(RATE, global_clipnorm=clip))[1])
    assert norm(step) == pytest.approx(RATE * clip, rel=1e-4)
    for move, gradient in zip(step, gradients):
        np.testing.assert_allclose(move, -RATE * gradient / 3, rtol=1e-3, atol=1e-7)
    longer = moves(fitted(keras.optimizers.SGD(RATE, global_clipnorm=2 * norm(gradients)))[1])
    assert norm(longer) == pytest.approx(RATE * norm(gradients), rel=1e-4)


def test_clipping_by_norm_is_of_each_variable(gradients):
    clip = float(np.median([norm([one]) for one in gradients]))
    found = [norm([one]) for one in moves(fitted(keras.optimizers.SGD(RATE, clipnorm=clip))[1])]
    np.testing.assert_allclose(
        found, [RATE * min(norm([one]), clip) for one in gradients], rtol=1e-3, atol=1e-8
    )
    assert sum(norm([one]) > clip for one in gradients) >= 4


def test_clipping_by_value_is_of_each_number(gradients):
    clip = float(np.quantile(np.abs(np.concatenate([one.ravel() for one in gradients])), 0.9))
    for move, gradient in zip(moves(fitted(keras.optimizers.SGD(RATE, clipvalue=clip))[1]), gradients):
        np.testing.assert_allclose(move, -RATE * np.clip(gradient, -clip, clip), rtol=1e-3, atol=1e-7)


# Weight decay, freezing, initialisation


def test_weight_decay_shrinks_weights_beside_the_gradients_step():
    def no_decay_of_biases(optimizer):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return optimizer

    options = {"learning_rate": 0.01, "weight_decay": 0.3}
    _, plain = fitted(keras.optimizers.Adam(0.01))
    model, decayed = fitted(no_decay_of_biases(keras.optimizers.AdamW(**options)))
    for weight, before, one, other in zip(model.weights, plain[0], plain[1], decayed[1]):
        shrunk = 0.0 if "bias" in weight.path else 0.01 * 0.3
        np.testing.assert_allclose(other, one - shrunk * before, rtol=1e-5, atol=1e-7)
    assert 3 <= sum("bias" in weight.path for weight in model.weights) < len(model.weights)


def freeze_encoder(model):
    model.encoder.trainable = False


def freeze_embeddings(model):
    model.encoder.embeddings.trainable = False


@pytest.mark.parametrize(
    "freeze, frozen", [(freeze_encoder, "rnn_encoder"), (freeze_embeddings, "rnn_encoder.*/embeddings")]
)
def test_frozen_weights_stay_and_all_others_move(freeze, frozen):
    model, weights = fitted(keras.optimizers.AdamW(0.01), freeze)
    for weight, before, after in zip(model.weights, weights[0], weights[-1]):
        assert np.array_equal(before, after) == bool(re.match(frozen, weight.path)), weight.path
    slots = len(model.optimizer.variables) - 2  # iterations and rate
    assert slots == 2 * len(model.trainable_variables) < 2 * len(model.weights)


def test_forget_gates_start_open_and_recurrent_kernels_orthogonal():
    model = zoo.plain(V, V, units=5, depth=2)
    cells = [*model.encoder.layers_forward, *model.decoder.wrapper.cells.cells]
    assert len(cells) == 4
    for cell in cells:
        np.testing.assert_array_equal(np.split(cell.bias.numpy(), 4), [[0] * 5, [1] * 5, [0] * 5, [0] * 5])
        kernel = cell.recurrent_kernel.numpy()
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(5), atol=1e-5)


# Learning rates

SCHEDULES = {
    "constant": Warmup(0.2, 4),
    "linear": Warmup(schedules.PolynomialDecay(0.2, 5, 0.0), 2),
    "cosine": Warmup(schedules.CosineDecay(0.2, 5), 2),
    "cosine with warm-up of its own": schedules.CosineDecay(0.02, 5, warmup_target=0.2, warmup_steps=3),
    "cosine with restarts": schedules.CosineDecayRestarts(0.2, 3),
    "piecewise": Warmup(schedules.PiecewiseConstantDecay([1, 2], [0.2, 0.1, 0.05]), 2),
    "exponential": schedules.ExponentialDecay(0.2, 2, 0.5, staircase=True),
    "inverse square root": InverseSquareRootSchedule(0.2, 3),
    "noam": noam_schedule(16, 3, scale=2.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_step_is_as_long_as_the_schedule_says(name):
    schedule = SCHEDULES[name]
    _, weights = fitted(keras.optimizers.SGD(schedule, global_clipnorm=TINY), data=WORDS, epochs=2)
    rates = [norm(moves(weights, step)) / TINY for step in range(2 * STEPS)]
    np.testing.assert_allclose(
        rates, [float(schedule(step)) for step in range(2 * STEPS)], rtol=0.02, atol=1e-3
    )
    assert len({round(rate, 4) for rate in rates}) > 2


class Scores(keras.callbacks.Callback):
    """Logs scores as if a callback before had measured them."""

    def __init__(self, name, scores):
        super().__init__()
        self.name, self.scores = name, scores

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.scores[epoch]


def test_a_plateau_lowers_the_rate():
    plateau = keras.callbacks.ReduceLROnPlateau("val_bleu", mode="max", factor=0.1, patience=2, min_delta=0)
    scores = Scores("val_bleu", [10.0, 20.0, 15.0, 19.0, 15.0])
    _, weights = fitted(
        keras.optimizers.SGD(0.2, global_clipnorm=TINY),
        data=WORDS,
        epochs=5,
        callbacks=[scores, plateau],
    )
    rates = [norm(moves(weights, step)) / TINY for step in range(5 * STEPS)]
    np.testing.assert_allclose(rates, [0.2] * 4 * STEPS + [0.02] * STEPS, rtol=0.05)


def test_training_stops_early_by_bleu_and_has_the_best_weights(tmp_path, monkeypatch):
    scores = iter([10.0, 30.0, 20.0, 25.0, 40.0])
    monkeypatch.setattr(Monitor, "_generate", lambda self: next(scores))
    monitor = Monitor(tmp_path, generator=object(), samples=[("a", "b")])
    stop = keras.callbacks.EarlyStopping("val_bleu", mode="max", patience=2, restore_best_weights=True)
    model, weights = fitted(keras.optimizers.SGD(0.1), data=WORDS, epochs=5, callbacks=[monitor, stop])
    assert len(weights) == 1 + 4 * STEPS
    for one, other in zip(model.get_weights(), weights[2 * STEPS], strict=True):
        np.testing.assert_array_equal(one, other)


# Data


def test_a_corpus_of_no_weight_changes_no_step():
    one, other = corpus(3, seed=5), corpus(3, seed=6)
    mixture = mixed([(weighted(one, 2.0), 1), (weighted(other, 0.0), 1)])
    together = batches(mixture, batch_size=6, shuffle=False)
    assert [float(weight) for weight in next(iter(together))[2]] == [2, 0, 2, 0, 2, 0]
    alone = batches(one, batch_size=3, shuffle=False)
    _, expected = fitted(keras.optimizers.SGD(1.0), data=alone)
    _, found = fitted(keras.optimizers.SGD(1.0), data=together)
    for move, same in zip(moves(found), moves(expected), strict=True):
        np.testing.assert_allclose(move, same, rtol=1e-3, atol=1e-7)
    _, half = fitted(keras.optimizers.SGD(1.0), data=batches(mixed([(one, 1), (other, 1)]), batch_size=6))
    assert any(np.abs(move - same).max() > 1e-3 for move, same in zip(moves(half), moves(expected)))


def test_word_dropout_leaves_the_known_embeddings_of_its_side_alone():
    data = batches(corpus(12, seed=1), batch_size=4, noise=[WordDropout(1.0, "target")])
    model, weights = fitted(keras.optimizers.SGD(1.0), data=data)
    names = [weight.path for weight in model.weights]
    for side, touched in (("rnn_decoder", [UNK, 2]), ("rnn_encoder", [3, *range(4, V)])):
        place = next(
            number for number, name in enumerate(names) if name.startswith(side) and "embeddings" in name
        )
        moved = np.flatnonzero(np.any(weights[0][place] != weights[-1][place], axis=1))
        assert set(moved) <= set(touched) and len(moved) > len(touched) // 2


def test_sampled_subwords_train_and_are_not_cached():
    words = ["low", "lower", "lowest", "new", "newer", "newest"] * 20
    text = TextProcessor("subwords", model=train_subwords(words, V, algorithm="unigram"))
    split = tf.data.Dataset.from_tensor_slices((words[:8], words[:8]))
    _, weights = fitted(
        keras.optimizers.SGD(1.0), data=batches(split, text.sampled(0.1), text.sampled(0.1), batch_size=8)
    )
    assert norm(moves(weights)) > 0
    with pytest.raises(
        InputError, match="draws another segmentation each epoch, which cache=True would keep out"
    ):
        batches(split, text.sampled(0.1), text, batch_size=8, cache=True)


# All at once, in the graph that XLA fuses


def test_tricks_do_the_same_in_a_graph_as_eagerly():
    def optimizer():
        made = keras.optimizers.AdamW(
            SCHEDULES["cosine"], weight_decay=0.1, global_clipnorm=0.1, use_ema=True
        )
        made.exclude_from_weight_decay(var_names=["bias"])
        return made

    results = [fitted(optimizer(), freeze_embeddings, epochs=2, eagerly=eagerly) for eagerly in (True, False)]
    for one, other in zip(*(weights[-1] for _, weights in results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for one, other in zip(*(model.optimizer.variables for model, _ in results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
