"""Constraints: what a hypothesis may not say, or says at a price.

A *constraint* is, with the log-probs of the tokens that may follow and what each row has said so far::

    constraint(log_probs (N, W), ids (N, T), time, state) -> (N, W)   -inf: forbidden
    constraint.start(rows)                                -> state    nest, (N, ...) each; () by default
    constraint.advance(state, ids (N,))                   -> state    after a token

`ids` has no start token; from place `time` on it is PAD. A constraint masks or scales what tokens are *chosen* by; the
log-probs that a search reports stay the model's own and are not renormalised. Every strategy takes a list of them.

Shapes: **N** rows, **W** what a step can emit, **T** the most tokens, **M** phrases, **L** the longest one.
"""

import keras
import numpy as np
import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.decoding.beams import positive, rows_each
from tf_seq2seq.decoding.candidates import NEVER
from tf_seq2seq.errors import InputError

_ANY = -1  # in the place of a token


class Switched:
    """A constraint that holds only where a tensor says so.

    >>> ban = Switched(Banned([4]), tf.constant(False))
    >>> ban(tf.zeros([1, 6]), tf.constant([[0]]), 0, ()).numpy().tolist()
    [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]

    Args:
        constraint: a constraint.
        on: () bool tensor.
    """

    def __init__(self, constraint, on):
        self.constraint, self.on = constraint, on
        self.start, self.advance = constraint.start, constraint.advance

    def __call__(self, log_probs, ids, time, state):
        return tf.cond(self.on, lambda: self.constraint(log_probs, ids, time, state), lambda: log_probs)


def marked(ids, valid, log_probs):
    """Which tokens each row names: (N, M) ids, those that are valid and can be emitted, -> (N, W) bool.

    >>> marked(tf.constant([[3, 9, 1]]), tf.constant([[True, True, False]]), tf.zeros([1, 5])).numpy().tolist()
    [[False, False, False, True, False]]
    """
    rows, width = tf.unstack(tf.shape(log_probs))
    ids = tf.where(valid & (ids >= 0) & (ids < width), ids, PAD)
    ids = tf.broadcast_to(ids, [rows, tf.shape(ids)[1]])
    places = tf.reshape(ids + tf.range(rows)[:, None] * width, [-1, 1])
    flat = tf.scatter_nd(places, tf.reshape(tf.cast(ids != PAD, tf.int32), [-1]), [rows * width])
    return tf.reshape(flat > 0, [rows, width])


class _Stateless:
    """A constraint that needs only what has been said."""

    def start(self, rows):
        return ()

    def advance(self, state, ids):
        return state

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("tf_seq2seq")
class NoRepeatNGrams(_Stateless):
    """No sequence of `size` tokens twice in a hypothesis.

    >>> log_probs, said = tf.zeros([1, 8]), tf.constant([[5, 6, 7, 5, 0]])
    >>> NoRepeatNGrams(2)(log_probs, said, 3, ()).numpy().tolist()  # nothing follows 7 yet
    [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    >>> NoRepeatNGrams(2)(log_probs, said, 4, ()).numpy().tolist()  # after 5 came 6
    [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -inf, 0.0]]

    Args:
        size: n, tokens; a () int32 tensor is not checked.
        exclude: token ids; an n-gram with one of these in it may be repeated, e.g. of punctuation.

    Raises:
        InputError: if `size` is below 1.

    Source: Paulus, Xiong and Socher 2018, section 2.5; exclusions as OpenNMT-py's `ignore_when_blocking`.
    """

    def __init__(self, size, exclude=()):
        self.size = positive("size", size)
        self.exclude = [int(token) for token in exclude]

    def __call__(self, log_probs, ids, time, state):
        before = self.size - 1
        starts = tf.range(tf.shape(ids)[1])
        repeated = tf.broadcast_to(starts + before < time, tf.shape(ids))  # (N, T): an n-gram stands there

        def compare(place, repeated):
            last = tf.gather(ids, tf.maximum(time - before + place, 0), axis=1)
            said = tf.roll(ids, -place, axis=1)
            return place + 1, repeated & (said == last[:, None]) & ~self._excluded(said)

        if tf.is_tensor(before):
            _, repeated = tf.while_loop(lambda place, _: place < before, compare, (0, repeated))
        else:
            for place in range(before):
                _, repeated = compare(place, repeated)
        tokens = tf.roll(ids, -before, axis=1)
        return tf.where(marked(tokens, repeated & ~self._excluded(tokens), log_probs), NEVER, log_probs)

    def _excluded(self, ids):
        return tf.reduce_any(ids[..., None] == tf.constant(self.exclude, tf.int32), axis=-1)

    def get_config(self):
        return {"size": self.size, "exclude": self.exclude}


@keras.saving.register_keras_serializable("tf_seq2seq")
class RepetitionPenalty(_Stateless):
    """A token that was said before is chosen as if its log-prob were `penalty` times as far from 0.

    ::

        value(token) = penalty * log P(token)    if it was said, else log P(token)

    A beam search ranks by the sums of these values, so a score is made of them, too; `log_probs` are the model's own.

    >>> RepetitionPenalty(2.0)(tf.constant([[-1.0, -1.0, -3.0]]), tf.constant([[2, 0]]), 1, ()).numpy().tolist()
    [[-1.0, -1.0, -6.0]]

    Args:
        penalty: the factor; 1 is none. A () float32 tensor is not checked.

    Raises:
        InputError: if it is not above 0.

    Source: Keskar et al. 2019, "CTRL", section 4.1, on log-probs instead of logits.
    """

    def __init__(self, penalty=1.2):
        if tf.is_tensor(penalty):
            self.penalty = penalty
            return
        if not penalty > 0:
            raise InputError(f"a repetition penalty is a factor above 0 (1 is none), not {penalty!r}")
        self.penalty = float(penalty)

    def __call__(self, log_probs, ids, time, state):
        said = marked(ids, (tf.range(tf.shape(ids)[1]) < time)[None], log_probs)
        return tf.where(said, log_probs * self.penalty, log_probs)

    def get_config(self):
        return {"penalty": self.penalty}


@keras.saving.register_keras_serializable("tf_seq2seq")
class Banned(_Stateless):
    """Tokens and sequences of tokens that a hypothesis may not contain.

    >>> ban = Banned([4, [5, 6]])
    >>> ban(tf.zeros([2, 7]), tf.constant([[5], [6]]), 1, ()).numpy().tolist()
    [[0.0, 0.0, 0.0, 0.0, -inf, 0.0, -inf], [0.0, 0.0, 0.0, 0.0, -inf, 0.0, 0.0]]

    Args:
        phrases: token ids and lists of token ids; `[UNK]` keeps the unknown token out. Of a text that can be split in
            several ways only the given one is banned.

    Raises:
        InputError: if there is none, or one is empty.
    """

    def __init__(self, phrases):
        self.phrases = [
            [int(phrase)] if np.ndim(phrase) == 0 else [int(i) for i in phrase] for phrase in phrases
        ]
        if not self.phrases or not all(self.phrases):
            raise InputError(f"banned are token ids or lists of at least one, not {phrases!r}")

    def __call__(self, log_probs, ids, time, state):
        longest = max(map(len, self.phrases))
        begun = np.array(
            [[_ANY] * (longest - len(phrase)) + phrase[:-1] for phrase in self.phrases], np.int32
        )
        ends = tf.constant([[phrase[-1] for phrase in self.phrases]], tf.int32)  # (1, M)
        return _without(ends, begun[None], ids, time, log_probs)

    def get_config(self):
        return {"phrases": self.phrases}


def without_banned(phrases, ids, time, log_probs):
    """What `Banned` does, with phrases of each source's own.

    >>> phrases = tf.constant([[[4, 0], [5, 6]], [[0, 0], [0, 0]]])
    >>> without_banned(phrases, tf.constant([[5], [5]]), 1, tf.zeros([2, 7])).numpy().tolist()
    [[0.0, 0.0, 0.0, 0.0, -inf, 0.0, -inf], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]

    Args:
        phrases: (B, M, L) int32, padded with PAD on the right; a row of PAD only bans nothing.
        ids, time, log_probs: as a constraint has them; the rows of a source are adjacent.

    Returns:
        (N, W) float32, -inf where forbidden.
    """
    phrases = tf.pad(phrases, [[0, 0], [0, 0], [0, 1]], constant_values=PAD)  # L is 1 or more
    lengths = tf.math.count_nonzero(phrases != PAD, axis=2, keepdims=True, dtype=tf.int32)  # (B, M, 1)
    longest = tf.shape(phrases)[2]
    ends = tf.gather(phrases, tf.maximum(lengths - 1, 0), batch_dims=2)[:, :, 0]  # (B, M)
    places = tf.range(longest - 1) - (longest - lengths)  # moved to the right
    begun = tf.where(places >= 0, tf.gather(phrases, tf.maximum(places, 0), batch_dims=2), _ANY)
    each = rows_each(ids, phrases)
    return _without(tf.repeat(ends, each, axis=0), tf.repeat(begun, each, axis=0), ids, time, log_probs)


def _without(ends, begun, ids, time, log_probs):
    """Log-probs without the tokens that end phrases, (N or 1, M), whose beginnings (N or 1, M, L-1) were just said."""
    before = tf.shape(begun)[2]
    places = time - before + tf.range(before)  # of the last L - 1 tokens
    last = tf.where(places >= 0, tf.gather(ids, tf.maximum(places, 0), axis=1), -2)  # (N, L-1)
    fits = (begun == _ANY) | (last[:, None] == begun)  # (N, M, L-1)
    return tf.where(marked(ends, tf.reduce_all(fits, axis=2), log_probs), NEVER, log_probs)


@keras.saving.register_keras_serializable("tf_seq2seq")
class AllowedTokens(_Stateless):
    """Only what a function allows.

    >>> even = AllowedTokens(lambda ids, time, width: (tf.range(width) % 2 == 0)[None])
    >>> even(tf.zeros([1, 4]), tf.constant([[0]]), 0, ()).numpy().tolist()
    [[0.0, -inf, 0.0, -inf]]

    Args:
        function: ``function(ids (N, T), time, width) -> (N, W) or (1, W) bool``, of TensorFlow's operations. To save a
            strategy with it, register it with `keras.saving.register_keras_serializable`.
    """

    def __init__(self, function):
        self.function = function

    def __call__(self, log_probs, ids, time, state):
        return tf.where(self.function(ids, time, tf.shape(log_probs)[1]), log_probs, NEVER)

    def get_config(self):
        return {"function": keras.saving.serialize_keras_object(self.function)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["function"]))
