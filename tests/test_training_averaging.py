"""Moving averages against NumPy, through `fit` with validation and callbacks; means of checkpoints."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.errors import InputError
from tf_seq2seq.models import zoo
from tf_seq2seq.training.averaging import MovingAverage, WeightHistory, average_weights, averaged
from tf_seq2seq.training.checkpoints import BestModel

RNG = np.random.default_rng(4)
IDS = tf.ragged.constant([RNG.integers(4, 20, RNG.integers(2, 6)) for _ in range(24)], dtype=tf.int32)
SENTENCES = batches(tf.data.Dataset.from_tensor_slices((IDS, IDS)), batch_size=8, shuffle=False)
NUMBERS = tf.data.Dataset.from_tensor_slices((RNG.normal(size=(24, 3)), RNG.normal(size=(24, 1)))).batch(8)
MOMENTUM = 0.8


class Watch(keras.callbacks.Callback):
    """The weights after each step and what others see at an epoch's end."""

    def __init__(self):
        super().__init__()
        self.steps, self.ends = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(self.model.get_weights())


def make_seq2seq(use_ema=True):
    keras.utils.set_random_seed(1)
    model = zoo.plain(20, 20, units=4)
    model.compile(keras.optimizers.Adam(0.02, use_ema=use_ema, ema_momentum=MOMENTUM))
    return model


def make_small(use_ema=True, units=1):
    """A model that trains in milliseconds, for what has nothing to do with sequences."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
    model.compile(keras.optimizers.Adam(0.02, use_ema=use_ema, ema_momentum=MOMENTUM), "mse")
    return model


def fit(model, callbacks=(), epochs=3, data=NUMBERS, validation=None):
    return model.fit(data, validation_data=validation, epochs=epochs, verbose=0, callbacks=[*callbacks])


def moving_averages(steps):
    """The average after each step."""
    averages = [steps[0]]
    for weights in steps[1:]:
        averages.append([MOMENTUM * a + (1 - MOMENTUM) * w for a, w in zip(averages[-1], weights)])
    return averages


def assert_equal(one, other, **tolerance):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    outside, inside, model = Watch(), Watch(), make_seq2seq()
    best = BestModel(folder / "best.weights.h5")
    stop = keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True)
    history = fit(model, [outside, MovingAverage([inside, best, stop])], data=SENTENCES, validation=SENTENCES)
    return model, outside, inside, best, history.history


def test_other_callbacks_and_validation_see_the_average(run):
    model, outside, inside, best, history = run
    averages = moving_averages(outside.steps)[2::3]
    copy = make_seq2seq()
    for seen, average, loss in zip(inside.ends, averages, history["val_loss"], strict=True):
        assert_equal(seen, average, rtol=1e-5, atol=1e-6)
        copy.set_weights(average)
        assert copy.evaluate(SENTENCES, verbose=0, return_dict=True)["loss"] == pytest.approx(loss, rel=1e-5)
    assert np.argmin(history["val_loss"]) == 2
    copy.load_weights(best.path)
    assert_equal(copy.get_weights(), averages[2], rtol=1e-5, atol=1e-6)
    assert_equal(model.get_weights(), averages[2], rtol=1e-5, atol=1e-6)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(averages[2], outside.ends[2]))


def test_training_goes_on_with_its_own_weights_bit_by_bit(run):
    plain = Watch()
    fit(make_seq2seq(use_ema=False), [plain], data=SENTENCES)
    for one, other in zip(plain.steps, run[1].steps, strict=True):
        assert_equal(one, other)
    assert_equal(run[1].ends[0], run[1].steps[2])


def test_averaged_gives_the_weights_back_even_after_an_error():
    model = make_small()
    before = model.get_weights()
    with averaged(model):
        assert_equal(model.get_weights(), before)  # there is no average before the first step
    fit(model)  # ends with the average
    model.set_weights(before)
    with pytest.raises(RuntimeError, match="while averaged"), averaged(model):
        assert any(np.any(a != b) for a, b in zip(model.get_weights(), before))
        raise RuntimeError("while averaged")
    assert_equal(model.get_weights(), before)


def test_an_optimizer_without_an_average_is_told():
    with pytest.raises(InputError, match="make it with use_ema=True"):
        fit(make_small(use_ema=False), [MovingAverage()])


class Scores(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs.update(
            zip(("val_bleu", "val_loss"), [(3.0, 1.0), (9.0, 4.0), (5.0, float("nan")), (7.0, 2.0)][epoch])
        )


@pytest.mark.parametrize(
    "monitor, kept",
    [(None, [4, 3]), ("val_bleu", [2, 4]), ("val_loss", [1, 4])],
    ids=["last", "bleu", "loss"],
)
def test_the_last_or_best_are_kept_and_averaged(tmp_path, monitor, kept):
    model, watch = make_small(use_ema=False), Watch()
    history = WeightHistory(tmp_path, 2, monitor)
    fit(model, [watch, Scores(), history], epochs=4)
    assert [path.name for path in history.paths] == [f"epoch-{number:04d}.weights.h5" for number in kept]
    assert sorted(tmp_path.iterdir()) == sorted(history.paths)
    state = [variable.numpy() for variable in model.optimizer.variables]
    assert average_weights(model, history.paths) is model
    mean = [(a + b) / 2 for a, b in zip(*(watch.ends[number - 1] for number in kept))]
    assert_equal(model.get_weights(), mean, rtol=1e-6, atol=1e-7)
    assert_equal([variable.numpy() for variable in model.optimizer.variables], state)


def test_whole_models_and_checkpoints_with_an_optimizer_are_averaged_too(tmp_path):
    one, other = make_small(), make_small()
    fit(one)
    one.save_weights(tmp_path / "one.weights.h5")
    other.save(tmp_path / "other.keras")
    mean = [(a + b) / 2 for a, b in zip(one.get_weights(), other.get_weights())]
    found = average_weights(make_small(), [tmp_path / "one.weights.h5", str(tmp_path / "other.keras")])
    assert_equal(found.get_weights(), mean, rtol=1e-6, atol=1e-7)


def test_bad_checkpoints_and_arguments_are_told(tmp_path):
    for name in ("other.weights.h5", "other.keras"):
        path = tmp_path / name
        larger = make_small(units=8)
        (larger.save if name.endswith("keras") else larger.save_weights)(path)
        with pytest.raises(InputError, match=f"cannot average .*{name}: it is"):
            average_weights(make_small(), [path])
    (tmp_path / "cut.weights.h5").write_bytes(b"half")
    with pytest.raises(InputError, match=r"cut.weights.h5: it is damaged or of another model"):
        average_weights(make_small(), [tmp_path / "cut.weights.h5"])
    with pytest.raises(InputError, match="WeightHistory watches 'val_bleu', but the epoch logged loss"):
        fit(make_small(False), [WeightHistory(tmp_path, monitor="val_bleu")], epochs=1)
    with pytest.raises(InputError, match="mode is 'min' or 'max', not 'best'"):
        WeightHistory(tmp_path, mode="best")
    with pytest.raises(InputError, match="at least 1, not 0"):
        WeightHistory(tmp_path, count=0)
