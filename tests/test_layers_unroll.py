"""Loops over time: eager equals graph, gradients flow, any nest goes through.

Shapes: **B** batch, **T** steps.
"""

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.layers.affine import affine
from tf_seq2seq.layers.cells import GRUCell, LSTMCell
from tf_seq2seq.layers.unroll import run_cells, swap_time, time_slices, turned, unroll


def recurrence(inputs, kernel, state):
    """h_t = tanh(x_t + h_{t-1} W), with a counter beside it: outputs, last state."""
    at = time_slices({"x": inputs, "none": ()})

    def step(time, state):
        hidden = tf.tanh(at(time)["x"] + state["hidden"] @ kernel)
        return (hidden, time + tf.zeros([2], tf.int32)), {"hidden": hidden, "count": state["count"] + 1}

    specs = (tf.TensorSpec([None, 3], tf.float32), tf.TensorSpec([None], tf.int32))
    return unroll(step, state, tf.shape(inputs)[0], specs)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_a_recurrence_and_its_gradient(graph):
    random = np.random.default_rng(0)
    inputs = tf.constant(random.normal(size=(5, 2, 3)), tf.float32)
    kernel = tf.Variable(random.normal(size=(3, 3)), dtype=tf.float32)

    def run(inputs):
        state = {"hidden": tf.zeros([2, 3]), "count": tf.constant(0)}
        with tf.GradientTape() as tape:
            (outputs, times), last = recurrence(inputs, kernel, state)
            loss = tf.reduce_sum(outputs**2)
        return outputs, times, last, tape.gradient(loss, kernel)

    if graph:
        run = tf.function(run, input_signature=[tf.TensorSpec([None, None, 3], tf.float32)])
    outputs, times, last, gradient = run(inputs)
    hidden, expected = np.zeros((2, 3)), []
    for x in inputs.numpy():
        hidden = np.tanh(x + hidden @ kernel.numpy())
        expected.append(hidden)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last["hidden"], hidden, rtol=1e-5, atol=1e-6)
    assert int(last["count"]) == 5 and times.numpy().tolist() == [[time] * 2 for time in range(5)]
    np.testing.assert_allclose(gradient, by_differences(inputs.numpy(), kernel.numpy()), rtol=1e-4, atol=1e-5)


def by_differences(inputs, kernel, width=1e-5):
    """Gradient of the sum of squared outputs by the kernel, by central differences in float64."""

    def loss(kernel):
        hidden, sums = np.zeros((2, 3)), 0.0
        for x in np.float64(inputs):
            hidden = np.tanh(x + hidden @ kernel)
            sums += (hidden**2).sum()
        return sums

    gradient = np.zeros(kernel.shape)
    for place in np.ndindex(*kernel.shape):
        moved = np.zeros(kernel.shape)
        moved[place] = width
        gradient[place] = (loss(kernel + moved) - loss(kernel - moved)) / (2 * width)
    return gradient


def test_the_step_may_choose_its_own_next_input():
    """What was given out at a step comes in at the next: here powers of two."""
    step = lambda time, state: (state, 2 * state)
    outputs, last = unroll(step, tf.ones([1], tf.int32), tf.constant(4), tf.TensorSpec([None], tf.int32))
    assert outputs.numpy().tolist() == [[1], [2], [4], [8]]
    assert last.numpy().tolist() == [16]


def test_time_and_batch_are_swapped_in_a_nest():
    one, two = swap_time((tf.reshape(tf.range(6), [2, 3]), tf.zeros([2, 3, 4])))
    assert one.numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert two.shape == (3, 2, 4)


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 3), (0, 3), (2, 0, 3)])
def test_affine_is_numpy_at_any_rank(shape):
    random = np.random.default_rng(0)
    inputs, kernel, bias = (random.normal(size=size).astype("float32") for size in (shape, (3, 5), (5,)))
    expected = inputs @ kernel + bias
    np.testing.assert_allclose(affine(tf.constant(inputs), kernel, bias), expected, rtol=1e-5, atol=1e-6)
    transposed = affine(tf.constant(inputs), kernel.T, bias, transpose=True)
    np.testing.assert_allclose(transposed, expected, rtol=1e-5, atol=1e-6)
    half = affine(tf.constant(inputs, tf.float16), kernel, bias)
    turned = affine(tf.constant(inputs, tf.float16), kernel.T, bias, transpose=True)
    assert half.dtype == tf.float16 and half.shape == expected.shape
    np.testing.assert_allclose(half, expected, atol=0.02)
    np.testing.assert_allclose(turned, expected, atol=0.02)
    without = affine(tf.constant(inputs, tf.float16), kernel)
    assert without.dtype == tf.float16
    np.testing.assert_allclose(without, inputs @ kernel, atol=0.02)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("transpose", [False, True])
def test_a_bias_within_the_product_has_its_gradient(dtype, transpose):
    """Sequences in 16 bits: gradients of all three are those of float32."""
    random = np.random.default_rng(0)
    draw = lambda *shape: tf.constant(random.normal(size=shape), "float32")
    inputs, kernel, bias, weights = draw(3, 4, 31), draw(31, 5), draw(5), draw(3, 4, 5)
    kernel = tf.transpose(kernel) if transpose else kernel
    found = []
    for kind in (dtype, "float32"):
        with tf.GradientTape() as tape:
            given = [inputs, kernel, bias]
            tape.watch(given)
            total = tf.reduce_sum(
                tf.cast(affine(tf.cast(inputs, kind), kernel, bias, transpose), tf.float32) * weights
            )
        found.append(tape.gradient(total, given))
    for half, whole in zip(*found, strict=True):
        assert half.shape == whole.shape
        np.testing.assert_allclose(half, whole, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_turned_and_its_gradient_are_those_of_reverse_sequence(dtype):
    random = np.random.default_rng(0)
    sequence, weights = (tf.constant(random.normal(size=(5, 4, 3)), dtype) for _ in range(2))
    lengths = tf.constant([5, 3, 1, 0])
    found = []
    for turn in (turned, lambda x, lengths: tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1)):
        with tf.GradientTape() as tape:
            tape.watch(sequence)
            result = turn(sequence, lengths)
            total = tf.reduce_sum(result * weights)
        found.append((result, tape.gradient(total, sequence)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(tf.cast(one, tf.float32), tf.cast(other, tf.float32))


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
@pytest.mark.parametrize("kind", [LSTMCell, GRUCell, lambda units: GRUCell(units, reset_after=False)])
def test_training_runs_cells_as_inference_does(kind, lengths, graph):
    """The loop of training takes its slices from a stack: outputs and states are the same to the last bit."""
    draw = lambda *shape: tf.random.stateless_normal(shape, [7, shape[-1]])
    cells = [kind(3), kind(5)]
    inputs = [draw(4, 3, 2), draw(4, 3, 6)]
    states = [tuple(draw(3, size) for size in cell.state_sizes) for cell in cells]
    for cell, one in zip(cells, inputs):
        cell.build(one.shape)

    def run(training, inputs, states):
        with tf.GradientTape() as tape:
            tape.watch((inputs, states))
            found = run_cells(cells, inputs, states, lengths and tf.constant(lengths), training)
            real = tf.sequence_mask(lengths or [4] * 3, 4, tf.float32)
            real = tf.transpose(real)[:, :, None]
            losses = [tf.reduce_sum(tf.sin(outputs) * real) for outputs, _ in found]
            losses += [tf.reduce_sum(tf.sin(one)) for _, state in found for one in state]
            loss = tf.add_n(losses)
        weights = [weight.value for cell in cells for weight in cell.weights]
        return found, tape.gradient(loss, [weights, inputs, states])

    run = tf.function(run) if graph else run
    (expected, gradients), (found, found_gradients) = (
        run(training, inputs, states) for training in (False, True)
    )
    for one, other in zip(*map(tf.nest.flatten, (expected, found)), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(*map(tf.nest.flatten, (gradients, found_gradients)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)  # sums over time go the other way
