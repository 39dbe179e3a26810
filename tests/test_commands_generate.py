"""What `generate` writes with its options, and that conditions of lines, further models and checks reach it."""

import io
import itertools
import json
import sys

import numpy as np
import pytest
from tiny_generator import SOURCES, TARGETS, tiny_generator

from tf_seq2seq import cli
from tf_seq2seq.commands import formats, models
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.ensemble import Ensemble
from tf_seq2seq.decoding.generated import GeneratedSentence
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.decoding.shortlist import Shortlist
from tf_seq2seq.evaluation.invariance import Invariance, InvarianceFault, InvarianceRun

pytestmark = pytest.mark.usefixtures("eagerly")

LINES = [*SOURCES, "", "el gato come"]
load = TextGenerator.load


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate") / "model"
    tiny_generator(BeamSearch(3, max_length=8)).save(folder)
    return folder


@pytest.fixture(scope="module")
def generator(folder):
    return load(folder).with_weights("float32")


@pytest.fixture
def run(generator, folder, monkeypatch, capsys, tmp_path):
    """Runs `generate` on a file of `LINES` in this process; the saved generator is loaded and traced once."""
    monkeypatch.setattr(TextGenerator, "load", lambda path: generator if path == str(folder) else load(path))
    written(tmp_path / "in", LINES)

    def run(*options, expected=0):
        arguments = ["generate", "--model", folder, tmp_path / "in", *options]
        code = cli.main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert code == expected and (code == 2 or err == "")
        return err if code == 2 else out

    return run


def written(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_columns_stand_in_the_order_of_the_help(run, generator):
    out = run("--n-best", 3, "--scores", "--alignments", "--token-scores")
    rows = [line.split("\t") for line in out.splitlines()]
    sentences = generator(LINES).sentences()
    expected = [
        [str(number), text, sentence.pairs[k], sentence]
        for number, sentence in enumerate(sentences, 1)
        for k, text in enumerate(sentence.text)
    ]
    assert [row[0] for row in rows] == [one[0] for one in expected]
    assert [row[2] for row in rows] == [one[1] for one in expected]
    assert [row[3] for row in rows if row[0] != "6"] == [one[2] for one in expected if one[0] != "6"]
    scores = [score for sentence in sentences for score in sentence.scores]
    np.testing.assert_allclose([float(row[1]) for row in rows], scores, atol=1e-4)
    each = [each for sentence in sentences for each in sentence.token_log_probs]
    for row, values in zip(rows, each):
        assert row[0] == "6" or np.allclose([float(one) for one in row[4].split()], values, atol=1e-4)
    assert {tuple(row[2:]) for row in rows if row[0] == "6"} == {
        ("", "", "")
    }  # of the blank line nothing is told


def test_json_has_every_field(run, generator):
    found = [json.loads(line) for line in run("--json-lines", "--alignments", "--n-best", 2).splitlines()]
    sentences = generator(LINES).sentences()
    assert [one["source"] for one in found] == LINES
    for one, sentence in zip(found, sentences):
        assert one["source_tokens"] == sentence.source_tokens and one["source_words"] == sentence.source_words
        assert len(one["hypotheses"]) == 2
        for k, fields in enumerate(one["hypotheses"]):
            whole = {"text": sentence.text, "finished": sentence.finished, "tokens": sentence.tokens}
            whole |= {"words": sentence.words, "pairs": sentence.pairs}
            assert {name: values[k] for name, values in whole.items()}.items() <= fields.items()
            assert fields["score"] == pytest.approx(sentence.scores[k], rel=1e-6)
            assert fields["log_prob"] == pytest.approx(sentence.log_probs[k], rel=1e-6)
            np.testing.assert_allclose(fields["token_log_probs"], sentence.token_log_probs[k], rtol=1e-6)
            np.testing.assert_allclose(fields["alignments"], sentence.alignments[k], atol=6e-5)


def test_json_knows_no_infinity_and_alignments_need_attention(monkeypatch):
    options = cli._parser().parse_args(["generate", "--model", "m", "-", "--json-lines"])
    stuck = GeneratedSentence(
        [""], [-np.inf], [-np.inf], [True], [["</s>"]], ["a"], None, [[-np.inf]], "words", "words"
    )
    found = json.loads(formats.as_text(1, "a", stuck, options))["hypotheses"][0]
    assert found["score"] is None and found["log_prob"] is None and found["token_log_probs"] == [None]
    for options.alignments, options.json_lines in ((True, True), (True, False)):
        with pytest.raises(models.InputError, match="--alignments needs a model with attention"):
            formats.as_text(1, "a", stuck, options)


def test_each_line_has_its_own_prefix_and_phrases(run, generator, tmp_path):
    prefixes = ["the dog", "", "a", "", "where is", "", ""]
    phrases = ["", "cat\thouse", "dog", "", "the  cat", "", "sleeps"]
    options = ["--prefix", written(tmp_path / "prefix", prefixes)]
    options += ["--phrases", written(tmp_path / "phrases", phrases)]
    found = run(*options, "--batch-size", 2, "--window", 2).splitlines()
    wanted = [row.split("\t") if row else [] for row in phrases]
    expected = generator(LINES, prefix=prefixes, phrases=wanted)
    assert found == expected.best()
    finished = expected.hypotheses.finished.numpy()[:, 0]
    free = generator(LINES).best()
    for k, (text, prefix, row) in enumerate(zip(found, prefixes, wanted)):
        assert text.startswith(prefix)
        assert not finished[k] or all(" ".join(phrase.split()) in text for phrase in row)
        assert (text == free[k]) or prefix or row
    assert sum(bool(row) for row in itertools.compress(wanted, finished)) >= 2


@pytest.mark.parametrize("lines, words", [(6, "prefix has 6 lines but"), (8, "prefix has more lines than")])
def test_lines_of_conditions_belong_to_lines(run, tmp_path, lines, words):
    told = run("--prefix", written(tmp_path / "prefix", ["a"] * lines), "--window", 1, expected=2)
    assert words in told and told.endswith("line i of both belong together\n")


def test_phrases_need_a_beam(run, tmp_path):
    told = run("--greedy", "--phrases", written(tmp_path / "phrases", ["cat"] * 7), expected=2)
    assert "phrases that must appear need a beam search" in told


def test_bans_hold_in_what_is_written(run, generator, tmp_path):
    said = {word for text in generator.with_strategy(Greedy(8))(LINES).best() for word in text.split()}
    assert {"house", "and"} <= said
    out = run("--greedy", "--no-unk", "--ban", written(tmp_path / "words", ["house", "and"]))
    assert not {"house", "and", "⁇"} & {*out.split()} and len({*out.split()}) > 2


def test_batches_are_as_asked(run, generator, monkeypatch):
    seen = []
    monkeypatch.setattr(
        type(generator), "generate_all", lambda self, texts, **how: seen.append((how, [*texts])) or iter(())
    )
    run()
    run("--batch-size", 5, "--window", 3)
    run("--batch-tokens", 100)
    run("--batch-size", 1)
    names = ("batch_size", "batch_tokens", "window")
    found = [tuple(how[name] for name in names) for how, texts in seen if texts == LINES]
    assert found == [(32, None, 16), (5, None, 3), (256, 100, 16), (1, None, 1)]


def test_an_ensemble_is_asked_together(run, generator, tmp_path):
    other = tiny_generator(Greedy(6), seed=4)
    other.save(tmp_path / "other")
    options = [
        "--ensemble",
        tmp_path / "other",
        "--ensemble-weights",
        0.7,
        0.3,
        "--ensemble-combine",
        "probs",
    ]
    ensemble = Ensemble([generator.model, other.model], [0.7, 0.3], "probs")
    expected = TextGenerator(ensemble, generator.source_text, generator.target_text, generator.strategy)
    assert run(*options).splitlines() == expected(LINES).best() != generator(LINES).best()
    told = run("--ensemble", tmp_path / "other", "--ensemble-weights", 1, 2, 3, expected=2)
    assert "2 models need as many weights, not 3" in told
    other.source_text.lowercase = True
    other.save(tmp_path / "other")
    told = run("--ensemble", tmp_path / "other", expected=2)
    assert "the source text processors of" in told and "differ (lowercase is False and True)" in told
    foreign = TextProcessor.fit([*TARGETS[:-1], "the dog drinks"], "words")
    parts = other.model, generator.source_text, foreign, Greedy(6)
    TextGenerator(*parts).save(tmp_path / "foreign")
    assert "differ (other vocabularies)" in run("--ensemble", tmp_path / "foreign", expected=2)


def test_unknown_words_and_shortlists_reach_the_generator(generator, folder, monkeypatch, tmp_path):
    ids = generator.source_text.vocab_size
    listed = TextGenerator(
        generator.model,
        generator.source_text,
        generator.target_text,
        generator.strategy,
        Shortlist(np.ones([ids, 1], int)),
    )
    monkeypatch.setattr(TextGenerator, "load", lambda path: listed)
    (tmp_path / "words").write_text("gato\tcat\n")
    (tmp_path / "allow").write_text("the cat\n")

    def loaded(*options):
        arguments = ["generate", "--model", folder, "-", *options]
        return models.load_generator(cli._parser().parse_args([str(one) for one in arguments]))

    assert loaded().shortlist is listed.shortlist and loaded().weights == "float32"
    assert loaded("--weights", "bfloat16", "--greedy").weights == "bfloat16"
    monkeypatch.setattr("tf_seq2seq.layers.precision.fastest_weights", lambda: "bfloat16")
    assert loaded("--weights", "auto").weights == "bfloat16"
    assert dict(loaded("--replace-unknowns").unknowns.dictionary) == {}
    found = loaded("--replace-unknowns", tmp_path / "words", "--greedy")
    assert dict(found.unknowns.dictionary) == {"gato": "cat"} and type(found.strategy) is Greedy
    assert found.shortlist is listed.shortlist
    assert loaded("--no-shortlist").shortlist is None
    assert loaded("--allow", tmp_path / "allow").shortlist is None
    assert loaded("--ensemble", folder).shortlist is None


def test_progress_knows_how_many_lines_a_file_has(run, monkeypatch, tmp_path):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    run("--batch-size", 2, "--output", tmp_path / "out")
    assert f"{len(LINES)} of {len(LINES)} lines" in terminal.getvalue()


def test_self_check_prints_a_table(run):
    out = run("--self-check", "--self-check-lines", 4, "--batch-size", 3)
    assert [line.split()[-5:-2] for line in out.splitlines()[1:6]] == [["4", "4", "0"]] * 5
    assert "in batches of 3" in out and "4 lines are the same in every batch" in out


def test_self_check_names_the_line_that_differs(run, monkeypatch):
    """Exit code 1; the sample keeps the numbers of the input's lines."""
    texts = []

    def found(generator, sample, **_):
        texts.extend(sample)
        fault = InvarianceFault(1, sample[1], "one by one", ("the cat", -1.0), ("the dog", -2.0))
        return Invariance(
            [InvarianceRun("in batches of 32", 2), InvarianceRun("one by one", 2, 1, 0)], [fault]
        )

    monkeypatch.setattr("tf_seq2seq.evaluation.invariance.batch_invariance", found)
    out = run("--self-check", "--self-check-lines", 2, expected=1)
    number = next(number for number, line in enumerate(LINES, 1) if line == texts[1])
    told = (
        f"line {number}: {texts[1]!r} is 'the cat' (-1.000000) at first and 'the dog' (-2.000000) one by one"
    )
    assert told in out and "1 of 2 lines depend on their batch" in out
    pairs = itertools.pairwise(LINES.index(text) for text in texts)
    assert all(first < second for first, second in pairs)
