"""Several models as one: ensembles, and shallow fusion with a language model.

Shapes: **B** sources, **N** rows, **W** what a step can emit, **S** source length.
"""

import keras
import numpy as np
import tensorflow as tf

from tf_seq2seq.decoding import candidates
from tf_seq2seq.errors import InputError
from tf_seq2seq.models.contracts import StepOutput


@keras.saving.register_keras_serializable("tf_seq2seq")
class Ensemble(keras.Model):
    """Models with one target vocabulary, asked together at every step.

    ::

        log_probs   log P(token) = sum_m w_m log P_m(token)          a product of experts; weights need not sum to 1
        probs       log P(token) = log sum_m w_m P_m(token)          a mixture; weights sum to 1

    An ensemble's weights sum to 1 (the default is 1/n each). Shallow fusion is ``Ensemble([model, lm], [1.0, 0.3])``, with
    a language model that reads no source. Sums of log-probs are not renormalised unless told to, as in other toolkits, so
    scores are sums of what the formula says.

    >>> from tf_seq2seq.models import zoo
    >>> models = [zoo.luong2015(10, 12, units=4, depth=1) for _ in range(2)]
    >>> ensemble = Ensemble(models, combine="probs")
    >>> step, state, memory = ensemble.begin({"source_ids": tf.constant([[5, 3]])})
    >>> tuple(step(tf.constant([2]), state, memory).log_probs.shape)
    (1, 12)

    Args:
        models: `Seq2Seq` models or anything with ``begin(source) -> step, state, memory``.
        weights: one a model; None for equal ones that sum to 1.
        combine: "log_probs" or "probs".
        renormalize: whether sums of log-probs are made probabilities again.

    Raises:
        InputError: if there is no model, target vocabularies differ in size, or the weights do not fit.

    Source: Sutskever et al. 2014, section 3.6 (ensembles); Gulcehre et al. 2015, section 4.1 (shallow fusion).
    """

    def __init__(self, models, weights=None, combine="log_probs", renormalize=False, **kwargs):
        super().__init__(**kwargs)
        self.models = list(models)
        self.combine = combine
        self.renormalize = bool(renormalize)
        count = max(len(self.models), 1)
        self.shares = [1.0 / count] * count if weights is None else [float(weight) for weight in weights]
        self._check()
        self.built = True

    def _check(self):
        if not self.models:
            raise InputError("an ensemble needs a model or more; none came")
        if len(self.shares) != len(self.models):
            raise InputError(f"{len(self.models)} models need as many weights, not {len(self.shares)}")
        if self.combine not in ("log_probs", "probs"):
            raise InputError(f'combine is "log_probs" or "probs", not {self.combine!r}')
        if self.combine == "probs" and (min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-3):
            raise InputError(f"the weights of a mixture are shares of 1, not {self.shares}")
        decoders = [model.decoder for model in self.models if hasattr(model, "decoder")]
        if len({decoder.vocab_size for decoder in decoders}) > 1:
            sizes = [decoder.vocab_size for decoder in decoders]
            raise InputError(
                f"the models' target vocabularies differ: {sizes} tokens; give models of one vocabulary"
            )

    def get_config(self):
        return {
            **super().get_config(),
            "models": [keras.saving.serialize_keras_object(model) for model in self.models],
            "weights": self.shares,
            "combine": self.combine,
            "renormalize": self.renormalize,
        }

    @classmethod
    def from_config(cls, config):
        models = [keras.saving.deserialize_keras_object(model) for model in config["models"]]
        return cls(**{**config, "models": models})

    def build(self, input_shape=None):
        """Does nothing: the models are built."""

    @property
    def encoder(self):
        """The first model's, which tells the size of the source vocabulary."""
        return getattr(self.models[0], "encoder", None)

    @property
    def decoder(self):
        """The first model's, which tells the size of the target vocabulary."""
        return getattr(self.models[0], "decoder", None)

    def call(self, inputs, training=False):
        """Teacher-forced: {"source_ids", "target_ids"} -> (B, T, V) float32, by the formula above.

        A sum of log-probs is not normalised; what reads logits, such as a perplexity, normalises it.
        """
        logits = [model(inputs, training=training) for model in self.models]
        return self._combined([tf.nn.log_softmax(tf.cast(one, tf.float32)) for one in logits])

    def begin(self, source):
        """The step function of all, their states and their memories."""
        steps, states, memories = zip(*(model.begin(source) for model in self.models))

        def step(ids, state, memory):
            outputs = [one(ids, *carried) for one, *carried in zip(steps, state, memory)]
            logits = self._combined(_of_all_tokens(outputs))
            normalized = self.combine == "log_probs" and not self.renormalize
            states = tuple(output.state for output in outputs)
            return StepOutput(logits, states, self._alignments(outputs), normalized=normalized)

        return step, states, memories

    def _combined(self, log_probs):
        if self.combine == "log_probs":
            return tf.add_n([share * one for share, one in zip(self.shares, log_probs) if share])
        logs = np.log(np.maximum(self.shares, 1e-30))
        return tf.reduce_logsumexp(tf.stack([float(log) + one for log, one in zip(logs, log_probs)]), axis=0)

    def _alignments(self, outputs):
        """The models' weighted mean (N, S) float32, of those that have any; else None."""
        found = [
            (share, one.alignments) for share, one in zip(self.shares, outputs) if one.alignments is not None
        ]
        total = sum(share for share, _ in found)
        return tf.add_n([share / total * one for share, one in found]) if found and total else None


def _of_all_tokens(outputs):
    """The log-probs of outputs over the same tokens, (N, W) each: -inf for those that a model has no column of."""
    log_probs = [candidates.all_log_probs(output) for output in outputs]
    if all(output.columns is None for output in outputs):
        return log_probs
    width = tf.reduce_max([tf.shape(one)[1] for one in log_probs])
    pad = lambda one: tf.pad(one, [[0, 0], [0, width - tf.shape(one)[1]]], constant_values=candidates.NEVER)
    return [pad(one) for one in log_probs]
