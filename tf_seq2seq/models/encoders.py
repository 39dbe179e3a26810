"""Recurrent encoders: ids of a source become one vector a position and a last state.

Shapes: **B** batch, **S** source length, **U** units, **V** vocabulary.
"""

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD, UNK
from tf_seq2seq.layers.cells import GRUCell, LSTMCell
from tf_seq2seq.layers.dropout import Dropout
from tf_seq2seq.layers.unroll import run_cell, run_cells, swap_time, turned
from tf_seq2seq.models.contracts import EncoderOutput

CELLS = {"lstm": LSTMCell, "gru": GRUCell}
EMBEDDING_DEVIATION = 0.5
"""Standard deviation of new embeddings. Large ones let recurrent layers learn sooner: two minutes of the README's
translator gave 29.5 BLEU on its validation set from 0.06 (uniform in +-0.1), 39.9 from 0.5 and 32.4 from 1."""


def make_cell(cell, units, **options):
    """A new cell of a kind: "lstm", "gru", or "gru_v1" with the reset gate before the product, as published."""
    if cell == "gru_v1":
        return GRUCell(units, reset_after=False, **options)
    if cell not in CELLS:
        raise ValueError(f'cell is "lstm", "gru" or "gru_v1", not {cell!r}')
    return CELLS[cell](units, **options)


def product_dtype(cell):
    """The dtype to compute in: that of Keras's policy inside of a layer's call, that of the weights in a search."""
    return cell.kernel.dtype  # Keras casts kernels inside of a call


def embed(embeddings, ids, dtype):
    """Looks ids up, (...) int -> (..., E) of a dtype; ids outside the vocabulary are read as UNK.

    Tables of embeddings are weights with ``autocast=False``: casting what was looked up spares casting all of it, and
    the gradient of a frequent token is a sum in float32.
    """
    ids = tf.where((ids >= 0) & (ids < embeddings.shape[0]), ids, UNK)
    return tf.cast(tf.gather(embeddings, ids), dtype)


@keras.saving.register_keras_serializable("tf_seq2seq")
class RNNEncoder(keras.layers.Layer):
    """Embedding and a stack of LSTM or GRU layers, each in one or both directions.

    A bidirectional layer has units / 2 a direction and joins both, outputs and states, before the next layer reads
    them, so that every layer's output has `units` values and its state fits a decoder of `units`.

    >>> encoder = RNNEncoder(vocab_size=10, units=4, bidirectional=True)
    >>> output = encoder({"source_ids": tf.constant([[5, 6, 3], [7, 3, 0]])})
    >>> tuple(output.values.shape), output.mask.numpy().tolist()
    ((2, 3, 4), [[True, True, True], [True, True, False]])

    Args:
        vocab_size: V of the source, special ids included.
        units: U, size of each layer's output.
        depth: number of layers.
        cell: "lstm", "gru" or "gru_v1" (reset gate before the product).
        bidirectional: True, False or "first" (only the lowest layer).
        embedding_size: size of a token's vector; None for `units`.
        dropout: share of each layer's inputs, embeddings included, dropped in training.
        residual_from: number of the lowest layer (0 is the bottom) that adds its input to its output; None for none.
        reverse_source: whether the source is read from its end to its start (Sutskever et al. 2014, section 3.3);
            values then stand in the order of reading.
        variational: whether dropout drops the same values at all steps of a batch (Gal and Ghahramani 2016).
        recurrent_dropout: share of each recurrent kernel's weights dropped in training, once a batch (Merity et al. 2018).

    Input:
        {"source_ids": (B, S) int32}, right-padded with PAD; other keys are ignored.

    Output:
        `EncoderOutput`: values (B, S, U) compute dtype, mask (B, S) bool, state.

    Raises:
        ValueError: for an unknown cell, odd units of a bidirectional layer, a dropout outside [0, 1), or sizes that a
            residual cannot add.
    """

    def __init__(
        self,
        vocab_size,
        units,
        depth=1,
        cell="lstm",
        bidirectional=False,
        embedding_size=None,
        dropout=0.0,
        residual_from=None,
        reverse_source=False,
        variational=False,
        recurrent_dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.units = units
        self.depth = depth
        self.cell = cell
        self.bidirectional = bidirectional
        self.embedding_size = embedding_size or units
        self.dropout = dropout
        self.residual_from = residual_from
        self.reverse_source = reverse_source
        self.variational = variational
        self.recurrent_dropout = recurrent_dropout
        self.drop = Dropout(dropout, noise_shape=(1, None, None) if variational else None)
        options = {"recurrent_dropout": recurrent_dropout, "dtype": self.dtype_policy}
        make = lambda number: make_cell(cell, units // self._directions(number), **options)
        self.layers_forward = [make(number) for number in range(depth)]
        self.layers_backward = [make(number) for number in range(depth) if self._directions(number) == 2]
        self._check()
        self.build()

    def _directions(self, number):
        return 2 if self.bidirectional is True or (self.bidirectional == "first" and number == 0) else 1

    def _check(self):
        if self.bidirectional not in (True, False, "first"):
            raise ValueError(f'bidirectional is True, False or "first", not {self.bidirectional!r}')
        if self.bidirectional and self.units % 2:
            raise ValueError(f"a bidirectional layer has units / 2 a direction: {self.units} units are odd")
        if self.residual_from == 0 and self.embedding_size != self.units:
            raise ValueError(
                f"residual_from=0 adds embeddings of size {self.embedding_size} to {self.units} units; use 1"
            )

    def get_config(self):
        names = ["vocab_size", "units", "depth", "cell", "bidirectional", "embedding_size", "dropout"]
        names += ["residual_from", "reverse_source", "variational", "recurrent_dropout"]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape=None):
        self.embeddings = self.add_weight(
            shape=(self.vocab_size, self.embedding_size),
            initializer=keras.initializers.RandomNormal(stddev=EMBEDDING_DEVIATION),
            autocast=False,
            name="embeddings",
        )
        for number, cell in enumerate(self.layers_forward):
            size = self.units if number else self.embedding_size
            cell.build((None, size))
            if self._directions(number) == 2:
                self.layers_backward[number].build((None, size))
        self.built = True

    @property
    def values_size(self):
        """U, size of a value."""
        return self.units

    @property
    def state_sizes(self):
        """Nest of ints like the state: a tuple with one tuple a layer."""
        return tuple((self.units,) * len(cell.state_sizes) for cell in self.layers_forward)

    def call(self, source, training=False):
        ids = source["source_ids"]
        mask = ids != PAD
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        if self.reverse_source:
            ids = tf.reverse_sequence(ids, lengths, seq_axis=1)
        values = swap_time(embed(self.embeddings, ids, product_dtype(self.layers_forward[0])))  # (S, B, E)
        state = []
        for number in range(self.depth):
            dropped = self.drop(values, training=training) if training else values
            outputs, last = self._layer(number, dropped, lengths, training)
            residual = self.residual_from is not None and number >= self.residual_from
            values = outputs + values if residual else outputs
            state.append(last)
        values = tf.where(mask[:, :, None], swap_time(values), tf.zeros([], values.dtype))
        return EncoderOutput(values, mask, tuple(state))

    def _layer(self, number, inputs, lengths, training):
        """One layer, (S, B, E) -> (S, B, U) and its state; the backward half reads each row from its own end."""
        cells = [self.layers_forward[number], *self.layers_backward[number : number + 1]]
        zeros = [tuple(tf.zeros([tf.shape(inputs)[1], size]) for size in cell.state_sizes) for cell in cells]
        if len(cells) == 1:
            return run_cell(*cells, inputs, *zeros, lengths, training)
        both = [inputs, turned(inputs, lengths)]
        (outputs, state), (back, back_state) = run_cells(cells, both, zeros, lengths, training)
        join = lambda a, b: tf.concat([a, b], axis=-1)
        return join(outputs, turned(back, lengths)), tuple(map(join, state, back_state))
