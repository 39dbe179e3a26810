"""Entropy and perplexity against sums written out."""

import math

import numpy as np
import pytest

from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.information import bits_per_token, entropy, perplexity, unigram_entropy


@pytest.mark.parametrize("base", [2, math.e, 10])
def test_entropy_is_the_sum(base):
    rows = np.random.default_rng(0).dirichlet(np.ones(6), size=(2, 3))
    expected = [[-sum(p * math.log(p, base) for p in row) for row in block] for block in rows]
    np.testing.assert_allclose(entropy(rows, base), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_entropy_lies_between_a_sure_and_an_even_outcome(size):
    assert entropy(np.eye(size)[0]) == 0
    assert entropy(np.full(size, 1 / size)) == pytest.approx(math.log2(size))
    assert unigram_entropy([3] * size) == 0
    assert unigram_entropy(range(size)) == pytest.approx(math.log2(size))


@pytest.mark.parametrize("probabilities", [[0.5, 0.4], [1.5, -0.5], [[0.5, 0.5], [3, 4]], [np.nan, 1.0]])
def test_what_is_no_distribution_is_refused(probabilities):
    with pytest.raises(InputError, match="each row at least 0 and summing to 1; divide counts by their sum"):
        entropy(probabilities)


def test_no_token_is_refused():
    with pytest.raises(InputError, match="no token to take the entropy of"):
        unigram_entropy([])


def test_perplexity_is_two_to_the_bits():
    assert perplexity(70.0, 20) == pytest.approx(2 ** bits_per_token(70.0, 20))
    assert perplexity(0.0, 5) == 1 and perplexity(1e6, 5) == math.inf
