"""What is exported answers like the generator, wherever it is copied; a failed export loses nothing.

The options of `generate` have tests of their own: `test_export_options`.
"""

import json
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tiny_generator import SOURCES, tiny_generator

from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.errors import InputError
from tf_seq2seq.export.options import filled
from tf_seq2seq.export.saved_model import export_saved_model, size_in_bytes

TEXTS = [*SOURCES, "", "  ", "gato", "un ñandú come la casa", "\x00 \x7f", "el " * 100]
PROGRAM = """
import json, sys
import tensorflow as tf, tensorflow_text
signatures = tf.saved_model.load(sys.argv[1]).signatures
text = tf.constant(json.loads(sys.argv[2]))
options = {name: tf.constant(value, dtype) for name, (value, dtype) in json.loads(sys.argv[3]).items()}
found = {"serving_default": signatures["serving_default"](text=text)}
found["beam"] = signatures["generate"](text=text, **options)
found["greedy"] = signatures["generate"](text=text, **options | {"beam_size": tf.constant(1), "n_best": tf.constant(1)})
for outputs in found.values():
    for name in ("text", "tokens", "source_tokens"):
        if name in outputs:
            outputs[name] = tf.strings.unicode_transcode(outputs[name], "UTF-8", "UTF-8")
as_lists = lambda value: value.decode() if isinstance(value, bytes) else [as_lists(one) for one in value]
numbers = lambda value: as_lists(value.numpy()) if value.dtype == tf.string else value.numpy().tolist()
result = {name: {key: numbers(value) for key, value in outputs.items()} for name, outputs in found.items()}
result["modules"] = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


def strings(tensor):
    return [[text.decode() for text in row] for row in tensor.numpy()]


def test_a_copied_folder_says_the_same_to_tensorflow_alone(generator, tiny_export, tmp_path):
    """No Python of ours, no file outside of the folder (it was written elsewhere, too), another process."""
    copied = shutil.copytree(tiny_export, tmp_path / "elsewhere" / "1")
    options = filled(
        {"beam_size": 3, "n_best": 3, "length_penalty": "average", "alpha": 1.0, "max_length": 9},
        len(TEXTS),
    )
    told = {name: (value.tolist(), tf.constant(value).dtype.name) for name, value in options.items()}
    program = [sys.executable, "-c", PROGRAM, copied, json.dumps(TEXTS), json.dumps(told)]
    run = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert "tf_seq2seq" not in result["modules"]
    beam = generator.with_strategy(BeamSearch(3, length_penalty="average", max_length=9))(TEXTS)
    greedy = generator.with_strategy(BeamSearch(1, length_penalty="average", max_length=9))(TEXTS)
    for name, found in (("beam", beam), ("greedy", greedy)):
        assert result[name]["text"] == strings(found.text)
        np.testing.assert_allclose(result[name]["score"], found.scores, rtol=1e-5)
        np.testing.assert_array_equal(result[name]["length"], found.hypotheses.lengths)
    assert result["serving_default"]["text"] == beam.best()
    assert result["serving_default"]["score"] == [row[0] for row in result["beam"]["score"]]
    assert result["serving_default"]["length"] == [row[0] for row in result["beam"]["length"]]
    assert len(set(beam.best())) > 4, "a test of equal answers needs answers that differ"


def test_weights_are_float32(generator, tiny_export):
    assert_only_weights(generator, tiny_export)


def assert_only_weights(generator, version):
    """What is written are the model's weights, float32, and nothing else that has numbers."""
    checkpoint = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    shapes, types = checkpoint.get_variable_to_shape_map(), checkpoint.get_variable_to_dtype_map()
    names = [name for name in shapes if types[name] != tf.string]
    assert {types[name] for name in names} == {tf.float32}
    expected = sorted(tuple(weight.shape) for weight in generator.model.trainable_weights)
    assert sorted(tuple(shapes[name]) for name in names) == expected


@pytest.mark.exports
def test_an_export_is_quiet_without_the_optimizer_and_a_failed_one_loses_nothing(generator, tmp_path, capfd):
    """It stands beside older versions and files that are none."""
    generator.model.compile("adam")
    generator.model.optimizer.build(generator.model.trainable_variables)
    for name in ("2", "10", "notes", "-3"):
        (tmp_path / name).mkdir()
    version = export_saved_model(generator, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["-3", "10", "11", "2", "notes"]
    assert version.name == "11"
    assert_only_weights(generator, version)
    before = size_in_bytes(tmp_path), sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (5000, limits[1])
    )  # bytes a file: writing fails as on a full disk
    try:
        with pytest.raises(InputError, match=r"cannot write .*too large; what was there before is kept"):
            export_saved_model(generator, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (size_in_bytes(tmp_path), sorted(tmp_path.iterdir())) == before


def test_a_file_is_no_folder_of_versions(generator, tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        export_saved_model(generator, tmp_path / "a")
    assert (tmp_path / "a").read_text() == "mine"
