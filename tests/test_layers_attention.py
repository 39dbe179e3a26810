"""Attention against NumPy, which reads each row's real positions only.

Shapes: **B** batch, **S** source length, **T** queries of a row, **Q** query size, **U** memory size.
"""

import batteries
import numpy as np
import pytest
import references
import tensorflow as tf

from tf_seq2seq.layers.attention import DotAttention, masked_softmax

B, S, T = 3, 5, 2
MASK = np.arange(S) < np.array([5, 3, 1])[:, None]
LOOKS = ["dot", "general", "additive"]


def parts(kind):
    """An attention with drawn weights, queries (B, T, Q) and values (B, S, U)."""
    random = np.random.default_rng(0)
    query_size, memory_size = (4, 4) if kind == "dot" else (4, 6)
    attention = batteries.ATTENTIONS[kind]()
    attention.build(query_size, memory_size)
    queries = random.normal(size=(B, T, query_size)).astype("float32")
    return batteries.randomised(attention), queries, random.normal(size=(B, S, memory_size)).astype("float32")


@pytest.mark.parametrize("kind", LOOKS)
def test_attention_is_the_equations(kind):
    attention, queries, values = parts(kind)
    memory = attention.memory(tf.constant(values), tf.constant(MASK))
    contexts, alignments, state = attention(queries, memory)
    assert state == ()
    for time in range(T):
        context, expected = references.attend(attention, queries[:, time], np.float64(values), MASK)
        np.testing.assert_allclose(alignments[:, time], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(contexts[:, time], context, rtol=1e-5, atol=1e-6)
        alone = attention(queries[:, time], memory)
        np.testing.assert_allclose(alone[0], context, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(alone[1], expected, rtol=1e-5, atol=1e-6)


def test_the_hidden_layer_that_is_computed_again_has_the_gradient_of_its_formula():
    attention, queries, values = parts("additive")
    queries, keys = tf.constant(queries), attention.keys(tf.constant(values))
    upstream = tf.constant(np.random.default_rng(1).normal(size=(B, T, S)), tf.float32)
    watched = [queries, keys, *attention.trainable_weights]

    def plain():
        hidden = tf.tanh((queries @ attention.query_kernel)[:, :, None] + keys[:, None])
        return tf.einsum("ntsa,ax->nts", hidden, attention.energy_kernel)

    found = []
    for energies in (lambda: attention.energies(queries, keys), plain):
        with tf.GradientTape() as tape:
            tape.watch(watched[:2])
            loss = tf.reduce_sum(energies() * upstream)
        found.append([one for one in tape.gradient(loss, watched) if one is not None])
    assert len(found[0]) == 4  # query, keys, and the kernels that energies read
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", LOOKS)
def test_a_state_passes_through(kind):
    attention, queries, values = parts(kind)
    memory = attention.memory(tf.constant(values), tf.constant(MASK))
    state = {"coverage": tf.zeros([B, S])}
    assert attention(queries[:, 0], memory, state)[2]["coverage"].shape == (B, S)


def test_a_fixed_context_is_a_summary_of_the_last_real_value():
    attention, queries, values = parts("fixed")
    context, alignments, _ = attention(queries, attention.memory(tf.constant(values), tf.constant(MASK)))
    last = values[np.arange(B), MASK.sum(1) - 1]
    expected = np.tanh(last @ attention.kernel.numpy() + attention.bias.numpy())
    np.testing.assert_allclose(context, np.repeat(expected[:, None], T, 1), rtol=1e-5, atol=1e-6)
    assert alignments is None


def test_masked_energies_have_neither_weight_nor_gradient():
    energies = tf.constant([[1.0, 2.0, 500.0], [3.0, 4.0, 5.0]])
    mask = tf.constant([[True, True, False], [False, False, False]])
    with tf.GradientTape() as tape:
        tape.watch(energies)
        alignments = masked_softmax(energies, mask)
        loss = tf.reduce_sum(alignments * [1.0, 2.0, 3.0])
    np.testing.assert_allclose(alignments, [[1 / (1 + np.e), np.e / (1 + np.e), 0], [0, 0, 0]], rtol=1e-5)
    gradient = tape.gradient(loss, energies).numpy()
    assert gradient[0, :2].all() and not gradient[0, 2] and not gradient[1].any()


def test_dot_attention_wants_equal_sizes():
    words = "DotAttention needs queries and values of one size, got 4 and 6; use GeneralAttention"
    with pytest.raises(ValueError, match=words):
        DotAttention().build(4, 6)
