"""Length penalties: what a hypothesis' log-probability is divided by to become its score.

With L the number of tokens, END counted, and α the strength::

    none       score = log P
    average    score = log P / L^α
    gnmt       score = log P / ((5 + L) / 6)^α

Without one, a search prefers short hypotheses: every further token makes log P smaller.
"""

import keras
import tensorflow as tf

from tf_seq2seq.errors import InputError

_DIVISORS = {
    "none": lambda lengths, alpha: tf.ones_like(lengths),
    "average": lambda lengths, alpha: lengths**alpha,
    "gnmt": lambda lengths, alpha: ((5.0 + lengths) / 6.0) ** alpha,
}
_ALPHAS = {"none": 0.0, "average": 1.0, "gnmt": 0.6}


@keras.saving.register_keras_serializable("tf_seq2seq")
class LengthPenalty:
    """A named length penalty.

    >>> penalty = LengthPenalty("gnmt", alpha=1.0)
    >>> [float(divisor) for divisor in penalty([1, 7])]
    [1.0, 2.0]

    Args:
        name: `none`, `average` or `gnmt`.
        alpha: the strength, without a unit; 0 is no penalty. Default: 1 for `average`, 0.6 for `gnmt`.

    Raises:
        InputError: if there is no penalty of that name.

    Source: Wu et al. 2016, "Google's Neural Machine Translation System", equation 14 (`gnmt`).
    """

    def __init__(self, name="gnmt", alpha=None):
        if name not in _DIVISORS:
            raise InputError(f"no length penalty is called {name!r}; choose one of {', '.join(_DIVISORS)}")
        self.name = name
        self.alpha = float(_ALPHAS[name] if alpha is None else alpha)

    def __call__(self, lengths):
        """What the log-prob of a hypothesis of `lengths` tokens is divided by.

        Args:
            lengths: any shape, numbers of tokens, END counted.

        Returns:
            the same shape, float32, above 0.
        """
        return _DIVISORS[self.name](tf.cast(lengths, tf.float32), self.alpha)

    def score(self, log_probs, lengths):
        """Scores (float32) of hypotheses with `log_probs` (float32, nats) and `lengths` (tokens)."""
        return log_probs / self(lengths)

    def bound(self, log_probs, shortest, longest):
        """The best score that hypotheses can still get that end between `shortest` and `longest` tokens.

        It is exact: further tokens add at best 0 nats, log_probs are not above 0, and the divisor, rising or
        falling with the length throughout, is largest at one of the two ends.

        Args:
            log_probs: float32, nats, of the live hypotheses.
            shortest: tokens, the least length at which they can finish.
            longest: tokens, the largest.

        Returns:
            the broadcast shape, float32.
        """
        return log_probs / tf.maximum(self(shortest), self(longest))

    def get_config(self):
        return {"name": self.name, "alpha": self.alpha}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def as_length_penalty(penalty):
    """A `LengthPenalty` from one, from its name or from its serialised form.

    >>> as_length_penalty("average").alpha
    1.0
    """
    if isinstance(penalty, str):
        return LengthPenalty(penalty)
    if isinstance(penalty, dict):
        return keras.saving.deserialize_keras_object(penalty)
    return penalty
