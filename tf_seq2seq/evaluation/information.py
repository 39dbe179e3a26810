"""Probabilities become numbers: perplexity, bits, entropy.

NumPy only, as in `tf_seq2seq.evaluation.scores`.
"""

import collections
import math

import numpy as np

from tf_seq2seq.errors import InputError


def perplexity(nll_sum, tokens):
    """exp of the mean negative log-likelihood of a token.

    Sums over all tokens, not means of batches: batches differ in their numbers of tokens.

    >>> round(perplexity(10 * math.log(8), 10), 6)
    8.0

    Args:
        nll_sum: nats, over all tokens.
        tokens: their number, END counted.

    Returns:
        float.
    """
    mean = nll_sum / tokens
    return math.exp(mean) if mean < 700 else math.inf  # exp of more is no float


def bits_per_token(nll_sum, tokens):
    """Mean negative log-likelihood of a token in bits: the base-2 logarithm of the perplexity.

    >>> round(bits_per_token(10 * math.log(8), 10), 6)
    3.0

    Args:
        nll_sum: nats, over all tokens.
        tokens: their number, END counted.

    Returns:
        float, bits.
    """
    return nll_sum / tokens / math.log(2)


def entropy(probabilities, base=2):
    """Entropy of distributions: 0 when the outcome is sure, log V when V outcomes are equally likely.

    ::

        H(X) = -sum_i p(x_i) log p(x_i)      0 log 0 = 0

    >>> float(entropy([0.5, 0.25, 0.25]))
    1.5

    Args:
        probabilities: (..., V) array, each row of the last axis a distribution.
        base: of the logarithm: 2 gives bits, `math.e` nats.

    Returns:
        (...) float64 array.

    Raises:
        InputError: if a row does not sum to 1 or has a negative entry.

    Source:
        Shannon 1948, A Mathematical Theory of Communication, section 6.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if (p < 0).any() or not np.allclose(p.sum(axis=-1), 1.0, atol=1e-3):
        raise InputError(
            "entropy takes probabilities, each row at least 0 and summing to 1; divide counts by their sum"
        )
    terms = p * np.log(np.where(p > 0, p, 1.0))
    return np.abs(terms.sum(axis=-1)) / math.log(base)


def unigram_entropy(tokens, base=2):
    """Entropy of the distribution of single tokens in a text.

    >>> unigram_entropy("to be or not to be".split())
    1.9182958340544893

    Args:
        tokens: any iterable of hashable tokens.
        base: of the logarithm.

    Returns:
        float, bits for base 2.

    Raises:
        InputError: if there is no token.
    """
    counts = np.array(list(collections.Counter(tokens).values()), dtype=np.float64)
    if not counts.size:
        raise InputError("there is no token to take the entropy of; give a text that is not empty")
    return float(entropy(counts / counts.sum(), base))
