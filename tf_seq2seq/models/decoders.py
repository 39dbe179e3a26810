"""The recurrent decoder: a target so far, and a source, become the distribution of the next token.

Shapes: **B** batch, **N** rows, **S** source length, **T** target length, **U** units, **D** feature size, **V** vocabulary.
"""

import keras
import tensorflow as tf

from tf_seq2seq.errors import InputError
from tf_seq2seq.layers.affine import affine
from tf_seq2seq.layers.attention_wrapper import AttentionWrapper
from tf_seq2seq.layers.bridges import CopyBridge
from tf_seq2seq.layers.dropout import Dropout
from tf_seq2seq.layers.stacked_cells import StackedCells
from tf_seq2seq.models.adaptive_softmax import AdaptiveSoftmax
from tf_seq2seq.models.contracts import StepOutput
from tf_seq2seq.models.encoders import EMBEDDING_DEVIATION, embed, make_cell, product_dtype
from tf_seq2seq.models.objectives import cross_entropy
from tf_seq2seq.models.projected_loss import projected_cross_entropy


@keras.saving.register_keras_serializable("tf_seq2seq")
class RNNDecoder(keras.layers.Layer):
    """Embedding, a stack of LSTM or GRU layers with or without attention, projection to the vocabulary.

    ::

        features = dropout(wrapper(dropout(embeddings(target_ids))))
        logits = features W + b             W is the embeddings' transpose if tied; or an adaptive softmax's

    `features` over a whole target and `step` token by token are two loops over one `AttentionWrapper`.

    >>> from tf_seq2seq.layers.attention import GeneralAttention
    >>> from tf_seq2seq.models.encoders import RNNEncoder
    >>> source = {"source_ids": tf.constant([[5, 6, 3]])}
    >>> encoder = RNNEncoder(10, units=4)
    >>> decoder = RNNDecoder(12, units=4, attention=GeneralAttention())
    >>> decoder.build(encoder.values_size, encoder.state_sizes)
    >>> encoded = encoder(source)
    >>> state, memory = decoder.initial_state(encoded), decoder.memory(encoded, source)
    >>> tuple(decoder(tf.constant([[2, 7, 8]]), state, memory).shape)
    (1, 3, 12)

    Args:
        vocab_size: V of the target, special ids included.
        units: U, size of each layer.
        depth: number of layers.
        cell: "lstm", "gru" or "gru_v1" (reset gate before the product).
        attention: an attention layer or None.
        bridge: a bridge layer; None for `CopyBridge`.
        embedding_size: size of a token's vector; None for `units`.
        dropout: share of embeddings, of inputs of upper layers and of features dropped in training.
        residual_from: number of the lowest layer (0 is the bottom) that adds its input to its output; None for none.
        tied: whether the projection is the embeddings' transpose (Press and Wolf 2017); needs D = embedding size.
        variational: whether dropout drops the same values at all steps of a batch (Gal and Ghahramani 2016).
        recurrent_dropout: share of each recurrent kernel's weights dropped in training, once a batch (Merity et al. 2018).
        adaptive: cutoffs of an `AdaptiveSoftmax`, ids, which then is the projection; None for one product.
        position, input_feeding, readout, readout_size, every_layer: of `AttentionWrapper`.

    Raises:
        ValueError: for sizes or options that do not go together, or a dropout outside [0, 1); the message says which.
    """

    def __init__(
        self,
        vocab_size,
        units,
        depth=1,
        cell="lstm",
        attention=None,
        bridge=None,
        embedding_size=None,
        dropout=0.0,
        residual_from=None,
        tied=False,
        variational=False,
        recurrent_dropout=0.0,
        adaptive=None,
        position="after",
        input_feeding=False,
        readout="default",
        readout_size=None,
        every_layer=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.units = units
        self.depth = depth
        self.cell = cell
        self.bridge = bridge or CopyBridge()
        self.embedding_size = embedding_size or units
        self.dropout = dropout
        self.residual_from = residual_from
        self.tied = tied
        self.variational = variational
        self.recurrent_dropout = recurrent_dropout
        self.drop = Dropout(dropout, noise_shape=(None, 1, None) if variational else None)
        same = {"dtype": self.dtype_policy}
        cells = [make_cell(cell, units, recurrent_dropout=recurrent_dropout, **same) for _ in range(depth)]
        cells = StackedCells(cells, dropout, residual_from, variational, **same)
        self.wrapper = AttentionWrapper(
            cells, attention, position, input_feeding, readout, readout_size, every_layer, **same
        )
        self.adaptive = None if adaptive is None else AdaptiveSoftmax(vocab_size, adaptive, **same)
        self._check()

    def _check(self):
        size = self.wrapper.readout_size
        if self.tied and size != self.embedding_size:
            raise ValueError(
                f"a tied projection needs features as long as embeddings: {size} is not {self.embedding_size}; "
                "set readout_size or embedding_size"
            )
        if self.tied and self.adaptive is not None:
            raise ValueError("a tied projection is one matrix, an adaptive one several: set tied or adaptive")
        if self.residual_from == 0:
            raise ValueError(
                "the lowest layer's inputs and outputs differ in size: residual_from is 1 or more"
            )

    def get_config(self):
        names = ["vocab_size", "units", "depth", "cell", "embedding_size", "dropout", "residual_from", "tied"]
        names += ["variational", "recurrent_dropout"]
        wrapped = ["position", "input_feeding", "readout", "readout_size", "every_layer"]
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            **{name: getattr(self.wrapper, name) for name in wrapped},
            "attention": self.wrapper.attention and serialize(self.wrapper.attention),
            "adaptive": self.adaptive and self.adaptive.cutoffs,
            "bridge": serialize(self.bridge),
        }

    @classmethod
    def from_config(cls, config):
        config = {**config}
        for name in ("attention", "bridge"):
            config[name] = config[name] and keras.saving.deserialize_keras_object(config[name])
        return cls(**config)

    def build(self, values_size, encoder_sizes):
        if not self.bridge.built:  # a loaded one is built already
            self.bridge.build(encoder_sizes, self.wrapper.cells.state_sizes)
        self.embeddings = self.add_weight(
            shape=(self.vocab_size, self.embedding_size),
            initializer=keras.initializers.RandomNormal(stddev=EMBEDDING_DEVIATION),
            autocast=False,
            name="embeddings",
        )
        self.wrapper.build(self.embedding_size, values_size)
        self.columns = None  # the output vectors as columns, of a model that is laid out for searching
        self.built = True
        if self.adaptive is not None:
            self.adaptive.build((None, self.wrapper.readout_size))
            return
        if not self.tied:
            self.projection_kernel = self.add_weight(
                shape=(self.vocab_size, self.wrapper.readout_size),
                initializer="glorot_uniform",
                name="projection_kernel",
            )
        self.projection_bias = self.add_weight(
            shape=(self.vocab_size,), initializer="zeros", name="projection_bias"
        )

    def memory(self, encoder_output, source=None):
        """Makes what every step reads of the source; () without attention.

        Args:
            encoder_output: `EncoderOutput`.
            source: the batch's inputs; this decoder does not read them.

        Returns:
            A nest of (B, ...) tensors.
        """
        values = tf.cast(encoder_output.values, product_dtype(self.wrapper.cells.cells[0]))
        return self.wrapper.memory(values, encoder_output.mask)

    def initial_state(self, encoder_output):
        """The state before the first step, through the bridge: a nest of (B, ...) float32 tensors."""
        return self.wrapper.initial_state(self.bridge.call(encoder_output.state))

    def features(self, target_ids, state, memory, training=False):
        """Runs over whole targets, each token read from `target_ids`.

        Args:
            target_ids: (B, T) int32, begins with START.
            state: from `initial_state`.
            memory: from `memory`.
            training: whether dropout drops anything.

        Returns:
            features (B, T, D) and alignments (B, T, S) float32, or None without attention.
        """
        state = tf.nest.map_structure(lambda one: tf.cast(one, tf.float32), state)
        inputs = self._dropped(self.embedded(target_ids), training)
        features, _, alignments = self.wrapper.sequence(inputs, state, memory, training)
        return self._dropped(features, training), alignments

    def embedded(self, ids):
        """Token vectors: ids (...) int32 -> (..., E) in the dtype to compute in."""
        return embed(self.embeddings, ids, product_dtype(self.wrapper.cells.cells[0]))

    def _dropped(self, values, training):
        return self.drop(values, training=True) if training and self.dropout else values

    def project(self, features):
        """Features (..., D) -> logits (..., V) in the compute dtype of where it is called; float32 if adaptive."""
        if self.adaptive is not None:
            return self.adaptive(features)
        if self.columns is not None:
            return affine(features, self.columns, self.projection_bias)
        return affine(features, self.output_vectors(), self.projection_bias, transpose=True)

    def cross_entropy(self, features, labels, label_smoothing=0.0, training=False):
        """Loss of real tokens, without logits where it can do without.

        In training, an adaptive softmax computes of the vocabulary what the labels need, unless labels are smoothed,
        which reads the whole distribution; right is then whether the label is the likeliest of the likeliest cluster.

        Args:
            features: (M, D) of the real tokens.
            labels: (M,) int32.
            label_smoothing: eps of `tf_seq2seq.models.objectives.token_cross_entropy`.
            training: whether the shortest way will do.

        Returns:
            loss, nll: (M,) float32, nats; right: (M,) bool, whether the label is the likeliest token.
        """
        if self.adaptive is None:
            return projected_cross_entropy(
                features, self.output_vectors(), self.projection_bias, labels, label_smoothing
            )
        if training and not label_smoothing:
            nll, right = self.adaptive.nll(features, labels)
            return nll, nll, right
        logits = self.project(features)
        right = tf.gather(logits, labels, batch_dims=1) >= tf.reduce_max(logits, axis=-1)
        return *cross_entropy(logits, labels, label_smoothing), right

    def output_vectors(self):
        """A vector a token, (V, D): what features are multiplied by to give its logit.

        Raises:
            InputError: for an adaptive softmax, which has none.
        """
        if self.adaptive is not None:
            raise InputError(
                "an adaptive softmax has no vector a token, which shortlists and SampledSoftmax choose from: do without "
                "them, or train a model with adaptive=None"
            )
        return self.embeddings if self.tied else self.projection_kernel

    def call(self, target_ids, state, memory, training=False):
        """Teacher-forced logits.

        Returns:
            logits (B, T, V) float32.
        """
        features, _ = self.features(target_ids, state, memory, training)
        return tf.cast(self.project(features), tf.float32)

    def step(self, ids, state, memory, project=None):
        """Moves one token on.

        Args:
            ids: (N,) int32, the token before; ids of V and above are read as UNK.
            state: from `initial_state` or a step before.
            memory: from `memory`, with N rows.
            project: function of features (N, D) that stands in for `project`, e.g. on a part of the vocabulary.

        Returns:
            `StepOutput`: logits (N, V) float32, state, alignments (N, S) float32 or None.
        """
        features, state, alignments = self.wrapper.step(self.embedded(ids), state, memory)
        logits = (project or self.project)(features)
        return StepOutput(tf.cast(logits, tf.float32), state, alignments)
