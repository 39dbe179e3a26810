"""The command: what it prints, in which order, with which exit code; its help needs no TensorFlow."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny_generator import SOURCES, TARGETS, tiny_generator

from tf_seq2seq import cli
from tf_seq2seq.data.vocabulary import PAD, START
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.evaluation.information import unigram_entropy
from tf_seq2seq.evaluation.scores import corpus_bleu

COMMANDS = [command.__name__.rpartition(".")[2] for command in cli.COMMANDS]
LINES = [*SOURCES, "", "el gato come", "la casa grande y un perro", "  "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "model"
    tiny_generator(BeamSearch(3, max_length=8)).save(folder)
    return folder


@pytest.fixture(scope="module")
def generator(folder):
    return TextGenerator.load(folder).with_weights("float32")


@pytest.fixture
def run(generator, monkeypatch, capsys):
    """Runs a command in this process; the folder is loaded, and its graph traced, only once."""
    monkeypatch.setattr(TextGenerator, "load", lambda path: generator)

    def run(*arguments, stdin=None):
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = cli.main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return run


@pytest.fixture
def pair_files(tmp_path):
    for name, lines in (("source", SOURCES), ("target", TARGETS)):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return "--source", tmp_path / "source", "--target", tmp_path / "target"


def failed(capsys, *arguments):
    """The one line of an error, whose exit code is 2."""
    try:
        code = cli.main([str(one) for one in arguments])
    except SystemExit as end:
        code = end.code
    err = capsys.readouterr().err
    assert code == 2
    assert err.count("\n") == 1 and err.startswith("tf-seq2seq")
    return err


def test_help_is_instant_and_needs_no_tensorflow():
    """One process asks for every help; what is slow to import stays unloaded."""
    program = (
        "import sys, io, contextlib, time; start = time.perf_counter()\n"
        "from tf_seq2seq import cli\n"
        f"for command in {[[], *([one] for one in COMMANDS)]}:\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):\n"
        "        cli.main([*command, '--help'])\n"
        "    assert 'usage: tf-seq2seq' in out.getvalue()\n"
        "    assert not command or 'example:\\n  ' in out.getvalue()\n"
        "print([m for m in ('tensorflow', 'keras', 'numpy', 'rich', 'sacrebleu') if m in sys.modules])\n"
        "print(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules, seconds = done.stdout.splitlines()
    assert modules == "[]"
    assert float(seconds) < 3


@pytest.mark.parametrize("command", ["generate", "evaluate", "export"])
def test_help_gives_the_formulas_of_the_penalties(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    out = capsys.readouterr().out
    assert "log P / ((5 + L) / 6)^alpha" in out and "log P / L^alpha" in out


def test_generate_gives_a_line_for_a_line(run, generator, folder, tmp_path):
    (tmp_path / "lines").write_text("".join(line + "\n" for line in LINES), encoding="utf-8")
    expected = generator(LINES).best()
    out = run("generate", "--model", folder, tmp_path / "lines", "--batch-size", 2)
    assert out.split("\n") == [*expected, ""]
    assert len(set(expected)) > 4


def test_generate_reads_standard_input_and_gives_n_best_with_scores(run, generator, folder):
    stdin = "\ufeff" + "\r\n".join(LINES[:3])  # a byte-order mark, other line ends, no last one
    out = run("generate", "--model", folder, "-", "--scores", "--n-best", 3, stdin=stdin)
    rows = [line.split("\t") for line in out.splitlines()]
    found = generator(LINES[:3]).sentences()
    assert [int(row[0]) for row in rows] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [row[2] for row in rows] == [text for sentence in found for text in sentence.text]
    scores = [score for sentence in found for score in sentence.scores]
    np.testing.assert_allclose([float(row[1]) for row in rows], scores, atol=1e-4)


def test_generate_gives_json(run, generator, folder):
    out = run("generate", "--model", folder, "-", "--json-lines", stdin="la casa grande\n\n")
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["source"] for one in found] == ["la casa grande", ""]
    expected = generator(["la casa grande"]).sentences()[0]
    for k, hypothesis in enumerate(found[0]["hypotheses"]):
        assert hypothesis["text"] == expected.text[k] and hypothesis["tokens"] == expected.tokens[k]
        assert hypothesis["finished"] == expected.finished[k]
        assert hypothesis["score"] == pytest.approx(expected.scores[k], rel=1e-5)
        assert hypothesis["log_prob"] == pytest.approx(expected.log_probs[k], rel=1e-5)


def test_with_batches_of_one_every_line_is_answered_at_once(folder, generator, monkeypatch, capsys):
    answers = []

    class Typed:
        """Standard input that notes what was answered before its next line is read."""

        def __iter__(self):
            for line in ("la casa\n", "un gato\n", "el perro\n"):
                yield line.encode()
                answers.append(capsys.readouterr().out)

    monkeypatch.setattr(TextGenerator, "load", lambda path: generator)
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Typed()}))
    assert cli.main(["generate", "--model", str(folder), "-", "--batch-size", "1"]) == 0
    assert answers == [text + "\n" for text in generator(["la casa", "un gato", "el perro"]).best()]


def test_progress_is_shown_on_a_terminal_and_only_there(generator, folder, monkeypatch, capsys):
    """Standard error is a terminal, standard output is not; the other cases are those of the other tests."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(TextGenerator, "load", lambda path: generator)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"la casa\n" * 70)))
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main(["generate", "--model", str(folder), "-", "--batch-size", "10"]) == 0
    assert "generating" in terminal.getvalue() and "70 lines" in terminal.getvalue()
    assert capsys.readouterr().out.splitlines() == generator(["la casa"]).best() * 70


def test_evaluate_prints_scores_with_signatures_and_samples(run, generator, folder, tmp_path):
    rows = "".join(f"{target}\tx\t{source}\n" for source, target in zip(SOURCES, TARGETS))
    options = ["--columns", 2, 0, "--limit", 4, "--samples", 2, "--json", tmp_path / "scores.json"]
    out = run("evaluate", "--model", folder, "--tsv", "-", *options, stdin=rows)
    found = json.loads((tmp_path / "scores.json").read_text())
    bleu = corpus_bleu(generator(SOURCES[:4]).best(), TARGETS[:4])
    assert found["sentences"] == 4
    assert (found["bleu"], found["signature"]) == (pytest.approx(bleu.value), bleu.signature)
    assert f"{found['bleu']:.1f}" in out and bleu.signature in out
    assert f"{found['chrf']:.1f}" in out and found["chrf_signature"] in out
    assert (
        f"{found['distinct1']:.3f} / {found['distinct2']:.3f}" in out
        and f"{found['length_ratio']:.3f}" in out
    )
    assert f"{100 * found['repetition_rate']:.1f} %" in out and f"{found['self_bleu']:.1f}" in out
    assert f"{found['perplexity']:.2f}" in out and f"{100 * found['exact_match']:.1f} %" in out
    assert SOURCES[0] in out and TARGETS[0] in out and TARGETS[1] not in out  # 2 of the 4, evenly spread


def test_score_gives_the_teacher_forced_log_probs(run, generator, folder, pair_files):
    out = run("score", "--model", folder, *pair_files, "--batch-size", 2)
    rows = [line.split("\t") for line in out.splitlines()]
    assert len(rows) == len(SOURCES)
    labels = generator.target_text.dense(TARGETS).numpy()
    target_ids = np.concatenate([np.full([len(labels), 1], START), labels[:, :-1]], axis=1)
    inputs = {"source_ids": generator.source_text.dense(SOURCES), "target_ids": tf.constant(target_ids)}
    logits = generator.model(inputs).numpy().astype(np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    each = np.take_along_axis(log_probs, labels[:, :, None], axis=2)[:, :, 0] * (labels != PAD)
    np.testing.assert_allclose([float(log_prob) for log_prob, _ in rows], each.sum(axis=1), atol=1e-3)
    assert [int(tokens) for _, tokens in rows] == (labels != PAD).sum(axis=1).tolist()


def test_score_of_what_was_generated_is_its_log_prob(run, generator, folder):
    sentence = generator([SOURCES[0]]).sentences()[0]
    k = next(k for k, text in enumerate(sentence.text) if text and sentence.finished[k] and "⁇" not in text)
    out = run(
        "score", "--model", folder, "--tsv", "-", "--json-lines", stdin=f"{SOURCES[0]}\t{sentence.text[k]}\n"
    )
    found = json.loads(out)
    assert found["tokens"] == sentence.tokens[k] and found["target"] == sentence.text[k]
    assert found["log_prob"] == pytest.approx(sentence.log_probs[k], rel=1e-4)
    assert sum(found["token_log_probs"]) == pytest.approx(found["log_prob"], rel=1e-5)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_SEQ2SEQ_CACHE", str(tmp_path / "cache"))


def test_data_counts_splits_and_writes(run, own_cache, tmp_path):
    rows = [(f"palabra {n} de la casa", f"word {n} of the house") for n in range(40)]
    rows += [rows[3], ("", "nothing"), ("una frase que es muy larga aquí", "a long one")]
    stdin = "".join(f"{source}\t{target}\n" for source, target in rows)
    options = ["--max-words", 6, "--valid", 3, "--test", 0.1, "--vocabulary", "words"]
    out = run("data", "--tsv", "-", *options, "--output", tmp_path / "split", stdin=stdin)
    counts = {name: int(count) for name, count in re.findall(r"^(\S.*?) +(\d+)$", out, re.MULTILINE)}
    expected = {
        "read": 43,
        "removed: empty": 1,
        "removed: max_words": 1,
        "removed: duplicates": 1,
        "kept": 40,
    }
    assert expected.items() <= counts.items()
    assert counts["valid"] == 3 and counts["train"] + counts["valid"] + counts["test"] == 40
    files = {
        path.name: path.read_text(encoding="utf-8").splitlines() for path in (tmp_path / "split").iterdir()
    }
    assert {name: len(lines) for name, lines in files.items() if name.endswith("target")} == {
        f"{use}.target": counts[use] for use in ("train", "valid", "test")
    }
    for side in ("source", "target"):
        words = [word for line in files[f"train.{side}"] for word in line.split()]
        told = next(line for line in out.splitlines() if line.startswith(f"{side}: "))
        assert f"vocabulary {len(set(words)) + 4} words" in told and f" {len(words):,} tokens" in told
        assert f"entropy {unigram_entropy(words):.2f} bits" in told
        assert "5.0 a sentence, the longest 5;" in told and "unknown 0.00 %" in told


def test_data_writes_over_its_own_files_only(run, own_cache, capsys, pair_files, tmp_path):
    options = ["--valid", 1, "--test", 1, "--output", tmp_path / "split"]
    for _ in range(2):
        run("data", *pair_files, *options)
    (tmp_path / "split" / "thesis.txt").write_text("mine")
    assert "thesis.txt already: give a new name" in failed(capsys, "data", *pair_files, *options)
    assert (tmp_path / "split" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("generate", "the following arguments are required: --model, FILE"),
        ("generate --model m - --beam-size 0", "--beam-size: give a whole number above 0"),
        ("generate --model m - --beam-size three", "--beam-size: invalid positive value: 'three'"),
        ("generate --model no/such/folder -", "no folder no/such/folder"),
        ("generate --model no/such/folder no/such/file", "no/such/file: No such file"),
        ("generate --model {here} -", "has no model.keras"),
        ("evaluate --model m --source a", "give either --source FILE and --target FILE, or --tsv FILE"),
        ("score --model m --source a --target b --tsv c", "give either"),
        ("evaluate --model m --source no --target {file}", "cannot read no"),
        ("evaluate --model m --tsv {file}", "1 tab-separated column"),
        ("data --source a", "give either"),
        (
            "data --index no_such_corpus",
            "there is no index corpus 'no_such_corpus'; there are: tatoeba_es_en",
        ),
        ("data --index a --tsv b", "--index names the corpus"),
        ("data --tsv a --flip", "--flip is for --index"),
        ("data --tsv a --test 1.5", "give a count, or a share below 1"),
        ("data --tsv {file} --max-ratio 0.5", "max_ratio"),
        ("nonsense", "invalid choice: 'nonsense'"),
    ],
)
def test_errors_are_one_line_and_code_2(arguments, words, capsys, tmp_path):
    (tmp_path / "file").write_text("one column\n")
    arguments = arguments.format(here=tmp_path, file=tmp_path / "file")
    assert words in failed(capsys, *arguments.split())


@pytest.mark.parametrize(
    "options, words",
    [
        (["--greedy", "--beam-size", "3"], "--greedy goes without"),
        (["--n-best", "9"], "only beam_size = 3"),
        (["--length-penalty", "harsh"], "invalid choice: 'harsh' (choose from 'none', 'average', 'gnmt'"),
    ],
)
def test_contradicting_options_are_refused(options, words, run, capsys, folder):
    assert words in failed(capsys, "generate", "--model", folder, "-", *options)


def test_without_a_command_it_tells_what_there_is(capsys):
    assert cli.main([]) == 2
    err = capsys.readouterr().err
    assert all(command in err for command in COMMANDS)


@pytest.mark.parametrize(
    "error, code, words",
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
        (PermissionError(13, "Permission denied", "/etc/x"), 2, "/etc/x: Permission denied"),
        (MemoryError(), 2, "out of memory: give a smaller --batch-size"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), 2, "out of memory"),
    ],
)
def test_what_may_happen_ends_without_a_traceback(error, code, words, monkeypatch, capsys):
    def fail(options):
        raise error

    monkeypatch.setattr(cli.generate, "run", fail)
    assert cli.main(["generate", "--model", "m", "-"]) == code
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(cli.generate, "run", lambda options: {}["no such key"])
    with pytest.raises(KeyError):
        cli.main(["generate", "--model", "m", "-"])


def test_a_reader_that_went_away_is_no_error(run, folder, monkeypatch, capsys):
    """As in ``tf-seq2seq generate ... | head -1``."""
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"la casa\n")))
    with open(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert cli.main(["generate", "--model", str(folder), "-"]) == 141
        monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_as_a_program_it_says_nothing_but_the_answer(folder, generator, tmp_path):
    """`python -m tf_seq2seq`: TensorFlow's notes about the machine stay away."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("TF_", "KERAS_"))
    }
    environment["PYTHONPATH"] = str(Path(cli.__file__).parents[1])
    program = [sys.executable, "-m", "tf_seq2seq", "generate", "--model", str(folder), "-"]
    done = subprocess.run(
        program, input="\n".join(LINES), capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == [*generator(LINES).best(), ""]
