"""The plain model equals the document's TensorFlow 1 graph, weight for weight (see document_tf1.py).

Shapes: **B** batch, **S** source length, **T** target length, **U** units, **V** vocabulary.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("document_tf1.py")
CASES = {"one": 1, "two": 2}  # name in the .npz: depth
CLOSE = {"rtol": 0, "atol": 1e-5}
TF1_FORGET_BIAS = 1.0  # added at each step by the TF1 cell, not stored


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """Arrays by case and name, from one run of the TF1 program."""
    pytest.importorskip("tf_keras", reason="tf-keras runs the document's TF1 code: pip install '.[test]'")
    path = tmp_path_factory.mktemp("document") / "document.npz"
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, PROGRAM, path], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(path) as arrays:
        return {
            case: {
                name.removeprefix(f"{case}/"): arrays[name] for name in arrays if name.startswith(f"{case}/")
            }
            for case in CASES
        }


def lstm_weights(arrays, side, layer, depth):
    """From TF1's kernel [x; h], gates i, j, f, o: kernel, recurrent kernel and bias, gates i, f, j, o."""
    scope = f"weights/{side}/" + ("" if depth == 1 else f"multi_rnn_cell/cell_{layer}/") + "lstm_cell"
    kernel, bias = arrays[f"{scope}/kernel"], arrays[f"{scope}/bias"]
    units = bias.shape[0] // 4
    gates = [array.reshape(*array.shape[:-1], 4, units) for array in (kernel, bias)]
    kernel, bias = (array[..., [0, 2, 1, 3], :] for array in gates)
    bias = bias + np.array([0, TF1_FORGET_BIAS, 0, 0], np.float32)[:, None]
    kernel = kernel.reshape(-1, 4 * units)
    return kernel[:-units], kernel[-units:], bias.reshape(-1)


def plain_model(arrays, depth):
    """Our plain model with the document's weights."""
    from tf_seq2seq import plain

    source, target = arrays["weights/source_embeddings"], arrays["weights/target_embeddings"]
    units = arrays["encoder_outputs"].shape[-1]
    model = plain(len(source), len(target), units=units, depth=depth, embedding_size=source.shape[1])
    encoder, decoder = model.encoder, model.decoder
    encoder.embeddings.assign(source)
    decoder.embeddings.assign(target)
    decoder.projection_kernel.assign(arrays["weights/projection_kernel"].T)
    decoder.projection_bias.assign(arrays["weights/projection_bias"])
    cells = {"encoder": encoder.layers_forward, "decoder": decoder.wrapper.cells.cells}
    for side, layers in cells.items():
        for layer, cell in enumerate(layers):
            ours = (cell.kernel, cell.recurrent_kernel, cell.bias)
            for variable, value in zip(ours, lstm_weights(arrays, side, layer, depth), strict=True):
                variable.assign(value)
    return model


def assert_states_close(state, arrays, side, depth):
    assert len(state) == depth
    for layer, (hidden, cell) in enumerate(state):
        np.testing.assert_allclose(hidden, arrays[f"{side}_hidden_{layer}"], **CLOSE)
        np.testing.assert_allclose(cell, arrays[f"{side}_cell_{layer}"], **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_encoder_equals_document(document, case):
    """Outputs, zero at padding, and the states after each row's last real token."""
    arrays = document[case]
    encoded = plain_model(arrays, CASES[case]).encode({"source_ids": arrays["source_ids"]})
    np.testing.assert_allclose(encoded.values, arrays["encoder_outputs"], **CLOSE)
    assert np.sum(encoded.mask, axis=1).tolist() == arrays["source_lengths"].tolist()
    assert_states_close(encoded.state, arrays, "encoder", CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_decoder_equals_document(document, case):
    """Outputs, logits and the softmax over the target vocabulary, at real tokens (TF1 has zeros after)."""
    import tensorflow as tf

    arrays = document[case]
    model, ids = plain_model(arrays, CASES[case]), arrays["target_ids"]
    state, memory = model.start({"source_ids": arrays["source_ids"]})
    features, alignments = model.decoder.features(ids, state, memory)
    logits = model({"source_ids": arrays["source_ids"], "target_ids": ids})
    real = ids != 0
    assert real.sum(1).tolist() == arrays["target_lengths"].tolist()
    np.testing.assert_allclose(features.numpy()[real], arrays["decoder_outputs"][real], **CLOSE)
    np.testing.assert_allclose(logits.numpy()[real], arrays["logits"][real], **CLOSE)
    np.testing.assert_allclose(tf.nn.softmax(logits).numpy()[real], arrays["probabilities"][real], **CLOSE)
    assert alignments is None


@pytest.mark.parametrize("case", CASES)
def test_steps_equal_document(document, case):
    """Token by token, as a search runs it: the same probabilities, and each row's last state."""
    import tensorflow as tf

    arrays, depth = document[case], CASES[case]
    model, ids = plain_model(arrays, depth), arrays["target_ids"]
    state, memory = model.start({"source_ids": arrays["source_ids"]})
    states = []
    for position in range(ids.shape[1]):
        output = model.step(ids[:, position], state, memory)
        log_probs, state = output.log_probs, output.state
        real = ids[:, position] != 0
        expected = arrays["probabilities"][:, position]
        np.testing.assert_allclose(np.exp(log_probs)[real], expected[real], **CLOSE)
        states.append(state["cells"])
    rows = np.arange(len(ids))
    last = tf.nest.map_structure(lambda *steps: np.stack(steps)[arrays["target_lengths"] - 1, rows], *states)
    assert_states_close(last, arrays, "decoder", depth)
