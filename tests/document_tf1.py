"""The TensorFlow 1 graph of the document's tutorial: its weights, inputs and results go to an .npz file.

Run in a process of its own, because it needs tf-keras and graph mode::

    TF_USE_LEGACY_KERAS=1 python tests/document_tf1.py OUT.npz

Two recurrent networks, `dynamic_rnn` twice: the encoder's last state is the decoder's initial state, and a
dense layer with a softmax over the target vocabulary reads the decoder's outputs. `one/` is the tutorial's
single LSTMCell, `two/` the same with a MultiRNNCell of two. Sequences are ragged.

Shapes: **B** batch, **S** source length, **T** target length, **U** units, **V** vocabulary.
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

B, S, T = 5, 7, 6
EMBEDDING, UNITS, SOURCE_VOCAB, TARGET_VOCAB = 9, 12, 17, 19
START = 2
SOURCE_LENGTHS = np.array([7, 1, 4, 2, 6], np.int32)
TARGET_LENGTHS = np.array([3, 6, 1, 5, 2], np.int32)


def ragged_ids(random, lengths, longest, vocab_size):
    """(B, longest) int32: ordinary ids (4 and up) at the first `lengths` positions, 0 after them."""
    ids = random.integers(4, vocab_size, (len(lengths), longest))
    return np.where(np.arange(longest) < lengths[:, None], ids, 0).astype(np.int32)


def cell(depth):
    cells = [tf.nn.rnn_cell.LSTMCell(UNITS) for _ in range(depth)]
    return cells[0] if depth == 1 else tf.nn.rnn_cell.MultiRNNCell(cells)


def variable(name, random, shape):
    return tf.get_variable(name, initializer=random.normal(0.0, 0.7, shape).astype(np.float32))


def graph(depth, random, source_ids, target_ids):
    """What the tutorial builds; returns a dict of tensors."""
    source_embeddings = variable("source_embeddings", random, (SOURCE_VOCAB, EMBEDDING))
    target_embeddings = variable("target_embeddings", random, (TARGET_VOCAB, EMBEDDING))
    encoder_outputs, encoder_state = tf.nn.dynamic_rnn(
        cell(depth),
        tf.nn.embedding_lookup(source_embeddings, source_ids),
        sequence_length=SOURCE_LENGTHS,
        dtype=tf.float32,
        scope="encoder",
    )
    decoder_outputs, decoder_state = tf.nn.dynamic_rnn(
        cell(depth),
        tf.nn.embedding_lookup(target_embeddings, target_ids),
        initial_state=encoder_state,
        sequence_length=TARGET_LENGTHS,
        scope="decoder",
    )
    kernel = variable("projection_kernel", random, (UNITS, TARGET_VOCAB))
    bias = variable("projection_bias", random, (TARGET_VOCAB,))
    logits = tf.tensordot(decoder_outputs, kernel, 1) + bias  # (B, T, U) -> (B, T, V)
    results = {
        "encoder_outputs": encoder_outputs,
        "decoder_outputs": decoder_outputs,
        "logits": logits,
        "probabilities": tf.nn.softmax(logits),
    }
    for side, state in (("encoder", encoder_state), ("decoder", decoder_state)):
        for layer, pair in enumerate([state] if depth == 1 else state):
            results[f"{side}_hidden_{layer}"], results[f"{side}_cell_{layer}"] = pair.h, pair.c
    return results


def run(depth, seed):
    """Arrays by name: inputs, every variable (``weights/<its TF1 name>``) and every result."""
    random = np.random.default_rng(seed)
    source_ids = ragged_ids(random, SOURCE_LENGTHS, S, SOURCE_VOCAB)
    target_ids = ragged_ids(random, TARGET_LENGTHS, T, TARGET_VOCAB)
    target_ids[:, 0] = START
    arrays = {"source_ids": source_ids, "target_ids": target_ids}
    arrays |= {"source_lengths": SOURCE_LENGTHS, "target_lengths": TARGET_LENGTHS}
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = graph(depth, random, source_ids, target_ids)
        for weight in (
            tf.global_variables()
        ):  # the cells' own start has zero biases, which would hide a mix-up of gates
            value = random.normal(0.0, 0.4, weight.shape.as_list()).astype(np.float32)
            session.run(weight.initializer)
            weight.load(value, session)
            arrays[f"weights/{weight.op.name}"] = value
        arrays |= session.run(tensors)
    return arrays


if __name__ == "__main__":
    tf.disable_v2_behavior()
    named = {"one": run(1, seed=1), "two": run(2, seed=2)}
    np.savez(
        sys.argv[1], **{f"{case}/{name}": a for case, arrays in named.items() for name, a in arrays.items()}
    )
