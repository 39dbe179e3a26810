"""Output files: however a run ends, going on with it gives the bytes of a run that was never stopped."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_generator import SOURCES, tiny_generator

from tf_seq2seq import cli
from tf_seq2seq.commands import resuming
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.sampling import Sampling

WORDS = sorted({word for source in SOURCES for word in source.split()})
LINES = [" ".join(WORDS[(n * k) % len(WORDS)] for k in range(1, 2 + n % 9)) for n in range(2000)]
BATCHES = ["--batch-size", "3", "--window", "2"]
FORMATS = {
    "plain": ["--scores"],
    "n-best": ["--n-best", "2", "--token-scores"],
    "json": ["--json-lines", "--n-best", "2"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resuming") / "model"
    tiny_generator(Sampling(2, max_length=8)).save(folder)
    return folder


@pytest.fixture(scope="module")
def generator(folder):
    return TextGenerator.load(folder).with_weights("float32")


@pytest.fixture
def run(generator, folder, monkeypatch, tmp_path):
    """Runs `generate` on 23 lines; with `stops`, it is stopped while it writes that window, some bytes of it written."""
    monkeypatch.setattr(TextGenerator, "load", lambda path: generator)
    (tmp_path / "in").write_text("".join(line + "\n" for line in LINES[:23]))
    write = resuming.ResumableFile.write

    def run(*options, output="out", stops=None):
        windows = []

        def stopping(self, text):
            windows.append(text)
            if stops is not None and len(windows) == stops[0]:
                self._file.write(text.encode()[: stops[1]])
                self._file.flush()
                raise KeyboardInterrupt
            write(self, text)

        monkeypatch.setattr(resuming.ResumableFile, "write", stopping)
        files = ["--output", str(tmp_path / output)]
        return cli.main(
            ["generate", "--model", str(folder), str(tmp_path / "in"), *BATCHES, *files, *options]
        )

    return run


@pytest.mark.parametrize("layout", FORMATS)
def test_a_stopped_run_goes_on_to_the_same_bytes(layout, run, tmp_path):
    """Stopped at the beginning, between windows, within a line, within a character, between a source's lines."""
    options, out = FORMATS[layout], tmp_path / "out"
    assert run(*options, output="whole") == 0
    whole = (tmp_path / "whole").read_bytes()
    assert len(whole.splitlines()) == 23 * (2 if layout == "n-best" else 1)
    assert not (tmp_path / "whole.resume.json").exists()
    windows = 0
    for stops in ((1, 0), (1, 7), (2, 0), (1, 20), (1, whole.index(b"\n") + 1), (2, -1)):
        windows += stops[0] - 1  # whole ones: what was written of the last is written again
        assert run(*options, "--resume", stops=stops) == 130
        torn = out.read_bytes()
        assert whole.startswith(torn) and (tmp_path / "out.resume.json").exists()
    assert run(*options, "--resume") == 0
    assert out.read_bytes() == whole
    assert not (tmp_path / "out.resume.json").exists()


def test_what_is_whole_is_not_generated_again(run, generator, monkeypatch):
    run(stops=(3, 5))
    seen, generate_all = [], TextGenerator.generate_all
    counted = lambda self, texts, **how: generate_all(self, (seen.append(one) or one for one in texts), **how)
    monkeypatch.setattr(TextGenerator, "generate_all", counted)
    assert run("--resume") == 0
    assert seen == LINES[12:23]


def test_other_options_model_or_input_do_not_go_on(run, folder, tmp_path, capsys):
    run("--seed", "3", stops=(2, 0))
    torn = (tmp_path / "out").read_bytes()
    capsys.readouterr()

    def refused(*options):
        assert run("--resume", *options) == 2
        assert (tmp_path / "out").read_bytes() == torn
        return capsys.readouterr().err

    assert "begun differently: seed was 3 and is 4; give the same again" in refused("--seed", "4")
    assert "seed was 3 and is null" in refused() and "window was 2 and is 4" in refused("--window", "4")
    tokens = folder / "target" / "vocabulary.txt"
    content = tokens.read_text()
    tokens.write_text(content + "\n")
    assert "begun differently: another model;" in refused("--seed", "3")
    tokens.write_text(content)
    (tmp_path / "in").write_text("casa\n" * 23)
    assert "begun differently: another input;" in refused("--seed", "3")
    (tmp_path / "out.resume.json").write_text('{"seed"')
    assert "out.resume.json is damaged" in refused("--seed", "3")
    assert run("--overwrite") == 0
    assert len((tmp_path / "out").read_text().splitlines()) == 23


def test_conditions_of_lines_go_on_in_step(run, tmp_path):
    (tmp_path / "prefix").write_text("".join(f"{'the dog' if n % 3 else ''}\n" for n in range(23)))
    options = ["--prefix", str(tmp_path / "prefix")]
    assert run(*options, output="whole") == 0
    run(*options, stops=(3, 5))
    assert run(*options, "--resume") == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


def test_what_is_there_is_not_lost(run, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert run() == 2 and "is there already: give --resume to go on with it, or" in capsys.readouterr().err
    assert run("--resume") == 2 and "give --overwrite to write it anew" in capsys.readouterr().err
    assert run("--overwrite", output="in") == 2 and "in is read, too" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine" and not (tmp_path / "out.resume.json").exists()
    assert run("--resume", output="new") == 0  # the same command begins and goes on


@pytest.mark.parametrize(
    "content, window, n_best, expected",
    [
        (b"", 2, None, (0, 0)),
        (b"a\nb\nc\n", 1, None, (3, 6)),
        (b"a\nb\nc\nd\n", 3, None, (3, 6)),
        (b"a\nb\n\x00\x00\x00", 1, None, (2, 4)),
        (b"\n\n\n", 2, None, (2, 2)),
        (b"1\ta\n1\tb\n2\tc\n", 1, 2, (1, 8)),
        (b"1\ta\n1\tb\n2\tc\n2", 1, 2, (1, 8)),
        (b"1\ta\n2\tb\n2\tc\n", 1, 2, (2, 12)),  # the first source had one hypothesis only
        (b"1\ta\n2\tb\n3\tc\n", 1, 2, (2, 8)),
        (b"1\ta\n1\tb\n2\tc\n2\td\n3", 2, 2, (2, 16)),
    ],
)
def test_whole_windows_are_found(content, window, n_best, expected):
    assert resuming.whole_windows(io.BytesIO(content), window, n_best) == expected


def killed_at(arguments, output, size):
    """Starts the command and kills it, as `kill -9` does, when its output has that many bytes."""
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-m", "tf_seq2seq", *arguments], env=environment)
    while process.poll() is None and not (output.exists() and output.stat().st_size >= size):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    return process.wait()


@pytest.mark.survival
def test_a_killed_process_goes_on_to_the_same_bytes(folder, generator, monkeypatch, tmp_path):
    """SIGKILL, twice, in the middle of 2,000 lines."""
    (tmp_path / "in").write_text("".join(line + "\n" for line in LINES))
    arguments = [
        "generate",
        "--model",
        str(folder),
        str(tmp_path / "in"),
        "--batch-size",
        "8",
        "--window",
        "3",
    ]
    arguments += ["--n-best", "2"]
    sizes = []
    for size in (4_000, 30_000):
        code = killed_at([*arguments, "--output", str(tmp_path / "out"), "--resume"], tmp_path / "out", size)
        assert code == -signal.SIGKILL
        sizes.append((tmp_path / "out").stat().st_size)
        assert json.loads((tmp_path / "out.resume.json").read_text())["n_best"] == 2
    monkeypatch.setattr(TextGenerator, "load", lambda path: generator)
    assert cli.main([*arguments, "--output", str(tmp_path / "whole")]) == 0
    whole = (tmp_path / "whole").read_bytes()
    assert 4_000 <= sizes[0] < sizes[1] < len(whole)
    assert cli.main([*arguments, "--output", str(tmp_path / "out"), "--resume"]) == 0
    assert (tmp_path / "out").read_bytes() == whole
