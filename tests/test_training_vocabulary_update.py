"""with_vocabulary: what was learnt of a token goes with it, in each model of the zoo."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.vocabulary import Vocabulary
from tf_seq2seq.errors import InputError
from tf_seq2seq.models import zoo
from tf_seq2seq.training.vocabulary_update import with_vocabulary

OLD = Vocabulary([*"abcdef"])
NEW = Vocabulary([*"xfdyabz"])
SAME_SIZE = Vocabulary([*"fedcbq"])

MODELS = {
    "plain": lambda: zoo.plain(10, 10, units=6),
    "sutskever2014": lambda: zoo.sutskever2014(10, 10, units=6, depth=2),
    "cho2014": lambda: zoo.cho2014(10, 10, units=6),
    "bahdanau2015": lambda: zoo.bahdanau2015(10, 10, units=6, embedding_size=4),
    "luong2015": lambda: zoo.luong2015(10, 10, units=6, depth=1),
    "luong2015 tied": lambda: zoo.luong2015(10, 10, units=6, depth=1, embedding_size=4, tied=True),
    "gnmt": lambda: zoo.gnmt(10, 10, units=6, depth=2),
}


def batch_of(vocabulary):
    """A batch of known tokens."""
    ids = [[vocabulary.id(token) for token in tokens] for tokens in (["a", "f", "b"], ["d", "d", "a"])]
    source, target = tf.constant([[*ids[0], 3]]), tf.constant([[2, *ids[1]]])
    return {"source_ids": source, "target_ids": target}, tf.constant([[*ids[1], 3]])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("other", [NEW, SAME_SIZE])
def test_known_tokens_have_the_same_logits(name, other):
    known = [token for token in OLD.tokens[4:] if token in other.tokens]
    model = MODELS[name]()
    updated = with_vocabulary(model, (OLD, other), (OLD, other))
    ids = lambda vocabulary: tf.constant([[vocabulary.id(token) for token in known]])
    kept = lambda vocabulary: [0, 1, 2, 3, *ids(vocabulary)[0].numpy()]
    logits = [
        one({"source_ids": ids(words), "target_ids": ids(words)}).numpy()[..., kept(words)]
        for one, words in ((model, OLD), (updated, other))
    ]
    np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-6)
    assert updated({"source_ids": ids(other), "target_ids": ids(other)}).shape[-1] == len(other)


def test_a_new_token_is_the_mean_of_the_ordinary_ones():
    model = MODELS["luong2015"]()
    updated = with_vocabulary(model, target=(OLD, NEW))
    for name in ("embeddings", "projection_kernel", "projection_bias"):
        old, new = (getattr(one.decoder, name).numpy() for one in (model, updated))
        np.testing.assert_allclose(new[NEW.id("y")], old[4:].mean(axis=0), rtol=1e-6)
        np.testing.assert_array_equal(new[NEW.id("f")], old[OLD.id("f")])
    np.testing.assert_array_equal(updated.encoder.embeddings, model.encoder.embeddings)


@pytest.mark.parametrize("tied", [False, True])
def test_the_optimizer_goes_on_with_its_slots(tied):
    model = MODELS["luong2015 tied" if tied else "luong2015"]()
    model.compile(keras.optimizers.Adam(0.01, use_ema=True), parts=2, run_eagerly=True)
    model.fit(tf.data.Dataset.from_tensors(batch_of(OLD)), epochs=3, verbose=0)
    updated = with_vocabulary(model, (OLD, NEW), (OLD, NEW))
    assert int(updated.optimizer.iterations) == 3 and updated.parts == 2
    assert float(updated.optimizer.learning_rate) == float(model.optimizer.learning_rate)
    slots = lambda one: {
        re.sub(r"^rnn_decoder_(\d+_)?", "", slot.name): slot.numpy() for slot in one.optimizer.variables
    }
    old, new = slots(model), slots(updated)
    names = [name for name in old if name.startswith(("embeddings_", "projection_"))]
    assert len(names) == (2 if tied else 3) * 3
    for name in names:
        np.testing.assert_array_equal(new[name][NEW.id("d")], old[name][OLD.id("d")])
        np.testing.assert_allclose(new[name][NEW.id("x")], old[name][4:].mean(axis=0), rtol=1e-5)
        assert np.abs(old[name]).max() > 0
    history = updated.fit(tf.data.Dataset.from_tensors(batch_of(NEW)), verbose=0).history
    assert np.isfinite(history["loss"][0]) and int(updated.optimizer.iterations) == 4


def test_what_does_not_fit_is_told():
    model = MODELS["plain"]()
    with pytest.raises(InputError, match="old target vocabulary has 11 tokens, but the model has 10"):
        with_vocabulary(model, target=(NEW, OLD))
    model.compile(keras.optimizers.Adafactor())
    model.optimizer.build(model.trainable_variables)
    with pytest.raises(InputError, match="Adafactor's slots are not of"):
        with_vocabulary(model, target=(OLD, NEW))
