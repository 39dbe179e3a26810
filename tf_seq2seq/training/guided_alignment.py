"""Guided alignment: attention shall look where a word aligner says.

Shapes: **B** batch, **T** target length, **S** source length.
"""

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.errors import InputError
from tf_seq2seq.models.objectives import among_real, feature_sums, maximum_likelihood, token_weights

COSTS = ("cross_entropy", "squared_error")
_TINY = 1e-9


@keras.saving.register_keras_serializable("tf_seq2seq")
class GuidedAlignment:
    """Likelihood, and a cost for attention that looks elsewhere than given alignments.

    ::

        a_ts = A_ts / sum_s' A_ts'                          uniform over the words that token t is aligned to
        cost_t = -sum_s a_ts log alignments_ts              "cross_entropy"
               = sum_s (a_ts - alignments_ts)^2             "squared_error"
        loss = sum_t (loss_t + weight cost_t)

    A token that is aligned to nothing, such as END, costs nothing. The alignments come in the batch's inputs, under
    "alignments": (B, T, S), as `WordAlignments` puts them there. Training logs "alignment_cost", a mean over aligned
    tokens; validation is plain likelihood.

    >>> objective = GuidedAlignment(weight=0.5, decay_steps=1000)
    >>> [round(float(objective.weight_at(step)), 2) for step in (0, 500, 2000)]
    [0.5, 0.25, 0.0]

    Args:
        weight: of the cost, against the likelihood's 1.
        cost: "cross_entropy" or "squared_error".
        decay_steps: in how many steps the weight falls linearly to 0; None: it stays.

    Raises:
        InputError: for another cost or a negative weight; at the first step if batches have no alignments, or the
            model no attention.

    Source:
        Chen et al. 2016, Guided Alignment Training for Topic-Aware Neural Machine Translation, section 3; that
        unaligned tokens cost nothing, and that the weight falls with the steps, is the custom of later toolkits.
    """

    def __init__(self, weight=1.0, cost="cross_entropy", decay_steps=None):
        if cost not in COSTS:
            raise InputError(f"cost is one of {', '.join(COSTS)}, not {cost!r}")
        if weight < 0 or (decay_steps is not None and decay_steps < 1):
            raise InputError(
                f"weight is 0 or more and decay_steps 1 or more, not {weight!r}, {decay_steps!r}"
            )
        self.weight = weight
        self.cost = cost
        self.decay_steps = decay_steps

    def get_config(self):
        return {"weight": self.weight, "cost": self.cost, "decay_steps": self.decay_steps}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def weight_at(self, step):
        """Weight of the cost at a step, () float32."""
        left = 1.0 if self.decay_steps is None else 1.0 - tf.cast(step, tf.float32) / self.decay_steps
        return self.weight * tf.maximum(left, 0.0)

    def __call__(self, model, batch, training):
        """The objective, as `models.contracts` has it."""
        if not training:
            return maximum_likelihood(model, batch, training)
        inputs, labels, sample_weight = batch
        decoder, target_ids = model.decoder, inputs["target_ids"]
        features, looked = model(
            inputs, training=training, decode=lambda *parts: decoder.features(target_ids, *parts, training)
        )
        _check(inputs, looked)
        loss, total, metrics = feature_sums(model, *among_real(features, batch), training)
        real = tf.where(labels != PAD)
        costs, aligned = alignment_costs(
            tf.gather_nd(inputs["alignments"], real), tf.gather_nd(looked, real), self.cost
        )
        weight = token_weights(sample_weight, real) * aligned
        cost = tf.reduce_sum(costs * weight)
        metrics["alignment_cost"] = cost, tf.reduce_sum(weight)
        return loss + self.weight_at(model.optimizer.iterations) * cost, total, metrics


def alignment_costs(given, looked, cost="cross_entropy"):
    """How far attention is from given alignments, for each token.

    >>> costs, _ = alignment_costs([[1.0, 1.0, 0.0]], [[0.5, 0.25, 0.25]])
    >>> round(float(costs[0]), 4)  # -(log 0.5 + log 0.25) / 2
    1.0397

    Args:
        given: (..., S), 0 where there is no link.
        looked: (..., S), rows sum to 1.
        cost: "cross_entropy" or "squared_error".

    Returns:
        costs (...) float32, 0 where nothing is given, and whether something is, (...) float32 of 0 and 1.
    """
    given, looked = tf.cast(given, tf.float32), tf.cast(looked, tf.float32)
    links = tf.reduce_sum(given, axis=-1)
    aligned = tf.cast(links > 0, tf.float32)
    given /= tf.maximum(links, _TINY)[..., None]
    if cost == "cross_entropy":
        costs = -tf.reduce_sum(given * tf.math.log(looked + _TINY), axis=-1)
    else:
        costs = tf.reduce_sum(tf.square(given - looked), axis=-1)
    return costs * aligned, aligned


def _check(inputs, looked):
    if "alignments" not in inputs:
        raise InputError(
            "GuidedAlignment needs alignments in each batch: inputs['alignments'] (B, T, S); "
            "WordAlignments reads a file of them"
        )
    if looked is None:
        raise InputError("GuidedAlignment guides attention, which this model has none of; try luong2015")
