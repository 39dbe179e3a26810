"""`tf-seq2seq generate --self-check`: whether a line comes out the same whatever batch it is in."""

import random

from tf_seq2seq.commands.option_types import positive
from tf_seq2seq.commands.progress import progress
from tf_seq2seq.errors import InputError

DESCRIPTION = """\
A sample of FILE is generated in batches as asked, line by line, shuffled in
batches of 7 and of 64, and with more padding at the end. Every line must have
the same tokens each time, unless rivals' scores are within 1e-4, and its
scores must agree to 1e-5 (relative, or absolute below 1); with weights in
bfloat16 both are 0.05. If one has not, it is told, and the exit code is 1.
"""
_NO_USE = ("output", "scores", "alignments", "token_scores", "json_lines")
_BFLOAT16 = {"rivals": 0.05, "tolerance": 0.05}
_DIFFERS = 1  # exit code


def add_options(group):
    """Adds the options of the check."""
    group.add_argument("--self-check", action="store_true", help="check instead of writing targets")
    group.add_argument(
        "--self-check-lines", type=positive, default=200, metavar="N", help="size of the sample (default 200)"
    )


def check_options(options):
    """Raises InputError for options that have no use in a check."""
    given = [f"--{name.replace('_', '-')}" for name in _NO_USE if getattr(options, name)]
    if options.self_check and given:
        raise InputError(f"--self-check writes a table only: leave out {', '.join(given)}")


def run(options, rows, generator, how):
    """Checks and prints.

    Args:
        options: what the parser gave.
        rows: an iterator of tuples of a source and its conditions.
        generator: `TextGenerator`.
        how: dict of the arguments that say how lines are put together.

    Returns:
        exit code.
    """
    from tf_seq2seq.evaluation.invariance import batch_invariance

    numbers, rows = zip(*_sample(enumerate(rows, 1), options.self_check_lines))
    texts, *values = zip(*rows)
    names = [name for name in ("prefix", "phrases") if getattr(options, name)]
    how = {**how, "conditions": dict(zip(names, values))}
    how |= _BFLOAT16 if generator.weights == "bfloat16" else {}
    with progress("checking") as done:
        found = batch_invariance(generator, texts, **how, done=done)
    print(found.table())
    for fault in found.faults[:5]:
        print(f"\nline {numbers[fault.row]:,}: {fault}")
    if found.faults:
        print(f"\n{len(found.faults):,} of {len(texts):,} lines depend on their batch")
        return _DIFFERS
    print(f"\n{len(texts):,} lines are the same in every batch")
    return 0


def _sample(rows, count):
    """Evenly drawn rows of a stream of any length, in its order."""
    draw, kept = random.Random(0), []
    for seen, row in enumerate(rows):
        if seen < count:
            kept.append(row)
        elif (place := draw.randrange(seen + 1)) < count:
            kept[place] = row
    return sorted(kept, key=lambda row: row[0])
