"""`tf-seq2seq generate`: a target for every source line."""

import contextlib
import itertools
import operator
import sys

from tf_seq2seq.commands import exported, self_check
from tf_seq2seq.commands.formats import add_format_options, as_text, is_numbered
from tf_seq2seq.commands.models import (
    add_ensemble_options,
    add_model_option,
    add_shortlist_option,
    add_unknowns_option,
    add_weights_option,
    check_model,
    load_generator,
)
from tf_seq2seq.commands.option_types import positive
from tf_seq2seq.commands.progress import progress
from tf_seq2seq.commands.resuming import ResumableFile, add_output_options, check_output, origin
from tf_seq2seq.commands.search_options import add_search_options
from tf_seq2seq.commands.sentences import STANDARD_INPUT, lines, lines_in_step

HELP = "write a target for every source line"
USAGE = "tf-seq2seq generate --model FOLDER [option ...] FILE"
DESCRIPTION = """\
Reads source sentences, one a line, and writes the best target of each on one
line, in the same order. An empty line gives an empty line. Memory does not
grow with the input: some batches are read ahead and put in order of length;
with --batch-size 1 every line is answered at once.

--model is a folder that TextGenerator.save wrote, or an exported one, whose
graph then does all of it; options that it does not have are told.

Columns are parted by tabs, in this order, the target alone by default:
  number (--n-best)  score (--scores)  target  alignment (--alignments)
  log P of its tokens (--token-scores)
"""
EPILOG = """\
example:
  echo "¿Dónde está la estación?" | \\
    tf-seq2seq generate --model runs/demo/generator -
  tf-seq2seq generate --model runs/demo/generator news.es \\
    --beam-size 8 --n-best 3 --scores > news.en
  tf-seq2seq generate --model runs/demo/generator news.es \\
    --sample 5 --top-p 0.9 --n-best 5 --json-lines --output news.json --resume
"""
_BATCH_SIZE, _TOKENS_BATCH_SIZE, _WINDOW = 32, 256, 16


def add_options(parser):
    """Adds this command's options to its parser."""
    add_model_option(parser)
    parser.add_argument(
        "input",
        metavar="FILE",
        help="source sentences, one a line; - is standard input; stands before options of several values",
    )
    add_search_options(
        parser,
        n_best="hypotheses for a source, at most K; they are N lines, best first, each after the number of the "
        "source line and a tab",
    )
    _add_line_options(parser.add_argument_group("constraints of each line"))
    group = parser.add_argument_group("output")
    add_format_options(group)
    add_unknowns_option(group)
    add_output_options(group)
    add_ensemble_options(parser)
    group = parser.add_argument_group("speed")
    _add_speed_options(group)
    add_shortlist_option(group)
    add_weights_option(group)
    self_check.add_options(parser.add_argument_group("self-check", self_check.DESCRIPTION))


def _add_line_options(group):
    group.add_argument("--prefix", metavar="FILE", help="line i: what target i begins with, or nothing")
    group.add_argument(
        "--phrases",
        metavar="FILE",
        help="line i: what target i must contain, phrases parted by tabs, or nothing; in a beam search, whose "
        "places they share (Post and Vilar 2018)",
    )


def _add_speed_options(group):
    group.add_argument(
        "--batch-size",
        type=positive,
        metavar="LINES",
        help=f"the most lines at once (default {_BATCH_SIZE}, or {_TOKENS_BATCH_SIZE} with --batch-tokens)",
    )
    group.add_argument(
        "--batch-tokens",
        type=positive,
        metavar="TOKENS",
        help="the most source tokens at once, padding counted; a longer line goes alone",
    )
    group.add_argument(
        "--window",
        type=positive,
        metavar="BATCHES",
        help=f"batches that are read ahead and put in order of length (default {_WINDOW}; 1 with --batch-size 1)",
    )


def run(options):
    """Generates, or checks that batches do not matter."""
    rows = _rows(options)
    check_model(options)
    check_output(options)
    self_check.check_options(options)
    load = load_generator
    if exported.is_exported(options.model):
        exported.check_options(options)
        load = exported.load_exported
    if options.self_check:
        return self_check.run(options, rows, load_generator(options), batches(options))
    with _output(options) as output:
        _generate(load(options), itertools.islice(rows, output.sources, None), output, options)


def batches(options):
    """How lines are put together, as `TextGenerator.generate_all` has it."""
    size = options.batch_size or (_TOKENS_BATCH_SIZE if options.batch_tokens else _BATCH_SIZE)
    window = options.window or (1 if size == 1 else _WINDOW)
    return {"batch_size": size, "batch_tokens": options.batch_tokens, "window": window}


def conditions_of(options):
    """The conditions that each line brings, by the names that a generator has, and how they are read of a line."""
    readers = {"prefix": str, "phrases": lambda line: [one for one in line.split("\t") if one.strip()]}
    return {name: reader for name, reader in readers.items() if getattr(options, name)}


def _rows(options):
    """An iterator of tuples: a source and its conditions, looked into at once."""
    texts = lines(options.input)
    readers = conditions_of(options)
    if not readers:
        return zip(texts)
    name = "standard input" if options.input == STANDARD_INPUT else options.input
    rows = lines_in_step(name, texts, {getattr(options, one): read for one, read in readers.items()})
    return itertools.chain([next(rows)], rows)


def _output(options):
    if options.output is None:
        return contextlib.nullcontext(_StandardOutput())
    how = batches(options)
    n_best = options.n_best if is_numbered(options) else None
    window = how["batch_size"] * how["window"]
    return ResumableFile(options.output, origin(options), window, n_best, options.resume)


class _StandardOutput:
    sources = 0

    def write(self, text):
        sys.stdout.write(text)
        sys.stdout.flush()


def _generate(generator, rows, output, options):
    how = batches(options)
    kept, texts, *more = itertools.tee(rows, 2 + len(conditions_of(options)))  # they hold what is read ahead
    texts, *values = (map(operator.itemgetter(place), one) for place, one in enumerate([texts, *more]))
    file = None if options.input == STANDARD_INPUT else options.input
    with progress("generating", file, output.sources, options.output is not None) as done:
        conditions = dict(zip(conditions_of(options), values))
        found = generator.generate_all(texts, **how, done=done, **conditions)
        numbered = enumerate(zip(kept, found), output.sources + 1)
        while window := [*itertools.islice(numbered, how["batch_size"] * how["window"])]:
            output.write("".join(as_text(number, row[0], one, options) for number, (row, one) in window))
