"""What a search gives back.

Shapes: **B** batch, **K** hypotheses a source, **T** target length, **S** source length.
"""

from typing import Any, NamedTuple

import tensorflow as tf


class Hypotheses(NamedTuple):
    """Hypotheses of each source, best first.

    Finished hypotheses come first, by falling score; then unfinished ones (the search ended before they did),
    by falling score. A source with fewer hypotheses than K, which takes a tiny vocabulary or hard constraints, has
    its last places empty: length 0, score and log-prob -inf.

    Fields:
        ids: (B, K, T) int32, without the start; END included where finished, PAD after the end.
        lengths: (B, K) int32, in tokens, END counted.
        scores: (B, K) float32, what hypotheses are ranked by: log_probs under the penalties.
        log_probs: (B, K) float32, in nats: the sum of the model's own log-probs of `ids`.
        finished: (B, K) bool, False where the length limit came before END.
        alignments: (B, K, T, S) float32, zero after the end; None without attention.
        token_log_probs: (B, K, T) float32, in nats, the model's own of each token, zero after the end.

    >>> Hypotheses._fields
    ('ids', 'lengths', 'scores', 'log_probs', 'finished', 'alignments', 'token_log_probs')
    """

    ids: Any
    lengths: Any
    scores: Any
    log_probs: Any
    finished: Any
    alignments: Any
    token_log_probs: Any


def best_first(hypotheses, count=None):
    """The hypotheses of each source in the order that `Hypotheses` has, and only the first `count` of them."""
    order = tf.argsort(hypotheses.scores, direction="DESCENDING", stable=True)
    finished = tf.gather(hypotheses.finished, order, batch_dims=1)
    order = tf.gather(order, tf.argsort(tf.cast(~finished, tf.int32), stable=True), batch_dims=1)[:, :count]
    take = lambda field: None if field is None else tf.gather(field, order, batch_dims=1)
    return Hypotheses(*map(take, hypotheses))
