"""Learning rate schedules against their formulas."""

import keras
import numpy as np
import pytest

from tf_seq2seq.training.schedules import InverseSquareRootSchedule, Warmup, noam_schedule

STEPS = np.array([0, 1, 9, 10, 11, 35, 109, 110, 500])
RISE = np.minimum((STEPS + 1) / 10, 1)
AFTER = np.clip(STEPS - 10, 0, 100) / 100
SCHEDULES = {
    "constant": (Warmup(0.2, 10), 0.2 * RISE),
    "no warm-up": (Warmup(0.2, 0), np.full(len(STEPS), 0.2)),
    "linear": (
        Warmup(keras.optimizers.schedules.PolynomialDecay(0.2, 100, 0.0), 10),
        0.2 * RISE * (1 - AFTER),
    ),
    "cosine": (
        Warmup(keras.optimizers.schedules.CosineDecay(0.2, 100), 10),
        0.2 * RISE * (1 + np.cos(np.pi * AFTER)) / 2,
    ),
    "inverse square root": (
        InverseSquareRootSchedule(0.2, 10),
        0.2 * np.minimum((STEPS + 1) / 10, np.sqrt(10 / (STEPS + 1))),
    ),
    "noam": (
        noam_schedule(64, 10, 2.0),
        2 * 64**-0.5 * np.minimum((STEPS + 1) ** -0.5, (STEPS + 1) * 10**-1.5),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_follows_its_formula_and_survives_serialisation(name):
    schedule, expected = SCHEDULES[name]
    np.testing.assert_allclose([float(schedule(step)) for step in STEPS], expected, rtol=1e-5, atol=1e-8)
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert type(copy) is type(schedule)
    np.testing.assert_allclose([float(copy(step)) for step in STEPS], expected, rtol=1e-5, atol=1e-8)


def test_an_optimizer_takes_a_schedule_and_is_saved_with_it(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(SCHEDULES["linear"][0]), "mse")
    model.fit(np.ones((30, 2)), np.ones(30), batch_size=2, verbose=0)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.2 * 0.95)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert float(copy.optimizer.learning_rate) == pytest.approx(0.2 * 0.95)
