"""Attention: where in the source a query looks, and what it reads there.

Shapes: **N** rows, **S** source length, **T** queries of a row, **Q** query size, **U** memory size, **A** attention units.

An *attention* is a layer with::

    build(query_size, memory_size)
    memory(values (N, S, U), mask (N, S))      -> memory, made once per source: {"keys", "values", "mask"}
    attention(query (N, Q), memory, state=())  -> context (N, U), alignments (N, S), state

A query may also be (N, T, Q): then the context is (N, T, U), the alignments (N, T, S), all queries at once. State is
() unless a mechanism carries something from step to step. Energies and alignments are float32; alignments sum to 1
over the source and are 0 on padding (all 0 where a source is nothing but padding).
"""

import keras
import tensorflow as tf

from tf_seq2seq.layers.affine import affine

MASKED_ENERGY = -30000.0  # finite in float16, and exp(x - max) is 0 in float32


class _Attention(keras.layers.Layer):
    """Energies are a concrete class's matter, all else is shared."""

    reads_query = True
    bilinear = False  # whether energies are query times keys

    def build(self, query_size, memory_size):
        self.memory_size = memory_size

    def keys(self, values):
        """What energies are computed from: (N, S, U) -> (N, S, A)."""
        return values

    def memory(self, values, mask):
        """Makes what every step reads, once per source.

        Args:
            values: (N, S, U) floating, an encoder's outputs.
            mask: (N, S) bool, True at real tokens.

        Returns:
            {"keys": (N, S, A), "values": (N, S, U), "mask": (N, S)}.
        """
        return {"keys": self.keys(values), "values": values, "mask": mask}

    def call(self, query, memory, state=()):
        """Attends once for each query.

        Args:
            query: (N, Q) or (N, T, Q) floating.
            memory: from `memory`.
            state: () or the mechanism's own.

        Returns:
            context (N, U) or (N, T, U) in the query's dtype; alignments (N, S) or (N, T, S) float32; state.
        """
        return self.attend(query, memory, state)

    def attend(self, query, memory, state=(), known=()):
        """The same as calling the layer, in the dtype of the query; `known`, if any, is added to energies and context."""
        if len(query.shape) == 2:
            known = [tf.expand_dims(one, 1) for one in known]
            context, alignments, state = self.attend(tf.expand_dims(query, 1), memory, state, known)
            return tf.squeeze(context, 1), tf.squeeze(alignments, 1), state
        keys, values = (tf.cast(memory[name], query.dtype) for name in ("keys", "values"))
        energies, mask = self.energies(query, keys), tf.expand_dims(memory["mask"], 1)
        energies = energies + known[0] if known else energies
        alignments = masked_softmax(energies, mask)  # (N, T, S)
        context = tf.matmul(tf.cast(alignments, query.dtype), values)
        return context + known[1] if known else context, alignments, state


def masked_softmax(energies, mask):
    """Softmax over the last axis in float32, exactly 0 where `mask` is False.

    >>> masked_softmax(tf.zeros([1, 4]), tf.constant([[True, True, False, False]])).numpy()
    array([[0.5, 0.5, 0. , 0. ]], dtype=float32)
    """
    energies = tf.where(mask, tf.cast(energies, tf.float32), MASKED_ENERGY)
    return tf.where(mask, tf.nn.softmax(energies), 0.0)


@keras.saving.register_keras_serializable("tf_seq2seq")
class DotAttention(_Attention):
    """Energies are the inner products of query and values; both have the same size.

    ::

        energy(q, h_s) = q' h_s

    >>> attention = DotAttention()
    >>> attention.build(2, 2)
    >>> memory = attention.memory(tf.constant([[[9.0, 0.0], [0.0, 9.0]]]), tf.constant([[True, True]]))
    >>> context, alignments, _ = attention(tf.constant([[9.0, 0.0]]), memory)
    >>> alignments.numpy().round(3)
    array([[1., 0.]], dtype=float32)

    Source: Luong, Pham and Manning 2015, equation 8, "dot".
    """

    bilinear = True

    def build(self, query_size, memory_size):
        if query_size != memory_size:
            raise ValueError(
                f"DotAttention needs queries and values of one size, got {query_size} and {memory_size}; "
                "use GeneralAttention or make the decoder's units equal to the encoder's"
            )
        super().build(query_size, memory_size)

    def energies(self, query, keys):
        """(N, T, Q), (N, S, Q) -> (N, T, S)."""
        return tf.matmul(query, keys, transpose_b=True)


@keras.saving.register_keras_serializable("tf_seq2seq")
class GeneralAttention(_Attention):
    """Energies are a bilinear form of query and values; the source's half of it is computed once.

    ::

        energy(q, h_s) = q' W h_s

    >>> attention = GeneralAttention()
    >>> attention.build(2, 3)
    >>> memory = attention.memory(tf.ones([1, 4, 3]), tf.ones([1, 4], tf.bool))
    >>> context, alignments, _ = attention(tf.ones([1, 2]), memory)
    >>> alignments.numpy()
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)

    Source: Luong, Pham and Manning 2015, equation 8, "general".
    """

    bilinear = True

    def build(self, query_size, memory_size):
        super().build(query_size, memory_size)
        self.kernel = self.add_weight(
            shape=(memory_size, query_size), initializer="glorot_uniform", name="kernel"
        )

    def keys(self, values):
        """(N, S, U) -> (N, S, Q)."""
        return affine(values, self.kernel)

    def energies(self, query, keys):
        """(N, T, Q), (N, S, Q) -> (N, T, S)."""
        return tf.matmul(query, keys, transpose_b=True)


@keras.saving.register_keras_serializable("tf_seq2seq")
class AdditiveAttention(_Attention):
    """Energies come from a one-layer perceptron over query and values.

    ::

        energy(q, h_s) = v' tanh(W q + V h_s + b)

    This is also Luong's "concat" score: [q; h_s] times one matrix is the sum of two products.

    Training keeps no hidden layer, (N, S, A) a step, but computes it again for its gradient: bahdanau2015 of 512 units took
    1.34 GiB for 24 pairs of 120 tokens where it took 1.92 before, and the same time.

    >>> attention = AdditiveAttention(units=5)
    >>> attention.build(2, 3)
    >>> memory = attention.memory(tf.ones([1, 4, 3]), tf.ones([1, 4], tf.bool))
    >>> context, alignments, _ = attention(tf.ones([1, 7, 2]), memory)
    >>> tuple(context.shape), tuple(alignments.shape)
    ((1, 7, 3), (1, 7, 4))

    Args:
        units: A, size of the hidden layer.

    Source: Bahdanau, Cho and Bengio 2015, appendix A.1.2; Luong, Pham and Manning 2015, equation 8, "concat".
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def get_config(self):
        return {**super().get_config(), "units": self.units}

    def build(self, query_size, memory_size):
        super().build(query_size, memory_size)
        weight = lambda name, *shape: self.add_weight(shape=shape, initializer="glorot_uniform", name=name)
        self.query_kernel = weight("query_kernel", query_size, self.units)
        self.memory_kernel = weight("memory_kernel", memory_size, self.units)
        self.energy_kernel = weight("energy_kernel", self.units, 1)
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def keys(self, values):
        """(N, S, U) -> (N, S, A)."""
        return affine(values, self.memory_kernel, self.bias)

    def energies(self, query, keys):
        """(N, T, Q), (N, S, A) -> (N, T, S)."""
        energy_kernel = tf.cast(self.energy_kernel, query.dtype)[:, 0]
        return _perceptron(affine(query, self.query_kernel), keys, energy_kernel)


@tf.custom_gradient
def _perceptron(query, keys, kernel):
    """(N, T, A), (N, S, A), (A,) -> (N, T, S). The hidden layer, (N, T, S, A), is not kept but computed again."""
    hidden = lambda: tf.tanh(query[:, :, None] + keys[:, None])

    def gradient(upstream):
        again = hidden()
        inner = tf.raw_ops.TanhGrad(y=again, dy=upstream[..., None] * kernel)
        d_kernel = tf.reshape(again, [-1, tf.shape(kernel)[0]])
        d_kernel = tf.linalg.matvec(d_kernel, tf.reshape(upstream, [-1]), transpose_a=True)
        return tf.reduce_sum(inner, axis=2), tf.reduce_sum(inner, axis=1), d_kernel

    return affine(hidden(), kernel[:, None])[..., 0], gradient


@keras.saving.register_keras_serializable("tf_seq2seq")
class FixedContext(_Attention):
    """No attention, but its place: the same summary of the source is the context of every step.

    ::

        context = tanh(V h_last + b)

    where h_last is the encoder's output at the last real token (its first, for the backward half of a bidirectional
    one is not read: use a unidirectional encoder, as the paper does). Alignments are None.

    >>> summary = FixedContext(units=5)
    >>> summary.build(2, 3)
    >>> memory = summary.memory(tf.ones([1, 4, 3]), tf.ones([1, 4], tf.bool))
    >>> context, alignments, _ = summary(tf.ones([1, 2]), memory)
    >>> tuple(context.shape), alignments
    ((1, 5), None)

    Args:
        units: size of the context.

    Source: Cho et al. 2014, appendix A.1.1, c = tanh(V h).
    """

    reads_query = False

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def get_config(self):
        return {**super().get_config(), "units": self.units}

    def build(self, query_size, memory_size):
        self.memory_size = self.units
        self.kernel = self.add_weight(
            shape=(memory_size, self.units), initializer="glorot_uniform", name="kernel"
        )
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def memory(self, values, mask):
        """(N, S, U), (N, S) -> {"context": (N, units)}."""
        last = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), axis=1) - 1, 0)
        return {"context": tf.tanh(affine(tf.gather(values, last, batch_dims=1), self.kernel, self.bias))}

    def attend(self, query, memory, state=()):
        """The context for each query; alignments None."""
        context = tf.cast(memory["context"], query.dtype)
        if len(query.shape) == 3:
            context = tf.repeat(context[:, None], tf.shape(query)[1], axis=1)  # (N, U) -> (N, T, U)
        return context, None, state
