"""Rows dealt to replicas: none lost, none twice, sizes that differ by one; what is dealt knows what it was made of."""

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.dealing import _rows, dealt, each_its_own
from tf_seq2seq.data.pipeline import batches
from tf_seq2seq.data.position import positions

SIDES = tf.ragged.constant([[5, 6], [5], [7]]), tf.ragged.constant([[7], [8], [9]])


@pytest.mark.parametrize("rows", [0, 1, 5, 6, 13])
@pytest.mark.parametrize("pieces", [1, 2, 3, 8])
def test_pieces_are_the_batch(rows, pieces):
    inputs, weights = np.random.default_rng(0).integers(0, 9, [rows, 3]), np.arange(rows)
    cut = [
        _rows(({"ids": tf.constant(inputs)}, tf.constant(weights)), piece, pieces) for piece in range(pieces)
    ]
    assert (np.concatenate([one["ids"] for one, _ in cut]) == inputs).all()
    assert (np.concatenate([two for _, two in cut]) == weights).all()
    sizes = [len(two) for _, two in cut]
    assert max(sizes) - min(sizes) <= 1


def test_fixed_shapes_stay_fixed():
    cut = tf.function(lambda batch, piece: _rows((batch,), piece, 2))
    number = tf.TensorSpec([], tf.int64)
    shape = lambda *size: cut.get_concrete_function(tf.TensorSpec(size, tf.int32), number).output_shapes
    assert shape(6, 4) == [3, 4]
    assert shape(5, 4).as_list() == [None, 4] == shape(None, 4).as_list()


def test_what_is_dealt_knows_its_batches_and_their_place():
    made = batches(tf.data.Dataset.from_tensor_slices(SIDES), batch_size=2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    for one in (dealt(made, strategy), each_its_own(lambda worker, workers: made, strategy)):
        assert positions(one) == [made.position]
        assert sum(len(labels) for _, labels in one) == 3
    assert made.position.epoch == 2
    assert dealt(made, None) is made and dealt(one, strategy) is one
