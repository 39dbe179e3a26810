"""Compressed weights: what is stored, what it stands for, and an export that keeps it small and loads anywhere."""

import batteries
import numpy as np
import pytest
import tensorflow as tf
from portable_models import SENTENCES, generator

from tf_seq2seq.decoding.ensemble import Ensemble
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.errors import InputError
from tf_seq2seq.export.compression import StoredWeight, compressed, encoded
from tf_seq2seq.export.saved_model import export_saved_model
from tf_seq2seq.models import zoo

BYTES = {"bfloat16": 2, "int8": 1}


@pytest.fixture(scope="module")
def large():
    """A generator whose matrices are nearly all of its weights."""
    return generator("words", units=64)


@pytest.mark.parametrize("by_row", [False, True])
def test_int8_is_the_nearest_of_255_multiples_of_each_scale(by_row):
    value = np.random.default_rng(0).normal(size=(40, 30)).astype("float32") * np.logspace(
        -3, 3, 30, dtype="float32"
    )
    value[:, 4] = 0
    numbers, scales = (part.numpy() for part in encoded(value, "int8", by_row))
    axis = 1 if by_row else 0
    assert numbers.dtype == np.int8 and scales.size == value.shape[1 - axis]
    error = np.abs(numbers * scales - value)
    assert (error <= scales * 0.5001).all()
    assert np.abs(numbers).max(axis=axis)[np.abs(value).max(axis=axis) > 0].min() == 127


def test_bfloat16_is_the_nearest():
    value = np.random.default_rng(0).normal(size=(9, 7)).astype("float32")
    weight = StoredWeight(encoded(value, "bfloat16"), value.shape)
    np.testing.assert_array_equal(tf.identity(weight), tf.cast(tf.cast(value, tf.bfloat16), tf.float32))


def test_a_stored_weight_serves_where_a_variable_does():
    value = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    parts = encoded(value, "int8")
    weight, turned = StoredWeight(parts, value.shape), StoredWeight(parts, (4, 9), transposed=True)
    expected = parts[0].numpy() * parts[1].numpy()
    operations = [
        lambda w: tf.matmul(tf.ones([2, 6]), w),
        lambda w: tf.gather(w, [3, 0]),
        lambda w: tf.transpose(w),
        lambda w: tf.cast(w, tf.float32),
        lambda w: tf.while_loop(lambda i, _: i < 2, lambda i, x: (i + 1, x + w), (0, tf.zeros([6, 4])))[1],
    ]
    for operation in operations:
        for call in (operation, tf.function(operation)):
            np.testing.assert_allclose(call(weight), operation(tf.constant(expected)), rtol=1e-6)
    np.testing.assert_array_equal(tf.identity(turned), np.pad(expected.T, [(0, 0), (0, 3)]))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "name, weights", [*((name, "int8") for name in batteries.ZOO), ("luong2015", "bfloat16")]
)
def test_every_model_of_the_zoo_gives_nearly_the_same_log_probs(name, weights):
    """Against a NumPy rounding of each weight, put into a copy of the model."""
    model = batteries.ZOO[name](units=32, embedding_size=80)
    small, tracked = compressed(model, weights)
    assert tracked, "nothing was compressed"
    rounded = model.with_weights("float32")
    for old, new in zip(model.weights, rounded.weights, strict=True):
        if len(old.shape) == 2 and np.prod(old.shape) >= 1024:
            parts = encoded(old.numpy(), weights, by_row="embeddings" in old.path)
            new.assign(
                np.prod([part.numpy().astype("float32") for part in parts[1:]], axis=0)
                * parts[0].numpy().astype("float32")
            )
    source_ids = batteries.batch()[0]["source_ids"]
    found, expected = (generator_of(one).generate_ids(source_ids) for one in (small, rounded))
    np.testing.assert_allclose(found.token_log_probs, expected.token_log_probs, atol=1e-4)
    np.testing.assert_array_equal(found.ids, expected.ids)


class NoText:
    """A stand-in for a text processor, where only ids matter."""

    def __init__(self, vocab_size):
        self.vocab_size = vocab_size


def generator_of(model, **parts):
    return TextGenerator(
        model, NoText(batteries.SOURCE_V), NoText(batteries.TARGET_V), Greedy(max_length=9), **parts
    )


def test_a_tied_projection_is_stored_once():
    model = zoo.luong2015(50, 60, units=24, depth=1, embedding_size=24, tied=True)
    small, tracked = compressed(model, "int8")
    parts = {id(one): one for one in tracked if isinstance(one, tf.Variable)}
    sizes = sorted(np.prod(part.shape) for part in parts.values() if part.dtype == tf.int8)
    assert sizes.count(60 * 24) == 1
    decoder = small.decoder
    np.testing.assert_array_equal(
        tf.identity(decoder.columns)[:, :60], tf.transpose(tf.identity(decoder.embeddings))
    )


def test_the_model_stays_as_it_was(large):
    before = [weight.numpy().copy() for weight in large.model.weights]
    compressed(large.model, "int8")
    for weight, old in zip(large.model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_an_ensemble_is_compressed_part_by_part():
    models = [batteries.ZOO[name](units=32, embedding_size=80) for name in ("luong2015", "plain")]
    ensemble = Ensemble(models, [0.7, 0.3], combine="probs")
    small, _ = compressed(ensemble, "bfloat16")
    source_ids = batteries.batch()[0]["source_ids"]
    found = generator_of(small).generate_ids(source_ids)
    expected = generator_of(ensemble).score_ids(source_ids, found.ids[:, 0])
    np.testing.assert_allclose(found.log_probs[:, 0], expected.log_probs, atol=0.3)


def test_what_cannot_be_compressed_is_told():
    with pytest.raises(InputError, match="compressed to bfloat16 or int8, not to 'int4'"):
        compressed(batteries.ZOO["plain"](), "int4")
    with pytest.raises(
        InputError, match="Seq2Seq or of an Ensemble of them can be compressed, not those of object"
    ):
        compressed(object(), "int8")


@pytest.mark.parametrize(
    "weights",
    [pytest.param("bfloat16", marks=pytest.mark.portable), pytest.param("int8", marks=pytest.mark.exports)],
)
def test_a_reloaded_export_is_small_and_says_the_same(large, weights, tmp_path):
    folder = export_saved_model(large, tmp_path / "small", weights=weights)
    signatures = tf.saved_model.load(str(folder)).signatures  # whose model is gone, as in a user's one line
    texts = SENTENCES[:40]
    found = signatures["serving_default"](text=tf.constant(texts))
    small = compressed(large.model, weights)[0]
    expected = TextGenerator(small, large.source_text, large.target_text, large.strategy)(texts)
    assert [text.decode() for text in found["text"].numpy()] == expected.best()
    np.testing.assert_allclose(found["score"], expected.scores[:, 0], rtol=1e-5)
    assert len(set(expected.best())) > 10
    data = sum(path.stat().st_size for path in (folder / "variables").iterdir())
    count = large.model.count_params()
    assert BYTES[weights] * count < data < 1.25 * BYTES[weights] * count + 4000


def reader(weight):
    return tf.function(lambda: tf.identity(weight), input_signature=[])


def test_models_loaded_side_by_side_have_their_own_weights(tmp_path):
    """Saved in one process or loaded in one, twice as well: no name is shared."""
    loaded = []
    for number in range(2):
        value = np.full([3, 4], number + 1.0, "float32")
        module = tf.Module()
        weight = StoredWeight(encoded(value, "int8"), value.shape)
        module.tracked = [weight, *weight.parts]
        module.read = reader(weight)
        tf.saved_model.save(module, str(tmp_path / str(number)))
        loaded += [tf.saved_model.load(str(tmp_path / str(number))) for _ in range(2)]
    for expected, one in zip((1, 1, 2, 2), loaded, strict=True):
        np.testing.assert_allclose(one.read(), np.full([3, 4], expected), rtol=1e-6)
