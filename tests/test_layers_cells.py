"""Cells against NumPy and against Keras's own layers, gradients included.

Shapes: **B** batch, **T** steps, **E** input size, **U** units.
"""

import batteries
import keras
import numpy as np
import pytest
import references
import tensorflow as tf

from tf_seq2seq.layers.cells import GRUCell, LSTMCell
from tf_seq2seq.layers.unroll import run_cell, swap_time
from tf_seq2seq.models.encoders import make_cell

B, T, E, U = 4, 6, 3, batteries.UNITS
MASK = np.arange(T) < np.array([6, 4, 1, 0])[:, None]  # rows of all lengths, one of them empty


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(kind):
    cell = batteries.CELLS[kind]()
    cell.build((None, E))
    return batteries.randomised(cell)


def first_state(cell):
    return tuple(tf.constant(drawn(B, size, seed=7 + n)) for n, size in enumerate(cell.state_sizes))


@pytest.mark.parametrize("kind", batteries.CELLS)
def test_a_step_is_the_equations(kind):
    cell, inputs = built(kind), drawn(B, E)
    state = first_state(cell)
    output, after = cell(inputs, state)
    expected, expected_state = references.cell_step(cell, inputs, [np.float64(one) for one in state])
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    for one, other in zip(after, expected_state, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def keras_layer(cell):
    """Keras's layer with the cell's weights; its GRU has the update gate first and two biases."""
    options = {"return_sequences": True, "return_state": True}
    if isinstance(cell, LSTMCell):
        layer = keras.layers.LSTM(U, **options)
        weights = [cell.kernel, cell.recurrent_kernel, cell.bias]
    else:
        layer = keras.layers.GRU(U, reset_after=cell.reset_after, **options)
        weights = [gru_order(one) for one in (cell.kernel, cell.recurrent_kernel)]
        weights.append(gru_bias(cell))
    layer.build((B, T, E))
    layer.set_weights([np.asarray(one) for one in weights])
    return layer


def gru_order(array):
    """Gates r, z, n -> z, r, n, and back."""
    r, z, n = np.split(np.asarray(array), 3, -1)
    return np.concatenate([z, r, n], -1)


def gru_bias(cell):
    r, z, n, *u = np.split(np.asarray(cell.bias), 4 if cell.reset_after else 3)
    bias = np.concatenate([z, r, n])
    return np.stack([bias, np.concatenate([np.zeros(2 * U), u[0]])]) if cell.reset_after else bias


def our_weights(cell, kernel, recurrent_kernel, bias):
    """What Keras's layer says of its weights, in our order."""
    if isinstance(cell, LSTMCell):
        return kernel, recurrent_kernel, bias
    bias = np.asarray(bias)
    ours = np.concatenate([gru_order(bias[0]), bias[1, 2 * U :]]) if cell.reset_after else gru_order(bias)
    return gru_order(kernel), gru_order(recurrent_kernel), ours


def total(outputs, state):
    """One number that depends on each output at a real token and on the last state."""
    weights = drawn(B, T, U, seed=1) * MASK[:, :, None]
    last = [tf.reduce_sum(one * drawn(B, U, seed=2)) for one in state]
    return tf.reduce_sum(outputs * weights) + tf.add_n(last)


def by_run_cell(cell, inputs, state):
    outputs, last = run_cell(cell, swap_time(inputs), state, tf.reduce_sum(tf.cast(MASK, tf.int32), axis=1))
    return tf.where(MASK[:, :, None], swap_time(outputs), tf.zeros([], outputs.dtype)), last


def by_steps(cell, inputs, state):
    """A plain loop in Python; the tape does all the rest."""
    outputs = []
    for time in range(T):
        output, after = cell(inputs[:, time], state)
        real = MASK[:, time, None]
        state = tuple(tf.where(real, new, old) for new, old in zip(after, state))
        outputs.append(tf.where(real, output, 0.0))
    return tf.stack(outputs, axis=1), state


def with_gradients(function, cell, inputs, state):
    """Outputs, last state, gradients by weights, inputs and first state."""
    inputs = tf.convert_to_tensor(inputs)
    with tf.GradientTape() as tape:
        tape.watch([inputs, *state])
        outputs, last = function(cell, inputs, state)
        loss = total(outputs, last)
    return outputs, last, tape.gradient(loss, [*cell.trainable_weights, inputs, *state])


@pytest.mark.parametrize("kind", batteries.CELLS)
@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_run_cell_and_its_gradient_are_those_of_a_plain_loop(kind, graph):
    """The recurrent kernel's gradient is made after the loop, by hand."""
    cell, inputs = built(kind), drawn(B, T, E)
    state = first_state(cell)
    run = lambda inputs, *state: with_gradients(by_run_cell, cell, inputs, state)
    found = (tf.function(run) if graph else run)(inputs, *state)
    expected = with_gradients(by_steps, cell, inputs, state)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", batteries.CELLS)
def test_run_cell_and_its_gradient_are_keras(kind):
    cell, inputs = built(kind), tf.constant(drawn(B, T, E))
    layer, state = keras_layer(cell), first_state(cell)
    with tf.GradientTape() as tape:
        tape.watch([inputs, *state])
        outputs, *last = layer(inputs, initial_state=list(state), mask=MASK)
        loss = total(outputs, last)
    expected = tape.gradient(loss, [*layer.trainable_weights, inputs, *state])
    expected[:3] = our_weights(cell, *expected[:3])
    found_outputs, found_last, found = with_gradients(by_run_cell, cell, inputs, state)
    np.testing.assert_allclose(found_outputs.numpy()[MASK], outputs.numpy()[MASK], rtol=1e-4, atol=1e-5)
    for one, other in zip([*found_last, *found], [*last, *expected], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", batteries.CELLS)
def test_low_precision_stays_close_and_keeps_the_states_dtype(kind, dtype):
    cell, inputs = built(kind), drawn(B, T, E)
    state = first_state(cell)
    expected, _ = by_run_cell(cell, tf.constant(inputs), state)
    outputs, last = by_run_cell(cell, tf.cast(inputs, dtype), state)
    assert outputs.dtype == dtype and {one.dtype for one in last} == {tf.float32}
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=0.05)


def test_the_forget_gate_starts_open():
    cell = LSTMCell(2, forget_bias=0.5)
    cell.build((None, 3))
    assert cell.bias.numpy().tolist() == [0, 0, 0.5, 0.5, 0, 0, 0, 0]


def test_cells_are_chosen_by_name():
    assert isinstance(make_cell("lstm", 3), LSTMCell)
    assert [make_cell(name, 3).reset_after for name in ("gru", "gru_v1")] == [True, False]
    assert isinstance(make_cell("gru", 3), GRUCell)
    with pytest.raises(ValueError, match='cell is "lstm", "gru" or "gru_v1", not \'rnn\''):
        make_cell("rnn", 3)
