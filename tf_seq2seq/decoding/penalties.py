"""Length penalties: how a hypothesis' log-probability and its length become its score.

With L the number of tokens, END counted, plus `offset`, α the strength and β a constant::

    none         score = log P                            fairseq --unnormalized
    average      score = log P / L^α                      fairseq --lenpen α; OpenNMT-py "avg" is α = 1
    gnmt         score = log P / ((5 + L) / 6)^α          Wu et al. 2016; OpenNMT-py "wu"
    gnmt_tf      score = log P / ((5 + L + 1) / 6)^α      gnmt where L counts START, too, as searches in TensorFlow do
    sockeye      score = log P / ((β + L) / (β + 1))^α    Sockeye; β = 0 is average, β = 5 is gnmt
    word_reward  score = log P + α L                      He et al. 2016; Marian --word-penalty is -α

Without one, a search prefers short hypotheses: every further token makes log P smaller.
"""

import keras
import tensorflow as tf

from tf_seq2seq.errors import InputError

_DIVISORS = {
    "none": lambda lengths, alpha, beta: tf.ones_like(lengths),
    "average": lambda lengths, alpha, beta: lengths**alpha,
    "gnmt": lambda lengths, alpha, beta: ((5.0 + lengths) / 6.0) ** alpha,
    "gnmt_tf": lambda lengths, alpha, beta: ((6.0 + lengths) / 6.0) ** alpha,
    "sockeye": lambda lengths, alpha, beta: ((beta + lengths) / (beta + 1.0)) ** alpha,
    "word_reward": lambda lengths, alpha, beta: tf.ones_like(lengths),
}
_ALPHAS = {"none": 0.0, "average": 1.0, "gnmt": 0.6, "gnmt_tf": 0.6, "sockeye": 1.0, "word_reward": 1.0}


@keras.saving.register_keras_serializable("tf_seq2seq")
class LengthPenalty:
    """A named length penalty; the formulas stand at the top of this module.

    >>> penalty = LengthPenalty("gnmt", alpha=1.0)
    >>> [float(penalty.score(-6.0, length)) for length in (1, 7)]
    [-6.0, -3.0]

    Args:
        name: `none`, `average`, `gnmt`, `gnmt_tf`, `sockeye` or `word_reward`.
        alpha: the strength, without a unit, 0 is no penalty; of `word_reward` nats a token. Default: 0.6 for `gnmt`
            and `gnmt_tf`, 1 for the others.
        beta: the constant of `sockeye`, tokens.
        offset: tokens added to L: -1 leaves END out, 1 counts START.

    The first three may be scalar tensors, all of them or none: they are not checked then, and alpha has no default.

    Raises:
        InputError: if there is no penalty of that name, or a length of one token plus offset is no length.

    Source: Wu et al. 2016, "Google's Neural Machine Translation System", equation 14 (`gnmt`); He et al. 2016, "Improved
        Neural Machine Translation with SMT Features" (`word_reward`); Hieber et al. 2017, "Sockeye".
    """

    def __init__(self, name="gnmt", alpha=None, beta=0.0, offset=0):
        self.offset = int(offset)
        if tf.is_tensor(name):
            self.name, self.alpha, self.beta = name, alpha, beta
            return
        if name not in _DIVISORS:
            raise InputError(f"no length penalty is called {name!r}; choose one of {', '.join(_DIVISORS)}")
        self.name = name
        self.alpha = float(_ALPHAS[name] if alpha is None else alpha)
        self.beta = float(beta)
        self._check()

    def _check(self):
        shortest = 1 + self.offset + {"gnmt": 5, "gnmt_tf": 6, "sockeye": self.beta}.get(self.name, 0)
        if shortest <= 0 and self.name not in ("none", "word_reward"):
            raise InputError(
                f"with offset {self.offset} and beta {self.beta:g} a hypothesis of 1 token is divided by a power of "
                f"{shortest:g}; give larger ones"
            )
        if self.name == "sockeye" and self.beta <= -1:
            raise InputError(f"beta is above -1, not {self.beta:g}: it is part of a divisor")

    def score(self, log_probs, lengths):
        """Scores of hypotheses.

        Args:
            log_probs: float32, nats.
            lengths: the same or a broadcastable shape, numbers of tokens, END counted.

        Returns:
            the broadcast shape, float32.
        """
        lengths = tf.cast(lengths, tf.float32) + self.offset
        if tf.is_tensor(self.name):
            return self._chosen_score(log_probs, lengths)
        if self.name == "word_reward":
            return log_probs + self.alpha * lengths
        return log_probs / _DIVISORS[self.name](lengths, self.alpha, self.beta)

    def _chosen_score(self, log_probs, lengths):
        """All divisors are computed, as there are few lengths, and one is taken."""
        each = tf.stack([divisor(lengths, self.alpha, self.beta) for divisor in _DIVISORS.values()])
        divisors = tf.gather(each, tf.argmax(tf.constant([*_DIVISORS]) == self.name))
        reward = tf.where(self.name == "word_reward", self.alpha, 0.0)
        return (log_probs + reward * lengths) / divisors

    def bound(self, log_probs, shortest, longest):
        """The best score that hypotheses can still get that end between `shortest` and `longest` tokens.

        It is exact: further tokens add at best 0 nats, log_probs are not above 0, and the score of a given log-prob,
        rising or falling with the length throughout, is best at one of the two ends. (Step functions whose logits are
        no log-probs, such as sums with negative weights, may add more than 0 nats: the bound is none then.)

        Args:
            log_probs: float32, nats, of the live hypotheses.
            shortest: tokens, the least length at which they can finish.
            longest: tokens, the largest.

        Returns:
            the broadcast shape, float32.
        """
        return tf.maximum(self.score(log_probs, shortest), self.score(log_probs, longest))

    def get_config(self):
        return {"name": self.name, "alpha": self.alpha, "beta": self.beta, "offset": self.offset}

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
