"""What a search is told of each source besides the model: lengths, starts, forced tokens, seeds.

Shapes: **B** sources, **S** source length, **P** length of a forced beginning, **C** phrases of a source,
**M** banned sequences, **L** their length.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD, START
from tf_seq2seq.errors import InputError

_ODD = 6364136223846793005  # Knuth's multiplier of linear congruential generators, for hashing


class Conditions(NamedTuple):
    """Conditions of a search, one row a source; every field may be left out.

    >>> Conditions(limit=[3, 5]).of(rows=2).limit.numpy().tolist()
    [3, 5]

    Fields:
        start_ids: () or (B,) int32, the token before the first one; START if left out.
        limit: () or (B,) int32, the most tokens, END counted, where that is less than the strategy's maximum.
        source_mask: (B, S) bool, True at real source tokens: lengths relative to the source and coverage penalties
            need it.
        prefix: (B, P) int32, padded with PAD on the right: the tokens that the target begins with; they count in
            length and score. Constraints, penalties of repetition and the least length do not hold for them, phrases
            and the limit do; what comes after them knows of them.
        phrases: (B, C, L) int32, padded with PAD on the right: sequences of tokens that the target must contain; a row
            of PAD only is none.
        banned: (B, M, L) int32, padded like phrases: sequences of tokens that the target may not contain, where it is not
            forced to.
        seeds: (B,) integers for strategies that draw; a row with the same seed draws the same in any batch.
    """

    start_ids: Any = None
    limit: Any = None
    source_mask: Any = None
    prefix: Any = None
    phrases: Any = None
    seeds: Any = None
    banned: Any = None

    def of(self, rows):
        """The same as tensors of B = `rows`; what was left out stays (), `start_ids` and `seeds` excepted.

        Raises:
            InputError: for a field whose rank is wrong; the message names it.
        """
        start_ids = START if self.start_ids is None else self.start_ids
        seeds = tf.range(rows) if self.seeds is None else self.seeds
        return Conditions(
            start_ids=tf.broadcast_to(tf.cast(start_ids, tf.int32), [rows]),
            limit=() if self.limit is None else tf.broadcast_to(tf.cast(self.limit, tf.int32), [rows]),
            source_mask=_field("source_mask", self.source_mask, 2, tf.bool),
            prefix=_field("prefix", self.prefix, 2, tf.int32),
            phrases=_field("phrases", self.phrases, 3, tf.int32),
            seeds=_field("seeds", seeds, 1, tf.int64),
            banned=_field("banned", self.banned, 3, tf.int32),
        )

    def source_lengths(self, why):
        """(B,) int32, tokens of each source; `why` they are needed, for the error where they are not known."""
        if isinstance(self.source_mask, tuple):
            raise InputError(f"{why} needs to know the sources' lengths: give Conditions(source_mask=...)")
        return tf.math.count_nonzero(self.source_mask, axis=1, dtype=tf.int32)

    def forced(self, time):
        """The token that each source's target has at a step, (B,) int32; PAD where it is free."""
        length = tf.shape(self.prefix)[1]
        padded = tf.pad(self.prefix, [[0, 0], [0, 1]], constant_values=PAD)
        return padded[:, tf.minimum(time, length)]


def of_sources(source_ids):
    """The `Conditions` that sources bring themselves: their mask, and seeds made of their ids.

    Equal sources have equal seeds, in whatever batch and with however much padding they come.

    >>> of_sources(tf.constant([[5, 3, 0], [3, 5, 0]])).seeds.numpy().tolist() == [
    ...     int(of_sources(tf.constant([ids])).seeds[0]) for ids in ([5, 3], [3, 5])
    ... ]
    True

    Args:
        source_ids: (B, S) int32, padded with PAD on the right.
    """
    powers = tf.math.cumprod(tf.fill([tf.shape(source_ids)[1]], tf.constant(_ODD, tf.int64)))  # modulo 2^64
    return Conditions(
        source_mask=source_ids != PAD, seeds=tf.reduce_sum(tf.cast(source_ids, tf.int64) * powers, axis=1)
    )


def as_conditions(conditions, rows):
    """`Conditions` of tensors from `Conditions` or None."""
    return (Conditions() if conditions is None else conditions).of(rows)


def _field(name, value, rank, dtype):
    if value is None:
        return ()
    value = tf.cast(value.to_tensor(PAD) if isinstance(value, tf.RaggedTensor) else value, dtype)
    if value.shape.rank not in (None, rank):
        raise InputError(f"{name} has {rank} axes, one row a source first; shape {value.shape} came")
    return value
