"""`tf-seq2seq score`: how likely a model thinks given targets."""

import itertools
import json
import sys

from tf_seq2seq.commands.models import (
    add_batch_option,
    add_ensemble_options,
    add_model_option,
    load_generator,
)
from tf_seq2seq.commands.progress import progress
from tf_seq2seq.commands.sentences import add_pair_options, pairs

HELP = "write the log-probability of given pairs"
USAGE = "tf-seq2seq score --model FOLDER [option ...]"
DESCRIPTION = """\
Writes for every pair, in order, the log-probability that the model gives the
target after the source, in nats, and the number of tokens it is the sum over,
END counted, parted by a tab:

  log P(target | source)
    = sum over t of log P(token t | tokens before t, source)

The closer to 0, the likelier. Divided by the number of tokens it compares
targets of unlike lengths; e to the negative of that is the perplexity. A
target longer than the model's maximum length is cut there.
"""
EPILOG = """\
example:
  tf-seq2seq score --model runs/demo/generator \\
    --source test.es --target test.en | sort -n | head
  printf 'Hola.\\tHello.\\n' | \\
    tf-seq2seq score --model runs/demo/generator --tsv - --json-lines
"""


def add_options(parser):
    """Adds this command's options to its parser."""
    add_model_option(parser)
    add_pair_options(parser)
    add_batch_option(parser)
    parser.add_argument(
        "--json-lines",
        action="store_true",
        help="write one JSON object for a pair: source, target, log_prob, tokens, token_log_probs",
    )
    add_ensemble_options(parser)


def run(options):
    """Scores pair by pair."""
    with pairs(options) as rows, progress("scoring", options.source) as done:
        generator = load_generator(options)
        while batch := list(itertools.islice(rows, options.batch_size)):
            for pair, tokens, values in zip(batch, *_log_probs(generator, *zip(*batch))):
                sys.stdout.write(_line(pair, tokens, values, options.json_lines))
                done()


def _line(pair, tokens, log_probs, as_json):
    total = float(sum(log_probs))
    if not as_json:
        return f"{total:.4f}\t{len(tokens)}\n"
    values = {
        "source": pair[0],
        "target": pair[1],
        "log_prob": total,
        "tokens": tokens,
        "token_log_probs": log_probs,
    }
    return json.dumps(values, ensure_ascii=False) + "\n"


def _log_probs(generator, sources, targets):
    """Tokens and log-probs of each target, as lists of lists."""
    found = generator.score(sources, targets)
    tokens, values, lengths = (
        tensor.numpy()
        for tensor in (generator.target_text.tokens(found.ids), found.token_log_probs, found.lengths)
    )
    tokens = [[token.decode() for token in row[:length]] for row, length in zip(tokens, lengths)]
    return tokens, [row[:length].tolist() for row, length in zip(values, lengths)]
