"""Bridges: the encoder's last state becomes the decoder's first.

Shapes: **B** batch. A *bridge* is a layer with ``build(encoder_sizes, decoder_sizes)`` and ``bridge(state) -> state``;
sizes and states are tuples with one entry a layer, from the bottom, each a tuple with one entry a state tensor:
``((units, units),)`` for one layer of LSTM. All states are float32.
"""

import keras
import tensorflow as tf

from tf_seq2seq.layers.affine import affine


class _Bridge(keras.layers.Layer):
    """What bridges share: the sizes they join."""

    def build(self, encoder_sizes, decoder_sizes):
        self.encoder_sizes = _tuples(encoder_sizes)
        self.decoder_sizes = _tuples(decoder_sizes)


@keras.saving.register_keras_serializable("tf_seq2seq")
class ZeroBridge(_Bridge):
    """The decoder starts from zeros and knows the source by attention only.

    >>> bridge = ZeroBridge()
    >>> bridge.build(((2,),), ((3, 3),))
    >>> [[tuple(one.shape) for one in layer] for layer in bridge(((tf.ones([1, 2]),),))]
    [[(1, 3), (1, 3)]]
    """

    def call(self, state):
        rows = tf.shape(tf.nest.flatten(state)[0])[0]
        return tf.nest.map_structure(lambda size: tf.zeros([rows, size]), self.decoder_sizes)


@keras.saving.register_keras_serializable("tf_seq2seq")
class CopyBridge(_Bridge):
    """The decoder starts from the encoder's state itself, layer by layer; the sizes must be equal.

    This is ``initial_state=encoder_state`` of TF1's `dynamic_rnn`.

    >>> bridge = CopyBridge()
    >>> bridge.build(((2,),), ((2,),))
    >>> bridge(((tf.ones([1, 2]),),))[0][0].numpy()
    array([[1., 1.]], dtype=float32)

    Raises:
        ValueError: where the sizes differ; it names both.
    """

    def build(self, encoder_sizes, decoder_sizes):
        if _tuples(encoder_sizes) != _tuples(decoder_sizes):
            raise ValueError(
                f"CopyBridge copies states of equal sizes, got {encoder_sizes} from the encoder and {decoder_sizes} "
                "for the decoder; give both the same units, depth and cell, or use DenseBridge"
            )
        super().build(encoder_sizes, decoder_sizes)

    def call(self, state):
        return tf.nest.map_structure(lambda one: tf.cast(one, tf.float32), state)


@keras.saving.register_keras_serializable("tf_seq2seq")
class DenseBridge(_Bridge):
    """Each of the decoder's first states is a dense function of all of the encoder's last states.

    ::

        s_0 = tanh(W [h; c; ...] + b)

    >>> bridge = DenseBridge()
    >>> bridge.build(((2,),), ((3, 3),))
    >>> [[tuple(one.shape) for one in layer] for layer in bridge(((tf.ones([1, 2]),),))]
    [[(1, 3), (1, 3)]]

    Source: Bahdanau, Cho and Bengio 2015, appendix A.2.2 (there of the backward state alone).
    """

    def build(self, encoder_sizes, decoder_sizes):
        super().build(encoder_sizes, decoder_sizes)
        rows, columns = sum(tf.nest.flatten(encoder_sizes)), sum(tf.nest.flatten(decoder_sizes))
        self.kernel = self.add_weight(shape=(rows, columns), initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(columns,), initializer="zeros", name="bias")

    def call(self, state):
        joined = tf.concat([tf.cast(one, self.kernel.dtype) for one in tf.nest.flatten(state)], axis=-1)
        dense = tf.cast(tf.tanh(affine(joined, self.kernel, self.bias)), tf.float32)
        parts = tf.split(dense, tf.nest.flatten(self.decoder_sizes), axis=-1)
        return tf.nest.pack_sequence_as(self.decoder_sizes, parts)


def _tuples(sizes):
    """Sizes as nested tuples, whatever sequences a configuration made of them."""
    return tuple(tuple(layer) for layer in sizes)
