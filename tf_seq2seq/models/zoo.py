"""Published models, each a function of a few lines; sizes are parameters, the paper's own stand in the docstring.

All give a `Seq2Seq`. `units` is the size of a layer's output; a bidirectional layer has half of it a direction.

Batches are ``({"source_ids": (B, S), "target_ids": (B, T)}, labels (B, T))``, int32.
"""

from tf_seq2seq.layers.attention import AdditiveAttention, FixedContext, GeneralAttention
from tf_seq2seq.layers.bridges import CopyBridge, DenseBridge, ZeroBridge
from tf_seq2seq.models.decoders import RNNDecoder
from tf_seq2seq.models.encoders import RNNEncoder
from tf_seq2seq.models.seq2seq import Seq2Seq


def plain(
    source_vocab_size, target_vocab_size, units=256, depth=1, embedding_size=None, dropout=0.0, **options
):
    """LSTM encoder, its last state as the LSTM decoder's first, softmax over the target vocabulary.

    >>> model = plain(100, 120, units=8)
    >>> model.count_params()
    3928

    Args:
        source_vocab_size: ids of the source, special ones included.
        target_vocab_size: ids of the target, special ones included.
        units: size of each layer.
        depth: layers of encoder and of decoder.
        embedding_size: size of a token's vector; None for `units`.
        dropout: share of inputs and features dropped in training.
        options: of `RNNEncoder` and `RNNDecoder` both, such as `variational` and `recurrent_dropout`.

    Returns:
        A `Seq2Seq`.
    """
    sizes = {
        "units": units,
        "depth": depth,
        "embedding_size": embedding_size,
        "dropout": dropout,
        **options,
    }
    return Seq2Seq(RNNEncoder(source_vocab_size, **sizes), RNNDecoder(target_vocab_size, **sizes))


def sutskever2014(
    source_vocab_size, target_vocab_size, units=1000, depth=4, embedding_size=None, dropout=0.0, **options
):
    """Deep LSTMs without attention, the source read backwards. The paper's: 4 layers of 1000, vectors of 1000.

    >>> sutskever2014(100, 120, units=8, depth=2).encoder.reverse_source
    True

    Args: as in `plain`.

    Returns: A `Seq2Seq`.

    Source: Sutskever, Vinyals and Le 2014, section 3.4; table 1 for its scores.
    """
    sizes = {
        "units": units,
        "depth": depth,
        "embedding_size": embedding_size,
        "dropout": dropout,
        **options,
    }
    encoder = RNNEncoder(source_vocab_size, reverse_source=True, **sizes)
    return Seq2Seq(encoder, RNNDecoder(target_vocab_size, **sizes))


def cho2014(
    source_vocab_size, target_vocab_size, units=1000, depth=1, embedding_size=None, dropout=0.0, **options
):
    """GRU encoder-decoder whose summary of the source is read at every step. The paper's: 1000 units, vectors of 100.

    >>> cho2014(100, 120, units=8).decoder.wrapper.readout
    'maxout'

    Args: as in `plain`.

    Returns: A `Seq2Seq`.

    Source: Cho et al. 2014, appendix A; table 1 for its scores.
    """
    sizes = {
        "units": units,
        "depth": depth,
        "embedding_size": embedding_size,
        "dropout": dropout,
        "cell": "gru_v1",
        **options,
    }
    summary = FixedContext(units)
    decoder = RNNDecoder(
        target_vocab_size, attention=summary, position="before", bridge=DenseBridge(), **sizes
    )
    return Seq2Seq(RNNEncoder(source_vocab_size, **sizes), decoder)


def bahdanau2015(
    source_vocab_size, target_vocab_size, units=1000, depth=1, embedding_size=620, dropout=0.0, **options
):
    """Bidirectional GRU encoder, additive attention before the decoder's GRU, maxout readout.

    The paper's: 1000 units (here a bidirectional layer has units / 2 a direction), vectors of 620, maxout of 500.

    >>> bahdanau2015(100, 120, units=8, embedding_size=6).decoder.wrapper.position
    'before'

    Args: as in `plain`.

    Returns: A `Seq2Seq`.

    Source: Bahdanau, Cho and Bengio 2015, appendices A and B; table 1 for its scores. The bridge reads both
        directions' last states, the paper's the backward one.
    """
    sizes = {
        "units": units,
        "depth": depth,
        "embedding_size": embedding_size,
        "dropout": dropout,
        "cell": "gru_v1",
        **options,
    }
    encoder = RNNEncoder(source_vocab_size, bidirectional=True, **sizes)
    attention = AdditiveAttention(units)
    decoder = RNNDecoder(
        target_vocab_size, attention=attention, position="before", bridge=DenseBridge(), **sizes
    )
    return Seq2Seq(encoder, decoder)


def luong2015(
    source_vocab_size,
    target_vocab_size,
    units=1000,
    depth=4,
    embedding_size=None,
    dropout=0.2,
    attention=None,
    input_feeding=True,
    bidirectional=False,
    tied=False,
    adaptive=None,
    **options,
):
    """Stacked LSTMs, global attention after the decoder's cells, input feeding. The paper's: 4 layers of 1000.

    >>> luong2015(100, 120, units=8, depth=1).decoder.wrapper.input_feeding
    True

    Args: as in `plain`, and
        attention: an attention layer; None for `GeneralAttention`.
        input_feeding: whether the attentional vector is fed to the next step; without it, training is vectorised.
        bidirectional: whether the encoder reads both ways (the paper's does not).
        tied: whether the projection is the target embeddings' transpose (the paper's is not); the attentional vector
            is then as long as an embedding.
        adaptive: cutoffs of an `AdaptiveSoftmax` in place of the projection, for vocabularies of 50,000 and more.

    Returns: A `Seq2Seq`.

    Source: Luong, Pham and Manning 2015, sections 3.1, 3.3 and 4.1; table 1 for its scores.
    """
    sizes = {
        "units": units,
        "depth": depth,
        "embedding_size": embedding_size,
        "dropout": dropout,
        **options,
    }
    encoder = RNNEncoder(source_vocab_size, bidirectional=bidirectional, **sizes)
    decoder = RNNDecoder(
        target_vocab_size,
        attention=attention or GeneralAttention(),
        bridge=CopyBridge(),
        input_feeding=input_feeding,
        tied=tied,
        adaptive=adaptive,
        readout_size=embedding_size if tied else None,
        **sizes,
    )
    return Seq2Seq(encoder, decoder)


def gnmt(
    source_vocab_size,
    target_vocab_size,
    units=1024,
    depth=8,
    embedding_size=None,
    dropout=0.2,
    attention=None,
    residual_from=2,
    copied_state=False,
    readout=None,
    tied=False,
    **options,
):
    """Deep residual LSTMs, the lowest encoder layer bidirectional, the context read by every decoder layer.

    The paper's: 8 layers of 1024. On a small corpus it learns sooner with ``residual_from=1, copied_state=True,
    readout="attentional"``.

    >>> gnmt(100, 120, units=8, depth=3).encoder.bidirectional
    'first'

    Args: as in `plain`, and
        attention: an attention layer; None for `AdditiveAttention`.
        residual_from: number of the lowest layer (0 is the bottom) that adds its input to its output.
        copied_state: whether the decoder starts from the encoder's last states; the paper's starts from zeros.
        readout: None, as in the paper, where the projection reads the top layer alone; "attentional" or "maxout" for one
            that reads the context, too.
        tied: whether the projection is the target embeddings' transpose (the paper's is not); needs a readout, which is
            then as long as an embedding.

    Returns: A `Seq2Seq`.

    Source: Wu et al. 2016, sections 3.1 and 3.2, figure 1; table 4 for its scores.
    """
    sizes = {
        "units": units,
        "depth": depth,
        "embedding_size": embedding_size,
        "dropout": dropout,
        **options,
    }
    sizes["residual_from"] = residual_from if depth > residual_from else None
    encoder = RNNEncoder(source_vocab_size, bidirectional="first", **sizes)
    decoder = RNNDecoder(
        target_vocab_size,
        attention=attention or AdditiveAttention(units),
        position="before",
        readout=readout,
        readout_size=embedding_size if tied else None,
        tied=tied,
        every_layer=True,
        bridge=CopyBridge() if copied_state else ZeroBridge(),
        **sizes,
    )
    return Seq2Seq(encoder, decoder)
