"""What passes between encoder, decoder, search and training.

Shapes: **B** batch, **S** source length, **T** target length, **K** beam, **N = B*K** rows, **U** units, **V** vocabulary.

A *batch* is ``({"source_ids": (B, S) int32, "target_ids": (B, T) int32}, labels (B, T) int32)``, right-padded with
PAD = 0; the source ends with END where its processor says so, `target_ids` begin with START, `labels` are the
target shifted left, end with END and are PAD where there is no token.

An *encoder* is a layer ``encoder(source) -> EncoderOutput``; `source` is the batch's input nest, e.g.
``{"source_ids": (B, S)}``; other keys are ignored.

A *decoder* is a layer with::

    memory(encoder_output, source)            -> memory   opaque nest, rows first in every leaf; () without attention
    initial_state(encoder_output)             -> state    nest, every leaf (N, ...), floating; the bridge lives here
    step(ids (N,) int32, state, memory)       -> StepOutput
    features(target_ids (B, T), state, memory)-> what the projection reads (B, T, D), alignments (B, T, S) or None
    project(features (..., D))                -> logits (..., V)
    decoder(target_ids, state, memory)        -> logits (B, T, V) = project(features), equal to the unrolled step

Memory is an argument, never an attribute: it is made once per source, repeated K times before a search, and not
re-gathered by beam parent. Every leaf of the state is gathered by parent.

A *step function*, all that a search knows of a model, is ``step(ids (N,), state, memory) -> StepOutput``.
A *model*, to whoever generates with it, is ``begin(source) -> step, state, memory``, rows first in every leaf.

An *objective* is ``objective(model, batch, training) -> (loss_sum, weight_sum, metrics)``: scalars float32; the
loss of a batch is loss_sum / weight_sum; `metrics` maps a name to a pair (sum, weight) of scalars.
"""

from typing import Any, NamedTuple

import tensorflow as tf


class EncoderOutput(NamedTuple):
    """What an encoder gives.

    Fields:
        values: (B, S, U) compute dtype, one vector a source position, zero at padding.
        mask: (B, S) bool, True at real tokens.
        state: nest of (B, ...) tensors, the state after the last real token: a tuple with one entry a layer, from
            the bottom; an entry is a tuple of tensors, ``(hidden, cell)`` for LSTM, ``(hidden,)`` for GRU.
    """

    values: Any
    mask: Any
    state: Any


class StepOutput(NamedTuple):
    """What one step of a decoder gives.

    A decoder leaves `logits` unnormalised: a search takes the best of them first and normalises only these. What
    gives log-probabilities itself may leave `normalized` at False, too, as they are their own logits.

    >>> tf.exp(StepOutput(tf.constant([[3.0, 3.0]]), (), None).log_probs).numpy().tolist()
    [[0.5, 0.5]]

    Fields:
        logits: (N, W) float32: log-probabilities of the next token in nats, up to a constant in each row; W >= V is
            read from the shape.
        state: nest like the state that went in.
        alignments: (N, S) float32, or None without attention.
        normalized: whether `logits` count as they are, e.g. sums of several models' log-probs.
        columns: (W,) int32, the token id of each column, where the columns are a selection of the vocabulary: it
            begins with the ids 0 to 3 and rises; what a row may not choose, and ids from V on, are -inf. None: column i
            is id i.
    """

    logits: Any
    state: Any
    alignments: Any
    normalized: bool = False
    columns: Any = None

    @property
    def log_probs(self):
        """(N, W) float32, nats."""
        return self.logits if self.normalized else tf.nn.log_softmax(self.logits)
