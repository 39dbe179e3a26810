"""An evaluation as a table on the terminal, as text, as Markdown, and as numbers."""

import io
import json
import math
import re

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tf_seq2seq.files import replacing

_COLUMNS = ("source", "hypothesis", "reference")


def sample_rows(evaluation, count=10):
    """Evenly spread rows of an evaluation, in the split's order.

    Args:
        evaluation: an `Evaluation`.
        count: how many at most.

    Returns:
        list of (source, hypothesis, reference) strings.
    """
    rows = list(zip(evaluation.sources, evaluation.hypotheses, evaluation.references))
    count = min(count, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]


def samples_table(rows, title=None):
    """A table of samples for `rich`, with hypotheses that hit their reference in green.

    Args:
        rows: (source, hypothesis, reference) strings, as from `sample_rows`.
        title: line above the table.

    Returns:
        `rich.table.Table`.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for name in _COLUMNS:
        table.add_column(name, ratio=1, overflow="fold")
    for source, hypothesis, reference in rows:
        style = "green" if hypothesis == reference else ""
        table.add_row(*map(Text, (source, hypothesis, reference)), style=style)
    return table


def samples_markdown(rows):
    """The same as a Markdown table.

    >>> print(samples_markdown([("a | b", "c", "d")]))
    | source | hypothesis | reference |
    |---|---|---|
    | a \\| b | c | d |

    Args:
        rows: (source, hypothesis, reference) strings.

    Returns:
        str.
    """
    lines = [
        _markdown_row(_COLUMNS),
        "|---" * len(_COLUMNS) + "|",
        *(_markdown_row(map(_escaped, row)) for row in rows),
    ]
    return "\n".join(lines)


def scores_table(evaluation):
    """The numbers as a table for `rich`, with signatures.

    Args:
        evaluation: an `Evaluation`.

    Returns:
        `rich.table.Table`.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_column("how", style="dim", overflow="fold")
    for name, value, how in _score_rows(evaluation):
        table.add_row(name, value, how)
    return table


def as_text(*tables, width=100):
    """Tables for `rich` as plain text, for a file or a pipe.

    Args:
        tables: what `samples_table` and `scores_table` return.
        width: columns of a line.

    Returns:
        str.
    """
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for table in tables:
        console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def numbers(evaluation):
    """Every number of an evaluation under its name, ready for JSON.

    Args:
        evaluation: an `Evaluation`.

    Returns:
        dict of str to float, int or str; None for a perplexity that is infinite, and for the self-BLEU of
        single hypotheses.
    """
    rated, self_bleu = evaluation.likelihood, evaluation.self_bleu
    ours, theirs = evaluation.hypothesis_diversity, evaluation.reference_diversity
    return {
        "bleu": evaluation.bleu.value,
        "signature": evaluation.bleu.signature,
        "length_ratio": evaluation.bleu.length_ratio,
        "chrf": evaluation.chrf.value,
        "chrf_signature": evaluation.chrf.signature,
        "rouge1": evaluation.rouge.rouge1,
        "rouge2": evaluation.rouge.rouge2,
        "rougeL": evaluation.rouge.rougeL,
        "rouge_signature": evaluation.rouge.signature,
        "exact_match": evaluation.exact_match,
        "perplexity": _finite(rated.perplexity),
        "bits_per_token": rated.bits_per_token,
        "token_accuracy": rated.token_accuracy,
        "output_entropy_bits": rated.output_entropy,
        "hypothesis_entropy_bits": evaluation.hypothesis_entropy,
        "reference_entropy_bits": evaluation.reference_entropy,
        **ours._asdict(),
        **{f"reference_{name}": value for name, value in theirs._asdict().items()},
        "self_bleu": self_bleu and self_bleu.value,
        "self_bleu_signature": self_bleu and self_bleu.signature,
        "sentences": len(evaluation.hypotheses),
        "tokens": int(rated.tokens),
        "seconds": evaluation.seconds,
        "sentences_per_second": evaluation.sentences_per_second,
    }


def save_numbers(evaluation, path):
    """Writes `numbers` as JSON.

    Args:
        evaluation: an `Evaluation`.
        path: of the file.

    Raises:
        InputError: if it cannot be written; what stood there is kept.
    """
    with replacing(path) as new:
        new.write_text(json.dumps(numbers(evaluation), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _score_rows(evaluation):
    rated, rouge = evaluation.likelihood, evaluation.rouge
    return [
        ("BLEU", f"{evaluation.bleu.value:.1f}", evaluation.bleu.signature),
        ("chrF", f"{evaluation.chrf.value:.1f}", evaluation.chrf.signature),
        ("ROUGE-1 / 2 / L", f"{rouge.rouge1:.3f} / {rouge.rouge2:.3f} / {rouge.rougeL:.3f}", rouge.signature),
        ("exact match", f"{100 * evaluation.exact_match:.1f} %", "of whole sentences"),
        ("length ratio", f"{evaluation.bleu.length_ratio:.3f}", "words generated to words of the references"),
        *_diversity_rows(evaluation),
        (
            "perplexity",
            f"{rated.perplexity:.2f}",
            f"of the references, {rated.bits_per_token:.2f} bits a token",
        ),
        ("token accuracy", f"{100 * rated.token_accuracy:.1f} %", "teacher-forced"),
        ("output entropy", f"{rated.output_entropy:.2f}", "bits, mean over the tokens of the references"),
        ("speed", f"{evaluation.sentences_per_second:.0f}", "sentences a second"),
        ("sentences", f"{len(evaluation.hypotheses):,}", f"{int(rated.tokens):,} tokens in the references"),
    ]


def _diversity_rows(evaluation):
    ours, theirs = evaluation.hypothesis_diversity, evaluation.reference_diversity
    rows = [
        (
            "distinct-1 / 2",
            f"{ours.distinct1:.3f} / {ours.distinct2:.3f}",
            "different words and pairs of words to all of them; "
            f"references {theirs.distinct1:.3f} / {theirs.distinct2:.3f}",
        ),
        (
            "repetition rate",
            f"{100 * ours.repetition_rate:.1f} %",
            "of pairs of words came before in the same text; "
            f"references {100 * theirs.repetition_rate:.1f} %",
        ),
    ]
    if evaluation.self_bleu is not None:
        how = f"among the hypotheses of a source; {evaluation.self_bleu.signature}"
        rows.append(("self-BLEU", f"{evaluation.self_bleu.value:.1f}", how))
    return rows


def _markdown_row(cells):
    return "| " + " | ".join(cells) + " |"


def _escaped(text):
    """On one line, with no sign that Markdown reads."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", " ".join(text.split()))


def _finite(value):
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None
