"""BestModel and Resume on a model that trains in milliseconds."""

import keras
import numpy as np
import pytest

from tf_seq2seq.errors import InputError
from tf_seq2seq.training.checkpoints import BestModel, Resume


def make_model(units=3):
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model


def fit(model, epochs, *callbacks):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(32, 2))
    return model.fit(x, x.sum(1), epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))


class Interrupt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def test_resume_goes_on_as_if_nothing_had_happened(tmp_path):
    whole = make_model()
    history = fit(whole, 5)
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), 5, Resume(tmp_path), Interrupt(3))
    resumed = make_model()
    second = fit(resumed, 5, Resume(tmp_path))
    assert second.epoch == [3, 4]
    np.testing.assert_allclose(second.history["loss"], history.history["loss"][3:], rtol=1e-5)
    for one, other in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert int(resumed.optimizer.iterations) == int(whole.optimizer.iterations)


def test_a_cut_while_saving_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    fit(make_model(), 2, Resume(tmp_path))
    before = (tmp_path / "latest.weights.h5").read_bytes()

    def cut(self, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Sequential, "save_weights", cut)
    with pytest.raises(InputError, match="No space left on device; what was there before is kept"):
        fit(make_model(), 3, Resume(tmp_path))
    assert (tmp_path / "latest.weights.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["latest.weights.h5"]


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_damaged_checkpoint_says_what_to_do_and_stays(tmp_path, keep):
    fit(make_model(), 1, Resume(tmp_path))
    path = tmp_path / "latest.weights.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep if keep < 1 else keep)])
    with pytest.raises(InputError, match=r"latest.weights.h5 is damaged; delete it to train from the start"):
        fit(make_model(), 2, Resume(tmp_path))
    assert path.exists()


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    fit(make_model(units=3), 1, Resume(tmp_path))
    with pytest.raises(InputError, match="does not fit this model") as error:
        fit(make_model(units=4), 2, Resume(tmp_path))
    assert "\n" not in str(error.value)


class Scores(keras.callbacks.Callback):
    """Logs the given scores and remembers each epoch's weights."""

    def __init__(self, name, scores):
        super().__init__()
        self.name, self.scores, self.weights = name, scores, []

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.scores[epoch]
        self.weights.append(self.model.get_weights())


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
