"""BestModel and Resume on models that train in milliseconds; tests/test_survival_kills.py has a real one."""

import contextlib
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.errors import InputError
from tf_seq2seq.training.averaging import MovingAverage
from tf_seq2seq.training.budget import TimeBudget
from tf_seq2seq.training.checkpoint_files import read_checkpoint, write_checkpoint
from tf_seq2seq.training.checkpoints import BestModel, Resume
from tf_seq2seq.training.states import restore_variables, variable_arrays


@keras.saving.register_keras_serializable("tests")
class Careful(keras.Sequential):
    """Keras tries one step more than there are batches, which counts seeds and steps on: here, not before it has one."""

    def train_step(self, data):
        with tf.control_dependencies(tf.nest.flatten(data)):
            return super().train_step(data)


def make_model(units=3, optimizer=None, metrics=()):
    keras.utils.set_random_seed(7)
    layers = [keras.layers.Dense(units), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = Careful([keras.Input((2,)), *layers])
    model.compile(optimizer or keras.optimizers.Adam(0.05, use_ema=True), "mse", metrics=[*metrics])
    return model


def fit(model, epochs, *callbacks):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(32, 2))
    return model.fit(x, x.sum(1), epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))


RANDOM = np.random.default_rng(5)
ROWS = [RANDOM.integers(4, 13, size=RANDOM.integers(1, 30)).tolist() for _ in range(2000)]


def numbers_of(inputs, labels):
    ids = tf.cast(inputs["source_ids"], tf.float32)
    return tf.stack([tf.reduce_mean(ids, 1), ids[:, 0]], 1) / 9, tf.cast(labels[:, 0], tf.float32) / 9


def make_data(**options):
    """25 batches an epoch, and 26 in the second: what fills two windows differs."""
    split = tf.data.Dataset.from_tensor_slices((tf.ragged.constant(ROWS), tf.ragged.constant(ROWS[::-1])))
    return batches(split, batch_tokens=1700, window=1100, seed=0, **options).map(numbers_of)


class Cut(keras.callbacks.Callback):
    """Remembers each step's logs and cuts `fit` off after a step, or at the end of an epoch."""

    def __init__(self, step=None, epoch=None):
        super().__init__()
        self.step, self.epoch, self.steps, self.epochs = step, epoch, {}, {}

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.optimizer.iterations)
        self.steps[step] = logs["loss"]
        if step == self.step:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        self.epochs[epoch] = {**logs, "steps": int(self.model.optimizer.iterations)}
        if epoch == self.epoch:
            raise KeyboardInterrupt


def trained(cuts, folder, data, epochs=3, every=4):
    """The last model, the loss of each step and the logs of each epoch of a training cut off so often."""
    steps, ends = {}, {}
    for cut in [*cuts, Cut()]:
        model = make_model(metrics=["mae"])
        with contextlib.suppress(KeyboardInterrupt):
            model.fit(data(), epochs=epochs, verbose=0, callbacks=[cut, Resume(folder, every=every)])
        steps.update(cut.steps)
        ends.update(cut.epochs)
    return model, steps, ends


def assert_same(one, other):
    """Two outcomes of `trained`: every step, every epoch's logs, every variable."""
    assert one[1:] == other[1:]
    for left, right in zip(variable_arrays(one[0]).values(), variable_arrays(other[0]).values(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.survival
def test_a_training_cut_off_anywhere_is_what_it_would_have_been(tmp_path, optimized):
    whole = trained([], tmp_path / "whole", make_data)
    cuts = [Cut(7), Cut(epoch=0), Cut(32)]
    assert_same(whole, trained(cuts, tmp_path / "cut", make_data))
    assert len(Resume(tmp_path / "cut").checkpoints) == 2
    counts = [sum(1 for _ in data) for data in [make_data()] for _ in range(3)]
    assert counts == [25, 26, 25]
    assert [whole[2][epoch]["steps"] for epoch in range(3)] == np.cumsum(counts).tolist(), "none is lost"


def test_it_finds_its_place_in_cached_and_transformed_data(tmp_path):
    data = lambda: make_data(cache=True).take(8).prefetch(2)
    whole = trained([], tmp_path / "whole", data, epochs=2)
    assert_same(whole, trained([Cut(14)], tmp_path / "cut", data, epochs=2))


def test_a_checkpoint_at_the_last_batch_of_an_epoch(tmp_path, optimized):
    data = lambda: make_data().take(6)
    whole = trained([], tmp_path / "whole", data, epochs=2, every=1)
    assert_same(whole, trained([Cut(epoch=0)], tmp_path / "cut", data, epochs=2, every=1))


def test_without_a_place_in_the_data_it_goes_on_from_the_ends_of_epochs(tmp_path):
    whole = make_model()
    history = fit(whole, 5)
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), 5, Resume(tmp_path, every=None), Cut(step=4))
    resumed = make_model()
    second = fit(resumed, 5, Resume(tmp_path, every=None))
    assert second.epoch == [3, 4]
    assert second.history["loss"] == history.history["loss"][3:]
    for one, other in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_data_of_which_the_place_is_not_known_is_refused(tmp_path):
    with pytest.raises(InputError, match="keeps the place in data of `batches`, but found none"):
        fit(make_model(), 1, Resume(tmp_path))
    with pytest.raises(InputError, match="leave out steps_per_epoch"):
        make_model().fit(make_data(), steps_per_epoch=3, verbose=0, callbacks=[Resume(tmp_path)])
    with pytest.raises(InputError, match="not in MovingAverage's"):
        make_model().fit(make_data(), verbose=0, callbacks=[MovingAverage([Resume(tmp_path)])])
    with pytest.raises(InputError, match="every=0, keep=2: give at least 1"):
        Resume(tmp_path, every=0)


@pytest.mark.survival
def test_a_cut_while_saving_keeps_the_checkpoints_before(tmp_path, monkeypatch):
    fit(make_model(), 2, Resume(tmp_path, every=None))
    before = {path.name: path.read_bytes() for path in Resume(tmp_path).checkpoints}

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device; what was there before is kept"):
        fit(make_model(), 3, Resume(tmp_path, every=None))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_a_kill_while_saving_left_is_removed(tmp_path):
    left = tmp_path / ".epoch-00000-batch-00000004.npz.abc"
    left.mkdir(parents=True)
    fit(make_model(), 1, Resume(tmp_path, every=None))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00001-batch-00000000.npz"]


@pytest.mark.survival
def test_any_damage_to_a_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    write_checkpoint(path, {"model/0/kernel": np.arange(20.0)}, {"epoch": 3})
    np.testing.assert_array_equal(np.load(path)["model/0/kernel"], np.arange(20.0))
    whole = path.read_bytes()
    damaged = [whole[:length] for length in (0, 1, 63, 64, 100, len(whole) // 2, len(whole) - 1)]
    damaged.append(whole + b"0")
    for place in np.random.default_rng(1).integers(len(whole), size=300):
        damaged.append(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            read_checkpoint(path)


@pytest.mark.survival
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path):
    fit(make_model(), 3, Resume(tmp_path, every=None))
    newest, before = Resume(tmp_path).checkpoints
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=f"{newest.name} in .* damaged; going on from {before.name}"):
        assert fit(make_model(), 4, Resume(tmp_path, every=None)).epoch == [2, 3]
    for path in Resume(tmp_path).checkpoints:
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"all checkpoints in .* are damaged .*; delete them to train"):
        fit(make_model(), 5, Resume(tmp_path, every=None))
    assert len(Resume(tmp_path).checkpoints) == 2


OTHERS = [
    ({"units": 4}, r"another model: it has careful\w*/dense\w*/kernel \(2, 3\) where .*kernel \(2, 4\)"),
    (
        {"optimizer": keras.optimizers.SGD(0.1)},
        r"another optimizer: it has .*kernel_average \(2, 3\) where .* nothing",
    ),
]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("options, told", OTHERS)
def test_the_checkpoint_of_another_model_is_refused(tmp_path, options, told):
    fit(make_model(), 1, Resume(tmp_path, every=None))
    other = make_model(**options)
    weights = other.get_weights()
    with pytest.raises(InputError, match=told) as error:
        fit(other, 2, Resume(tmp_path, every=None))
    assert "\n" not in str(error.value)
    for one, before in zip(other.get_weights(), weights):
        np.testing.assert_array_equal(one, before)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_variables_of_any_precision_come_back(tmp_path, policy):
    keras.config.set_dtype_policy(policy)
    model = make_model(optimizer=keras.optimizers.Adam(0.05))
    fit(model, 1)
    write_checkpoint(tmp_path / "a.npz", variable_arrays(model), {})
    other = make_model(optimizer=keras.optimizers.Adam(0.01))
    restore_variables(other, read_checkpoint(tmp_path / "a.npz")[0])
    pairs = zip(variable_arrays(model).items(), variable_arrays(other).values(), strict=True)
    for (name, one), two in pairs:
        np.testing.assert_array_equal(one.astype("float64"), two.astype("float64"), err_msg=name)
    assert float(other.optimizer.learning_rate) == float(model.optimizer.learning_rate)
    assert any("seed_generator_state" in name for name in variable_arrays(model))
    assert ("scale" in "".join(variable_arrays(model))) == (policy == "mixed_float16")


def test_callbacks_go_on_where_they_were(tmp_path):
    def callbacks(minutes=1.0, patience=2):
        seconds = iter(range(0, 10_000, 2))
        return [
            Resume(tmp_path / "resume", every=None),
            TimeBudget(minutes, 0.01, clock=lambda: next(seconds)),
            keras.callbacks.EarlyStopping("score", patience=patience, mode="max", restore_best_weights=True),
            BestModel(tmp_path / "best.weights.h5", "score", mode="max"),
        ]

    scores = Scores("score", [1.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), 9, scores, *callbacks(), Cut(step=3))
    resume, budget, stop, best = callbacks()
    model = make_model()
    assert fit(model, 9, scores, resume, budget, stop, best).epoch == [2, 3]
    assert (best.best, stop.best, stop.best_epoch, stop.wait) == (3.0, 3.0, 1, 2)
    for one, other in zip(model.get_weights(), scores.weights[1]):
        np.testing.assert_array_equal(one, other)
    used = budget.seconds_used
    assert fit(model, 9, scores, *callbacks()).epoch == [], "it had come to its end"
    resume, budget, stop, best = callbacks(patience=3)
    assert fit(model, 9, scores, resume, budget, stop, best).epoch == [4], "more patience than it had"
    assert 0 < used < budget.seconds_used
    assert fit(model, 9, scores, *callbacks(minutes=0.1, patience=9)).epoch == [], "no minutes left"


class Scores(keras.callbacks.Callback):
    """Logs the given scores and remembers each epoch's weights."""

    def __init__(self, name, scores):
        super().__init__()
        self.name, self.scores, self.weights = name, scores, []

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.scores[epoch]
        self.weights.append(self.model.get_weights())


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", ["best.keras", "best.weights.h5"])
@pytest.mark.parametrize(
    "monitor, scores, best",
    [
        ("val_loss", [3.0, 1.0, 2.0, float("nan")], 1),
        ("val_perplexity", [float("nan"), 5.0, 4.0, 4.5], 2),
        ("val_bleu", [10.0, 30.0, 20.0, 25.0], 1),
    ],
)
def test_the_file_holds_the_best_epoch(tmp_path, name, monitor, scores, best):
    watched = Scores(monitor, scores)
    callback = BestModel(tmp_path / name, monitor)
    fit(make_model(), 4, watched, callback)
    assert callback.best == scores[best]
    if name.endswith(".keras"):
        copy = keras.models.load_model(tmp_path / name)
    else:
        copy = make_model()
        copy.load_weights(tmp_path / name)
    for one, other in zip(copy.get_weights(), watched.weights[best]):
        np.testing.assert_array_equal(one, other)


def test_a_generator_is_saved_whole(tmp_path):
    class Generator:
        def save(self, folder):
            folder.mkdir()
            (folder / "model.txt").write_text("whole")

    fit(make_model(), 1, BestModel(tmp_path / "best", "loss", generator=Generator()))
    assert (tmp_path / "best" / "model.txt").read_text() == "whole"


def test_best_model_says_what_it_misses(tmp_path):
    with pytest.raises(
        InputError, match=r"watches 'val_bleu', but the epoch logged loss; give fit validation data"
    ):
        fit(make_model(), 1, BestModel(tmp_path / "best.keras", "val_bleu"))
    with pytest.raises(InputError, match=r"saved as \*.keras or \*.weights.h5, not 'best.bin'"):
        BestModel(tmp_path / "best.bin")
