"""A LiteRT file gives the ids that Keras gives; what cannot be one is told."""

import batteries
import numpy as np
import pytest
import tensorflow as tf
from portable_models import SENTENCES, generator

from tf_seq2seq.cli import main
from tf_seq2seq.decoding.ensemble import Ensemble
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.errors import InputError
from tf_seq2seq.export.lite import QUANTIZATIONS, LiteGenerator, export_lite

S, T = 24, 15


pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")


@pytest.fixture(scope="module")
def subwords():
    return generator("subwords", units=48)


@pytest.fixture(scope="module")
def files(subwords, tmp_path_factory):
    """A file for each quantisation."""
    folder = tmp_path_factory.mktemp("lite")
    return {name: export_lite(subwords, folder / name, S, T, name) for name in QUANTIZATIONS}


def padded_to(ids, length):
    return np.pad(ids, [(0, 0), (0, length - ids.shape[1])])


def keras_ids(model, source_ids, length=T):
    """(B, length): Keras's greedy search of each row."""
    return padded_to(batteries.search(Greedy(max_length=length), model, source_ids).ids.numpy()[:, 0], length)


class NoText:
    """A stand-in for a text processor, where only ids matter."""

    def __init__(self, vocab_size):
        self.vocab_size = vocab_size

    def save(self, folder):
        folder.mkdir()


def of_ids(model, **parts):
    texts = NoText(batteries.SOURCE_V), NoText(batteries.TARGET_V)
    return TextGenerator(model, *texts, Greedy(max_length=T), **parts)


def interpreted(file, source_ids):
    """(B, T): the file alone, by the interpreter."""
    interpreter = tf.lite.Interpreter(str(file))
    run, found = interpreter.get_signature_runner(), []
    for row in source_ids:
        found.append(run(source_ids=padded_to(row[None], S).astype("int32"))["ids"])
    return np.concatenate(found)


@pytest.mark.exports
@pytest.mark.parametrize("name", batteries.ZOO)
def test_every_model_of_the_zoo_converts_and_gives_keras_ids(name, tmp_path):
    model = batteries.searchable(name)
    source_ids = batteries.batch(rows=12, source_length=9)[0]["source_ids"]
    file = export_lite(of_ids(model), tmp_path / "lite", S, T)
    expected = keras_ids(model, source_ids)
    assert len({tuple(row) for row in expected.tolist()}) > 1
    np.testing.assert_array_equal(interpreted(file, source_ids), expected)


@pytest.mark.exports
@pytest.mark.parametrize("name", [name for number, name in enumerate(batteries.DECODERS) if number % 9 == 0])
def test_other_decoders_convert(name, tmp_path):
    model = batteries.shared(name)
    source_ids = batteries.batch(rows=4, source_length=7)[0]["source_ids"]
    file = export_lite(of_ids(model), tmp_path / "lite", S, T)
    np.testing.assert_array_equal(interpreted(file, source_ids), keras_ids(model, source_ids))


def test_two_hundred_sentences_have_the_ids_of_keras(subwords, files):
    source_ids = subwords.source_text.dense(SENTENCES).numpy()
    lengths = (source_ids != 0).sum(axis=1)
    cut = np.where(
        np.arange(S) < S - 1, source_ids[:, :S], np.where(lengths[:, None] >= S, 3, source_ids[:, :S])
    )
    found = LiteGenerator(files["float32"].parent).generate_ids(source_ids)
    expected = keras_ids(subwords.model, cut.astype("int32"))
    assert found.shape == (200, T)
    assert len({tuple(row) for row in expected.tolist()}) > 100
    np.testing.assert_array_equal(found, expected)


def test_texts_are_those_of_the_generator(subwords, files):
    texts = [text for text in SENTENCES if len(text) < 25][:30] + ["", "  "]
    greedy = subwords.with_strategy(Greedy(max_length=T))
    assert LiteGenerator(files["float32"].parent)(texts) == greedy(texts).best()


def test_sizes_and_answers_of_the_quantised(subwords, files):
    """Half and a quarter of the weights' bytes, and mostly the same tokens."""
    source_ids = subwords.source_text.dense(SENTENCES[:60]).numpy()
    sizes = {name: file.stat().st_size for name, file in files.items()}
    weights = 4 * subwords.model.count_params()
    graph = sizes["float32"] - weights
    assert 0 < graph < 120_000
    assert sizes["float16"] < 0.55 * weights + 1.3 * graph
    assert sizes["int8"] < 0.35 * weights + 1.3 * graph
    ids = {name: LiteGenerator(file.parent).generate_ids(source_ids) for name, file in files.items()}
    assert (ids["float16"] == ids["float32"]).mean() > 0.97
    assert (ids["int8"] == ids["float32"]).mean() > 0.6


def test_the_folder_holds_what_a_client_needs(files):
    names = {str(path.relative_to(files["int8"].parent)) for path in files["int8"].parent.rglob("*.*")}
    processor = {"processor.json", "sentencepiece.model"}
    assert names == {"model.tflite"} | {
        f"{side}/{name}" for side in ("source", "target") for name in processor
    }


def test_the_command_writes_it_too(subwords, files, tmp_path, capsys):
    subwords.save(tmp_path / "generator")
    folders = ["--model", str(tmp_path / "generator"), "--output", str(tmp_path / "phone")]
    sizes = ["--max-source-length", str(S), "--lite-max-length", str(T)]
    assert main(["export", *folders, *sizes, "--lite", "int8"]) in (0, None)
    assert "model.tflite: 0.1 MB, greedy search, ids in, ids out" in capsys.readouterr().out
    texts = SENTENCES[:5]
    assert LiteGenerator(tmp_path / "phone")(texts) == LiteGenerator(files["int8"].parent)(texts)


def test_built_in_operations_only(files):
    for file in files.values():
        operations = {one["op_name"] for one in tf.lite.Interpreter(str(file))._get_ops_details()}
        assert "WHILE" in operations
        assert not [name for name in operations if name.startswith(("Flex", "CUSTOM"))]


def test_what_cannot_be_one_is_told(subwords, tmp_path, monkeypatch):
    tiny = batteries.ZOO["luong2015"]()
    ensemble = of_ids(Ensemble([tiny, batteries.ZOO["plain"]()]))
    with pytest.raises(InputError, match="the generator has Ensemble: export one of its models"):
        export_lite(ensemble, tmp_path / "a")
    for options, message in [
        ({"quantization": "int4"}, "one of float32, float16, int8, not 'int4'"),
        ({"max_length": 0}, "max_length is a whole number of tokens, END counted, at least 1, not 0"),
        ({"max_source_length": 2.5}, "max_source_length is a whole number"),
    ]:
        with pytest.raises(InputError, match=message):
            export_lite(subwords, tmp_path / "a", **options)
    generator = of_ids(tiny)
    generator.shortlist = object()
    with pytest.raises(InputError, match="shortlist's size changes"):
        export_lite(generator, tmp_path / "a")
    step = lambda ids, state, memory: tiny.decoder.step(
        tf.py_function(lambda i: i, [ids], tf.int32), state, memory
    )
    monkeypatch.setattr(tiny, "step", step)
    with pytest.raises(InputError, match="LiteRT cannot run this model"):
        export_lite(of_ids(tiny), tmp_path / "a")
    with pytest.raises(InputError, match=r"has no model\.tflite"):
        LiteGenerator(tmp_path)
    assert not any(tmp_path.iterdir())
