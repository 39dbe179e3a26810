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
        parents: int32, the live hypothesis that it is added to; (1, M) as long as it is the same for all sources.
    """

    ranks: Any
    totals: Any
    log_probs: Any
    token_log_probs: Any
    ids: Any
    parents: Any

    @classmethod
    def of_rows(cls, each, *fields):
        """Of the fields but for `parents`, (N, w) each, `each` = k rows a source; their width is known or read."""
        width = fields[0].shape[1] or tf.shape(fields[0])[1]
        fields = (tf.reshape(field, tf.stack([-1, each * width])) for field in fields)  # (N, w) -> (B, k*w)
        return cls(*fields, tf.repeat(tf.range(each), width)[None])

    def best(self, count, ranks=None):
        """The `count` best by rank, by falling rank, (B, count) each; where there are not so many, -inf in ranks."""
        ranks = self.ranks if ranks is None else ranks
        size = ranks.shape[1] or tf.shape(ranks)[1]
        short = not isinstance(size, int) or size < count
        if short:
            more = tf.maximum(count - size, 0)
            ranks = tf.pad(ranks, [[0, 0], [0, more]], constant_values=float("-inf"))
        ranks, places = tf.math.top_k(ranks, count)
        places = tf.minimum(places, size - 1) if short else places
        take = lambda field: tf.gather(field, places, batch_dims=1)
        shared = self.parents.shape[0] == 1  # the same for all sources
        parents = tf.gather(self.parents[0], places) if shared else take(self.parents)
        return Expansions(ranks, *map(take, self[1:-1]), parents)

    def sorted(self, key):
        """By falling key, (B, M); equal ones stay in their order."""
        order = tf.argsort(key, direction="DESCENDING", stable=True)
        parents = tf.broadcast_to(self.parents, tf.shape(self.ids))
        return Expansions(*(tf.gather(field, order, batch_dims=1) for field in (*self[:-1], parents)))

    def first(self, count):
        """The first ones, (B, count) each."""
        return Expansions(*(field[:, :count] for field in self))
