"""Shares of saturated gates and gradient norms against NumPy and against the tape."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.models.decoders import RNNDecoder
from tf_seq2seq.models.encoders import RNNEncoder
from tf_seq2seq.models.seq2seq import Seq2Seq
from tf_seq2seq.training.gates import gate_shares, gradient_norms

V, U = 12, 6
SOURCE = np.array([[5, 6, 7, 8, 3], [9, 4, 3, 0, 0], [3, 0, 0, 0, 0]], np.int32)
TARGET = np.array([[2, 7, 5, 6], [2, 11, 0, 0], [2, 10, 9, 0]], np.int32)
LABELS = np.array([[7, 5, 6, 3], [11, 3, 0, 0], [10, 9, 3, 0]], np.int32)
INPUTS = {"source_ids": tf.constant(SOURCE), "target_ids": tf.constant(TARGET)}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_gates(cell, x, state):
    """All of the gates i, f, o of a sequence (T, E), each (T, U), the outputs (T, U) and the last state."""
    kernel, recurrent, bias = (weight.numpy() for weight in (cell.kernel, cell.recurrent_kernel, cell.bias))
    (h, c), gates, outputs = state, [], []
    for step in x:
        i, f, g, o = np.split(step @ kernel + h @ recurrent + bias, 4)
        i, f, o = sigmoid(i), sigmoid(f), sigmoid(o)
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        gates.append((i, f, o))
        outputs.append(h)
    return np.array(gates).transpose(1, 0, 2), np.array(outputs), (h, c)


def gru_gates(cell, x, state):
    kernel, recurrent, bias = (weight.numpy() for weight in (cell.kernel, cell.recurrent_kernel, cell.bias))
    (h,), gates, outputs = state, [], []
    for step in x:
        into, back = step @ kernel + bias[: 3 * U], h @ recurrent
        back[2 * U :] += bias[3 * U :]
        r, z = sigmoid(into[:U] + back[:U]), sigmoid(into[U : 2 * U] + back[U : 2 * U])
        h = z * h + (1 - z) * np.tanh(into[2 * U :] + r * back[2 * U :])
        gates.append((r, z))
        outputs.append(h)
    return np.array(gates).transpose(1, 0, 2), np.array(outputs), (h,)


KINDS = {"lstm": (lstm_gates, ["input", "forget", "output"], 2), "gru": (gru_gates, ["reset", "update"], 1)}


def make_model(cell, **options):
    """A model with weights so large that many gates are saturated."""
    model = Seq2Seq(RNNEncoder(V, U, cell=cell, **options), RNNDecoder(V, U, depth=2, cell=cell))
    for number, weight in enumerate(model.weights):
        weight.assign(8 * tf.random.stateless_normal(weight.shape, [1, number]))
    return model


def expected_shares(model, kind):
    """{layer/gate_closed or _open: share} row by row, without padding; the encoder has a layer of one direction each."""
    run, names, parts = KINDS[kind]
    found = {}
    for source, target in zip(SOURCE, TARGET):
        x = model.encoder.embeddings.numpy()[source[source != 0]]
        zeros = (np.zeros(U),) * parts
        states = []
        for number, cell in enumerate(model.encoder.layers_forward, 1):
            gates, x, state = run(cell, x, zeros)
            states.append(state)
            found.setdefault(f"encoder_forward_{number}", []).append(gates)
        x = model.decoder.embeddings.numpy()[target[target != 0]]
        for number, (cell, state) in enumerate(zip(model.decoder.wrapper.cells.cells, states), 1):
            gates, x, _ = run(cell, x, state)
            found.setdefault(f"decoder_{number}", []).append(gates)
    shares = {}
    for layer, rows in found.items():
        for name, gate in zip(names, np.concatenate(rows, axis=1)):
            shares[f"{layer}/{name}_closed"] = (gate < 0.05).mean()
            shares[f"{layer}/{name}_open"] = (gate > 0.95).mean()
    return shares


@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_those_of_a_numpy_model_without_its_padding(kind):
    model = make_model(kind, depth=2)
    before = model(INPUTS)
    shares, expected = gate_shares(model, INPUTS), expected_shares(model, kind)
    assert set(shares) == set(expected) and min(expected.values()) > 0.05
    for name, share in expected.items():
        assert shares[name] == pytest.approx(share, abs=1e-6), name
    np.testing.assert_array_equal(model(INPUTS), before)
    assert not any("step" in vars(cell) for cell in model.encoder.layers_forward)


def test_both_directions_count_each_rows_own_tokens():
    model = make_model("lstm", depth=2, bidirectional=True)
    shares = gate_shares(model, INPUTS)
    alone = []
    for source, target in zip(SOURCE, TARGET):
        rows = {"source_ids": source[source != 0][None], "target_ids": target[target != 0][None]}
        alone.append(gate_shares(model, {name: tf.constant(ids) for name, ids in rows.items()}))
    for name, share in shares.items():
        ids = SOURCE if name.startswith("encoder") else TARGET
        mean = np.average([one[name] for one in alone], weights=(ids != 0).sum(1))
        assert share == pytest.approx(mean, abs=1e-6), name
    assert len({name.split("/")[0] for name in shares if "backward" in name}) == 2
    assert shares["encoder_forward_1/forget_open"] != shares["encoder_backward_1/forget_open"]


def test_fresh_gates_are_not_saturated():
    fresh = Seq2Seq(RNNEncoder(V, U, depth=2), RNNDecoder(V, U, depth=2))
    assert set(gate_shares(fresh, INPUTS).values()) == {0.0}


def test_gradient_norms_are_of_each_layer_and_make_up_the_whole():
    model = Seq2Seq(RNNEncoder(V, U, depth=2), RNNDecoder(V, U, depth=2))
    model.compile(keras.optimizers.SGD(0.0))
    batch = INPUTS, tf.constant(LABELS)
    norms = gradient_norms(model, batch)
    with tf.GradientTape() as tape:
        logits = model(INPUTS)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, logits)
        loss = tf.reduce_mean(tf.boolean_mask(losses, LABELS != 0))
    weights = model.trainable_variables
    gradients = [tf.convert_to_tensor(one) for one in tape.gradient(loss, [one.value for one in weights])]
    whole = float(tf.linalg.global_norm(gradients))
    assert sum(norm**2 for norm in norms.values()) ** 0.5 == pytest.approx(whole, rel=1e-5)
    of = {weight.path: gradient for weight, gradient in zip(weights, gradients)}
    cell = [of[weight.path] for weight in model.encoder.layers_forward[1].weights]
    assert norms["encoder_forward_2"] == pytest.approx(float(tf.linalg.global_norm(cell)), rel=1e-5)
    kernel = of[model.decoder.projection_kernel.path]
    assert norms["decoder_projection_kernel"] == pytest.approx(float(tf.norm(kernel)), rel=1e-5)
    assert len(norms) == 4 + 4  # layers; embeddings of each side, projection kernel and bias
