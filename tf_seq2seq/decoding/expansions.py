"""Ways in which the live hypotheses of a source may go on.

Shapes: **B** sources, **k** live hypotheses a source, **N = B*k** rows, **w** tokens a row, **M = k*w** expansions a source.
"""

from typing import Any, NamedTuple

import tensorflow as tf


class Expansions(NamedTuple):
    """Expansions of each source, (B, M) each.

    Fields:
        ranks: float32, what they are chosen by; -inf: not to be chosen.
        totals: float32, the hypotheses' sums of what their tokens were chosen by.
        log_probs: float32, nats, the hypotheses' sums of the model's own.
        token_log_probs: float32, nats, of the last token alone.
        ids: int32, the last token.
        parents: int32, the live hypothesis that it is added to.
    """

    ranks: Any
    totals: Any
    log_probs: Any
    token_log_probs: Any
    ids: Any
    parents: Any

    @classmethod
    def of_rows(cls, each, *fields):
        """Of the fields but for `parents`, (N, w) each, `each` = k rows a source."""
        rows, width = tf.unstack(tf.shape(fields[0]))
        size = [rows // each, each * width]
        parents = tf.broadcast_to(tf.repeat(tf.range(each), width), size)
        return cls(*(tf.reshape(field, size) for field in fields), parents)  # (N, w) -> (B, M)

    def best(self, count, ranks=None):
        """The `count` best by rank, by falling rank, (B, count) each; where there are not so many, -inf in ranks."""
        ranks = self.ranks if ranks is None else ranks
        size = tf.shape(ranks)[1]
        ranks = tf.pad(ranks, [[0, 0], [0, tf.maximum(count - size, 0)]], constant_values=float("-inf"))
        ranks, places = tf.math.top_k(ranks, count)
        places = tf.minimum(places, size - 1)
        totals, *others = (tf.gather(field, places, batch_dims=1) for field in self[1:])
        return Expansions(ranks, tf.where(ranks > float("-inf"), totals, ranks), *others)

    def sorted(self, key):
        """By falling key, (B, M); equal ones stay in their order."""
        order = tf.argsort(key, direction="DESCENDING", stable=True)
        return Expansions(*(tf.gather(field, order, batch_dims=1) for field in self))

    def first(self, count):
        """The first ones, (B, count) each."""
        return Expansions(*(field[:, :count] for field in self))
