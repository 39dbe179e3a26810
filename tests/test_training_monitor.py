"""A short `fit` of a real model under all callbacks, read back from TensorBoard's event files."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.alignments import plot_generated, png
from tf_seq2seq.models import zoo
from tf_seq2seq.training.budget import TimeBudget
from tf_seq2seq.training.checkpoints import BestModel, Resume
from tf_seq2seq.training.gates import gate_shares, gradient_norms
from tf_seq2seq.training.losses import SequenceCrossEntropy
from tf_seq2seq.training.monitor import Monitor

WORDS = ["ñandú", "casa", "gato", "|", "perro"]
PAIRS = [(f"{one} {two}", f"{two} {one}") for one in WORDS for two in WORDS]


class Watch(keras.callbacks.Callback):
    """Remembers the running mean of the loss and the tokens behind it after each batch."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def on_train_batch_end(self, batch, logs=None):
        tracker = self.model.trackers["loss"]
        self.rows.append((float(tracker.total), float(tracker.count)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(0)
    text = TextProcessor.fit(WORDS, "words")
    model = zoo.luong2015(text.vocab_size, text.vocab_size, units=16)
    model.compile(keras.optimizers.Adam(1e-3, clipnorm=1.0), loss=SequenceCrossEntropy(0.1))
    generator = TextGenerator(model, text, text, Greedy(max_length=5))
    split = tf.data.Dataset.from_tensor_slices(tuple(map(list, zip(*PAIRS))))
    valid = batches(split, text, text, batch_size=5, shuffle=False)
    watch = Watch()
    callbacks = [
        TimeBudget(1000, peak=0.02, warmup_steps=1),
        watch,
        Monitor(
            folder / "logs", generator, split, sample_count=20, shown=4, maps=2, every=2, inspected=valid
        ),
        BestModel(folder / "best", "val_bleu", generator=generator),
        Resume(folder / "resume"),
    ]
    history = model.fit(
        batches(split, text, text, batch_size=5, shuffle=False).apply(
            tf.data.experimental.assert_cardinality(5)
        ),
        validation_data=valid,
        epochs=2,
        verbose=0,
        callbacks=callbacks,
    )
    return folder, generator, history.history, watch.rows


@pytest.fixture(scope="module")
def events(run):
    sizes = {"tensors": 0}
    loaded = {name: EventAccumulator(str(run[0] / "logs" / name), sizes) for name in ("train", "validation")}
    return {name: accumulator.Reload() for name, accumulator in loaded.items()}


def points(events, run, tag):
    return [(event.step, tf.make_ndarray(event.tensor_proto)) for event in events[run].Tensors(tag)]


def test_training_curves_are_of_the_interval_and_not_of_the_epoch(run, events):
    rows = run[3]
    found = points(events, "train", "scores/loss")
    assert [step for step, _ in found] == [2, 4, 6, 8, 10]
    for (step, loss), begin in zip(found, [0, 2, 5, 6, 8]):
        before = (
            rows[begin - 1] if begin not in (0, 5) else (0.0, 0.0)
        )  # the second epoch begins after batch 5
        after = rows[step - 1]
        assert loss == pytest.approx((after[0] - before[0]) / (after[1] - before[1]), rel=1e-4)


CURVES = ["scores/perplexity", "scores/accuracy"] + [
    f"training/{name}" for name in ("learning_rate", "gradient_norm", "tokens_per_second")
]


@pytest.mark.parametrize("tag", CURVES)
def test_the_other_training_curves(events, tag):
    values = [float(value) for _, value in points(events, "train", tag)]
    assert len(values) == 5 and np.isfinite(values).all() and min(values) >= 0 and max(values) > 0
    if tag == "training/learning_rate":
        assert 0.019 < values[-1] < values[0] <= 0.02


def test_validation_curves_are_the_epochs_logs(run, events):
    for tag in ("loss", "perplexity", "accuracy", "bleu"):
        found = points(events, "validation", f"scores/{tag}")
        assert [step for step, _ in found] == [5, 10]
        np.testing.assert_allclose([value for _, value in found], run[2][f"val_{tag}"], rtol=1e-5)


def test_gates_and_gradients_of_the_first_batch_are_shown_each_epoch(run, events):
    generator = run[1]
    split = tf.data.Dataset.from_tensor_slices(tuple(map(list, zip(*PAIRS))))
    batch = next(
        iter(batches(split, generator.source_text, generator.target_text, batch_size=5, shuffle=False))
    )
    groups = {
        "gates": gate_shares(generator.model, batch[0]),
        "gradients": gradient_norms(generator.model, batch),
    }
    for group, numbers in groups.items():
        tags = [tag for tag in events["train"].Tags()["tensors"] if tag.startswith(f"{group}/")]
        assert sorted(tags) == sorted(f"{group}/{name}" for name in numbers)
        for name, value in numbers.items():
            found = points(events, "train", f"{group}/{name}")
            assert [step for step, _ in found] == [5, 10]
            assert found[1][1] == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_samples_are_text_in_a_table(events):
    (first, _), (last, text) = points(events, "validation", "samples")
    lines = text.item().decode().splitlines()
    assert (first, last) == (5, 10) and len(lines) == 2 + 4
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| ñandú ñandú", "| ñandú casa", "| ñandú gato"]


def test_attention_maps_are_pictures_of_the_samples(run, events):
    from PIL import Image

    for index, (source, _) in enumerate(PAIRS[:2], 1):
        shown = points(events, "validation", f"attention/{index}")
        assert [step for step, _ in shown] == [5, 10]
        width, height, picture = shown[-1][1]
        image = Image.open(io.BytesIO(picture)).convert("RGB")
        expected = Image.open(io.BytesIO(png(plot_generated(run[1], source), dpi=100))).convert("RGB")
        assert image.size == (int(width), int(height)) == expected.size
        np.testing.assert_array_equal(image, expected)


def test_the_saved_generator_and_the_checkpoint_are_of_this_training(run):
    folder, generator, history, _ = run
    assert "gradient_norm" in history and "val_gradient_norm" not in history
    best = TextGenerator.load(folder / "best")
    if np.argmax(history["val_bleu"]) == 1:
        sources = [source for source, _ in PAIRS]
        assert best(sources).best() == generator(sources).best()
    else:
        assert any((a != b).any() for a, b in zip(best.model.get_weights(), generator.model.get_weights()))
    model = zoo.luong2015(generator.source_text.vocab_size, generator.target_text.vocab_size, units=16)
    model.compile(keras.optimizers.Adam(1e-3, clipnorm=1.0), loss=SequenceCrossEntropy(0.1))
    resume = Resume(folder / "resume")
    resume.set_model(model)
    resume.on_train_begin()
    for one, other in zip(model.get_weights(), generator.model.get_weights()):
        np.testing.assert_array_equal(one, other)
    assert int(model.optimizer.iterations) == 10
    for one, other in zip(model.optimizer.variables, generator.model.optimizer.variables):
        np.testing.assert_array_equal(one, other)


def test_a_generator_wants_samples():
    with pytest.raises(InputError, match="both a generator and samples"):
        Monitor("logs", samples=PAIRS)
    with pytest.raises(InputError, match="hold no pair"):
        Monitor("logs", generator=object(), samples=[])
