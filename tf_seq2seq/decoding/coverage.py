"""Coverage penalties: a hypothesis pays for source tokens that it looked at too little, or too much.

With p_ij the attention that target token j, END counted, pays to source token i, c_i = sum over j of p_ij, S the number of
source tokens and β the strength, what is added to the score (after the length penalty)::

    gnmt      β * sum_i log(min(c_i, 1))           Wu et al. 2016, equation 14; OpenNMT-py "wu", OpenNMT-tf
    summary   -β * (sum_i max(c_i, 1) - S)         OpenNMT-py "summary": repetition costs

`stepwise` ranks live hypotheses by it at every step, too, not only finished ones (OpenNMT-py --stepwise_penalty).

Shapes: **B** sources, **K** hypotheses, **S** source length.
"""

import keras
import tensorflow as tf

from tf_seq2seq.errors import InputError

_LEAST = 1e-9  # attention to a token never looked at; the logarithm stays finite


@keras.saving.register_keras_serializable("tf_seq2seq")
class CoveragePenalty:
    """A named coverage penalty; the formulas stand at the top of this module.

    >>> penalty = CoveragePenalty("summary", beta=2.0)
    >>> penalty(tf.constant([[[1.5, 0.25, 0.0]]]), tf.constant([[True, True, False]])).numpy().tolist()
    [[-1.0]]

    Args:
        name: `gnmt` or `summary`.
        beta: the strength in nats, not below 0; 0 is none.
        stepwise: whether live hypotheses are ranked by it at every step.

    The first two may be scalar tensors: they are not checked then, and a name of no penalty is none.

    Raises:
        InputError: if there is no penalty of that name, or `beta` is below 0.
    """

    def __init__(self, name="gnmt", beta=0.2, stepwise=False):
        self.stepwise = bool(stepwise)
        if tf.is_tensor(name):
            self.name, self.beta = name, beta
            return
        if name not in ("gnmt", "summary"):
            raise InputError(f"no coverage penalty is called {name!r}; choose gnmt or summary")
        if beta < 0:
            raise InputError(f"a coverage penalty's beta is 0 or more, not {beta!r}")
        self.name = name
        self.beta = float(beta)

    def __call__(self, coverage, mask):
        """What is added to the scores.

        Args:
            coverage: (B, K, S) float32, the attention paid to each source token so far.
            mask: (B, S) bool, True at real source tokens.

        Returns:
            (B, K) float32, not above 0.
        """
        little = lambda: tf.math.log(tf.clip_by_value(coverage, _LEAST, 1.0))
        much = lambda: 1.0 - tf.maximum(coverage, 1.0)
        if tf.is_tensor(self.name):
            each = tf.where(self.name == "gnmt", little(), tf.where(self.name == "summary", much(), 0.0))
        else:
            each = little() if self.name == "gnmt" else much()
        return self.beta * tf.reduce_sum(tf.where(mask[:, None], each, 0.0), axis=2)

    def bound(self, coverage, mask):
        """The most that live hypotheses can still get by it: 0 for `gnmt`, what they have for `summary`; (B, K)."""
        if tf.is_tensor(self.name):
            return tf.where(self.name == "summary", self(coverage, mask), 0.0)
        return self(coverage, mask) if self.name == "summary" else tf.zeros(tf.shape(coverage)[:2])

    def get_config(self):
        return {"name": self.name, "beta": self.beta, "stepwise": self.stepwise}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def as_coverage_penalty(penalty):
    """A `CoveragePenalty` or None from one, from its name, from its serialised form or from None."""
    if isinstance(penalty, str):
        return CoveragePenalty(penalty)
    if isinstance(penalty, dict):
        return keras.saving.deserialize_keras_object(penalty)
    return penalty
