"""Greedy search: the likeliest token at every step.

Shapes: **B** sources, **T** target length, **S** source length.
"""

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END
from tf_seq2seq.decoding import lengths, row_wise
from tf_seq2seq.decoding.candidates import NEVER, likeliest_token
from tf_seq2seq.decoding.rules import Rules


@keras.saving.register_keras_serializable("tf_seq2seq")
class Greedy:
    """Takes the likeliest token at every step, until END or the maximum length; one hypothesis a source.

    PAD and START are never taken; among equal tokens the one with the lower id is. The score is the sum of
    log-probs. Where constraints leave no token at all, END is taken and the score is -inf.

    >>> from tf_seq2seq.models.contracts import StepOutput
    >>> table = tf.math.log([[0.0, 0.1, 0.0, 0.5, 0.4], [0.0, 0.2, 0.0, 0.3, 0.5]])
    >>> def step(ids, state, memory):
    ...     return StepOutput(tf.gather(table, tf.where(ids == 2, 1, 0)), state, None)
    >>> found = Greedy(max_length=5)(step, state=(), memory=(), rows=1)
    >>> found.ids.numpy().tolist(), found.finished.numpy().tolist()
    ([[[4, 3]]], [[True]])

    Args:
        max_length: the most tokens, END counted: an int, or (a, b) for a times the source's length plus b.
        min_length: the fewest tokens, END counted, likewise.
        constraints: a list of constraints, see `constraints`.

    Raises:
        InputError: if a length is below 1, or a constraint is none.
    """

    def __init__(self, max_length=100, min_length=1, constraints=()):
        self.max_length = lengths.checked("max_length", max_length)
        self.rules = Rules(constraints, min_length)

    def __call__(self, step, state, memory, rows, conditions=None):
        """Searches in the graph.

        Args:
            step: `step(ids (B,) int32, state, memory) -> StepOutput`.
            state: nest, every leaf (B, ...).
            memory: nest, every leaf (B, ...).
            rows: B, int or int32 scalar.
            conditions: `Conditions` of the sources, or None.

        Returns:
            `Hypotheses` with K = 1.
        """
        return row_wise.search(
            step,
            state,
            memory,
            rows,
            conditions,
            width=1,
            max_length=self.max_length,
            rules=self.rules,
            pick=self._pick,
        )

    def _pick(self, time, output, rows):
        if self.rules.nothing(rows.followed, rows.conditions):
            return likeliest_token(output)
        values, log_probs = self.rules.all(output, time, rows.followed, rows.conditions)
        ids = tf.argmax(values, axis=1, output_type=tf.int32)[:, None]
        stuck = tf.gather(values, ids, batch_dims=1) == NEVER
        each = tf.gather(log_probs, ids, batch_dims=1)
        return tf.where(stuck, END, ids), tf.where(stuck, NEVER, each)

    def get_config(self):
        return {"max_length": lengths.as_config(self.max_length), **self.rules.get_config()}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
