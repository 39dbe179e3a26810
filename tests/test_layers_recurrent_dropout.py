"""Recurrent dropout drops the same weights of a recurrent kernel at all steps of a batch, anew in each batch.

Shapes: **B** batch, **T** steps, **E** input size, **U** units.
"""

import batteries
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.layers.cells import GRUCell, LSTMCell
from tf_seq2seq.layers.unroll import run_cell
from tf_seq2seq.models import zoo
from tf_seq2seq.models.encoders import RNNEncoder

B, T, E, U = 3, 5, 4, 16
CELLS = {
    "lstm": lambda rate: LSTMCell(U, recurrent_dropout=rate),
    "gru": lambda rate: GRUCell(U, recurrent_dropout=rate),
    "gru_v1": lambda rate: GRUCell(U, reset_after=False, recurrent_dropout=rate),
}


def built(kind, rate):
    cell = CELLS[kind](rate)
    cell.build((None, E))
    return batteries.randomised(cell, scale=0.3)


def run(cell, training):
    """Outputs, and the gradient of their sum of squares by the recurrent kernel."""
    inputs = tf.constant(np.random.default_rng(0).normal(size=(T, B, E)), tf.float32)
    with tf.GradientTape() as tape:
        outputs, _ = run_cell(cell, inputs, cell.initial_state(B), training=training)
        loss = tf.reduce_sum(outputs**2)
    return outputs.numpy(), tape.gradient(loss, cell.recurrent_kernel.value).numpy()


@pytest.mark.parametrize("kind", CELLS)
def test_what_is_dropped_is_dropped_at_every_step(kind):
    """A cell without dropout whose kernel has the same weights at 0, the others doubled, does the same."""
    cell, plain = built(kind, 0.5), built(kind, 0.0)
    outputs, gradient = run(cell, training=True)
    mask = np.where(gradient == 0, 0.0, 2.0)
    assert 0.4 < (mask == 0).mean() < 0.6
    plain.recurrent_kernel.assign(cell.recurrent_kernel * mask)
    expected, by_kept = run(plain, training=True)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, by_kept * mask, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", CELLS)
def test_nothing_is_dropped_outside_of_training_and_each_batch_drops_anew(kind):
    cell, plain = built(kind, 0.5), built(kind, 0.0)
    np.testing.assert_array_equal(run(cell, training=False)[0], run(plain, training=False)[0])
    assert np.any(run(cell, training=True)[1] != run(cell, training=True)[1])


@pytest.mark.parametrize("name", batteries.ZOO)
def test_every_model_takes_both(name):
    """Training then differs from one call to the next, and goes through `fit`; the configuration is kept."""
    model = getattr(zoo, name)(
        batteries.SOURCE_V, batteries.TARGET_V, units=8, depth=2, recurrent_dropout=0.3, variational=True
    )
    inputs, labels = batteries.batch()
    one, other = model(inputs, training=True), model(inputs, training=True)
    assert np.any(one.numpy() != other.numpy())
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    logs = model.fit(tf.data.Dataset.from_tensors((inputs, labels)), verbose=0).history
    assert np.isfinite(logs["loss"][0])
    copy = type(model).from_config(model.get_config())
    for layer in (copy.encoder, copy.decoder):
        assert (layer.recurrent_dropout, layer.variational) == (0.3, True)


def test_variational_dropout_drops_the_same_of_all_embeddings():
    """With one id at all positions, and the same values dropped everywhere, the cells read the same at each step."""
    encoder = RNNEncoder(5, units=4, embedding_size=64, dropout=0.5, variational=True)
    read = encoder.drop(tf.ones([7, 2, 64]), training=True).numpy()
    assert set(np.unique(read)) == {0.0, 2.0}
    np.testing.assert_array_equal(read, np.broadcast_to(read[:1], read.shape))
    assert np.any(read[0, 0] != read[0, 1])
