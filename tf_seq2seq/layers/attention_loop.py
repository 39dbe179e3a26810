"""The training loop of a decoder whose attention must be computed step by step: input feeding, or before the cells.

It computes what `AttentionWrapper.step` in a loop computes, with all that can stand outside of the loop taken out: the
projection of the inputs before it, and after it the gradients of the kernels, and of keys and values where energies are
their product with the query (`loop_products`). What is left inside are the products that need the step before.

Shapes: **T** steps, **N** rows, **S** source length, **E** input size, **X** size of what joins the inputs at a step
(attentional vector or context), **U** units, **G** size of a cell's projected input, **D** output size.
"""

import tensorflow as tf

from tf_seq2seq.layers.affine import affine
from tf_seq2seq.layers.loop_products import in_loop, kernels_after, product_over_time
from tf_seq2seq.layers.unroll import swap_time, time_slices, unroll


def attention_loop(wrapper, inputs, state, memory, noise, training=False):
    """Runs an `AttentionWrapper` over a sequence.

    Args:
        wrapper: the `AttentionWrapper`.
        inputs: (N, T, E) floating.
        state: the wrapper's state to start from.
        memory: from the wrapper's `memory`.
        noise: the cells' dropout masks, from their `noise`.
        training: whether recurrent dropout drops anything.

    Returns:
        outputs (N, T, D) in the inputs' dtype; the last state; alignments (N, T, S) float32, or None.
    """
    inputs = swap_time(inputs)  # (N, T, E) -> (T, N, E)
    layers = [
        _Layer(cell, inputs if number == 0 else None, inputs, training)
        for number, cell in enumerate(wrapper.cells.cells)
    ]
    attention = _Attention(wrapper.attention, memory, inputs)
    readout = _Readout(wrapper, inputs)
    parts = [*layers, attention, readout]
    at = time_slices(([part.known for part in parts], noise))

    def step(time, state):
        (*known, sources, read_out), noise = at(time)
        before = wrapper.position == "before"
        if before:
            query = tf.cast(state["cells"][wrapper.query_layer][0], inputs.dtype)
            context, alignments, carried, looked = attention.step(query, sources, state["attention"])
        joined = context if before else tf.cast(state["fed"], inputs.dtype)
        hidden, cells, moved = _through(wrapper, layers, known, joined, state["cells"], noise)
        if not before:
            context, alignments, carried, looked = attention.step(hidden, sources, state["attention"])
        output, read = readout.step(context, hidden, read_out)
        after = {**state, "cells": cells, "attention": carried}
        if wrapper.input_feeding:
            after["fed"] = tf.cast(output, state["fed"].dtype)
        kept = tf.nest.map_structure(tf.stop_gradient, [*moved, looked, read])
        return (output, () if alignments is None else alignments, kept), after

    specs = (
        tf.TensorSpec([None, wrapper.readout_size], inputs.dtype),
        tf.TensorSpec([None, None], tf.float32) if wrapper.attention.reads_query else (),
        [part.specs for part in parts],
    )
    (outputs, alignments, kept), state = unroll(step, state, tf.shape(inputs)[0], specs)
    for part, sequences in zip(parts, kept):
        part.kept = sequences
    return swap_time(outputs), state, swap_time(alignments) if wrapper.attention.reads_query else None


def _through(wrapper, layers, known, joined, states, noise):
    """All cells once: output (N, U), states, and what each layer's kernels read."""
    context, new, kept, below = joined if wrapper.every_layer else None, [], [], None
    for number, (layer, state) in enumerate(zip(layers, states)):
        if number:
            below = below * noise[number - 1] if noise else below
            joined = below if context is None else tf.concat([below, context], axis=-1)
        output, state, read = layer.step(joined, known[number], state)
        below = output + below if number and wrapper.cells.residual(number) else output
        new.append(state)
        kept.append(read)
    return below, tuple(new), kept


class _Layer:
    """A cell whose input is known in part: `inputs` (T, N, E) before the loop, the rest at each step."""

    def __init__(self, cell, inputs, like, training):
        dtype = like.dtype
        self.cell = cell
        kernel = rest = cell.input_kernel(dtype)
        if inputs is None:
            known = tf.zeros([*tf.unstack(tf.shape(like)[:2]), kernel.shape[1]], dtype) + tf.cast(
                cell.bias, dtype
            )
        else:
            kernel, rest = tf.split(kernel, [inputs.shape[-1], -1])
            known = affine(inputs, kernel, cell.bias)
        recurrent = cell.recurrent_kernels(dtype, training)
        self.known = kernels_after(known, [rest, *recurrent], self._gradients)
        self.product, self.products = in_loop(rest), [in_loop(one) for one in recurrent]
        read = tf.TensorSpec([None, cell.units], dtype)
        self.specs = (tf.TensorSpec([None, rest.shape[0]], dtype), (read,) * cell.recurrent_inputs)

    def step(self, joined, known, state):
        output, state, read = self.cell.step(known + self.product(joined), state, self.products)
        return output, state, (joined, read)

    def _gradients(self, upstream):
        joined, read = self.kept
        return [product_over_time(joined, upstream), *self.cell.recurrent_gradients(read, upstream)]


class _Attention:
    """An attention; energies that are products of query and keys are known to be 0 plus a product in the loop."""

    def __init__(self, attention, memory, like):
        self.attention, self.memory, self.dtype = attention, memory, like.dtype
        self.known, self.specs, self.kept = (), (), ()
        if not attention.bilinear:
            return
        keys, values = (tf.cast(memory[name], like.dtype) for name in ("keys", "values"))
        steps, rows, source = *tf.unstack(tf.shape(like)[:2]), tf.shape(keys)[1]
        zeros = lambda size: tf.zeros([steps, rows, size], like.dtype)
        self.known = (
            kernels_after(zeros(source), [keys], lambda d: [_outer(d, self.kept[0])]),
            kernels_after(zeros(values.shape[-1]), [values], lambda d: [_outer(self.kept[1], d)]),
        )
        self.memory = {**memory, "keys": tf.stop_gradient(keys), "values": tf.stop_gradient(values)}
        sizes = keys.shape[-1], None  # of query and alignments
        self.specs = tuple(tf.TensorSpec([None, size], like.dtype) for size in sizes)

    def step(self, query, known, state):
        if not self.attention.bilinear:
            return *self.attention.attend(query, self.memory, state), ()
        context, alignments, state = self.attention.attend(query, self.memory, state, known)
        return context, alignments, state, (query, tf.cast(alignments, self.dtype))


def _outer(one, other):
    """(T, N, S), (T, N, U) -> the sum over T of each row's outer product, (N, S, U)."""
    return tf.matmul(tf.transpose(one, [1, 2, 0]), tf.transpose(other, [1, 0, 2]))


class _Readout:
    """The wrapper's readout; what it reads of the inputs is known before the loop."""

    def __init__(self, wrapper, inputs):
        self.wrapper, self.known, self.specs, self.kept = wrapper, (), (), ()
        if not wrapper.readout:
            return
        kernel, bias = tf.cast(wrapper.readout_kernel, inputs.dtype), wrapper.readout_bias
        rest = kernel
        if wrapper.readout == "maxout":
            rest, kernel = tf.split(kernel, [-1, inputs.shape[-1]])
            known = affine(inputs, kernel, bias)
        else:
            known = tf.zeros([*tf.unstack(tf.shape(inputs)[:2]), kernel.shape[1]], inputs.dtype)
        self.known = kernels_after(known, [rest], lambda d: [product_over_time(self.kept, d)])
        self.product = in_loop(rest)
        self.specs = tf.TensorSpec([None, rest.shape[0]], inputs.dtype)

    def step(self, context, hidden, known):
        if not self.wrapper.readout:
            return hidden, ()
        joined = tf.concat([context, hidden], axis=-1)
        return self.wrapper.activated(known + self.product(joined)), joined
