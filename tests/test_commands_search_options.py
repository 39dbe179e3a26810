"""The options of a search: each reaches the strategy, what is not given stays, what contradicts itself is refused."""

import argparse
import io
import shlex
import sys

import pytest
from tiny_generator import TARGETS

from tf_seq2seq import cli
from tf_seq2seq.commands.constraints import phrase_forms
from tf_seq2seq.commands.search_options import add_search_options
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import UNK
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.constraints import Banned, NoRepeatNGrams, RepetitionPenalty
from tf_seq2seq.decoding.coverage import CoveragePenalty
from tf_seq2seq.decoding.diverse_beam_search import DiverseBeamSearch
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.decoding.penalties import LengthPenalty
from tf_seq2seq.decoding.sampling import Sampling
from tf_seq2seq.decoding.stochastic_beam_search import StochasticBeamSearch
from tf_seq2seq.decoding.trie import Trie

pytestmark = pytest.mark.usefixtures("eagerly")

TEXT = TextProcessor.fit([*TARGETS, "so , it is - it isn't well-known ."], "words")
ID = TEXT.vocabulary.id
BEAM = {"beam_size": 3, "length_penalty": LengthPenalty("gnmt"), "max_length": 8, "n_best": 3}
DRAWN = {"samples": 2, "temperature": 0.5, "seed": 7, "max_length": 8}
SOCKEYE = LengthPenalty("sockeye", 0.3, 2.0, 1)


def beam(**changes):
    return BeamSearch(**{**BEAM, **changes})


def ban(*phrases):
    return Banned([[ID(token) for token in phrase.split()] for phrase in phrases])


CASES = [
    (beam(), "", beam()),
    (beam(), "--greedy", Greedy(8)),
    (beam(), "--beam-size 5", beam(beam_size=5)),
    (beam(), "--beam-size 2", beam(beam_size=2, n_best=2)),
    (beam(), "--n-best 2", beam(n_best=2)),
    (beam(beam_size=6), "--groups 2", DiverseBeamSearch(6, 2, n_best=3, length_penalty="gnmt", max_length=8)),
    (
        beam(stop="all_finished", min_length=2),
        "--groups 3 --diversity 0.25 --n-best 1",
        DiverseBeamSearch(3, 3, 0.25, 1, stop="all_finished", min_length=2, max_length=8),
    ),
    (DiverseBeamSearch(4, 2), "--diversity 0.75", DiverseBeamSearch(4, 2, 0.75)),
    (
        DiverseBeamSearch(4, 2),
        "--alpha 0.1",
        DiverseBeamSearch(4, 2, length_penalty=LengthPenalty("gnmt", 0.1)),
    ),
    (beam(), "--stochastic", StochasticBeamSearch(3, max_length=8)),
    (
        beam(),
        "--stochastic --beam-size 4 --temperature 0.7 --seed 5 --n-best 2",
        StochasticBeamSearch(4, 0.7, 5, max_length=8),
    ),
    (StochasticBeamSearch(4, 0.7), "--beam-size 6", StochasticBeamSearch(6, 0.7)),
    (beam(), "--stop all_finished", beam(stop="all_finished")),
    (beam(), "--patience 2", beam(stop="patience", patience=2.0)),
    (beam(), "--stop patience --patience 0.5", beam(stop="patience", patience=0.5)),
    (beam(patience=2.0, stop="patience"), "--stop first_finished", beam(stop="first_finished", patience=2.0)),
    (beam(), "--length-penalty average", beam(length_penalty="average")),
    (beam(), "--alpha 0.2", beam(length_penalty=LengthPenalty("gnmt", 0.2))),
    (beam(), "--length-offset -1", beam(length_penalty=LengthPenalty("gnmt", offset=-1))),
    (
        beam(),
        "--length-penalty sockeye --alpha 0.3 --beta 2 --length-offset 1",
        beam(length_penalty=SOCKEYE),
    ),
    (
        beam(length_penalty=SOCKEYE),
        "--beta 3",
        beam(length_penalty=LengthPenalty("sockeye", 0.3, 3.0, 1)),
    ),
    (beam(length_penalty=SOCKEYE), "--length-penalty gnmt_tf", beam(length_penalty="gnmt_tf")),
    (beam(), "--length-penalty word_reward", beam(length_penalty="word_reward")),
    (beam(), "--coverage-penalty summary", beam(coverage_penalty="summary")),
    (
        beam(),
        "--coverage-penalty gnmt --coverage-beta 0.4 --stepwise",
        beam(coverage_penalty=CoveragePenalty("gnmt", 0.4, True)),
    ),
    (
        beam(coverage_penalty=CoveragePenalty("summary", 1.0, True)),
        "--coverage-beta 0.4",
        beam(coverage_penalty=CoveragePenalty("summary", 0.4, True)),
    ),
    (beam(coverage_penalty="gnmt"), "--coverage-penalty none", beam()),
    (beam(), "--sample 3", Sampling(3, max_length=8)),
    (
        beam(),
        "--sample 3 --temperature 0.7 --top-k 5 --top-p 0.9 --typical 0.8 --epsilon 0.01 --seed 4 --n-best 3",
        Sampling(3, 0.7, 5, 0.9, 0.8, 0.01, 4, 8),
    ),
    (Sampling(**DRAWN), "--top-k 9 --n-best 2", Sampling(**DRAWN, top_k=9)),
    (Sampling(**DRAWN), "--n-best 2", Sampling(**DRAWN)),
    (Sampling(**DRAWN), "--beam-size 4", BeamSearch(4, max_length=8)),
    (Sampling(**DRAWN), "--stochastic", StochasticBeamSearch(4, 0.5, 7, 8)),
    (beam(), "--max-length 4", beam(max_length=4)),
    (beam(), "--max-length 1.5,10", beam(max_length=(1.5, 10.0))),
    (beam(), "--min-length 3", beam(min_length=3)),
    (Greedy(7), "--min-length 0.5,1", Greedy(7, (0.5, 1.0))),
    (Greedy(7), "--greedy --max-length 3", Greedy(3)),
    (Greedy(7), "--max-length 3", Greedy(3)),
    (Greedy(7), "--beam-size 2", BeamSearch(2, max_length=7)),
    (
        Greedy(7),
        "--length-penalty none --alpha 0",
        BeamSearch(length_penalty=LengthPenalty("none"), max_length=7),
    ),
    (beam(), "--no-repeat-ngram 3", beam(constraints=[NoRepeatNGrams(3)])),
    (
        beam(),
        "--no-repeat-ngram 2 --repeat-tokens the #5 '- ,'",
        beam(constraints=[NoRepeatNGrams(2, sorted([ID("the"), 5, ID("▁,"), ID("-")]))]),
    ),
    (
        beam(constraints=[NoRepeatNGrams(4), Banned([9])]),
        "--repeat-tokens it",
        beam(constraints=[Banned([9]), NoRepeatNGrams(4, [ID("it")])]),
    ),
    (beam(constraints=[NoRepeatNGrams(4, [5])]), "--no-repeat-ngram 0", beam()),
    (beam(constraints=[NoRepeatNGrams(4)]), "--greedy", Greedy(8, constraints=[NoRepeatNGrams(4)])),
    (Greedy(7), "--repetition-penalty 1.5", Greedy(7, constraints=[RepetitionPenalty(1.5)])),
    (beam(constraints=[RepetitionPenalty()]), "--repetition-penalty 1", beam()),
    (beam(), "--no-unk", beam(constraints=[Banned([UNK])])),
    (beam(constraints=[Banned([UNK])]), "--ban 'the cat'", beam(constraints=[Banned([UNK]), ban("the cat")])),
    (beam(), "--ban words.txt --ban dog", beam(constraints=[ban("cat", "the house", "dog")])),
    (beam(), "--ban unheard-of", beam()),
    (
        Sampling(**DRAWN),
        "--allow names.txt",
        Sampling(**DRAWN, constraints=[Trie([[ID("the"), ID("cat")], [ID("house")]])]),
    ),
]


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Runs `generate` with options on a stand-in for a saved generator; gives the strategies that were made."""
    (tmp_path / "words.txt").write_text("cat\n\n the house \n")
    (tmp_path / "names.txt").write_text("the cat\n\nhouse\n")
    (tmp_path / "foreign.txt").write_text("the cat\nel gato\n")
    monkeypatch.chdir(tmp_path)

    def run(saved, options):
        strategies = []

        class Loaded:
            strategy, target_text, shortlist, weights = saved, TEXT, None, "float32"

            def with_strategy(self, strategy):
                strategies.append(strategy)
                return self

            def generate_all(self, *_, **__):
                return iter(())

        monkeypatch.setattr(TextGenerator, "load", lambda path: Loaded())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
        code = cli.main(["generate", "--model", str(tmp_path), "-", *shlex.split(options)])
        return code, strategies

    return run


@pytest.mark.parametrize(
    "saved, options, expected", CASES, ids=lambda part: part if isinstance(part, str) else ""
)
def test_each_option_reaches_the_strategy(saved, options, expected, made):
    """What is not given stays as it was saved."""
    code, strategies = made(saved, options)
    strategy = strategies[0] if strategies else saved
    assert code == 0
    assert type(strategy) is type(expected) and strategy.get_config() == expected.get_config()
    assert bool(strategies) == (
        saved.get_config() != expected.get_config() or type(saved) is not type(expected)
    )


def parser_of_search():
    parser = argparse.ArgumentParser(add_help=False)
    add_search_options(parser)
    return parser


def test_no_option_is_missing_from_the_cases():
    flags = {flag for action in parser_of_search()._actions for flag in action.option_strings}
    used = {word for _, options, _ in CASES for word in shlex.split(options) if word.startswith("--")}
    assert used == flags


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.__name__.rpartition(".")[2])
def test_help_fits_into_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([command.__name__.rpartition(".")[2], "--help"])
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert f"usage: {command.USAGE}" in out


@pytest.mark.parametrize(
    "saved, options, words",
    [
        (beam(), "--greedy --beam-size 3 --alpha 1", "--greedy goes without --beam-size, --alpha: leave"),
        (beam(), "--greedy --sample 2", "--greedy and --sample are two searches"),
        (beam(), "--stochastic --groups 3", "--groups and --stochastic are two searches"),
        (beam(), "--sample 2 --stop optimal", "--sample goes without --stop"),
        (beam(), "--stochastic --top-p 0.5", "--stochastic goes without --top-p"),
        (beam(), "--top-p 0.5 --seed 3", "the saved search knows no --top-p, --seed: give --sample, too"),
        (beam(), "--temperature 0.5", "give --stochastic or --sample, too"),
        (Greedy(), "--diversity 0.5", "give --groups, too"),
        (beam(), "--beam-size 3 --top-k 5", "no one search takes all of --beam-size, --top-k"),
        (beam(), "--n-best 9", "n_best is 9, but only beam_size = 3"),
        (beam(), "--sample 2 --n-best 3", "--n-best is 3, but there are only 2 hypotheses"),
        (Sampling(2), "--n-best 3", "--n-best is 3, but there are only 2 hypotheses"),
        (beam(), "--groups 2", "2 groups do not share a beam of 3 evenly"),
        (beam(), "--stop optimal --patience 2", "--patience is for --stop patience, not for optimal"),
        (beam(), "--beta 2", "--beta is for --length-penalty sockeye, not for gnmt"),
        (
            beam(),
            "--length-penalty average --beta 2",
            "--beta is for --length-penalty sockeye, not for average",
        ),
        (beam(), "--length-offset -6", "a hypothesis of 1 token is divided by a power of 0"),
        (beam(), "--stepwise", "need a --coverage-penalty"),
        (beam(), "--coverage-penalty none --coverage-beta 1", "--coverage-penalty is none"),
        (beam(), "--repeat-tokens the", "exceptions to --no-repeat-ngram N: give that, too"),
        (beam(), "--no-repeat-ngram 2 --repeat-tokens gato", "the target vocabulary has no token 'gato'"),
        (beam(), "--no-repeat-ngram 2 --repeat-tokens #999", "#999 is no id; the target vocabulary has"),
        (beam(), "--ban no/such/file", "--ban: there is no file no/such/file"),
        (beam(), "--ban wrods.txt", "--ban: there is no file wrods.txt"),
        (beam(), "--allow wrods.txt", "cannot read wrods.txt: No such file"),
        (
            beam(),
            "--allow foreign.txt",
            "foreign.txt: 'el gato' has a token that the target vocabulary lacks",
        ),
        (beam(), "--ensemble-weights 1 2", "--ensemble-weights is for --ensemble: give further models"),
        (beam(), "--ensemble no/such", "there is no folder no/such: give --ensemble a folder"),
        (beam(), "--self-check --json-lines", "--self-check writes a table only: leave out --json-lines"),
        (beam(), "--resume", "--resume and --overwrite are for a file: give --output FILE"),
        (beam(), "--output out --resume --overwrite", "leave one of them out"),
        (
            beam(),
            "--output words.txt",
            "words.txt is there already: give --resume to go on with it, or --overwrite",
        ),
        (beam(), "--output words.txt --ban words.txt --overwrite", "words.txt is read, too"),
        (beam(), "--output words.txt --resume", "there is no words.txt.resume.json, so words.txt is done"),
        (beam(), "--output . --overwrite", ". is no regular file"),
        (beam(), "--output out --weights auto", "with --output name float32 or bfloat16"),
    ],
)
def test_contradictions_are_told_on_one_line(saved, options, words, made, capsys, tmp_path):
    code, strategies = made(saved, options)
    err = capsys.readouterr().err
    assert (code, strategies) == (2, [])
    assert words in err and err.count("\n") == 1
    assert (tmp_path / "words.txt").read_text() == "cat\n\n the house \n"


@pytest.mark.parametrize(
    "option, words",
    [
        ("--top-p 1.5", "give a number above 0 and at most 1, not 1.5"),
        ("--temperature 0", "give a number above 0, not 0"),
        ("--diversity -1", "give a number of at least 0, not -1"),
        ("--no-repeat-ngram -1", "give a whole number of at least 0, not -1"),
        ("--max-length 1.5", "invalid length value: '1.5'"),
        ("--max-length 1,2,3", "invalid length value: '1,2,3'"),
        ("--stop never", "invalid choice: 'never'"),
    ],
)
def test_values_out_of_range_are_refused_at_once(option, words, capsys):
    with pytest.raises(SystemExit):
        cli.main(["generate", "--model", "m", "-", *option.split()])
    assert words in capsys.readouterr().err


def test_phrases_are_split_as_they_are_inside_of_texts():
    """SentencePiece without its mark at the beginning; signs with marks; unknown words are none."""
    forms = phrase_forms(["the cat", ",", "-", "gato"], TEXT)
    named = [[[TEXT.vocabulary.token(one) for one in form] for form in each] for each in forms]
    assert named == [[["the", "cat"]], [["▁,"]], [["-"], ["￭-￭"]], []]
    subwords = TextProcessor.fit(TARGETS, "subwords", vocab_size=28)
    assert [len(each) for each in phrase_forms(["cat", "the dog"], subwords)] == [1, 1]
    characters = TextProcessor.fit(TARGETS, "characters")
    assert [characters.vocabulary.id(one) for one in "cat"] in phrase_forms(["cat"], characters)[0]
