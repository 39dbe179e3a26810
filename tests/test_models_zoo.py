"""The published models: what makes each of them what its paper says."""

import batteries
import numpy as np
import pytest

from tf_seq2seq.layers.attention import AdditiveAttention, DotAttention, FixedContext, GeneralAttention
from tf_seq2seq.layers.bridges import CopyBridge, DenseBridge, ZeroBridge
from tf_seq2seq.layers.cells import GRUCell, LSTMCell
from tf_seq2seq.models import zoo


def parts(name):
    model = batteries.shared(name)
    return model.encoder, model.decoder, model.decoder.wrapper


@pytest.mark.parametrize(
    "name, kind", [("plain", LSTMCell), ("sutskever2014", LSTMCell), ("cho2014", GRUCell)]
)
def test_models_without_attention_know_the_source_by_one_vector(name, kind):
    encoder, _, wrapper = parts(name)
    assert encoder.bidirectional is False
    assert all(type(cell) is kind for cell in [*encoder.layers_forward, *wrapper.cells.cells])
    assert batteries.shared(name).alignments(batteries.batch()[0]) is None


def test_plain_copies_the_encoders_state_and_has_no_readout():
    encoder, decoder, wrapper = parts("plain")
    assert type(decoder.bridge) is CopyBridge and (wrapper.attention, wrapper.readout) == (None, None)
    assert not encoder.reverse_source


def test_sutskever_reads_the_source_backwards():
    """Its encoder's state is that of the plain one for the source turned round, END now first."""
    encoder, _, _ = parts("sutskever2014")
    ids = np.array([[5, 6, 7, 3, 0]], "int32")
    state = encoder({"source_ids": ids}).state
    encoder.reverse_source = False
    turned = encoder({"source_ids": np.array([[3, 7, 6, 5, 0]], "int32")}).state
    encoder.reverse_source = True
    np.testing.assert_allclose(state[-1][0], turned[-1][0], rtol=1e-6)


def test_cho_reads_its_summary_at_every_step():
    encoder, decoder, wrapper = parts("cho2014")
    assert type(wrapper.attention) is FixedContext and (wrapper.position, wrapper.readout) == (
        "before",
        "maxout",
    )
    assert type(decoder.bridge) is DenseBridge and not encoder.layers_forward[0].reset_after


def test_bahdanau_attends_before_its_gru():
    encoder, decoder, wrapper = parts("bahdanau2015")
    assert encoder.bidirectional is True and not wrapper.cells.cells[0].reset_after
    assert type(wrapper.attention) is AdditiveAttention and type(decoder.bridge) is DenseBridge
    assert (wrapper.position, wrapper.readout, wrapper.input_feeding) == ("before", "maxout", False)


def test_luong_attends_after_its_lstms_and_feeds_the_attentional_vector():
    encoder, decoder, wrapper = parts("luong2015")
    assert type(wrapper.attention) is GeneralAttention and type(decoder.bridge) is CopyBridge
    assert (wrapper.position, wrapper.readout, wrapper.input_feeding) == ("after", "attentional", True)
    assert encoder.bidirectional is False and len(wrapper.cells.cells) == 2


@pytest.mark.parametrize(
    "options", [{"attention": DotAttention()}, {"input_feeding": False}, {"bidirectional": True}]
)
def test_luongs_options_are_passed_on(options):
    model = zoo.luong2015(13, 11, units=4, depth=1, **options)
    found = {**model.decoder.wrapper.__dict__, "bidirectional": model.encoder.bidirectional}
    assert all(found[name] is value for name, value in options.items())


@pytest.mark.parametrize("embedding_size", [None, 4, 6])
def test_luongs_projection_can_be_tied(embedding_size):
    model = zoo.luong2015(13, 11, units=4, depth=1, embedding_size=embedding_size, tied=True)
    assert model.decoder.tied and model(batteries.batch()[0]).shape == (4, 4, 11)


def test_gnmt_is_residual_and_every_layer_reads_the_context():
    encoder, decoder, wrapper = parts("gnmt")
    assert (encoder.bidirectional, encoder.residual_from, wrapper.cells.residual_from) == ("first", 2, 2)
    assert type(decoder.bridge) is ZeroBridge and wrapper.every_layer and wrapper.readout is None
    inputs = [cell.kernel.shape[0] for cell in wrapper.cells.cells]
    assert inputs == [batteries.EMBEDDING + batteries.UNITS, *[2 * batteries.UNITS] * 2]


def test_gnmt_for_a_small_corpus_adds_sooner_and_starts_from_the_encoders_state():
    model = zoo.gnmt(13, 11, units=4, depth=2, residual_from=1, copied_state=True)
    assert (model.encoder.residual_from, model.decoder.wrapper.cells.residual_from) == (1, 1)
    assert type(model.decoder.bridge) is CopyBridge and model(batteries.batch()[0]).shape == (4, 4, 11)
    assert (
        zoo.gnmt(13, 11, units=4, depth=2).encoder.residual_from is None
    )  # the third layer adds, if there is one


@pytest.mark.parametrize("name", batteries.ZOO)
def test_sizes_and_dropout_reach_both_sides(name):
    model = getattr(zoo, name)(13, 11, units=6, depth=3, embedding_size=5, dropout=0.3)
    for side, vocab_size in ((model.encoder, 13), (model.decoder, 11)):
        assert (side.vocab_size, side.units, side.depth, side.dropout) == (vocab_size, 6, 3, 0.3)
        assert side.embeddings.shape == (vocab_size, 5)
