"""`tf-seq2seq evaluate`: a model's scores on pairs it has not seen."""

import sys
from pathlib import Path

from tf_seq2seq.commands.models import (
    add_batch_option,
    add_ensemble_options,
    add_model_option,
    add_shortlist_option,
    add_unknowns_option,
    add_weights_option,
    load_generator,
)
from tf_seq2seq.commands.option_types import positive
from tf_seq2seq.commands.search_options import add_search_options
from tf_seq2seq.commands.sentences import add_pair_options, pairs
from tf_seq2seq.errors import InputError

HELP = "score a model on pairs of source and reference"
USAGE = "tf-seq2seq evaluate --model FOLDER [option ...]"
DESCRIPTION = """\
Generates a target for every source and compares it with its reference. Prints
corpus BLEU and chrF with sacreBLEU's signature, ROUGE, exact match, length
ratio, diversity, perplexity, token accuracy, entropy, speed, and samples beside
their references (green: equal).

  perplexity      = exp(-sum of log P(reference token) / number of tokens)
  length ratio    = words generated / words of the references
  distinct-n      = different n-grams of all texts / n-grams of all texts
  repetition rate = sum over texts of (pairs of words - different ones)
                    / sum over texts of pairs of words
  self-BLEU       = mean sentence BLEU of each hypothesis against the others of
                    its source (if there are any)
"""
EPILOG = """\
example:
  tf-seq2seq evaluate --model runs/demo/generator \\
    --source test.es --target test.en
  tf-seq2seq evaluate --model runs/demo/generator \\
    --tsv spa.tsv --columns 1 0 --limit 1000 --json scores.json
"""


def add_options(parser):
    """Adds this command's options to its parser."""
    add_model_option(parser)
    add_pair_options(parser)
    parser.add_argument("--limit", type=positive, metavar="PAIRS", help="the first so many pairs only")
    add_batch_option(parser, default=64)
    add_search_options(parser)
    group = parser.add_argument_group("output")
    add_unknowns_option(group)
    add_ensemble_options(parser)
    speed = parser.add_argument_group("speed")
    add_shortlist_option(speed)
    add_weights_option(speed)
    group.add_argument("--samples", type=int, default=10, metavar="N", help="samples to print (default 10)")
    group.add_argument(
        "--lowercase", action="store_true", help="BLEU, chrF, exact match and diversity ignore case"
    )
    group.add_argument(
        "--tokenize", default="13a", metavar="NAME", help="sacreBLEU's tokenizer (default 13a)"
    )
    group.add_argument("--json", metavar="FILE", help="write the numbers to this file, too")


def run(options):
    """Evaluates and prints."""
    if options.json and Path(options.json).is_dir():
        raise InputError(f"{options.json} is a folder: give --json a file")
    with pairs(options) as rows:
        split = [pair for pair, _ in zip(rows, range(options.limit or sys.maxsize))]
    generator = load_generator(options)
    from tf_seq2seq.evaluation.evaluate import evaluate
    from tf_seq2seq.evaluation.report import save_numbers

    found = evaluate(
        generator,
        split,
        batch_size=options.batch_size,
        lowercase=options.lowercase,
        tokenize=options.tokenize,
        progress=sys.stderr.isatty(),
    )
    _print(found, options.samples)
    if options.json:
        save_numbers(found, options.json)


def _print(found, samples):
    from rich.console import Console

    from tf_seq2seq.evaluation.report import as_text, sample_rows, samples_table, scores_table

    tables = [scores_table(found)]
    if samples > 0:
        tables.append(samples_table(sample_rows(found, samples)))
    if sys.stdout.isatty():
        Console().print(*tables)
    else:
        print(as_text(*tables, width=140))  # a signature stays on one line
