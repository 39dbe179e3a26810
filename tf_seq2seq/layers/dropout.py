"""Dropout whose random bits are half the price: 16 of them decide on a value, in place of 32 made into a float.

A training step of a small model without input feeding spends a thirtieth of its time on drawing random numbers.
"""

import numbers

import keras
import tensorflow as tf

LEVELS = 2**16


def checked_rate(rate, name="dropout"):
    """The share to drop as it came, if it is one.

    >>> checked_rate(0.3)
    0.3

    Args:
        rate: a number.
        name: of the argument, for the message.

    Returns:
        the rate.

    Raises:
        ValueError: unless it is in [0, 1); with 1 nothing would be left.
    """
    if not isinstance(rate, numbers.Real) or not 0 <= rate < 1:
        raise ValueError(f"{name} is a share in [0, 1), not {rate!r}")
    return rate


def dropout_mask(shape, rate, seed_generator, dtype):
    """Draws what values are multiplied by: 0 with the chance of the rate, else 1 / (1 - rate).

    >>> mask = dropout_mask([1000], 0.5, keras.random.SeedGenerator(1), "float32")
    >>> sorted(set(mask.numpy().tolist())), bool(400 < tf.math.count_nonzero(mask) < 600)
    ([0.0, 2.0], True)

    Args:
        shape: list of ints or () int32 tensors.
        rate: share to drop, in [0, 1), to one part in 65,536.
        seed_generator: a `keras.random.SeedGenerator`, moved on by one draw.
        dtype: of the result.

    Returns:
        a tensor of that shape.
    """
    size = tf.reduce_prod(shape)
    seed = tf.cast(seed_generator.next(), tf.int32)
    words = tf.random.stateless_uniform([(size + 1) // 2], seed, minval=None, maxval=None, dtype=tf.int32)
    draws = tf.reshape(tf.bitcast(words, tf.int16), [-1])[:size]  # uniform in -32768 ... 32767
    kept = tf.reshape(draws, shape) >= tf.constant(round(rate * LEVELS) - LEVELS // 2, tf.int16)
    return tf.cast(kept, dtype) * tf.cast(1.0 / (1.0 - rate), dtype)


class Dropout(keras.layers.Dropout):
    """Keras's layer, its arguments and its weights, with `dropout_mask` and a rate below 1."""

    def __init__(self, rate, *args, **kwargs):
        super().__init__(checked_rate(rate), *args, **kwargs)

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        shape, noise = tf.unstack(tf.shape(inputs)), self.noise_shape or [None] * len(inputs.shape)
        shape = [whole if size is None else size for whole, size in zip(shape, noise, strict=True)]
        return inputs * dropout_mask(shape, self.rate, self.seed_generator, inputs.dtype)
