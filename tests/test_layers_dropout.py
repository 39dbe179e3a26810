"""Dropout: its share, its scale, its seed, and that of Keras's layer which it stands for."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.layers.dropout import Dropout, dropout_mask


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("rate", [0.001, 0.2, 0.5, 0.99])
def test_the_share_and_the_scale(rate, dtype):
    mask = dropout_mask([300, 1001], rate, keras.random.SeedGenerator(3), dtype)
    assert mask.dtype == dtype
    mask = tf.cast(mask, tf.float32).numpy()
    size = mask.size
    assert abs((mask == 0).sum() - rate * size) < 5 * (rate * (1 - rate) * size) ** 0.5  # standard deviations
    np.testing.assert_allclose(mask[mask != 0], 1 / (1 - rate), rtol=2.0**-8)


def test_neighbours_in_one_random_word_are_independent():
    mask = dropout_mask([100_000, 2], 0.5, keras.random.SeedGenerator(4), "float32").numpy() - 1.0
    assert abs((mask[:, 0] * mask[:, 1]).mean()) < 5 / 100_000**0.5


def test_a_seed_gives_a_sequence_of_masks_in_eager_mode_and_in_a_graph():
    def two(generator):
        return [dropout_mask([64], 0.5, generator, "float32") for _ in range(2)]

    first, second = two(keras.random.SeedGenerator(5))
    generator = keras.random.SeedGenerator(5)
    again = tf.function(lambda: two(generator))()
    np.testing.assert_array_equal([first, second], again)
    assert (first.numpy() != second.numpy()).any()


@pytest.mark.parametrize("noise_shape", [None, (1, None, None), (None, 1, None)])
def test_the_layer_multiplies_and_its_gradient_too(noise_shape):
    inputs = tf.constant(np.random.default_rng(0).normal(size=(3, 5, 8)), tf.float32)
    layer = Dropout(0.5, noise_shape=noise_shape, seed=1)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    mask = tape.gradient(outputs, inputs).numpy()
    np.testing.assert_allclose(outputs, inputs * mask)
    assert set(mask.flat) == {0.0, 2.0}
    for axis, size in enumerate(noise_shape or ()):
        assert size is None or (mask == mask.take([0], axis)).all()
    assert layer(inputs) is inputs and Dropout(0.0)(inputs, training=True) is inputs


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan"), "0.5", None])
def test_what_is_no_share_is_refused(rate):
    with pytest.raises(ValueError, match=r"dropout is a share in \[0, 1\), not "):
        Dropout(rate)


def test_it_keeps_the_weights_of_keras_layer():
    """So that models stored before have what it needs."""
    ours, keras_own = Dropout(0.1), keras.layers.Dropout(0.1)
    assert [one.path.split("/")[-1] for one in ours.variables] == [
        one.path.split("/")[-1] for one in keras_own.variables
    ]
