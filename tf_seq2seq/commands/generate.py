"""`tf-seq2seq generate`: a target for every source line."""

import itertools
import json
import sys

from tf_seq2seq.commands.models import (
    add_batch_option,
    add_model_option,
    add_search_options,
    load_generator,
    positive,
)
from tf_seq2seq.commands.sentences import lines, one_line, progress

HELP = "write a target for every source line"
DESCRIPTION = """\
Reads source sentences, one a line, and writes the best target of each on one line, in the same order. An
empty line gives an empty line. Memory does not grow with the input: some batches are read ahead and put in
order of length; with --batch-size 1 every line is answered at once.
"""
EPILOG = """\
example:
  echo "¿Dónde está la estación?" | tf-seq2seq generate --model runs/demo/generator -
  tf-seq2seq generate --model runs/demo/generator --beam-size 8 --n-best 3 --scores news.es > news.en
"""
_WINDOW = 16  # batches read ahead


def add_options(parser):
    """Adds this command's options to its parser."""
    add_model_option(parser)
    parser.add_argument("input", metavar="FILE", help="source sentences, one a line; - is standard input")
    add_batch_option(parser)
    add_search_options(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--n-best",
        type=positive,
        metavar="N",
        help="write N lines for a source, best first, each after the number of the source line and a tab",
    )
    group.add_argument("--scores", action="store_true", help="write the score and a tab before each target")
    group.add_argument(
        "--json-lines",
        action="store_true",
        help="write one JSON object for a source: source and hypotheses, each with text, score, log_prob "
        "(nats), finished, tokens",
    )


def run(options):
    """Generates."""
    texts = lines(options.input)
    generator = load_generator(options, options.n_best)
    write = _json_line if options.json_lines else _rows
    window = 1 if options.batch_size == 1 else _WINDOW
    kept, texts = itertools.tee(texts)  # it holds what is read ahead only
    found = generator.generate_all(texts, options.batch_size, window)
    with progress("generating") as done:
        for number, (source, sentence) in enumerate(zip(kept, found), 1):
            sys.stdout.write(write(number, source, sentence, options))
            if window == 1:
                sys.stdout.flush()
            done()


def _rows(number, source, sentence, options):
    rows = []
    for text, score in zip(sentence.text[: options.n_best or 1], sentence.scores):
        cells = [f"{number}"] * bool(options.n_best) + [f"{score:.4f}"] * options.scores + [one_line(text)]
        rows.append("\t".join(cells) + "\n")
    return "".join(rows)


def _json_line(number, source, sentence, options):
    names = ("text", "score", "log_prob", "finished", "tokens")
    fields = zip(sentence.text, sentence.scores, sentence.log_probs, sentence.finished, sentence.tokens)
    hypotheses = [dict(zip(names, values)) for values in itertools.islice(fields, options.n_best)]
    return json.dumps({"source": source, "hypotheses": hypotheses}, ensure_ascii=False) + "\n"
