"""LSTM and GRU cells whose input projection stands apart, so that it is one product over all steps.

Shapes: **B** batch (rows), **E** input size, **U** units, **G** size of the projected input (4U).

A *cell* has `units`, `state_sizes` (one entry a state tensor), `recurrent_inputs` (how many matrices of U columns its
recurrent kernel reads) and::

    input_kernel(dtype)                     -> (E, G)
    project(inputs (..., E))                -> projected (..., G) = inputs @ input_kernel + bias, free of the state
    recurrent_kernels(dtype, training)      -> the matrices that the recurrent inputs are multiplied by
    step(projected (B, G), state, products) -> output (B, U), state, recurrent inputs
    recurrent_gradients(inputs, d)          -> gradients of the recurrent kernels from whole sequences

Gates and the LSTM's cell are computed in float32 whatever the compute dtype is; products run in the compute dtype.
"""

import keras
import tensorflow as tf

from tf_seq2seq.layers.affine import affine
from tf_seq2seq.layers.dropout import checked_rate, dropout_mask
from tf_seq2seq.layers.loop_products import product_over_time


class _Cell(keras.layers.Layer):
    """What both cells share: kernels, bias, configuration."""

    recurrent_inputs = 1

    def __init__(
        self,
        units,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        recurrent_dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.recurrent_dropout = checked_rate(recurrent_dropout, "recurrent_dropout")
        self.seed_generator = keras.random.SeedGenerator() if recurrent_dropout else None
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
            "recurrent_dropout": self.recurrent_dropout,
        }

    def initial_state(self, rows):
        """A state of zeros: a tuple of (rows, U) tensors."""
        return tuple(tf.zeros([rows, size], self.compute_dtype) for size in self.state_sizes)

    def input_kernel(self, dtype):
        """The kernel of the input projection, (E, G)."""
        return tf.cast(self.kernel, dtype)

    def project(self, inputs):
        """Projects inputs (..., E) -> (..., G), in the inputs' dtype."""
        return affine(inputs, self.input_kernel(inputs.dtype), self.bias)

    def recurrent_kernels(self, dtype, training=False):
        """The matrices that `step` multiplies its recurrent inputs by; in training, weights of them are dropped."""
        return (self._kept(self.recurrent_kernel, dtype, training),)

    def _kept(self, kernel, dtype, training):
        """The kernel in a dtype, less the weights that are dropped for this whole sequence."""
        kernel = tf.cast(kernel, dtype)
        if not training or not self.recurrent_dropout:
            return kernel
        return kernel * dropout_mask(kernel.shape, self.recurrent_dropout, self.seed_generator, dtype)

    def products(self, dtype):
        """How `step` multiplies, unless it is told otherwise: a function (B, U) -> (B, width) a recurrent kernel."""
        return [lambda x, kernel=kernel: tf.matmul(x, kernel) for kernel in self.recurrent_kernels(dtype)]

    def call(self, inputs, state):
        """One step: inputs (B, E) -> output (B, U) and state, as `keras.layers.RNN` calls a cell."""
        output, state, _ = self.step(self.project(inputs), tuple(state))
        return output, state

    def _drawn(self, shape, dtype):
        return tf.cast(self.recurrent_initializer(shape, "float32"), dtype)  # QR knows no bfloat16


@keras.saving.register_keras_serializable("tf_seq2seq")
class LSTMCell(_Cell):
    """A long short-term memory cell with forget gate, without peepholes.

    ::

        i, f, g, o = split(x W + h U + b)
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')

    >>> cell = LSTMCell(3)
    >>> output, (hidden, memory) = cell(tf.ones([2, 5]), cell.initial_state(2))
    >>> tuple(output.shape)
    (2, 3)

    Args:
        units: U, size of output and state.
        forget_bias: start value of the forget gate's bias (Jozefowicz et al. 2015 recommend 1).
        kernel_initializer: of the input kernel (E, 4U).
        recurrent_initializer: of the recurrent kernel (U, 4U).
        recurrent_dropout: share of the recurrent kernel's weights that is dropped in training, the same ones at all
            steps of a batch (DropConnect; Merity, Keskar and Socher 2018, section 2).

    Source: Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000. Gate order is that of Keras.
    """

    def __init__(self, units, forget_bias=1.0, **kwargs):
        super().__init__(units, **kwargs)
        self.forget_bias = forget_bias
        self.state_sizes = (units, units)

    def get_config(self):
        return {**super().get_config(), "forget_bias": self.forget_bias}

    def build(self, input_shape):
        units = self.units
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 4 * units), initializer=self.kernel_initializer, name="kernel"
        )
        self.recurrent_kernel = self.add_weight(
            shape=(units, 4 * units), initializer=self._drawn, name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(4 * units,), initializer="zeros", name="bias")
        self.bias.assign(tf.repeat([0.0, self.forget_bias, 0.0, 0.0], units))
        self.built = True

    def step(self, projected, state, products=None):
        """One step on a projected input.

        Args:
            projected: (B, 4U), from `project`.
            state: (hidden (B, U), cell (B, U)).
            products: stands in for `products`, e.g. with the kernel's gradient left out.

        Returns:
            output (B, U) in `projected`'s dtype, (hidden, cell) in the dtypes that came in, and what the recurrent
            kernel read, ``(hidden,)``.
        """
        hidden, memory = state
        read = tf.cast(hidden, projected.dtype)
        (product,) = products or self.products(read.dtype)
        gates = tf.cast(projected, tf.float32) + tf.cast(product(read), tf.float32)
        i, f, g, o = self._split(gates)  # (B, 4U) -> 4 of (B, U)
        new = tf.sigmoid(f) * tf.cast(memory, tf.float32) + tf.sigmoid(i) * tf.tanh(g)
        output = tf.cast(tf.sigmoid(o) * tf.tanh(new), projected.dtype)
        return output, (tf.cast(output, hidden.dtype), tf.cast(new, memory.dtype)), (read,)

    def _split(self, gates):
        """The four gates; columns after them, which a layout for speed may have, are none."""
        more = gates.shape[-1] - 4 * self.units
        return (
            tf.split(gates, [self.units] * 4 + [more], axis=-1)[:4] if more else tf.split(gates, 4, axis=-1)
        )

    def recurrent_gradients(self, inputs, gradients):
        """Gradient (U, 4U) of the recurrent kernel from ``(hidden (T, B, U),)`` and d projected (T, B, 4U)."""
        return [product_over_time(inputs[0], gradients)]


@keras.saving.register_keras_serializable("tf_seq2seq")
class GRUCell(_Cell):
    """A gated recurrent unit.

    ::

        r, z = sigmoid(split(x W_rz + h U_rz + b_rz))
        n = tanh(x W_n + b_n + (r * h) U_n)              as published
        n = tanh(x W_n + b_n + r * (h U_n + b_u))        with reset_after, as cuDNN and PyTorch have it
        h' = z * h + (1 - z) * n

    >>> cell = GRUCell(3)
    >>> output, (hidden,) = cell(tf.ones([2, 5]), cell.initial_state(2))
    >>> tuple(output.shape)
    (2, 3)

    Args:
        units: U, size of output and state.
        reset_after: whether the reset gate acts after the recurrent product.
        kernel_initializer: of the input kernel (E, 3U).
        recurrent_initializer: of the recurrent kernel (U, 3U).
        recurrent_dropout: share of the recurrent kernel's weights that is dropped in training, the same ones at all
            steps of a batch (DropConnect; Merity, Keskar and Socher 2018, section 2).

    Source: Cho et al. 2014, equations 5-8 (their r, z, h~); the gate z as in Keras and cuDNN.
    """

    def __init__(self, units, reset_after=True, **kwargs):
        super().__init__(units, **kwargs)
        self.reset_after = reset_after
        self.state_sizes = (units,)
        self.recurrent_inputs = 1 if reset_after else 2

    def get_config(self):
        return {**super().get_config(), "reset_after": self.reset_after}

    def build(self, input_shape):
        units = self.units
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 3 * units), initializer=self.kernel_initializer, name="kernel"
        )
        self.recurrent_kernel = self.add_weight(
            shape=(units, 3 * units), initializer=self._drawn, name="recurrent_kernel"
        )
        size = 4 * units if self.reset_after else 3 * units
        self.bias = self.add_weight(shape=(size,), initializer="zeros", name="bias")
        self.built = True

    def input_kernel(self, dtype):
        """The kernel of the input projection: (E, 3U), or (E, 4U) with zeros beside b_u if `reset_after`."""
        kernel = tf.cast(self.kernel, dtype)
        return tf.pad(kernel, [[0, 0], [0, self.units]]) if self.reset_after else kernel

    def recurrent_kernels(self, dtype, training=False):
        """(U, 3U) if `reset_after`, else the gates' (U, 2U) and the candidate's (U, U)."""
        kernel = self._kept(self.recurrent_kernel, dtype, training)
        return (
            (kernel,) if self.reset_after else tuple(tf.split(kernel, [2 * self.units, self.units], axis=-1))
        )

    def step(self, projected, state, products=None):
        """One step on a projected input.

        Args:
            projected: (B, G), from `project`.
            state: (hidden (B, U),).
            products: stand in for `products`, e.g. with the kernels' gradients left out.

        Returns:
            output (B, U) in `projected`'s dtype, (hidden,) in the dtype that came in, and what the recurrent kernels
            read, ``(hidden,)`` or ``(hidden, r * hidden)``.
        """
        (hidden,) = state
        read = tf.cast(hidden, projected.dtype)
        step = self._step_after if self.reset_after else self._step_before
        update, candidate, inputs = step(projected, read, *(products or self.products(read.dtype)))
        hidden32 = tf.cast(hidden, tf.float32)
        output = tf.cast(candidate + update * (hidden32 - candidate), projected.dtype)
        return output, (tf.cast(output, hidden.dtype),), inputs

    def _step_after(self, projected, read, product):
        units = self.units
        gates, recurrent = tf.split(product(read), [2 * units, units], axis=-1)
        gates = tf.sigmoid(tf.cast(projected[:, : 2 * units] + gates, tf.float32))
        reset, update = tf.split(gates, 2, axis=-1)
        recurrent = tf.cast(projected[:, 3 * units :] + recurrent, tf.float32)
        candidate = tf.tanh(tf.cast(projected[:, 2 * units : 3 * units], tf.float32) + reset * recurrent)
        return update, candidate, (read,)

    def _step_before(self, projected, read, gates_product, candidate_product):
        units = self.units
        gates = tf.sigmoid(tf.cast(projected[:, : 2 * units] + gates_product(read), tf.float32))
        reset, update = tf.split(gates, 2, axis=-1)
        kept = tf.cast(reset, read.dtype) * read
        candidate = tf.tanh(tf.cast(projected[:, 2 * units :] + candidate_product(kept), tf.float32))
        return update, candidate, (read, kept)

    def recurrent_gradients(self, inputs, gradients):
        """Gradients of the recurrent kernels from the recurrent inputs (T, B, U) and d projected (T, B, G)."""
        gates, last = gradients[..., : 2 * self.units], gradients[..., -self.units :]
        if self.reset_after:
            return [product_over_time(inputs[0], tf.concat([gates, last], axis=-1))]
        return [product_over_time(one, d) for one, d in zip(inputs, (gates, last))]
