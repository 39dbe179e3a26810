"""`tf-seq2seq generate` of an exported folder says what it says of the generator that was exported."""

import functools
import json

import pytest
from tiny_generator import SOURCES, tiny_generator

from tf_seq2seq import cli
from tf_seq2seq.decoding.diverse_beam_search import DiverseBeamSearch
from tf_seq2seq.export import description
from tf_seq2seq.serving import exported_generator

pytestmark = pytest.mark.usefixtures("eagerly")

LINES = [*SOURCES, "", "gato", "un ñandú come la casa"]
SAME = [
    "",
    "--greedy",
    "--scores --token-scores --alignments",
    "--beam-size 4 --n-best 3",
    "--beam-size 2 --length-penalty sockeye --alpha 0.7 --beta 2 --coverage-penalty summary --coverage-beta 0.5",
    "--beam-size 3 --stop first_finished --max-length 5 --min-length 3",
    "--patience 0.5",
    "--no-repeat-ngram 1 --repetition-penalty 1.5 --no-unk",
    "--ban the",
    "--prefix {prefix}",
    "--phrases {phrases}",
    "--sample 2 --temperature 1.5 --top-p 0.8",
    "--sample 3 --top-k 3 --n-best 3 --json-lines",
]


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """A model answers its first request after seconds; here every run asks the same one."""
    load = exported_generator.ExportedModel
    exported_generator.ExportedModel = functools.cache(load)
    yield
    exported_generator.ExportedModel = load


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_export):
    """The generator's folder and the exported one."""
    path = tmp_path_factory.mktemp("exported") / "generator"
    tiny_generator().save(path)
    return path, tiny_export


@pytest.fixture
def run(folders, tmp_path, capsys):
    files = {"in": LINES, "prefix": ["the", "", "a cat"], "phrases": ["cat\tthe", "", "house"]}
    for name, lines in files.items():
        lines = [lines[number % len(lines)] for number in range(len(LINES))]
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))

    def run(folder, options="", expected=0):
        options = options.format(**{name: tmp_path / name for name in files}).split()
        assert cli.main(["generate", "--model", str(folder), str(tmp_path / "in"), *options]) == expected
        told = capsys.readouterr()
        return told.err if expected else told.out

    return run


@pytest.mark.parametrize("options", SAME)
def test_it_says_what_the_generator_says(options, folders, run):
    generated, exported = (run(folder, options) for folder in folders)
    assert _rounded(exported) == _rounded(generated)
    assert len(set(exported.splitlines())) > 3


def _rounded(text):
    """Numbers to three digits: sums of the same numbers round differently in another graph."""
    if text.startswith("{"):
        lines = [json.loads(line) for line in text.splitlines()]
        return [[(one["text"], round(one["score"], 3)) for one in line["hypotheses"]] for line in lines]
    numbers = lambda cell: " ".join(
        f"{float(one):.2f}" if _is_number(one) else one for one in cell.split(" ")
    )
    return [[numbers(cell) for cell in line.split("\t")] for line in text.splitlines()]


def _is_number(text):
    return text.replace("-", "", 1).replace(".", "", 1).isdigit() and "." in text


def test_the_folder_of_versions_and_a_seed(folders, run):
    assert run(folders[1].parent) == run(folders[1])
    drawn = [run(folders[1], f"--sample 1 --temperature 3 --seed {seed}") for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    "options, told",
    [
        ("--groups 2", "an exported folder has no --groups: leave it out"),
        ("--batch-tokens 50 --allow {in}", "no --allow, --batch-tokens"),
        ("--max-length 1,5", "--max-length is a number of tokens with an exported folder"),
        ("--beam-size 9", "beam_size"),
        ("--self-check", "no --self-check"),
    ],
)
def test_what_it_has_not_is_told(options, told, folders, run):
    assert told in run(folders[1], options, expected=2)


def test_a_search_that_generate_does_not_know_asks_for_another(folders, run, monkeypatch):
    """As of a diverse beam search, whose groups no option of `generate` tells."""
    assert description.options_of(DiverseBeamSearch(4, groups=2, max_length=6)) is None
    told = description.read(folders[1])._replace(options=None)
    with monkeypatch.context() as patch:
        patch.setattr(description, "read", lambda folder: told)
        assert "name another search" in run(folders[1], expected=2)
        assert run(folders[1], "--beam-size 2") == run(folders[1], "--beam-size 2 --length-penalty gnmt")
    monkeypatch.setattr(description, "FILE", "none.json")
    assert "export the generator again" in run(folders[1], expected=2)
