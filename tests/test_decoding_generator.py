"""A generator from text to text with a tiny untrained model: what it accepts, gives, saves and refuses."""

import itertools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_generator import drawn

from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import END, START
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.errors import InputError
from tf_seq2seq.models import zoo

SOURCES = [
    "el gato duerme",
    "la casa",
    "un perro grande y una casa",
    "¿dónde?",
    "",
    "gato",
    "  ",
    "perro ñandú",
]
SENTENCES = ["el gato duerme", "la casa grande", "un perro grande y una casa", "gato perro ¿dónde?"]


def tiny_model(source, target):
    """A model whose weights are large enough for outputs to differ from source to source."""
    model = zoo.luong2015(
        source.vocab_size, target.vocab_size, units=8, depth=1, embedding_size=6, dropout=0.0
    )
    random = np.random.default_rng(2)
    for weight in model.weights:
        if "seed" not in weight.path:
            weight.assign(drawn(random, weight) * 1.2)
        if weight.shape == (target.vocab_size,):  # the bias of the projection: a fair chance for END
            weight.assign(weight.numpy() + 4.5 * (np.arange(target.vocab_size) == END))
    return model


@pytest.fixture(scope="module")
def parts():
    keras.utils.set_random_seed(0)
    source = TextProcessor.fit(SENTENCES, "words", max_length=20)
    target = TextProcessor.fit(["the cat sleeps", "a big house and a dog", "where"], "characters")
    return tiny_model(source, target), source, target


@pytest.fixture(scope="module")
def generator(parts):
    return TextGenerator(*parts, BeamSearch(3, max_length=12))


@pytest.fixture(scope="module")
def greedy(parts):
    return TextGenerator(*parts, Greedy(max_length=6))


def test_a_batch_gives_hypotheses_of_each_text(generator):
    found = generator(SOURCES)
    assert found.text.shape == found.scores.shape == (len(SOURCES), 3)
    assert found.tokens.shape == found.hypotheses.ids.shape
    assert (np.diff(found.scores.numpy(), axis=1) <= 0)[found.hypotheses.finished.numpy()[:, 1:]].all()
    ids = generator.generate_ids(generator.source_text.dense(SOURCES))
    np.testing.assert_array_equal(ids.ids, found.hypotheses.ids)
    expected = generator.target_text.text(ids.ids).numpy()
    expected[[4, 6]] = b""  # texts that are empty or blank
    np.testing.assert_array_equal(found.text.numpy(), expected)
    assert len(set(found.best())) > 4
    assert 0.1 < found.hypotheses.finished.numpy().mean() < 1


def test_one_text_a_list_and_a_tensor_are_the_same(generator):
    texts = [
        generator(text).text.numpy().tolist() for text in ("la casa", ["la casa"], tf.constant(["la casa"]))
    ]
    assert texts[0] == texts[1] == texts[2]
    assert generator([]).sentences() == []


def test_sentences_are_cut_to_their_lengths(generator):
    found = generator(SOURCES)
    for row, sentence in enumerate(found.sentences()):
        source = [token.decode() for token in generator.source_text.tokens_of_text([SOURCES[row]])[0].numpy()]
        assert sentence.source_tokens == source
        assert sentence.text[0] == found.best()[row]
        assert sentence.scores == found.scores[row].numpy().tolist()
        for k, length in enumerate(found.hypotheses.lengths[row].numpy()):
            assert len(sentence.tokens[k]) == length
            assert (sentence.tokens[k][-1] == "</s>") == sentence.finished[k]
            assert sentence.alignments[k].shape == (length, len(source))
            np.testing.assert_allclose(sentence.alignments[k].sum(axis=1), 1.0, rtol=1e-5)


def test_a_row_is_the_same_alone_and_in_any_batch(generator):
    whole = generator(SOURCES).sentences()
    for rows in ([0], [5, 2], [7, 6, 5, 4, 3, 2, 1, 0]):
        for row, sentence in zip(rows, generator([SOURCES[row] for row in rows]).sentences()):
            assert sentence.text == whole[row].text
            np.testing.assert_allclose(sentence.scores, whole[row].scores, rtol=1e-5)


def test_the_graph_is_traced_once(generator):
    for texts in (["la casa"], SOURCES, ["gato"] * 3):
        generator(texts)
    assert generator.generate.experimental_get_tracing_count() == 1


def test_scores_are_the_models_teacher_forced_log_probs(generator):
    ids = generator.source_text.dense(SOURCES[:4])
    found = generator.generate_ids(ids)
    for k in range(3):
        labels = found.ids[:, k]
        inputs = tf.concat([tf.fill([4, 1], START), labels[:, :-1]], axis=1)
        log_probs = tf.nn.log_softmax(
            generator.model({"source_ids": ids, "target_ids": inputs}, training=False)
        )
        each = tf.gather(log_probs, labels, batch_dims=2).numpy()
        inside = tf.sequence_mask(found.lengths[:, k], labels.shape[1]).numpy()
        np.testing.assert_allclose(found.log_probs[:, k], np.where(inside, each, 0).sum(1), rtol=1e-4)


def test_generate_all_keeps_the_order_of_any_stream(greedy):
    texts = [SOURCES[i] for i in np.random.default_rng(1).integers(0, len(SOURCES), 23)]
    expected = [sentence.text[0] for sentence in greedy(texts).sentences()]
    found = greedy.generate_all(iter(texts), batch_size=4, window=2)
    assert [sentence.text[0] for sentence in found] == expected


def test_generate_all_reads_no_further_than_a_window(greedy):
    read = []
    endless = (read.append(text) or text for text in itertools.repeat("la casa"))
    next(greedy.generate_all(endless, batch_size=2, window=3))
    assert len(read) == 6


def test_saved_and_loaded_in_a_fresh_process_it_says_the_same(generator, tmp_path):
    generator.save(tmp_path / "it")
    assert sorted(path.name for path in (tmp_path / "it").iterdir()) == [
        "model.keras",
        "source",
        "strategy.json",
        "target",
    ]
    program = (
        "import sys, json; from tf_seq2seq import TextGenerator; g = TextGenerator.load(sys.argv[1]);"
        "found = g(json.loads(sys.argv[2]));"
        "print(json.dumps([found.best(), g.strategy.get_config(), found.scores.numpy()[:, 0].tolist()]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "it", json.dumps(SOURCES)], capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    best, config, scores = json.loads(out.stdout.splitlines()[-1])
    assert best == generator(SOURCES).best()
    assert config == generator.strategy.get_config()
    np.testing.assert_allclose(scores, generator(SOURCES).scores[:, 0], rtol=1e-5)


def test_another_strategy_can_be_given_when_loading(generator, tmp_path):
    generator.save(tmp_path / "it")
    assert TextGenerator.load(tmp_path / "it", Greedy(5)).strategy.max_length == 5


def test_a_failed_save_leaves_the_older_one(generator, tmp_path, monkeypatch):
    generator.save(tmp_path / "it")
    before = (tmp_path / "it" / "model.keras").read_bytes()

    def full(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generator.target_text, "save", full)
    with pytest.raises(InputError, match="No space left on device"):
        generator.save(tmp_path / "it")
    assert (tmp_path / "it" / "model.keras").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda folder: (folder / "model.keras").unlink(), "has no model.keras"),
        (lambda folder: _cut(folder / "model.keras"), "model.keras .*it is damaged"),
        (lambda folder: _cut(folder / "strategy.json"), "strategy.json .*it is damaged"),
        (lambda folder: (folder / "source" / "processor.json").unlink(), "text processor"),
        (lambda folder: _other_vocabulary(folder / "target"), "target vocabulary of .* tokens, but"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(generator, tmp_path, damage, words):
    generator.save(tmp_path / "it")
    damage(tmp_path / "it")
    with pytest.raises(InputError, match=words) as error:
        TextGenerator.load(tmp_path / "it")
    assert "\n" not in str(error.value)


def _other_vocabulary(folder):
    TextProcessor("bytes").save(folder)


@pytest.mark.parametrize("text", [3, [["a"], ["b"]], None, [1, 2], tf.constant("a"), {"a": 1}])
def test_what_is_no_text_is_refused(generator, text):
    with pytest.raises(InputError, match="expected"):
        generator(text)


def test_a_processor_of_another_model_is_refused(parts):
    model, _, target = parts
    with pytest.raises(
        InputError, match=r"source vocabulary of .* tokens, but the source text processor has 260"
    ):
        TextGenerator(model, TextProcessor("bytes"), target, Greedy())


def test_a_source_without_end_may_be_empty(parts):
    model, source, target = parts
    bare = TextProcessor("words", vocabulary=source.vocabulary, add_end=False)
    generator = TextGenerator(model, bare, target, Greedy(max_length=4))
    alone, among = generator([""]), generator(["", "la casa"])
    assert alone.best() == [""]
    assert np.isfinite(among.scores).all()
    assert among.best()[1] == generator(["la casa"]).best()[0]


def test_export_and_reload_give_the_same_texts(generator, tmp_path):
    module = tf.Module()
    module.generator = generator
    module.run = tf.function(
        lambda text: {"text": generator.generate(text).text},
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path / "it"), signatures=module.run)
    again = tf.saved_model.load(str(tmp_path / "it")).signatures["serving_default"]
    texts = again(text=tf.constant(SOURCES))["text"].numpy()
    np.testing.assert_array_equal(texts, generator(SOURCES).text.numpy())


def test_blank_prefixes_and_phrases_are_none(generator):
    for conditions in ({"prefix": ["", ""]}, {"phrases": [[], []]}, {"phrases": [["", ""], [""]]}):
        assert generator(SOURCES[:2], **conditions).best() == generator(SOURCES[:2]).best()


def test_a_prefix_begins_the_target_and_phrases_are_in_it(generator):
    found = generator(SOURCES[:3], prefix=["the", "", "a big"], phrases=[["do"], ["sl", "h"], []])
    for row, (prefix, phrases) in enumerate([("the", ["do"]), ("", ["sl", "h"]), ("a big", [])]):
        for k, text in enumerate(found.n_best()[row]):
            assert text.startswith(prefix)
            assert not found.hypotheses.finished[row, k] or all(phrase in text for phrase in phrases)


def test_scores_of_text_are_those_of_ids(generator):
    sources, targets = ["el gato", "la casa"], ["the cat", "a big house"]
    scored = generator.score(sources, targets)
    ids = generator.source_text.dense(sources), generator.target_text.dense(targets)
    np.testing.assert_array_equal(scored.log_probs, generator.score_ids(*ids).log_probs)
    without = tf.where(ids[1] == END, 0, ids[1])
    again = generator.score_ids(ids[0], without, add_end=True)
    np.testing.assert_allclose(scored.log_probs, again.log_probs, rtol=1e-6)
    np.testing.assert_array_equal(scored.lengths, again.lengths)
    other = generator.score_ids(*ids, start_ids=END)  # as models do whose targets begin with END
    assert (other.log_probs != scored.log_probs).numpy().all()


@pytest.mark.parametrize(
    "conditions, words",
    [
        ({"prefix": ["the"]}, "2 rows first"),
        ({"prefix": [[5], [6]]}, "generate_ids"),
        ({"length": [3, 4]}, "no condition 'length'"),
        ({"seeds": ["a", "b"]}, "seeds"),
    ],
)
def test_bad_conditions_say_what_to_do(generator, conditions, words):
    with pytest.raises(InputError, match=words):
        generator(SOURCES[:2], **conditions)
