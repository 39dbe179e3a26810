"""Softmax over a sample of a large vocabulary, for training only.

Shapes: **M** real tokens, **D** feature size, **V** vocabulary, **C** candidates.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.errors import InputError
from tf_seq2seq.layers.affine import affine
from tf_seq2seq.models.draws import step_seed
from tf_seq2seq.models.objectives import (
    label_smoothing_of,
    maximum_likelihood,
    real_tokens,
    token_cross_entropy,
    weighted_sums,
)


@keras.saving.register_keras_serializable("tf_seq2seq")
class SampledSoftmax:
    """Likelihood whose normalizer is estimated from some of the vocabulary.

    The candidates C of a batch are its labels L and a sample of the rest: token k with probability pi_k,
    independently. What is sampled stands for what is not::

        loss = log sum_{c in C} exp(o_c - log pi_c) - o_y        pi = 1 for labels
        pi_k = min(1, a log((k + 2) / (k + 1)))                  a such that `samples` are drawn on average

    The sum is an unbiased estimate of the normalizer; its logarithm is not, and the gradient therefore neither: on
    average the loss is too low and wrong tokens are pushed down too little. The bias shrinks as samples grow and is 0
    when all tokens are candidates. Choose `samples` as large as time allows, and read quality off the validation,
    which uses the whole softmax, as search does. Label smoothing of the loss given to `compile` is kept, its
    mean over the vocabulary estimated without bias; "perplexity" of training is the estimate, "accuracy" is among
    candidates, and metrics given to `compile` see validation only.

    Time of a step and largest memory of the process, 640 target tokens, 256 units, Adam, one core; the rest is mostly
    the update, which moves the whole projection::

        vocabulary             full      8,192 samples    2,048 samples
        50,000 tied      373 ms 1.25 GiB  141 ms 1.19 GiB  108 ms 1.13 GiB
        50,000           370 ms 1.34 GiB  138 ms 1.32 GiB   89 ms 1.21 GiB
        100,000 tied     673 ms 1.71 GiB  151 ms 1.49 GiB  113 ms 1.35 GiB
        100,000          678 ms 1.90 GiB  159 ms 1.70 GiB  112 ms 1.65 GiB

    A token's probability takes ids for ranks: as vocabularies here are made, frequent tokens come first.

    >>> SampledSoftmax(samples=4096).get_config()
    {'samples': 4096, 'seed': 0}

    Args:
        samples: how many tokens are drawn on average at a step, labels not counted; with V or more all are.
        seed: int.

    Raises:
        InputError: for fewer than 1 sample; at the first step for a loss other than `SequenceCrossEntropy`.

    Source:
        Jean et al. 2015, On Using Very Large Target Vocabulary for Neural Machine Translation, section 3; Bengio and
        Senecal 2008, for the correction; independent draws (Poisson sampling) make their weights exact.
    """

    def __init__(self, samples=8192, seed=0):
        if samples < 1:
            raise InputError(f"samples is a number of tokens, 1 or more, not {samples!r}; 8192 is usual")
        self.samples = samples
        self.seed = seed

    def get_config(self):
        return {"samples": self.samples, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __call__(self, model, batch, training):
        """The objective, as `models.contracts` has it."""
        if not training:
            return maximum_likelihood(model, batch, training)
        eps = _label_smoothing(model.loss)
        decoder = model.decoder
        features, labels, weight = real_tokens(model, batch, training)
        candidates = draw_candidates(
            labels, decoder.vocab_size, self.samples, step_seed(self.seed, model, labels)
        )
        losses, nll, right = _estimates(decoder, features, labels, candidates, eps)
        return weighted_sums(losses, nll, right, weight)


class _Candidates(NamedTuple):
    """The part of a vocabulary that a batch is normalised over.

    Fields:
        ids: (C,) int32, rising; PAD is the first, so that no label has slot 0.
        log_chances: (C,) float32, log pi: how likely each was to be among them.
        slots: (V,) int32, the place of each id in `ids`, C for those that are not there.
    """

    ids: Any
    log_chances: Any
    slots: Any


def draw_candidates(labels, vocab_size, samples, seed):
    """The labels of a batch and a sample of all other tokens.

    Args:
        labels: (M,) int32.
        vocab_size: V.
        samples: how many tokens to draw on average.
        seed: (2,) int32.

    Returns:
        ids, log_chances, slots: `_Candidates`.
    """
    chances = tf.constant(chances_of_ranks(vocab_size, samples))
    certain = tf.tensor_scatter_nd_update(
        tf.one_hot(PAD, vocab_size, True, False, dtype=tf.bool),
        labels[:, None],
        tf.ones_like(labels, tf.bool),
    )
    taken = certain | (tf.random.stateless_uniform([vocab_size], seed) < chances)
    ids = tf.cast(tf.where(taken)[:, 0], tf.int32)
    log_chances = tf.math.log(tf.where(tf.gather(certain, ids), 1.0, tf.gather(chances, ids)))
    slots = tf.where(taken, tf.cumsum(tf.cast(taken, tf.int32)) - 1, tf.size(ids))
    return _Candidates(ids, log_chances, slots)


def chances_of_ranks(vocab_size, samples):
    """How likely each id is drawn: proportional to Zipf's law, at most 1, `samples` in sum.

    >>> [round(float(chance), 2) for chance in chances_of_ranks(5, 3)], float(chances_of_ranks(5, 9).sum())
    ([1.0, 0.74, 0.52, 0.41, 0.33], 5.0)

    Args:
        vocab_size: V.
        samples: the sum.

    Returns:
        (V,) float32.
    """
    ranks = np.arange(vocab_size, dtype=np.float64)
    shares = np.log((ranks + 2) / (ranks + 1))
    if samples >= vocab_size:
        return np.ones(vocab_size, "float32")
    first = np.arange(vocab_size)  # of those that are not certain; they share what is left
    scale = (samples - first) / shares[::-1].cumsum()[::-1]
    certain = np.argmax(shares * scale <= 1)
    return np.where(first < certain, 1.0, shares * scale[certain]).astype("float32")


def _estimates(decoder, features, labels, candidates, eps):
    """Loss, nll and rightness of each real token, (M,)."""
    kernel, bias = _selected(decoder, candidates.ids, features.dtype)
    logits = affine(features, kernel, bias, transpose=True)  # (M, C)
    slots = tf.gather(candidates.slots, labels)
    at_label = tf.gather(logits, slots, batch_dims=1)
    right = at_label >= tf.reduce_max(logits, axis=-1)
    losses, nll = token_cross_entropy(logits - tf.cast(candidates.log_chances, logits.dtype), slots)
    if eps:
        shares = tf.cast(tf.exp(-candidates.log_chances) / decoder.vocab_size, features.dtype)[:, None]
        mean = affine(features, tf.matmul(kernel, shares, transpose_a=True))[:, 0]
        mean += tf.reduce_sum(bias * shares[:, 0])
        losses += eps * tf.cast(at_label - mean, tf.float32)
    return losses, nll, right


def _selected(decoder, ids, dtype):
    """The candidates' part of the projection: kernel (C, D) and bias (C,)."""
    kernel = tf.gather(decoder.output_vectors(), ids)
    return tf.cast(kernel, dtype), tf.cast(tf.gather(decoder.projection_bias, ids), dtype)


def _label_smoothing(loss):
    eps = label_smoothing_of(loss)
    if eps is None:
        raise InputError(
            f"SampledSoftmax computes no logits of the whole vocabulary, which the loss {loss!r} reads; "
            "give SequenceCrossEntropy() or none"
        )
    return eps
