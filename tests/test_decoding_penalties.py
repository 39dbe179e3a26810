"""Length penalties against their formulas, and the bound that the optimal stop stands on."""

import keras
import numpy as np
import pytest

from tf_seq2seq.decoding.penalties import LengthPenalty, as_length_penalty
from tf_seq2seq.errors import InputError

FORMULAS = {
    "none": lambda length, alpha: 1.0,
    "average": lambda length, alpha: length**alpha,
    "gnmt": lambda length, alpha: ((5 + length) / 6) ** alpha,
    "gnmt_tf": lambda length, alpha: ((5 + length + 1) / 6) ** alpha,
    "sockeye": lambda length, alpha: ((0.5 + length) / 1.5) ** alpha,
}
BETAS = {"sockeye": 0.5}


def made(name, alpha, **options):
    return LengthPenalty(name, alpha, BETAS.get(name, 0.0), **options)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("alpha", [-0.7, 0.0, 0.6, 1.0, 2.0])
def test_scores_are_the_formula(name, alpha):
    lengths = np.arange(1, 40)
    expected = [-7.5 / FORMULAS[name](float(length), alpha) for length in lengths]
    np.testing.assert_allclose(made(name, alpha).score(-7.5, lengths), expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", [-0.7, 0.0, 2.0])
def test_a_word_reward_adds_nats_a_token(alpha):
    assert float(LengthPenalty("word_reward", alpha).score(-7.5, 3)) == pytest.approx(-7.5 + 3 * alpha)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("offset", [-1, 1])
def test_an_offset_changes_what_counts(name, offset):
    """END left out, or START counted."""
    if (name, offset) == ("average", -1):
        pytest.skip("refused: a hypothesis of END alone would be divided by 0")
    expected = -7.5 / FORMULAS[name](4.0 + offset, 0.6)
    np.testing.assert_allclose(made(name, 0.6, offset=offset).score(-7.5, 4), expected, rtol=1e-5)


def test_gnmt_tf_is_gnmt_with_start_counted():
    lengths = np.arange(1, 9)
    shifted = LengthPenalty("gnmt", 0.8, offset=1).score(-3.0, lengths)
    np.testing.assert_array_equal(LengthPenalty("gnmt_tf", 0.8).score(-3.0, lengths), shifted)


@pytest.mark.parametrize("options", [{"name": "average", "offset": -1}, {"name": "sockeye", "beta": -1.0}])
def test_a_penalty_that_divides_by_nothing_is_refused(options):
    with pytest.raises(InputError, match=r"offset|beta"):
        LengthPenalty(**options)


@pytest.mark.parametrize("name", [*FORMULAS, "word_reward"])
@pytest.mark.parametrize("alpha", [-0.7, 0.0, 0.6, 1.0, 2.0])
def test_the_bound_is_the_best_score_of_any_length(name, alpha):
    penalty = made(name, alpha)
    scores = penalty.score(-7.5, np.arange(4, 31)).numpy()
    assert float(penalty.bound(-7.5, 4, 30)) == scores.max()


def test_a_penalty_comes_from_a_name_an_object_or_its_serialised_form():
    penalty = LengthPenalty("average", 0.4)
    assert as_length_penalty(penalty) is penalty
    again = as_length_penalty(keras.saving.serialize_keras_object(penalty))
    assert (again.name, again.alpha) == ("average", 0.4)
    assert as_length_penalty("gnmt").alpha == 0.6
