"""The recurrent encoder against NumPy: directions, residuals, order of reading, and what it refuses.

Shapes: **B** batch, **S** source length, **U** units.
"""

import batteries
import numpy as np
import pytest
import references
import tensorflow as tf

from tf_seq2seq.models.encoders import RNNEncoder

SOURCE = batteries.batch()[0]["source_ids"]


def made(name):
    encoder = RNNEncoder(
        batteries.SOURCE_V, batteries.UNITS, **{"embedding_size": 5} | batteries.ENCODERS[name]
    )
    return batteries.randomised(encoder)


def run(cell, x):
    """One cell over one sequence (S, E) from zeros: outputs (S, U) and the last state."""
    state = [np.zeros((1, size)) for size in cell.state_sizes]
    outputs = []
    for one in x:
        output, state = references.cell_step(cell, one[None], state)
        outputs.append(output[0])
    return np.array(outputs), [one[0] for one in state]


def reference(encoder, ids):
    """One row, its padding cut off: values (S, U) and the states of all layers."""
    x = np.float64(encoder.embeddings)[ids[::-1] if encoder.reverse_source else ids]
    states, backward = [], iter(encoder.layers_backward)
    for number, cell in enumerate(encoder.layers_forward):
        outputs, state = run(cell, x)
        if encoder.bidirectional is True or (encoder.bidirectional == "first" and number == 0):
            back, back_state = run(next(backward), x[::-1])
            outputs = np.concatenate([outputs, back[::-1]], -1)
            state = [np.concatenate(pair) for pair in zip(state, back_state)]
        residual = encoder.residual_from is not None and number >= encoder.residual_from
        x = outputs + x if residual else outputs
        states.append(state)
    return x, states


@pytest.mark.parametrize("name", batteries.ENCODERS)
def test_the_encoder_is_its_equations_row_by_row(name):
    encoder = made(name)
    output = encoder({"source_ids": SOURCE, "other": tf.zeros([7])})
    np.testing.assert_array_equal(output.mask, SOURCE != 0)
    assert not output.values.numpy()[SOURCE == 0].any()
    assert tf.nest.map_structure(lambda one: one.shape[1], output.state) == encoder.state_sizes
    assert output.values.shape == (*SOURCE.shape, encoder.values_size)
    for row, ids in enumerate(SOURCE):
        values, states = reference(encoder, ids[ids != 0])
        np.testing.assert_allclose(output.values[row, : len(values)], values, rtol=1e-4, atol=1e-5)
        last = tf.nest.map_structure(lambda one, row=row: one[row].numpy(), output.state)
        for layer, expected in zip(last, states, strict=True):
            np.testing.assert_allclose(layer, expected, rtol=1e-4, atol=1e-5)


def test_ids_outside_the_vocabulary_are_read_as_unknown():
    encoder = made("lstm")
    strange, known = np.array([[5, 99, -4, 13, 3]]), np.array([[5, 1, 1, 1, 3]])
    values = [encoder({"source_ids": tf.constant(ids, tf.int32)}).values for ids in (strange, known)]
    np.testing.assert_array_equal(*values)


def test_an_empty_source_is_all_zeros():
    output = made("gru both ways")({"source_ids": np.array([[0, 0], [4, 3]], "int32")})
    assert not output.values[0].numpy().any() and not any(
        one[0].numpy().any() for one in tf.nest.flatten(output.state)
    )
    assert output.values[1].numpy().all()


def test_dropout_drops_in_training_only():
    encoder = RNNEncoder(batteries.SOURCE_V, 8, dropout=0.5)
    source = {"source_ids": SOURCE}
    np.testing.assert_array_equal(encoder(source).values, encoder(source).values)
    first, second = (encoder(source, training=True).values.numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize(
    "options, words",
    [
        ({"bidirectional": "last"}, "bidirectional is True, False or \"first\", not 'last'"),
        (
            {"bidirectional": True, "units": 5},
            "a bidirectional layer has units / 2 a direction: 5 units are odd",
        ),
        (
            {"residual_from": 0, "embedding_size": 3},
            "residual_from=0 adds embeddings of size 3 to 4 units; use 1",
        ),
        ({"dropout": 1.0}, r"dropout is a share in \[0, 1\), not 1.0"),
        ({"recurrent_dropout": -0.1}, r"recurrent_dropout is a share in \[0, 1\), not -0.1"),
        ({"cell": "rnn"}, 'cell is "lstm", "gru" or "gru_v1"'),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        RNNEncoder(**{"vocab_size": 10, "units": 4} | options)
