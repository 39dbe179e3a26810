"""The copy of a model that is laid out for searching gives what the model gives."""

import batteries
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.conditions import of_sources
from tf_seq2seq.models.searching import good_width, searchable


@pytest.mark.parametrize("name", [*batteries.ZOO, *list(batteries.DECODERS)[::5]])
def test_every_model_searches_alike(name):
    model = batteries.searchable(name) if name in batteries.ZOO else batteries.shared(name)
    source_ids = tf.constant(batteries.batch(rows=6)[0]["source_ids"])
    found = []
    for one in (model, searchable(model)):
        step, state, memory = one.begin({"source_ids": source_ids})
        strategy = BeamSearch(3, max_length=7, coverage_penalty=None)
        found.append(strategy(step, state, memory, 6, of_sources(source_ids)))
    np.testing.assert_array_equal(found[0].ids, found[1].ids)
    np.testing.assert_allclose(found[0].scores, found[1].scores, rtol=1e-4, atol=1e-5)


def test_columns_beyond_the_vocabulary_are_never_said():
    model = batteries.searchable("luong2015")
    step, state, memory = searchable(model).begin({"source_ids": tf.constant([[5, 3]])})
    log_probs = step(tf.constant([2]), state, memory).log_probs.numpy()[0]
    assert len(log_probs) > batteries.TARGET_V
    assert (log_probs[batteries.TARGET_V :] == -np.inf).all()
    np.testing.assert_allclose(np.exp(log_probs).sum(), 1.0, rtol=1e-5)


def test_training_a_model_does_not_change_the_copy():
    model = batteries.ZOO["luong2015"]()
    copy, inputs = searchable(model), {"source_ids": tf.constant([[5, 6, 3]])}
    first = [one.begin(inputs) for one in (model, copy)]
    model.decoder.projection_bias.assign_add(tf.range(batteries.TARGET_V, dtype=tf.float32))
    again = [one.begin(inputs) for one in (model, copy)]
    logits = lambda begun: begun[0](tf.constant([2]), *begun[1:]).log_probs[:, : batteries.TARGET_V]
    assert np.abs(logits(first[0]) - logits(again[0])).max() < 1e-6  # the same variables, read now
    assert np.abs(logits(again[1]) - logits(again[0])).max() > 0.1


def test_bfloat16_weights_search_near_float32():
    model = batteries.searchable("luong2015")
    copy, inputs = searchable(model, "bfloat16"), {"source_ids": tf.constant([[5, 6, 3]])}
    logits = []
    for one in (model, copy):
        step, state, memory = one.begin(inputs)
        output = step(tf.constant([2]), state, memory)
        assert output.logits.dtype == tf.float32
        assert {leaf.dtype for leaf in tf.nest.flatten(output.state)} == {tf.float32}
        logits.append(output.log_probs[:, : batteries.TARGET_V].numpy())
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.3


@pytest.mark.parametrize("width", [1, 15, 16, 500, 512, 2048, 8003, 8192])
def test_good_widths_are_multiples_that_do_not_alias(width):
    good = good_width(width)
    assert good >= width and good % 16 == 0 and good % 256 and good - width < 32
