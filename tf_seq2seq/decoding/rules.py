"""What stands between a model's distribution and a strategy's choice: constraints, least length, forced beginnings.

Shapes: **B** sources, **K** live hypotheses a source, **N** rows, **W** what a step can emit, **T** the most tokens.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.decoding import beams, candidates, lengths
from tf_seq2seq.decoding.candidates import NEVER, Candidates
from tf_seq2seq.decoding.constraints import without_banned
from tf_seq2seq.errors import InputError


class Followed(NamedTuple):
    """What rules need to know of live hypotheses, part of a strategy's beam.

    Fields:
        least: (B,) int32, the fewest tokens, END counted; () for none.
        ids: (B, K, T) int32, what has been said, PAD from there on; () where nothing reads it.
        states: the constraints' own, a tuple of nests of (B, K, ...).
    """

    least: Any
    ids: Any
    states: Any


class Rules:
    """The constraints of a strategy and its least length.

    Args:
        constraints: see `constraints`; serialised ones are read.
        min_length: the fewest tokens, END counted, an int or (a, b) for a times the source's length plus b.

    Raises:
        InputError: if a constraint is none, or the length is no length.
    """

    def __init__(self, constraints=(), min_length=1):
        self.constraints = [
            keras.saving.deserialize_keras_object(one) if isinstance(one, dict) else one
            for one in constraints
        ]
        self.min_length = lengths.checked("min_length", min_length)
        for one in self.constraints:
            if not all(hasattr(one, name) for name in ("__call__", "start", "advance")):
                raise InputError(f"{one!r} is no constraint: see tf_seq2seq.decoding.constraints")

    def nothing(self, followed, conditions):
        """Whether nothing stands between distribution and choice, but that PAD and START may not be emitted."""
        return isinstance(followed.least, tuple) and not self._anything(conditions)

    def _anything(self, conditions):
        """Whether more than a least length stands between them."""
        return not (isinstance(conditions.prefix, tuple) and isinstance(conditions.banned, tuple)) or bool(
            self.constraints
        )

    def get_config(self):
        """The two arguments, serialised."""
        return {
            "constraints": [keras.saving.serialize_keras_object(one) for one in self.constraints],
            "min_length": lengths.as_config(self.min_length),
        }

    def start(self, conditions, rows, width, longest):
        """`Followed` of empty hypotheses."""
        least = ()
        if tf.is_tensor(self.min_length) or self.min_length != 1:
            least = tf.broadcast_to(lengths.of_each("min_length", self.min_length, conditions), [rows])
        if not self.constraints and isinstance(conditions.banned, tuple):
            return Followed(least, (), ())
        states = [one.start(rows * width) for one in self.constraints]
        return Followed(
            least, tf.fill([rows, width, longest], PAD), tuple(_split(state, width) for state in states)
        )

    def best(self, output, count, time, followed, conditions):
        """`Candidates` with at least the `count` best tokens that may be emitted, if there are so many."""
        if self._anything(conditions):
            values, log_probs = self.all(output, time, followed, conditions)
            values, ids = candidates.top_k(values, count)
            return Candidates(values, tf.gather(log_probs, ids, batch_dims=1), ids)
        if isinstance(followed.least, tuple):
            return candidates.best_tokens(output, count)
        found = candidates.best_tokens(output, count + 1)
        early = _each_row(time + 1 < followed.least, found.ids)
        return found._replace(values=tf.where((found.ids == END) & early, NEVER, found.values))

    def all(self, output, time, followed, conditions):
        """All tokens: the values that they are chosen by, -inf where they may not be, and log-probs, (N, W) each."""
        log_probs = candidates.all_log_probs(output)
        ids = tf.range(tf.shape(log_probs)[1])
        values = tf.where((ids == PAD) | (ids == START), NEVER, log_probs)
        if not isinstance(followed.ids, tuple):
            said, states = self._rows(followed, log_probs)
            if not isinstance(conditions.banned, tuple):
                values = without_banned(conditions.banned, said, time, values)
            for one, state in zip(self.constraints, states):
                values = one(values, said, time, state)
        if not isinstance(followed.least, tuple):
            early = _each_row(time + 1 < followed.least, log_probs)
            values = tf.where((ids == END) & early, NEVER, values)
        if not isinstance(conditions.prefix, tuple):
            forced = _each_row(conditions.forced(time), log_probs)
            values = tf.where(forced == PAD, values, tf.where(ids == forced, log_probs, NEVER))
        return values, log_probs

    def _rows(self, followed, rows):
        """What live hypotheses said and the states, as rows; of the first step one a source."""
        each = beams.rows_each(rows, followed.ids)
        join = lambda leaf: _joined(leaf[:, :each])
        return join(followed.ids), tf.nest.map_structure(join, followed.states)

    def advance(self, followed, time, ids, parents=None):
        """`Followed` after the tokens (B, K) were said by what continues the parents (B, K), or by each itself."""
        if isinstance(followed.ids, tuple):
            return followed
        width = tf.shape(ids)[1]
        own = lambda leaf: leaf if parents is None else tf.gather(leaf, parents, batch_dims=1)
        now = tf.range(tf.shape(followed.ids)[2]) == time
        states = []
        for one, state in zip(self.constraints, followed.states):
            joined = tf.nest.map_structure(lambda leaf: _joined(own(leaf)), state)
            states.append(_split(one.advance(joined, tf.reshape(ids, [-1])), width))
        return Followed(followed.least, tf.where(now, ids[:, :, None], own(followed.ids)), tuple(states))


def _each_row(of_sources, rows):
    """(B,) -> (N, 1), the same for all rows of a source."""
    return tf.repeat(of_sources, beams.rows_each(rows, of_sources))[:, None]


def _joined(leaf):
    size, more = tf.shape(leaf)[:2], tf.shape(leaf)[2:]
    return tf.reshape(leaf, tf.concat([[size[0] * size[1]], more], axis=0))  # (B, K, ...) -> (N, ...)


def _split(state, width):
    """(N, ...) -> (B, K, ...), every leaf."""
    split = lambda leaf: tf.reshape(
        leaf, tf.concat([[tf.shape(leaf)[0] // width, width], tf.shape(leaf)[1:]], axis=0)
    )
    return tf.nest.map_structure(split, state)
