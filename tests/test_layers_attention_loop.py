"""The training loop with all that can stand outside of it taken out, against plain steps and a tape over them.

Shapes: **N** rows, **S** source length, **T** steps, **E** input size, **U** units.
"""

import batteries
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.layers.attention import AdditiveAttention, DotAttention, FixedContext, GeneralAttention
from tf_seq2seq.layers.attention_wrapper import AttentionWrapper
from tf_seq2seq.layers.cells import GRUCell, LSTMCell
from tf_seq2seq.layers.stacked_cells import StackedCells

N, S, T, E, U = 3, 5, 4, 3, batteries.UNITS
MASK = np.arange(S) < np.array([5, 3, 1])[:, None]


def drawn(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def cells(make=LSTMCell, depth=1, **options):
    return StackedCells([make(U) for _ in range(depth)], **options)


gru_v1 = lambda units: GRUCell(units, reset_after=False)
LOOPS = {
    "luong": lambda: AttentionWrapper(cells(), GeneralAttention(), input_feeding=True, readout_size=6),
    "dot, deep": lambda: AttentionWrapper(
        cells(depth=3, dropout=0.3, residual_from=1), DotAttention(), input_feeding=True
    ),
    "gru, maxout": lambda: AttentionWrapper(
        cells(GRUCell, 2, dropout=0.2), GeneralAttention(), input_feeding=True, readout="maxout"
    ),
    "bahdanau": lambda: AttentionWrapper(cells(gru_v1), AdditiveAttention(7), "before", readout_size=6),
    "before, dot": lambda: AttentionWrapper(cells(GRUCell), DotAttention(), "before", readout="attentional"),
    "gnmt": lambda: AttentionWrapper(
        cells(depth=3, dropout=0.2, residual_from=2),
        AdditiveAttention(7),
        "before",
        readout=None,
        every_layer=True,
    ),
    "fixed": lambda: AttentionWrapper(cells(depth=2), FixedContext(3), "before", every_layer=True),
    "fixed, fed": lambda: AttentionWrapper(cells(), FixedContext(3), input_feeding=True),
}


def by_loop(wrapper, inputs, state, memory, noise):
    """The training loop on masks that are given."""
    wrapper.cells.noise = lambda *_: noise
    outputs, last, alignments = wrapper.sequence(inputs, state, memory, training=True)
    return outputs, last, alignments


def by_steps(wrapper, inputs, state, memory, noise):
    """`step` in a Python loop; the tape does all the rest."""
    outputs, looked = [], []
    for time in range(T):
        slices = tuple(mask[time] for mask in noise)
        output, state, alignments = wrapper.step(inputs[:, time], state, memory, slices)
        outputs.append(output)
        looked.append(alignments)
    return tf.stack(outputs, 1), state, None if looked[0] is None else tf.stack(looked, 1)


def waves(like):
    """Numbers in [-1, 1], all different, in the shape of a tensor whose size the graph may not know."""
    return tf.reshape(tf.sin(tf.range(tf.cast(tf.size(like), tf.float32))), tf.shape(like))


def with_gradients(run, wrapper, inputs, values, start, noise):
    """All outputs, and the gradients of one number that depends on all of them."""
    with tf.GradientTape() as tape:
        tape.watch([inputs, values, *tf.nest.flatten(start)])
        memory = wrapper.memory(values, tf.constant(MASK))
        outputs, last, alignments = run(wrapper, inputs, wrapper.initial_state(start), memory, noise)
        found = [outputs, *tf.nest.flatten(last), *([] if alignments is None else [alignments])]
        loss = tf.add_n([tf.reduce_sum(one * waves(one)) for one in found])
    sources = [*wrapper.trainable_weights, inputs, values, *tf.nest.flatten(start)]
    return found, tape.gradient(loss, sources, unconnected_gradients="zero")


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_the_loop_and_its_gradient_are_those_of_plain_steps(kind, graph):
    """Also of alignments and of the last state; dropout masks and a first state other than zero are given."""
    wrapper = LOOPS[kind]()
    wrapper.build(E, U)
    batteries.randomised(wrapper)
    start = tf.nest.map_structure(lambda size: drawn(N, size, seed=size), wrapper.cells.state_sizes)
    keep = 1 - wrapper.cells.dropout
    noise = [
        tf.cast(drawn(T, N, U, seed=layer) < 0.5, tf.float32) / keep
        for layer in range(len(wrapper.cells.cells) - 1)
    ]
    noise = tuple(noise) if wrapper.cells.dropout else ()
    run = lambda inputs, values: with_gradients(by_loop, wrapper, inputs, values, start, noise)
    inputs, values = drawn(N, T, E), drawn(N, S, U, seed=1)
    found = (tf.function(run) if graph else run)(inputs, values)
    expected = with_gradients(by_steps, wrapper, inputs, values, start, noise)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_what_joins_the_inputs_forbids_a_residual_of_the_lowest_layer():
    with pytest.raises(ValueError, match="residual_from is 1 or more"):
        AttentionWrapper(cells(residual_from=0), GeneralAttention(), input_feeding=True)
