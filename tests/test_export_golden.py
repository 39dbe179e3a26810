"""An export keeps a golden pair and checks it; a difference is found and told."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from tiny_generator import tiny_generator

from tf_seq2seq.errors import InputError
from tf_seq2seq.export import golden, saved_model, warmup
from tf_seq2seq.export.options import NAMES


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


@pytest.fixture(scope="module")
def model(tiny_export):
    return tf.saved_model.load(str(tiny_export))


def test_an_export_has_requests_with_all_options_and_answers_as_it_did(tiny_export, model):
    pairs = json.loads((tiny_export / golden.FILE).read_text(encoding="utf-8"))
    asked = [pair["request"]["signature_name"] for pair in pairs]
    assert asked == ["serving_default", "generate", "generate", "generate", "score"]
    for pair in pairs[1:4]:
        assert pair["request"]["inputs"].keys() == {"text", *NAMES}
        assert pair["response"]["outputs"].keys() >= {"text", "tokens", "alignments", "truncated"}
    assert golden.check(tiny_export, model) == []
    assert (tiny_export / warmup.FILE).stat().st_size > 1000


def test_the_recorded_answers_are_the_generators(generator, tiny_export):
    first = json.loads((tiny_export / golden.FILE).read_text(encoding="utf-8"))[0]
    texts, outputs = first["request"]["inputs"]["text"], first["response"]["outputs"]
    assert outputs["text"] == generator(texts).best()
    np.testing.assert_allclose(outputs["score"], generator(texts).scores[:, 0], rtol=1e-5)


def test_differences_are_told(tiny_export, model, tmp_path):
    """A text, a number beyond the tolerance, a shape, an output that is gone and one that is new."""
    pairs = json.loads((tiny_export / golden.FILE).read_text(encoding="utf-8"))[:1]
    outputs = pairs[0]["response"]["outputs"]
    outputs["text"][1] += "x"
    outputs["score"][0] += 0.01
    outputs["score"][1] += 1e-5
    outputs["length"] = outputs["length"][:2]
    outputs["gone"] = outputs.pop("truncated")
    (tmp_path / "other.json").write_text(json.dumps(pairs))
    found = golden.check(tiny_export, model, tmp_path / "other.json")
    patterns = [
        r"request 1, serving_default, text: '.*' instead of '.*x' at \[1\], 1 of 4 differ",
        r"request 1, serving_default, score: .* at \[0\], 1 of 4 differ",
        r"request 1, serving_default, length: shape \(4,\) instead of \(2,\)",
        r"request 1, serving_default, gone: there is no such output any more",
        r"request 1, serving_default, truncated: the output is new",
    ]
    assert len(found) == len(patterns)
    for pattern in patterns:
        assert any(re.fullmatch(pattern, line) for line in found), (pattern, found)


@pytest.mark.exports
def test_an_export_that_answers_otherwise_is_not_kept(generator, tmp_path, monkeypatch):
    """Weights that change between the answers in memory and the folder's stand for anything that gets lost."""
    save = tf.saved_model.save

    def spoil(module, *arguments):
        kernel = generator.model.decoder.projection_kernel
        before = kernel.numpy()
        kernel.assign(-before)
        save(module, *arguments)
        kernel.assign(before)

    monkeypatch.setattr(tf.saved_model, "save", spoil)
    with pytest.raises(InputError, match=r"answers otherwise than the generator \(request 1, .*not kept"):
        saved_model.export_saved_model(generator, tmp_path / "es_en")
    assert not list((tmp_path / "es_en").iterdir())


def test_numbers_are_written_shortly_and_texts_as_they_are():
    columns = golden._columns(
        {"a": np.float32([0.1, -np.inf]), "b": np.array([b"\xc3\xb1", "ñ"], object), "c": np.bool_(True)}
    )
    assert columns == {"a": [0.1, float("-inf")], "b": ["ñ", "ñ"], "c": True}
    assert golden._columns({"a": np.zeros([2, 0], object)}) == {"a": [[], []]}


def test_run_by_itself_it_prints_and_ends_with_an_exit_code(tiny_export, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(golden, "check", lambda folder, file=None: ["request 1: x"] if file else [])
    assert golden.main([str(tiny_export)]) == 0
    assert golden.main([str(tiny_export), "other.json"]) == 1
    assert capsys.readouterr().out == f"{tiny_export} answers as it did when it was exported\nrequest 1: x\n"
