"""The recurrent decoder: ids, tying, dropout and what it refuses. Teacher forcing stands in `test_invariants.py`.

Shapes: **B** batch, **N** rows, **V** vocabulary.
"""

import batteries
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.layers.attention import DotAttention
from tf_seq2seq.layers.bridges import DenseBridge
from tf_seq2seq.models.decoders import RNNDecoder
from tf_seq2seq.models.encoders import RNNEncoder
from tf_seq2seq.models.seq2seq import Seq2Seq


def test_ids_outside_the_vocabulary_are_read_as_unknown():
    """As a pointer's ids of V and above will be."""
    model = batteries.shared("luong2015")
    state, memory = model.start({"source_ids": np.array([[5, 3]] * 3, "int32")})
    log_probs = model.step(tf.constant([1, batteries.TARGET_V, 999]), state, memory).log_probs
    np.testing.assert_allclose(log_probs[1:], tf.repeat(log_probs[:1], 2, axis=0), rtol=1e-6)


def test_probabilities_sum_to_one():
    model = batteries.shared("bahdanau2015")
    state, memory = model.start({"source_ids": np.array([[5, 3]], "int32")})
    log_probs = model.step(tf.constant([2]), state, memory).log_probs
    assert log_probs.shape == (1, batteries.TARGET_V)
    np.testing.assert_allclose(np.exp(log_probs).sum(), 1.0, rtol=1e-6)


def test_a_tied_projection_is_the_embeddings():
    tied, loose = (Seq2Seq(RNNEncoder(9, 4), RNNDecoder(8, 4, tied=tied)) for tied in (True, False))
    assert loose.count_params() - tied.count_params() == 4 * 8
    features = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    expected = features @ tied.decoder.embeddings.numpy().T + tied.decoder.projection_bias.numpy()
    np.testing.assert_allclose(tied.decoder.project(tf.constant(features)), expected, rtol=1e-5, atol=1e-6)


def test_dropout_drops_in_training_only():
    model = Seq2Seq(RNNEncoder(9, 8), RNNDecoder(8, 8, dropout=0.5, attention=DotAttention()))
    inputs = {"source_ids": np.array([[5, 3]], "int32"), "target_ids": np.array([[2, 5]], "int32")}
    np.testing.assert_array_equal(model(inputs), model(inputs))
    assert np.abs(model(inputs, training=True) - model(inputs, training=True)).max() > 1e-4


def test_an_encoder_of_another_depth_and_cell_needs_a_bridge():
    encoder = RNNEncoder(9, 6, depth=2, cell="gru")
    with pytest.raises(ValueError, match="CopyBridge copies states of equal sizes"):
        Seq2Seq(encoder, RNNDecoder(8, 4))
    inputs = {"source_ids": np.array([[5, 3]], "int32"), "target_ids": np.array([[2, 5]], "int32")}
    assert Seq2Seq(encoder, RNNDecoder(8, 4, bridge=DenseBridge()))(inputs).shape == (1, 2, 8)


@pytest.mark.parametrize(
    "options, words",
    [
        (
            {"tied": True, "embedding_size": 3},
            "a tied projection needs features as long as embeddings: 4 is not 3",
        ),
        (
            {"residual_from": 0},
            "the lowest layer's inputs and outputs differ in size: residual_from is 1 or more",
        ),
        ({"cell": "rnn"}, 'cell is "lstm", "gru" or "gru_v1"'),
        ({"position": "beside"}, 'position is "after" or "before"'),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        RNNDecoder(10, 4, **options)


def test_an_attention_that_does_not_fit_the_encoder_is_refused():
    with pytest.raises(ValueError, match="DotAttention needs queries and values of one size, got 4 and 6"):
        Seq2Seq(RNNEncoder(9, 6), RNNDecoder(8, 4, attention=DotAttention(), bridge=DenseBridge()))
