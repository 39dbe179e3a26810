"""Greedy search: the likeliest token at every step.

Shapes: **B** sources, **T** target length, **S** source length.
"""

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.decoding import beams
from tf_seq2seq.decoding.hypotheses import Hypotheses


@keras.saving.register_keras_serializable("tf_seq2seq")
class Greedy:
    """Takes the likeliest token at every step, until END or the maximum length; one hypothesis a source.

    PAD and START are never taken; among equal tokens the one with the lower id is. The score is the sum of
    log-probs.

    >>> from tf_seq2seq.models.contracts import StepOutput
    >>> table = tf.math.log([[0.0, 0.1, 0.0, 0.5, 0.4], [0.0, 0.2, 0.0, 0.3, 0.5]])
    >>> def step(ids, state, memory):
    ...     return StepOutput(tf.gather(table, tf.where(ids == START, 1, 0)), state, None)
    >>> found = Greedy(max_length=5)(step, state=(), memory=(), rows=1)
    >>> found.ids.numpy().tolist(), found.finished.numpy().tolist()
    ([[[4, 3]]], [[True]])

    Args:
        max_length: the most tokens, END counted.

    Raises:
        InputError: if `max_length` is below 1.
    """

    def __init__(self, max_length=100):
        self.max_length = beams.positive("max_length", max_length)

    def __call__(self, step, state, memory, rows, limit=None):
        """Searches in the graph.

        Args:
            step: `step(ids (B,) int32, state, memory) -> StepOutput`.
            state: nest, every leaf (B, ...).
            memory: nest, every leaf (B, ...).
            rows: B, int or int32 scalar.
            limit: the most tokens of each source, () or (B,), where it is less than `max_length`.

        Returns:
            `Hypotheses` with K = 1.
        """
        limits = beams.limits(self.max_length, limit, rows)
        aligned = False

        def advance(time, ids, log_probs, lengths, done, state, history, alignments):
            nonlocal aligned
            output = step(ids, state, memory)
            best, candidates = beams.best_tokens(output.log_probs, 1)
            place = tf.argmax(best, axis=1, output_type=tf.int32)
            ids = tf.gather(candidates, place, batch_dims=1)  # (B, 3) -> (B,)
            log_probs += tf.where(done, 0.0, tf.gather(best, place, batch_dims=1))
            history = history.write(time, tf.where(done, PAD, ids))
            aligned = output.alignments is not None
            if aligned:
                alignments = alignments.write(time, output.alignments)
            lengths += tf.cast(~done, tf.int32)
            ended = (ids == END) | (time + 1 >= limits)
            return (
                time + 1,
                ids,
                log_probs,
                lengths,
                done | ended,
                beams.like(output.state, state),
                history,
                alignments,
            )

        longest = beams.longest(limits)
        loop = tf.while_loop(
            lambda time, ids, log_probs, lengths, done, *_: (
                (time == 0) | ((time < longest) & ~tf.reduce_all(done))
            ),
            advance,
            (
                0,
                tf.fill([rows], START),
                tf.zeros([rows]),
                tf.zeros([rows], tf.int32),
                tf.zeros([rows], tf.bool),
                state,
                tf.TensorArray(tf.int32, longest, element_shape=[None]),
                tf.TensorArray(tf.float32, longest, element_shape=[None, None]),
            ),
        )
        time, _, log_probs, lengths, _, _, history, alignments = loop
        return _collect(
            log_probs,
            lengths,
            history.gather(tf.range(time)),
            alignments.gather(tf.range(time)) if aligned else None,
        )

    def get_config(self):
        return {"max_length": self.max_length}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _collect(log_probs, lengths, ids, alignments):
    """`Hypotheses` from what the steps gave: ids (T, B), alignments (T, B, S) or None."""
    ids = tf.transpose(ids)  # (T, B) -> (B, T)
    if alignments is not None:
        inside = tf.sequence_mask(lengths, tf.shape(ids)[1])[..., None]  # (B, T, 1)
        alignments = tf.where(inside, tf.transpose(alignments, [1, 0, 2]), 0.0)[
            :, None
        ]  # (T, B, S) -> (B, 1, T, S)
    return Hypotheses(
        ids=ids[:, None],  # (B, T) -> (B, 1, T)
        lengths=lengths[:, None],
        scores=log_probs[:, None],
        log_probs=log_probs[:, None],
        finished=tf.reduce_any(ids == END, axis=1, keepdims=True),
        alignments=alignments,
    )
