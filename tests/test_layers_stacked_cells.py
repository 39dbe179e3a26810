"""A stack of cells: residuals, dropout and both ways to run it.

Shapes: **N** rows, **T** steps, **E** input size, **U** units.
"""

import batteries
import numpy as np
import pytest
import references
import tensorflow as tf

from tf_seq2seq.layers.cells import GRUCell, LSTMCell
from tf_seq2seq.layers.stacked_cells import StackedCells

N, T, E, U = 3, 5, 4, batteries.UNITS


def stack(make=lambda: LSTMCell(U), **options):
    cells = StackedCells([make() for _ in range(3)], **options)
    cells.build(E)
    return batteries.randomised(cells), tf.constant(
        np.random.default_rng(0).normal(size=(T, N, E)), tf.float32
    )


@pytest.mark.parametrize("residual_from", [None, 0, 1, 2])
def test_residual_layers_add_their_inputs(residual_from):
    cells, inputs = stack(residual_from=residual_from)
    output, state = cells.step(inputs[0], cells.initial_state(N))
    x = np.float64(inputs[0])
    for number, cell in enumerate(cells.cells):
        hidden, (_, memory) = references.lstm(cell, x, (np.zeros((N, U)), np.zeros((N, U))))
        np.testing.assert_allclose(state[number][1], memory, rtol=1e-5, atol=1e-6)
        x = hidden + x if residual_from is not None and number >= residual_from else hidden
    np.testing.assert_allclose(output, x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "make", [lambda: LSTMCell(U), lambda: GRUCell(U, reset_after=False)], ids=["lstm", "gru"]
)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_layer_by_layer_is_step_by_step(make, dropout):
    """Dropout masks are drawn before the loop, and differ from step to step."""
    cells, inputs = stack(make, dropout=dropout, residual_from=1)
    noise = cells.noise(inputs, training=True)
    outputs, last = cells.sequence(inputs, cells.initial_state(N), noise=noise)
    state, each = cells.initial_state(N), []
    for time in range(T):
        output, state = cells.step(inputs[time], state, tuple(one[time] for one in noise))
        each.append(output)
    np.testing.assert_allclose(outputs, each, rtol=1e-5, atol=1e-6)
    for one, other in zip(tf.nest.flatten(last), tf.nest.flatten(state), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert len(noise) == (2 if dropout else 0)
    assert all(set(np.unique(one)) == {0.0, 2.0} for one in noise)
    assert not dropout or np.any(noise[0][0] != noise[0][1])


def test_variational_masks_are_those_of_the_first_step():
    cells, inputs = stack(dropout=0.5, variational=True)
    for mask in cells.noise(inputs, training=True):
        assert set(np.unique(mask)) == {0.0, 2.0}
        np.testing.assert_array_equal(mask, np.broadcast_to(mask[:1], mask.shape))


def test_each_layer_has_its_own_mask():
    """With all of the top layer's input dropped, the output is that of its cell for zeros."""
    cells, inputs = stack(dropout=0.5)
    masks = (tf.ones([N, U]), tf.zeros([N, U]))
    output, _ = cells.step(inputs[0], cells.initial_state(N), masks)
    expected, _ = cells.cells[-1](tf.zeros([N, U]), cells.initial_state(N)[-1])
    np.testing.assert_allclose(output, expected, rtol=1e-6)


def test_nothing_is_dropped_outside_training():
    cells, inputs = stack(dropout=0.5)
    assert cells.noise(inputs, training=False) == ()


def test_a_context_joins_every_layer_above_the_bottom():
    cells = StackedCells([LSTMCell(U), LSTMCell(U)])
    cells.build(E, context_size=2)
    assert [cell.kernel.shape[0] for cell in cells.cells] == [E, U + 2]
    output, _ = cells.step(tf.ones([N, E]), cells.initial_state(N), context=tf.ones([N, 2]))
    assert output.shape == (N, U)


def test_all_cannot_be_dropped():
    with pytest.raises(ValueError, match=r"dropout is a share in \[0, 1\), not 1"):
        StackedCells([LSTMCell(4)], dropout=1)


def test_a_residual_layer_needs_one_size():
    words = (
        "layer 1 adds its input of size 4 to its output of size 5; give them one size or set residual_from"
    )
    with pytest.raises(ValueError, match=words):
        StackedCells([LSTMCell(4), LSTMCell(5)], residual_from=1).build(4)
