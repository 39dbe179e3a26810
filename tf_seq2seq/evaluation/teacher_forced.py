"""How likely a model thinks the references, and how sure it is: numbers of the teacher-forced pass.

Shapes: **B** batch, **S** source length, **T** target length, **M** real tokens, **V** vocabulary.
"""

from typing import NamedTuple

import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD, START
from tf_seq2seq.evaluation.information import bits_per_token, perplexity


class Likelihood(NamedTuple):
    """Sums over the tokens of a set of references.

    Fields:
        nll_sum: nats.
        entropy_sum: bits, of the output distributions.
        correct: number of tokens that were the likeliest.
        tokens: their number, END counted.
    """

    nll_sum: float
    entropy_sum: float
    correct: float
    tokens: float

    @property
    def perplexity(self):
        """exp of the mean negative log-likelihood of a token."""
        return perplexity(self.nll_sum, self.tokens)

    @property
    def bits_per_token(self):
        """Mean negative log-likelihood of a token in bits."""
        return bits_per_token(self.nll_sum, self.tokens)

    @property
    def token_accuracy(self):
        """Share of tokens that were the likeliest at their place."""
        return self.correct / self.tokens

    @property
    def output_entropy(self):
        """Mean entropy in bits of the distribution over the next token."""
        return self.entropy_sum / self.tokens


def output_entropy(logits, mask):
    """Mean entropy of a model's output distributions over the real tokens of a batch.

    ::

        H_t = -sum_v p_t(v) log2 p_t(v)      p_t = softmax(logits_t)

    >>> float(output_entropy(tf.zeros((1, 2, 8)), [[True, False]]))
    3.0

    Args:
        logits: (B, T, V), any floating dtype.
        mask: (B, T) bool, True at real tokens.

    Returns:
        scalar float32, bits.
    """
    return tf.reduce_mean(_entropies(tf.boolean_mask(logits, mask)))  # (B, T, V) -> (M, V) -> ()


def likelihood(generator, batches):
    """Sums the teacher-forced likelihood of references.

    Args:
        generator: a `TextGenerator`; its model and its two text processors are used.
        batches: iterable of (sources, references), each (B,) string.

    Returns:
        `Likelihood`.
    """
    text = tf.TensorSpec((None,), tf.string)
    sums = tf.function(
        lambda sources, references: _sums(generator, sources, references), input_signature=[text, text]
    )
    total = sum(
        sums(tf.constant(sources), tf.constant(references)).numpy() for sources, references in batches
    )
    return Likelihood(*map(float, total))


def _sums(generator, sources, references):
    """The four sums of one batch, (4,) float64."""
    labels = generator.target_text.dense(references)  # (B, T)
    target_ids = tf.concat([tf.fill((tf.shape(labels)[0], 1), START), labels[:, :-1]], axis=1)
    source_ids = generator.source_text.dense(sources)
    logits = generator.model({"source_ids": source_ids, "target_ids": target_ids}, training=False)
    mask = labels != PAD
    logits, labels = tf.boolean_mask(logits, mask), tf.boolean_mask(labels, mask)  # (M, V), (M,)
    nll = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))
    correct = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
    columns = tf.stack([nll, _entropies(logits), tf.cast(correct, tf.float32), tf.ones_like(nll)])  # (4, M)
    return tf.reduce_sum(tf.cast(columns, tf.float64), axis=1)


def _entropies(logits):
    """(..., V) -> (...) float32, bits."""
    log_probs = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    return -tf.reduce_sum(tf.exp(log_probs) * log_probs, axis=-1) / tf.math.log(2.0)
