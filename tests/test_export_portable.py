"""An exported model loads where only stock TensorFlow Serving's versions are, and through the C API.

The list `allowed_operations.txt` holds each operation that our graphs use, with the attributes that TensorFlow 2.12.1 and
TF-Text 2.12.1 know: a newer attribute that is not at its default loads there, too, and then goes wrong. After a change:
`STOCK_PYTHON=... python -m pytest -m portable tests/test_export_portable.py` says what has to be added or is not there.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from portable_environment import VERSION, run_stock, stock_packages
from portable_models import PROCESSORS, SENTENCES, generator
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from tf_seq2seq.export import golden
from tf_seq2seq.export.options import filled
from tf_seq2seq.export.saved_model import export_saved_model

HERE = Path(__file__).parent
LIST = HERE / "allowed_operations.txt"
HARMLESS = {("VarHandleOp", "debug_name")}  # a label; every SavedModel of a newer TensorFlow has it
SIGNATURES = ["serving_default", "generate", "score"]
LIBRARIES = [f"tensorflow/libtensorflow_{part}.so.2" for part in ("framework", "cc")]
TEXT_LIBRARIES = [
    f"tensorflow_text/python/ops/_{name}.so" for name in ("sentencepiece_tokenizer", "normalize_ops")
]


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A function that gives the exported folder of an entry of `PROCESSORS`, made once."""
    made = {}

    def get(name):
        if name not in made:
            weights = "int8" if name == "words" else None
            path = tmp_path_factory.mktemp("model")
            made[name] = export_saved_model(generator(name), path, weights=weights)
        return made[name]

    return get


def nodes(folder):
    """All nodes of a SavedModel, those of its functions included."""
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for graph in (meta_graph.graph_def for meta_graph in saved.meta_graphs):
        yield from graph.node
        for function in graph.library.function:
            yield from function.node_def


def used(folder):
    """(operation, attribute) pairs of a SavedModel, attributes at their defaults left out, as a loader does."""
    pairs = set()
    for node in nodes(folder):
        operation = op_def_registry.get(node.op)
        defaults = {one.name: one.default_value for one in operation.attr if one.HasField("default_value")}
        pairs.add((node.op, ""))
        pairs |= {
            (node.op, name)
            for name, value in node.attr.items()
            if not name.startswith("_") and value != defaults.get(name)
        }
    return pairs


def allowed():
    """The pairs of the list."""
    lines = [line.split() for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return {(name, attribute) for name, *attributes in lines for attribute in ["", *attributes]}


def test_every_operation_is_one_of_stock_serving(tiny_export):
    assert used(tiny_export) - allowed() - HARMLESS == set()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exports if name == "words" else pytest.mark.portable)
        for name in PROCESSORS
    ],
)
def test_so_it_is_of_every_processor_and_of_compressed_weights(exported, name):
    assert used(exported(name)) - allowed() - HARMLESS == set()


def test_the_walk_finds_what_stock_serving_lacks(tmp_path):
    """A Python function inside of a loop's body, and an array that grows, which 2.12 knows without that attribute."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def call(times):
        grown = tf.TensorArray(tf.float32, 0, dynamic_size=True)
        odd = lambda time, grown: grown.write(time, tf.py_function(lambda: 1.0, [], tf.float32))
        loop = tf.while_loop(lambda time, _: time < times, lambda t, a: (t + 1, odd(t, a)), (0, grown))
        return loop[1].stack()

    module.call = call
    tf.saved_model.save(module, str(tmp_path))
    missing = used(tmp_path) - allowed()
    assert ("EagerPyFunc", "") in missing
    assert ("TensorListSetItem", "resize_if_index_out_of_bounds") in missing


def requests(texts):
    """The texts for each signature, in batches of at most fifty; `generate` searches, and draws by seeds."""
    found = []
    for start in range(0, len(texts), 50):
        text = np.array(texts[start : start + 50], object)
        searched = filled({"beam_size": 3, "n_best": 2, "max_length": 12, "no_repeat_ngram": 2}, len(text))
        drawn = {"samples": 1, "top_k": 5, "max_length": 8, "seeds": [*range(len(text))]}
        found += [
            ("serving_default", {"text": text}),
            ("generate", {"text": text} | searched),
            ("generate", {"text": text} | filled(drawn, len(text))),
            ("score", {"source": text, "target": text}),
        ]
    return found


@pytest.mark.portable
def test_the_list_is_what_stock_versions_have(tmp_path):
    output, code, errors = run_stock(HERE / "portable_operations.py", LIST, folder=tmp_path)
    assert code == 0, errors
    title, *lines = output.splitlines()
    assert title == f"# TensorFlow {VERSION}, TF-Text {VERSION}"
    assert lines == [line for line in LIST.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.portable
@pytest.mark.parametrize("name", PROCESSORS)
def test_a_copied_folder_says_the_same_in_stock_versions(exported, name, tmp_path):
    """200 sentences; nothing but TensorFlow and TF-Text 2.12.1, another process, another folder."""
    folder = exported(name)
    pairs = tmp_path / "pairs.json"
    golden.record(tf.saved_model.load(str(folder)).signatures, requests(SENTENCES), pairs)
    outputs = [pair["response"]["outputs"] for pair in json.loads(pairs.read_text())]
    texts = [text for one in outputs for text in one.get("text", [])]
    assert len(texts) == 600 and sum(len(one["length"]) for one in outputs) == 800
    assert len(set(map(str, texts))) > 60, "a test of equal answers needs answers that differ"
    copied = shutil.copytree(folder, tmp_path / "elsewhere" / "1")
    moved = folder.rename(folder.parent / "away")
    try:
        output, code, errors = run_stock(golden.__file__, copied, pairs, folder=tmp_path)
    finally:
        moved.rename(folder)
    assert (code, output) == (0, f"{copied} answers as it did when it was exported\n"), output + errors


@pytest.mark.portable
def test_stock_versions_see_a_difference(exported, tmp_path):
    """The check there can fail."""
    folder = exported("bytes")
    pairs = tmp_path / "pairs.json"
    golden.record(tf.saved_model.load(str(folder)).signatures, [("serving_default", {"text": ["a"]})], pairs)
    pairs.write_text(pairs.read_text().replace('"length": [', '"length": [9'))
    output, code, _ = run_stock(golden.__file__, folder, pairs, folder=tmp_path)
    assert code == 1
    assert output.startswith("request 1, serving_default, length: ")


@pytest.mark.portable
@pytest.mark.parametrize("version", ["installed", VERSION])
@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("name", ["subwords", "words"])
def test_the_c_api_says_the_same(exported, name, signature, version, tmp_path):
    """Texts go in and come out as raw tensors; the process has neither TensorFlow's Python nor NumPy."""
    folder = exported(name)
    inputs = next(inputs for one, inputs in requests(SENTENCES[-12:]) if one == signature)
    expected = golden.answer(tf.saved_model.load(str(folder)).signatures, (signature, inputs))
    packages = Path(tf.__file__).parents[1] if version == "installed" else stock_packages()
    definition = signature_definition(folder, signature)
    request = {
        "libraries": [str(packages / path) for path in LIBRARIES],
        "operations": [str(packages / path) for path in TEXT_LIBRARIES],
        "inputs": [fed(definition.inputs[key], value) for key, value in inputs.items()],
        "outputs": [definition.outputs[key].name for key in expected],
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    program = [sys.executable, HERE / "portable_c_api.py", folder, tmp_path / "request.json"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (key, value), (shape, flat) in zip(expected.items(), json.loads(done.stdout), strict=True):
        assert list(value.shape) == shape, key
        if value.dtype == object:
            assert [one.decode() for one in value.ravel()] == flat, key
        else:
            np.testing.assert_allclose(value.ravel(), flat, rtol=1e-4, err_msg=key)


def signature_definition(folder, name):
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0].signature_def[name]


def fed(spec, value):
    value = np.asarray(value)
    return [spec.name, spec.dtype, list(value.shape), value.ravel().tolist()]
