"""Draws against the probabilities, and that only the seed has a say."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.drawing import drawn

ROWS = 50_000


@pytest.mark.parametrize("weights", [[1.0, 2.0, 0.0, 5.0], [0.0, 1e-3, 1e-3, 0.0], [7.0], [1e30, 3e30]])
def test_indices_come_as_often_as_their_weights_say(weights):
    found = drawn(tf.tile([weights], [ROWS, 1]), [3, 4]).numpy()
    p = np.array(weights) / np.sum(weights)
    counts = np.bincount(found, minlength=len(p))
    assert np.all(counts[p == 0] == 0)
    assert np.all(np.abs(counts - ROWS * p) <= 4.5 * np.sqrt(ROWS * p * (1 - p)))


def test_no_index_of_weight_0_even_where_the_sum_is_rounded():
    weights = np.zeros([ROWS, 40], np.float32)
    weights[:, :20] = np.random.default_rng(1).random([ROWS, 20]) * 1e-3
    assert drawn(weights, [1, 1]).numpy().max() < 20


def test_rows_and_seeds_draw_independently():
    one, other = (drawn(tf.ones([ROWS, 2]), [seed, 0]).numpy() for seed in (1, 2))
    bound = 4.5 / np.sqrt(ROWS)
    assert abs(np.corrcoef(one, other)[0, 1]) < bound and abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < bound
    np.testing.assert_array_equal(drawn(tf.ones([ROWS, 2]), [1, 0]), one)


@pytest.mark.survival
def test_the_number_of_threads_has_no_say():
    code = (
        "import sys, hashlib, tensorflow as tf; from tf_seq2seq.data.drawing import drawn;"
        "tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]));"
        f"print(hashlib.md5(drawn(tf.ones([{ROWS}, 9]), [5, 6]).numpy().tobytes()).hexdigest())"
    )
    run = lambda threads: subprocess.run(
        [sys.executable, "-c", code, str(threads)], check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    assert run(1) == run(7)
