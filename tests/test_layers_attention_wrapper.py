"""Attention around cells: whole steps against NumPy, readouts, dropout, and combinations that are refused.

Shapes: **N** rows, **S** source length, **T** steps, **E** input size, **U** units, **D** readout size.
"""

import batteries
import numpy as np
import pytest
import references
import tensorflow as tf

from tf_seq2seq.layers.attention import AdditiveAttention, DotAttention, FixedContext, GeneralAttention
from tf_seq2seq.layers.attention_wrapper import AttentionWrapper
from tf_seq2seq.layers.cells import GRUCell, LSTMCell
from tf_seq2seq.layers.stacked_cells import StackedCells

N, S, T, E, U, D = 3, 5, 4, 3, batteries.UNITS, batteries.READOUT
MASK = np.arange(S) < np.array([5, 3, 1])[:, None]
VALUES = np.random.default_rng(0).normal(size=(N, S, 6)).astype("float32")
INPUTS = np.random.default_rng(1).normal(size=(N, T, E)).astype("float32")


def cells(make=lambda: LSTMCell(U), depth=1, **options):
    return StackedCells([make() for _ in range(depth)], **options)


def built(*arguments, **options):
    """A wrapper with drawn weights, its memory and a drawn first state."""
    wrapper = AttentionWrapper(*arguments, **options)
    wrapper.build(E, VALUES.shape[-1])
    batteries.randomised(wrapper)
    random = np.random.default_rng(2)
    start = tf.nest.map_structure(
        lambda size: tf.constant(random.normal(size=(N, size)), tf.float32), wrapper.cells.state_sizes
    )
    return wrapper, wrapper.memory(tf.constant(VALUES), tf.constant(MASK)), wrapper.initial_state(start)


@pytest.mark.parametrize("fed", [False, True])
def test_luong_is_the_equations(fed):
    """h_t = LSTM([x_t; a_{t-1}]), c_t from h_t, a_t = tanh(W [c_t; h_t])."""
    wrapper, memory, state = built(cells(), GeneralAttention(), input_feeding=fed, readout_size=D)
    outputs, _, alignments = wrapper.sequence(tf.constant(INPUTS), state, memory)
    (cell,), hidden, attentional = (
        wrapper.cells.cells,
        [np.float64(one) for one in state["cells"][0]],
        np.zeros((N, D)),
    )
    for time in range(T):
        joined = np.concatenate([INPUTS[:, time], attentional], -1) if fed else INPUTS[:, time]
        query, hidden = references.lstm(cell, joined, hidden)
        context, expected = references.attend(wrapper.attention, query, np.float64(VALUES), MASK)
        attentional = references.attentional(wrapper, context, query)
        np.testing.assert_allclose(outputs[:, time], attentional, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(alignments[:, time], expected, rtol=1e-4, atol=1e-5)


def test_bahdanau_is_the_equations():
    """c_t from h_{t-1}, h_t = GRU([x_t; c_t]), o_t = maxout of [c_t; h_t; x_t]."""
    gru = lambda: GRUCell(U, reset_after=False)
    wrapper, memory, state = built(cells(gru), AdditiveAttention(7), "before", readout_size=D)
    outputs, last, alignments = wrapper.sequence(tf.constant(INPUTS), state, memory)
    (cell,), hidden = wrapper.cells.cells, np.float64(state["cells"][0][0])
    for time in range(T):
        context, expected = references.attend(wrapper.attention, hidden, np.float64(VALUES), MASK)
        _, (hidden,) = references.gru(cell, np.concatenate([INPUTS[:, time], context], -1), (hidden,))
        output = references.maxout(wrapper, context, hidden, INPUTS[:, time])
        np.testing.assert_allclose(outputs[:, time], output, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(alignments[:, time], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last["cells"][0][0], hidden, rtol=1e-4, atol=1e-5)


def test_gnmt_is_the_equations():
    """c_t from the bottom layer's h_{t-1}; it joins every layer's input; a residual adds the layer's input without it."""
    wrapper, memory, state = built(
        cells(depth=3, residual_from=2), AdditiveAttention(7), "before", readout=None, every_layer=True
    )
    outputs, _, alignments = wrapper.sequence(tf.constant(INPUTS), state, memory)
    states = [[np.float64(one) for one in layer] for layer in state["cells"]]
    for time in range(T):
        context, expected = references.attend(wrapper.attention, states[0][0], np.float64(VALUES), MASK)
        x = INPUTS[:, time]
        for number, cell in enumerate(wrapper.cells.cells):
            hidden, states[number] = references.lstm(cell, np.concatenate([x, context], -1), states[number])
            x = hidden + x if number >= 2 else hidden
        np.testing.assert_allclose(outputs[:, time], x, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(alignments[:, time], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "arguments, options",
    [
        ([None], {}),
        ([GeneralAttention], {}),
        ([lambda: FixedContext(3), "before"], {}),
        ([GeneralAttention], {"input_feeding": True}),
    ],
    ids=["cells", "after", "fixed before", "loop"],
)
def test_dropout_is_the_same_in_all_ways_to_run(arguments, options):
    """The vectorised passes under dropout equal the loop over `step` with the same masks."""
    make, *place = arguments
    wrapper, memory, state = built(cells(depth=3, dropout=0.5), make and make(), *place, **options)
    seed = wrapper.cells.seed_generator.state
    before = seed.numpy()
    outputs, last, _ = wrapper.sequence(tf.constant(INPUTS), state, memory, training=True)
    seed.assign(before)
    noise = wrapper.cells.noise(tf.transpose(INPUTS, [1, 0, 2]), training=True)
    for time in range(T):
        output, state, _ = wrapper.step(INPUTS[:, time], state, memory, tuple(one[time] for one in noise))
        np.testing.assert_allclose(outputs[:, time], output, rtol=1e-5, atol=1e-5)
    for one, other in zip(tf.nest.flatten(last), tf.nest.flatten(state), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    again, _, _ = wrapper.sequence(tf.constant(INPUTS), state, memory)
    assert np.abs(again - outputs).max() > 1e-3, "nothing was dropped"


REFUSED = {
    "place": ({"attention": True, "position": "between"}, 'position is "after" or "before", not \'between\''),
    "readout": (
        {"attention": True, "readout": "mean"},
        'readout is "attentional", "maxout", None or "default"',
    ),
    "no context": ({"readout": "maxout"}, "the readout 'maxout' reads a context: give an attention"),
    "unseen": ({"attention": True, "readout": None}, "attention after the cells shows in a readout only"),
    "fed before": (
        {"attention": True, "position": "before", "input_feeding": True},
        "input feeding feeds the readout",
    ),
    "fed nothing": ({"input_feeding": True}, "input feeding feeds the readout"),
    "every after": (
        {"attention": True, "every_layer": True},
        "every_layer needs the context before the cells move",
    ),
    "size": ({"readout_size": 9}, "without a readout the output has the cells' 4 units"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_do_not_go_together_are_refused(case):
    options, words = REFUSED[case]
    options = {**options, "attention": DotAttention() if options.get("attention") else None}
    with pytest.raises(ValueError, match=words):
        AttentionWrapper(cells(), **options)
