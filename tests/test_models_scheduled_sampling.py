"""Scheduled sampling: the decays in numbers, what the decoder reads against a plain loop and against greedy search.

Shapes: **B** batch, **T** target length, **V** vocabulary.
"""

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.errors import InputError
from tf_seq2seq.models.objectives import maximum_likelihood
from tf_seq2seq.models.scheduled_sampling import (
    ExponentialTeacher,
    InverseSigmoidTeacher,
    LinearTeacher,
    ScheduledSampling,
    picked,
)

SOME = [*batteries.ZOO, *[*batteries.DECODERS][1::9]]


def compiled(name, **options):
    """A model of the batteries with weights that make its choices differ, run eagerly."""
    model = batteries.searchable(name) if name in batteries.ZOO else batteries.shared(name)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True, **options)
    return model


def read(model, objective, inputs):
    """What the decoder reads."""
    state, memory = model.start(inputs)
    return objective.read_ids(model, tf.constant(inputs["target_ids"]), state, memory).numpy()


def test_the_decays_are_the_papers():
    steps = np.array([0, 1, 10, 1000, 100_000])
    for teacher, expected in [
        (LinearTeacher(slope=2e-4, start=0.9, least=0.1), np.maximum(0.1, 0.9 - 2e-4 * steps)),
        (ExponentialTeacher(k=0.999), 0.999**steps),
        (InverseSigmoidTeacher(k=50.0), 50 / (50 + np.exp(np.minimum(steps / 50, 700)))),
    ]:
        shares = [float(teacher(tf.constant(step, tf.int64))) for step in steps]
        np.testing.assert_allclose(shares, expected, rtol=1e-4, atol=1e-7)


def test_the_share_follows_the_optimizers_step():
    model = compiled("luong2015")
    objective = ScheduledSampling(LinearTeacher(slope=0.25))
    inputs, _ = batteries.batch(rows=400)
    own = [0, 1, 2, 3, 4]
    real = (inputs["target_ids"] != PAD) & (inputs["target_ids"] != START)
    seen = []
    objective.choice = "likeliest"
    for step in own:
        model.optimizer.iterations.assign(step)
        other = read(model, objective, {**inputs, "target_ids": np.where(real, 10, inputs["target_ids"])})
        seen.append((other != 10)[real].mean())
    assert seen[0] == 0
    np.testing.assert_allclose(np.array(seen) / seen[-1], [0, 0.25, 0.5, 0.75, 1], atol=0.08)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", SOME)
def test_a_teacher_alone_is_teacher_forcing(name, exact):
    model = compiled(name)
    inputs, labels = batteries.batch()
    batch = (inputs, labels, None)
    found = ScheduledSampling(1.0, exact=exact)(model, batch, True)
    expected = maximum_likelihood(model, batch, True)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("name", batteries.ZOO)
def test_without_a_teacher_it_reads_what_greedy_search_finds(name):
    model = compiled(name)
    inputs, _ = batteries.batch(rows=6, target_length=7)
    inputs["target_ids"] = np.full([6, 7], 4, "int32")
    inputs["target_ids"][:, 0] = START
    found = batteries.search(Greedy(max_length=6), model, inputs["source_ids"]).ids.numpy()[:, 0]
    ids = read(model, ScheduledSampling(0.0, "likeliest"), inputs)
    assert (ids[:, 0] == START).all()
    compared = 0
    for row, hypothesis in zip(ids[:, 1:], found):
        length = np.argmax(hypothesis == END) + 1 if END in hypothesis else len(hypothesis)
        np.testing.assert_array_equal(row[:length], hypothesis[:length])
        compared += length
    assert compared > len(found) and len({row.tobytes() for row in ids}) > 1


@pytest.mark.parametrize("name", SOME)
def test_half_a_teacher_is_a_loop_of_steps(name):
    """Each place holds the reference or the likeliest token after all that was read before it."""
    model = compiled(name)
    inputs, _ = batteries.batch(rows=5, target_length=6, seed=4)
    ids = read(model, ScheduledSampling(0.5, "likeliest", seed=3), inputs)
    reference = inputs["target_ids"]
    np.testing.assert_array_equal(ids[reference == PAD], PAD)
    np.testing.assert_array_equal(ids[:, 0], reference[:, 0])
    state, memory = model.start(inputs)
    differs = 0
    for time in range(5):
        logits, state, _ = model.step(tf.constant(ids[:, time]), state, memory)[:3]
        likeliest = np.argmax(np.where(np.isin(np.arange(batteries.TARGET_V), [PAD, START]), -1e9, logits), 1)
        after = ids[:, time + 1]
        real = reference[:, time + 1] != PAD
        assert ((after == reference[:, time + 1]) | (after == likeliest))[real].all()
        differs += (after != reference[:, time + 1])[real].sum()
    assert differs > 1


@pytest.mark.parametrize("name", ["luong2015", "plain"])
def test_all_choices_at_once_follow_the_reference(name):
    model = compiled(name)
    inputs, _ = batteries.batch(rows=5, target_length=6, seed=4)
    ids = read(model, ScheduledSampling(0.0, "likeliest", exact=False), inputs)
    logits = np.where(np.isin(np.arange(batteries.TARGET_V), [PAD, START]), -1e9, model(inputs))
    expected = inputs["target_ids"].copy()
    expected[:, 1:] = np.where(expected[:, 1:] != PAD, logits.argmax(-1)[:, :-1], PAD)
    np.testing.assert_array_equal(ids, expected)


def test_draws_follow_the_distribution_and_the_seed():
    probs = np.array([0.3, 0.1, 0.2, 0.1, 0.1, 0.2])
    logits = tf.constant(np.log(np.tile(probs, [20_000, 1])), tf.float32)
    ids = picked(logits, tf.constant([1, 2])).numpy()
    counts = np.bincount(ids, minlength=6) / len(ids)
    np.testing.assert_allclose(counts, [0, 0.2, 0, 0.2, 0.2, 0.4], atol=0.015)
    np.testing.assert_array_equal(ids, picked(logits, tf.constant([1, 2])))
    assert (ids != picked(logits, tf.constant([1, 3])).numpy()).any()
    assert picked(logits[:0], tf.constant([1, 2])).shape == (0,)


def test_coins_depend_on_seed_step_and_batch_and_on_nothing_else():
    model = compiled("luong2015")
    inputs, _ = batteries.batch(rows=30)
    first = read(model, ScheduledSampling(0.5), inputs)
    np.testing.assert_array_equal(first, read(model, ScheduledSampling(0.5), inputs))
    assert (first != read(model, ScheduledSampling(0.5, seed=1), inputs)).any()
    model.optimizer.iterations.assign(1)
    assert (first != read(model, ScheduledSampling(0.5), inputs)).any()


@pytest.mark.parametrize("exact", [True, False])
def test_the_gradient_is_that_of_the_target_that_was_read(exact):
    """No gradient through a choice: the same as teacher forcing on the mixed target."""
    model = compiled("luong2015")
    inputs, labels = batteries.batch(rows=5, seed=4)
    objective = ScheduledSampling(0.3, exact=exact)
    mixed = {**inputs, "target_ids": read(model, objective, inputs)}
    assert (mixed["target_ids"] != inputs["target_ids"]).any()
    found = []
    for one, data in ((objective, inputs), (maximum_likelihood, mixed)):
        with tf.GradientTape() as tape:
            loss = one(model, (data, labels, None), True)[0]
        gradients = tape.gradient(loss, model.trainable_weights)
        found.append([tf.convert_to_tensor(gradient).numpy() for gradient in gradients])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"choice": "best"}, {"teacher": 1.5}])
def test_what_cannot_be_is_refused(options):
    with pytest.raises(InputError, match=r"choice is one of|teacher is a share"):
        ScheduledSampling(**{"teacher": 0.5} | options)
