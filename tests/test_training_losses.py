"""SequenceCrossEntropy as a Keras loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.errors import InputError
from tf_seq2seq.training.losses import SequenceCrossEntropy

LABELS = np.array([[4, 5, 3, 0], [6, 3, 0, 0], [7, 8, 9, 3]])


def logits(dtype="float32", seed=0):
    return tf.cast(np.random.default_rng(seed).normal(size=(3, 4, 10)), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_equals_keras_on_the_real_tokens(dtype, label_smoothing):
    values = logits(dtype)
    real = LABELS != 0
    one_hot = keras.ops.one_hot(LABELS[real], 10)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)(
        one_hot, tf.cast(values, "float32").numpy()[real]
    )
    loss = SequenceCrossEntropy(label_smoothing)(LABELS, values)
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_padding_changes_neither_loss_nor_gradient():
    loss = SequenceCrossEntropy(0.1)
    values = tf.Variable(logits())
    with tf.GradientTape(persistent=True) as tape:
        short = loss(LABELS, values)
        long = loss(
            np.pad(LABELS, [(0, 0), (0, 3)]), tf.pad(values, [(0, 0), (0, 3), (0, 0)], constant_values=9.0)
        )
    np.testing.assert_allclose(short, long, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(short, values), tape.gradient(long, values), atol=1e-7)
    assert not tape.gradient(short, values).numpy()[LABELS == 0].any()


def test_a_sentence_of_weight_zero_counts_as_if_absent():
    loss, values = SequenceCrossEntropy(), logits()
    np.testing.assert_allclose(
        loss(LABELS, values, sample_weight=np.array([1.0, 0.0, 1.0])),
        loss(LABELS[[0, 2]], values.numpy()[[0, 2]]),
    )


def test_fit_takes_it_and_keras_saves_it():
    model = keras.Sequential([keras.layers.Embedding(10, 8), keras.layers.Dense(10)])
    model.compile("adam", loss=SequenceCrossEntropy(0.1))
    history = model.fit(LABELS, LABELS, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    copy = keras.losses.deserialize(keras.losses.serialize(SequenceCrossEntropy(0.1)))
    assert copy.get_config() == SequenceCrossEntropy(0.1).get_config()


def test_a_smoothing_that_is_no_share_is_refused():
    with pytest.raises(InputError, match=r"label_smoothing is a share in \[0, 1\), not 10"):
        SequenceCrossEntropy(10)
