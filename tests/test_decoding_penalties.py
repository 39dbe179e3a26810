"""Length penalties against their formulas, and the bound that the optimal stop stands on."""

import keras
import numpy as np
import pytest

from tf_seq2seq.decoding.penalties import LengthPenalty, as_length_penalty

FORMULAS = {
    "none": lambda length, alpha: 1.0,
    "average": lambda length, alpha: length**alpha,
    "gnmt": lambda length, alpha: ((5 + length) / 6) ** alpha,
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("alpha", [-0.7, 0.0, 0.6, 1.0, 2.0])
def test_scores_are_the_formula(name, alpha):
    lengths = np.arange(1, 40)
    expected = [-7.5 / FORMULAS[name](float(length), alpha) for length in lengths]
    np.testing.assert_allclose(LengthPenalty(name, alpha).score(-7.5, lengths), expected, rtol=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("alpha", [-0.7, 0.0, 0.6, 1.0, 2.0])
def test_the_bound_is_the_best_score_of_any_length(name, alpha):
    penalty = LengthPenalty(name, alpha)
    scores = penalty.score(-7.5, np.arange(4, 31)).numpy()
    assert float(penalty.bound(-7.5, 4, 30)) == scores.max()


def test_a_penalty_comes_from_a_name_an_object_or_its_serialised_form():
    penalty = LengthPenalty("average", 0.4)
    assert as_length_penalty(penalty) is penalty
    again = as_length_penalty(keras.saving.serialize_keras_object(penalty))
    assert (again.name, again.alpha) == ("average", 0.4)
    assert as_length_penalty("gnmt").alpha == 0.6
