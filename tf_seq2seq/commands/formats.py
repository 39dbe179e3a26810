"""What is written of a generated sentence: lines of columns, or a JSON object."""

import json
import math

from tf_seq2seq.commands.sentences import one_line
from tf_seq2seq.errors import InputError


def add_format_options(group):
    """Adds the options that say what is written."""
    group.add_argument(
        "--scores", action="store_true", help="the score and a tab before each target (see penalties)"
    )
    group.add_argument(
        "--alignments",
        action="store_true",
        help="a tab and the word alignment after each target: i-j for source word i and target word j, from 0, "
        "parted by spaces (the Pharaoh format, as fast_align writes it)",
    )
    group.add_argument(
        "--token-scores",
        action="store_true",
        help="a tab and log P(token) of each token, END with them, after each target (and its alignment)",
    )
    group.add_argument(
        "--json-lines",
        action="store_true",
        help="instead: one JSON object for a source, with source and hypotheses, each with text, score, "
        "log_prob (nats), finished, tokens, token_log_probs; with --alignments also source_tokens, "
        "source_words and, for each, alignments (a row for a token, a column for a source token), words, pairs",
    )


def as_text(number, source, sentence, options):
    """The record of a source: its lines.

    Args:
        number: of the source, from 1.
        source: str.
        sentence: `GeneratedSentence`.
        options: what the parser gave.

    Returns:
        str, with line ends.
    """
    make = _json_line if options.json_lines else _rows
    return make(number, source, sentence, options)


def is_numbered(options):
    """Whether a source has several lines, each with its number."""
    return bool(options.n_best) and not options.json_lines


def _rows(number, source, sentence, options):
    pairs = _pairs(sentence) if options.alignments else ()
    rows = []
    for k, text in enumerate(sentence.text[: options.n_best or 1]):
        cells = [f"{number}"] if options.n_best else []
        if options.scores:
            cells.append(f"{sentence.scores[k]:.4f}")
        cells.append(one_line(text))
        if options.alignments:
            cells.append(pairs[k] if source.strip() else "")  # what a model makes of nothing is not told
        if options.token_scores:
            each = sentence.token_log_probs[k] if source.strip() else ()
            cells.append(" ".join(f"{log_prob:.4f}" for log_prob in each))
        rows.append("\t".join(cells) + "\n")
    return "".join(rows)


def _json_line(number, source, sentence, options):
    record = {"source": source, "hypotheses": [*map(dict, _hypotheses(sentence))][: options.n_best]}
    if options.alignments:
        record["source_tokens"], record["source_words"] = sentence.source_tokens, sentence.source_words
        for fields, *values in zip(
            record["hypotheses"], sentence.alignments, sentence.words, _pairs(sentence)
        ):
            alignments = [[round(float(share), 4) for share in row] for row in values[0]]
            fields |= {"alignments": alignments, "words": values[1], "pairs": values[2]}
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def _hypotheses(sentence):
    """The fields of each hypothesis."""
    for k, text in enumerate(sentence.text):
        yield {
            "text": text,
            "score": _number(sentence.scores[k]),
            "log_prob": _number(sentence.log_probs[k]),
            "finished": sentence.finished[k],
            "tokens": sentence.tokens[k],
            "token_log_probs": [*map(_number, sentence.token_log_probs[k])],
        }


def _pairs(sentence):
    if sentence.alignments is None:
        raise InputError("--alignments needs a model with attention, and this one has none: leave it out")
    return sentence.pairs


def _number(value):
    """As JSON has it: float32's digits, and null for an infinity, where constraints left nothing to say."""
    return float(f"{value:.7g}") if math.isfinite(value) else None
