"""Bridges from an encoder's last state to a decoder's first.

Shapes: **B** batch; sizes are tuples with one entry a layer.
"""

import batteries
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.layers.bridges import CopyBridge, DenseBridge, ZeroBridge

ENCODER = ((3, 3), (5, 5))  # two layers of LSTM
DECODER = ((4,), (4,), (2,))  # three of GRU


def state(sizes, dtype="float32"):
    random = np.random.default_rng(0)
    return tf.nest.map_structure(lambda size: tf.cast(random.normal(size=(2, size)), dtype), sizes)


def test_dense_is_one_product_of_all_states():
    bridge = DenseBridge()
    bridge.build(ENCODER, DECODER)
    batteries.randomised(bridge)
    before = state(ENCODER)
    after = bridge(before)
    joined = np.concatenate([*tf.nest.flatten(before)], -1)
    expected = np.tanh(joined @ bridge.kernel.numpy() + bridge.bias.numpy())
    tf.nest.assert_same_structure(after, DECODER)
    np.testing.assert_allclose(np.concatenate(tf.nest.flatten(after), -1), expected, rtol=1e-5, atol=1e-6)


def test_copy_gives_the_states_themselves_in_float32():
    bridge = CopyBridge()
    bridge.build(ENCODER, ENCODER)
    before = state(ENCODER, "float16")
    for one, other in zip(tf.nest.flatten(bridge.call(before)), tf.nest.flatten(before), strict=True):
        assert one.dtype == tf.float32
        np.testing.assert_array_equal(one, other)


def test_zero_gives_zeros_of_the_decoders_sizes():
    bridge = ZeroBridge()
    bridge.build(ENCODER, DECODER)
    after = bridge(state(ENCODER))
    assert tf.nest.map_structure(lambda one: one.shape[1], after) == DECODER
    assert not any(one.numpy().any() or one.shape[0] != 2 for one in tf.nest.flatten(after))


def test_copy_refuses_other_sizes_and_names_both():
    words = r"copies states of equal sizes, got \(\(3, 3\), \(5, 5\)\) from the encoder and \(\(4,\), .* use DenseBridge"
    with pytest.raises(ValueError, match=words):
        CopyBridge().build(ENCODER, DECODER)
