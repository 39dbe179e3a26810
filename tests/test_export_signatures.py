"""The other signatures of a model that the command exports, texts that are cut, many rows, and models of other kinds."""

import contextlib
import io

import numpy as np
import pytest
import tensorflow as tf
from tiny_generator import SOURCES, TARGETS, drawn, tiny_generator

from tf_seq2seq import cli
from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.ensemble import Ensemble
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.decoding.shortlist import Shortlist
from tf_seq2seq.errors import InputError
from tf_seq2seq.export.options import filled
from tf_seq2seq.export.saved_model import export_saved_model
from tf_seq2seq.models import zoo

NAMES = {"serving_default", "generate", "generate_ids", "score", "encode", "step"}


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(Greedy(12))


@pytest.fixture(scope="module")
def exported(generator, tmp_path_factory):
    """What was exported, its folder, and what the command said."""
    path = tmp_path_factory.mktemp("export")
    generator.with_strategy(BeamSearch(3, max_length=12)).save(path / "model")
    command = ["export", "--model", path / "model", "--output", path / "it", "--greedy"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main([str(one) for one in [*command, "--max-source-length", 12]]) == 0
    version = path / "it" / "1"
    return tf.saved_model.load(str(version)), version, out.getvalue()


@pytest.fixture(scope="module")
def signatures(exported):
    return exported[0].signatures


def generate(signatures, texts, **asked):
    options = {name: tf.constant(value) for name, value in filled(asked, len(texts)).items()}
    return {
        name: value.numpy()
        for name, value in signatures["generate"](text=tf.constant(texts, tf.string), **options).items()
    }


def test_a_greedy_search_by_hand_says_what_generate_says(generator, signatures):
    """By `encode` and `step` alone, as a client does it; rows that have ended are left out of the next step."""
    texts = [*SOURCES, "gato"]
    encoded = dict(signatures["encode"](text=tf.constant(texts)))
    carried = {
        name: value for name, value in encoded.items() if name.partition("_")[0] in ("state", "memory")
    }
    ids, rows = encoded["start_ids"], np.arange(len(texts))
    assert set(ids.numpy()) == {START}
    said, sums, looked = [[] for _ in texts], np.zeros(len(texts)), [[] for _ in texts]
    for _ in range(12):
        output = signatures["step"](ids=ids, **carried)
        log_probs = output["log_probs"].numpy()
        assert log_probs.shape == (len(rows), generator.target_text.vocab_size)
        log_probs[:, [PAD, START]] = -np.inf
        best = log_probs.argmax(axis=1)
        for place, row in enumerate(rows):
            said[row].append(best[place])
            sums[row] += log_probs[place, best[place]]
            looked[row].append(output["alignments"][place])
        going = np.flatnonzero(best != END)
        rows, ids = rows[going], tf.constant(best[going], tf.int32)
        carried |= {name: value for name, value in output.items() if name.startswith("state")}
        carried = {name: tf.gather(value, going) for name, value in carried.items()}
        if not len(rows):
            break
    found = generate(
        signatures, texts, beam_size=1, length_penalty="none", stop="first_finished", max_length=12
    )
    best = signatures["serving_default"](text=tf.constant(texts))
    for row, tokens in enumerate(said):
        text = generator.target_text.text([tokens]).numpy()[0]
        assert found["text"][row, 0] == best["text"][row].numpy() == text
        assert found["length"][row, 0] == best["length"][row].numpy() == len(tokens)
        assert found["log_prob"][row, 0] == pytest.approx(sums[row], rel=1e-4)
        np.testing.assert_allclose(found["alignments"][row, 0, : len(tokens)], looked[row], atol=1e-5)
    assert len({len(tokens) for tokens in said}) > 2, "rows are to end at different steps"


def test_score_is_the_generators(generator, signatures):
    found = signatures["score"](source=tf.constant(SOURCES), target=tf.constant(TARGETS))
    wanted = generator.score(SOURCES, TARGETS)
    np.testing.assert_allclose(found["log_prob"], wanted.log_probs, rtol=1e-5)
    np.testing.assert_allclose(found["token_log_probs"], wanted.token_log_probs, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["length"], wanted.lengths)
    np.testing.assert_array_equal(found["tokens"], generator.target_text.tokens(wanted.ids))
    assert not found["truncated"].numpy().any()
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="target has one row for each of 2 texts; 1 came"
    ):
        signatures["score"](source=tf.constant(SOURCES[:2]), target=tf.constant(TARGETS[:1]))


@pytest.mark.parametrize("words, cut", [(10, False), (11, False), (12, True), (25_000, True)])
def test_long_texts_are_cut_and_said_to_be(generator, signatures, words, cut):
    """12 tokens with END are read; what is cut reads as its first words do, and the other rows are as they were."""
    long, short = "el gato " * (words // 2) + "perro " * (words % 2), "la casa grande"
    kept = "el gato " * (min(words, 11) // 2) + ("perro " * (words % 2) if words < 12 else "el")
    found = generate(signatures, [short, long], max_length=9)
    alone, wanted = generate(signatures, [short], max_length=9), generate(signatures, [kept], max_length=9)
    assert found["truncated"].tolist() == [False, cut]
    assert found["source_tokens"].shape[1] == found["alignments"].shape[3] <= 12
    assert found["source_tokens"][1, min(words, 11)] == b"</s>"
    assert found["text"][0] == alone["text"][0] and found["text"][1] == wanted["text"][0]
    for name in ("serving_default", "encode"):
        assert signatures[name](text=tf.constant([short, long]))["truncated"].numpy().tolist() == [False, cut]
    assert signatures["score"](source=[long], target=["the"])["truncated"].numpy().tolist() == [cut]
    ids = tf.fill([1, words + 1], 5)
    ids = tf.concat([ids[:, :-1], [[END]]], axis=1)
    options = {name: tf.constant(value) for name, value in filled({}, 1, ids=True).items()}
    by_ids = [
        signatures["generate_ids"](source_ids=one, **options)
        for one in (ids, tf.constant([[5] * min(words, 11) + [END]]))
    ]
    np.testing.assert_array_equal(by_ids[0]["ids"], by_ids[1]["ids"])
    assert by_ids[0]["truncated"].numpy().tolist() == [cut] and by_ids[0]["alignments"].shape[3] == min(
        words + 1, 12
    )


def test_thousands_of_rows_are_answered_in_their_order(signatures):
    """More rows than are searched at once, of many lengths."""
    random = np.random.default_rng(0)
    words = " ".join(SOURCES).split()
    kinds = [" ".join(random.choice(words, size)) for size in (1, 2, 3, 4, 5, 6, 7, 8, 0)]
    texts = [kinds[number] for number in random.integers(0, len(kinds), 4096)]
    alone = {kind: generate(signatures, [kind], max_length=9)["text"][0, 0] for kind in kinds}
    found = generate(signatures, texts, max_length=9)
    assert found["text"][:, 0].tolist() == [alone[text] for text in texts]
    assert len({*alone.values()}) > 5
    best = signatures["serving_default"](text=tf.constant(texts))["text"].numpy()
    first = {
        kind: signatures["serving_default"](text=tf.constant([kind]))["text"].numpy()[0] for kind in kinds
    }
    assert best.tolist() == [first[text] for text in texts]


def test_no_rows_are_no_answers(signatures):
    none = tf.zeros([0], tf.string)
    assert {value.shape[0] for value in signatures["serving_default"](text=none).values()} == {0}
    assert {value.shape[0] for value in generate(signatures, [], n_best=2).values()} == {0}
    assert {value.shape[0] for value in signatures["score"](source=none, target=none).values()} == {0}
    assert {value.shape[0] for value in signatures["encode"](text=none).values()} == {0}


def test_the_command_says_what_it_wrote(exported):
    loaded, version, out = exported
    assert {*loaded.signatures} == NAMES
    assert out.startswith(f"{version}: ") and " MB\n" in out


def test_graphs_are_small(exported):
    """17,000 operations were traced; each constant stands once in its function, and names are short."""
    assert (exported[1] / "saved_model.pb").stat().st_size < 1_300_000


def test_limits_below_the_defaults_are_told(generator, tmp_path):
    with pytest.raises(InputError, match="max_beam_size is a whole number of at least 4, not 2"):
        export_saved_model(generator, tmp_path / "it", max_beam_size=2)
    with pytest.raises(InputError, match="max_target_length is a whole number of at least 100, not 99"):
        export_saved_model(generator, tmp_path / "it", max_target_length=99)
    assert not (tmp_path / "it").exists()


def another(kind):
    """A generator of another kind of model."""
    first = tiny_generator(BeamSearch(2, max_length=9))
    parts = (first.source_text, first.target_text, first.strategy)
    if kind == "no attention":
        sizes = (first.source_text.vocab_size, first.target_text.vocab_size)
        model = zoo.sutskever2014(*sizes, units=8, depth=1, embedding_size=6, dropout=0.0)
        random = np.random.default_rng(1)
        for weight in model.trainable_weights:
            weight.assign(drawn(random, weight))
        return TextGenerator(model, *parts)
    if kind == "ensemble":
        return TextGenerator(Ensemble([first.model, tiny_generator(first.strategy, seed=5).model]), *parts)
    candidates = np.zeros([first.source_text.vocab_size, 4], int)
    candidates[4:] = np.random.default_rng(2).integers(
        4, first.target_text.vocab_size, [len(candidates) - 4, 4]
    )
    return TextGenerator(first.model, *parts, shortlist=Shortlist(candidates))


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.exports) for kind in ("no attention", "ensemble", "shortlist")],
)
def test_other_models_are_exported_whole(tmp_path, kind):
    generator = another(kind)
    signatures = tf.saved_model.load(str(export_saved_model(generator, tmp_path / "it"))).signatures
    assert {*signatures} == NAMES
    wanted = generator(SOURCES)
    found = generate(signatures, SOURCES, beam_size=2, n_best=2, max_length=9)
    np.testing.assert_array_equal(found["text"], wanted.text)
    np.testing.assert_allclose(found["score"], wanted.scores, rtol=1e-5)
    best = signatures["serving_default"](text=tf.constant(SOURCES))
    np.testing.assert_array_equal(best["text"], wanted.text[:, 0])
    aligned = kind != "no attention"
    assert ("alignments" in found) == aligned == ("alignments" in signatures["step"].structured_outputs)
    if not aligned:
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match="coverage_penalty is none, as this model has no attention; gnmt",
        ):
            generate(signatures, SOURCES, coverage_penalty="gnmt")
