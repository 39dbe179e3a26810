"""The training loop of a decoder whose attention must be computed step by step: input feeding, or before the cells.

It computes what `AttentionWrapper.step` in a loop computes, with all that can stand outside of the loop taken out. The
projection of the inputs stands before it. After it stand, of an attention before the cells, whatever no query reads: the
readout and, where the query is the bottom layer's (GNMT), the layers above; and the gradients of the kernels, and of keys
and values where energies are their product with the query (`loop_products`). What is left inside are the products that
need the step before.

Shapes: **T** steps, **N** rows, **S** source length, **E** input size, **X** size of what joins the inputs at a step
(attentional vector or context), **C** context size, **U** units, **G** size of a cell's projected input, **D** output size.
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
    run = _looking_before if wrapper.position == "before" else _feeding
    outputs, state, alignments = run(wrapper, inputs, state, memory, noise, training)
    return swap_time(outputs), state, swap_time(alignments) if wrapper.attention.reads_query else None


def _looking_before(wrapper, inputs, state, memory, noise, training):
    """Attention before the cells: the query is the state of the last layer in the loop."""
    cells = wrapper.cells.cells[:1] if wrapper.every_layer else wrapper.cells.cells
    layers = _layers(cells, inputs, training)
    attention = _Attention(wrapper.attention, memory, inputs)
    at = time_slices(([layer.known for layer in layers], attention.known, noise[: len(cells) - 1]))

    def step(time, state):
        known, sources, dropped = at(time)
        query = tf.cast(state["cells"][-1][0], inputs.dtype)
        context, alignments, carried, looked = attention.step(query, sources, state["attention"])
        hidden, moved, kept = _through(wrapper.cells, layers, known, context, state["cells"], dropped)
        return (hidden, context, alignments, _without_gradient((kept, looked))), {
            "cells": moved,
            "attention": carried,
        }

    specs = (
        tf.TensorSpec([None, cells[-1].units], inputs.dtype),
        tf.TensorSpec([None, wrapper.attention.memory_size], inputs.dtype),
        tf.TensorSpec([None, None], tf.float32),
        ([layer.specs for layer in layers], attention.specs),
    )
    looped = {"cells": state["cells"][: len(cells)], "attention": state["attention"]}
    (hidden, context, alignments, kept), looped = unroll(step, looped, tf.shape(inputs)[0], specs)
    _keep([*layers, attention], [*kept[0], kept[1]])
    moved = (*looped["cells"], *state["cells"][len(cells) :])
    hidden, moved = wrapper.cells.sequence(hidden, moved, noise, context, training, first=len(cells))
    outputs = wrapper.read_out(context, hidden, inputs)
    return outputs, {**state, "cells": moved, "attention": looped["attention"]}, alignments


def _feeding(wrapper, inputs, state, memory, noise, training):
    """Input feeding: the readout of a step joins the inputs of the next."""
    layers = _layers(wrapper.cells.cells, inputs, training)
    attention = _Attention(wrapper.attention, memory, inputs)
    readout = _Readout(wrapper, inputs)
    at = time_slices(([layer.known for layer in layers], attention.known, readout.known, noise))

    def step(time, state):
        known, sources, read_out, dropped = at(time)
        fed = tf.cast(state["fed"], inputs.dtype)
        hidden, moved, kept = _through(wrapper.cells, layers, known, fed, state["cells"], dropped)
        context, alignments, carried, looked = attention.step(hidden, sources, state["attention"])
        output, read = readout.step(context, hidden, read_out)
        after = {"cells": moved, "attention": carried, "fed": tf.cast(output, state["fed"].dtype)}
        alignments = () if alignments is None else alignments
        return (output, alignments, _without_gradient((kept, looked, read))), after

    specs = (
        tf.TensorSpec([None, wrapper.readout_size], inputs.dtype),
        tf.TensorSpec([None, None], tf.float32) if wrapper.attention.reads_query else (),
        ([layer.specs for layer in layers], attention.specs, readout.specs),
    )
    (outputs, alignments, kept), state = unroll(step, state, tf.shape(inputs)[0], specs)
    _keep([*layers, attention, readout], [*kept[0], *kept[1:]])
    return outputs, state, alignments


def _layers(cells, inputs, training):
    """The cells of a loop; what goes into the lowest is known in part."""
    return [_Layer(cell, None if number else inputs, inputs, training) for number, cell in enumerate(cells)]


def _without_gradient(nest):
    return tf.nest.map_structure(tf.stop_gradient, nest)


def _keep(parts, sequences):
    """Gives each part what its gradients read of all steps."""
    for part, sequence in zip(parts, sequences, strict=True):
        part.kept = sequence


def _through(cells, layers, known, joined, states, noise):
    """The cells of a loop once: output (N, U), states, and what each layer's kernels read."""
    new, kept, below = [], [], None
    for number, (layer, state) in enumerate(zip(layers, states, strict=True)):
        if number:
            joined = below = below * noise[number - 1] if noise else below
        output, state, read = layer.step(joined, known[number], state)
        below = output + below if number and cells.residual(number) else output
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
    """The wrapper's readout in a loop; what it reads of the inputs is known before."""

    def __init__(self, wrapper, inputs):
        self.wrapper = wrapper
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
        joined = tf.concat([context, hidden], axis=-1)
        return self.wrapper.activated(known + self.product(joined)), joined
