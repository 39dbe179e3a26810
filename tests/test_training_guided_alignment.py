"""Guided alignment: the cost against NumPy, and attention that follows what it is given.

Shapes: **B** batch, **T** target length, **S** source length.
"""

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.errors import InputError
from tf_seq2seq.models.objectives import maximum_likelihood
from tf_seq2seq.training.guided_alignment import GuidedAlignment, alignment_costs
from tf_seq2seq.training.losses import SequenceCrossEntropy


def reference(given, looked, cost):
    """Cost of each token (T,), in loops."""
    costs = []
    for row, weights in zip(given, looked):
        wanted = row / row.sum() if row.any() else None
        if wanted is None:
            costs.append(0.0)
        elif cost == "cross_entropy":
            costs.append(-sum(a * np.log(b) for a, b in zip(wanted, weights) if a))
        else:
            costs.append(sum((a - b) ** 2 for a, b in zip(wanted, weights)))
    return np.array(costs)


def aligned_batch(rows=5):
    """A batch, and links inside its real tokens; some tokens have none."""
    inputs, labels = batteries.batch(rows=rows)
    random = np.random.default_rng(1)
    links = (random.uniform(size=(*labels.shape, inputs["source_ids"].shape[1])) < 0.3).astype("float32")
    links *= (labels != 0)[..., None] * (inputs["source_ids"] != 0)[:, None]
    return {**inputs, "alignments": links}, labels


@pytest.mark.parametrize("cost", ["cross_entropy", "squared_error"])
def test_costs_equal_loops_in_numpy(cost):
    random = np.random.default_rng(0)
    looked = random.dirichlet(np.ones(5), size=8)
    given = (random.uniform(size=(8, 5)) < 0.4).astype("float32")
    given[0] = 0
    costs, aligned = alignment_costs(given, looked, cost)
    np.testing.assert_allclose(costs, reference(given, looked, cost), rtol=1e-5)
    np.testing.assert_array_equal(aligned, given.any(-1))


@pytest.mark.parametrize("cost", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("name", ["luong2015", "bahdanau2015", "gnmt"])
def test_the_loss_is_likelihood_and_the_weighted_cost(name, cost):
    model = batteries.shared(name)
    model.compile("sgd", SequenceCrossEntropy(0.1), run_eagerly=True)
    model.optimizer.iterations.assign(3)
    inputs, labels = aligned_batch()
    weights = tf.constant([1.0, 0.0, 2.0, 0.5, 1.5])
    batch = (inputs, tf.constant(labels), weights)
    loss, total, metrics = GuidedAlignment(2.0, cost, decay_steps=12)(model, batch, True)
    plain, plain_total, _ = maximum_likelihood(model, batch, True)
    looked = model.alignments(inputs).numpy()
    each = np.stack([reference(*pair, cost) for pair in zip(inputs["alignments"], looked)])
    expected = (each * weights.numpy()[:, None]).sum()
    assert expected > 0.1
    np.testing.assert_allclose(loss, plain + 2.0 * 0.75 * expected, rtol=1e-5)
    np.testing.assert_allclose(total, plain_total)
    some = inputs["alignments"].any(-1) * weights.numpy()[:, None]
    np.testing.assert_allclose(
        [one / 1 for one in metrics["alignment_cost"]], [expected, some.sum()], rtol=1e-5
    )


@pytest.mark.learning
def test_attention_learns_the_diagonal():
    random = np.random.default_rng(0)
    ids = random.integers(4, batteries.TARGET_V, (64, 5)).astype("int32")
    labels = np.concatenate([ids, np.full([64, 1], 3, "int32")], 1)
    inputs = {"source_ids": labels, "target_ids": np.concatenate([np.full([64, 1], 2, "int32"), ids], 1)}
    inputs["alignments"] = np.tile(np.eye(6, dtype="float32"), [64, 1, 1])
    on_diagonal = []
    for objective in (None, GuidedAlignment(1.0)):
        keras.utils.set_random_seed(0)
        model = batteries.ZOO["luong2015"](units=16, depth=1)
        model.compile(keras.optimizers.Adam(0.02), objective=objective)
        for _ in range(80):
            logs = model.train_on_batch(inputs, labels, return_dict=True)
        looked = model.alignments(inputs).numpy()
        on_diagonal.append(np.mean(np.trace(looked, axis1=1, axis2=2)) / 6)
    assert on_diagonal[1] > 0.9 > 0.6 > on_diagonal[0], on_diagonal
    assert logs["alignment_cost"] < 0.5


def test_what_is_missing_is_said():
    inputs, labels = aligned_batch()
    plain = batteries.shared("plain")
    plain.compile("sgd", objective=GuidedAlignment(), run_eagerly=True)
    with pytest.raises(InputError, match="guides attention, which this model has none of"):
        plain.train_on_batch(inputs, labels)
    inputs.pop("alignments")
    with pytest.raises(InputError, match="needs alignments in each batch"):
        plain.train_on_batch(inputs, labels)
    with pytest.raises(InputError, match="cost is one of"):
        GuidedAlignment(cost="hinge")
    with pytest.raises(InputError, match="weight is 0 or more"):
        GuidedAlignment(decay_steps=0)
