"""Sentences and pairs of sentences from files or from standard input, read as a stream."""

import argparse
import contextlib
import itertools
import shutil
import sys
import tempfile
from pathlib import Path

from tf_seq2seq.data import reading
from tf_seq2seq.errors import InputError

STANDARD_INPUT = "-"
_BREAKS = str.maketrans("\t\n\r", "   ")


def lines(path):
    """Yields the lines of a UTF-8 file, or of standard input for ``-``; a file is looked into at once.

    Args:
        path: str; `.gz` and `.zip` are unpacked while reading.

    Returns:
        iterator of str.

    Raises:
        InputError: if there is no such file, it is empty, or a line is not UTF-8.
    """
    if path == STANDARD_INPUT:
        return _standard_input()
    rows = reading.lines(path)
    return itertools.chain([next(rows)], rows)


def lines_in_step(name, texts, readers):
    """Yields tuples of a text and what is read of the same line of other files.

    Args:
        name: what the texts' file is called in errors.
        texts: an iterator of str.
        readers: dict of path to function of a line.

    Raises:
        InputError: if a file has fewer or more lines.
    """
    files = [reading.lines(path) for path in readers]
    for number, text in enumerate(texts, 1):
        found = [next(file, None) for file in files]
        for path, line in zip(readers, found):
            if line is None:
                raise InputError(
                    f"{path} has {number - 1:,} lines but {name} has more; line i of both belong together"
                )
        yield text, *(read(line) for read, line in zip(readers.values(), found))
    for path, file in zip(readers, files):
        if next(file, None) is not None:
            raise InputError(f"{path} has more lines than {name}; line i of both belong together")


def add_pair_options(parser):
    """Adds the options that say where pairs are."""
    group = parser.add_argument_group("pairs (two files, or one)")
    group.add_argument(
        "--source", metavar="FILE", help="source sentences, one a line; .gz and .zip are unpacked"
    )
    group.add_argument("--target", metavar="FILE", help="their targets: line i belongs to line i")
    group.add_argument(
        "--tsv", metavar="FILE", help="instead: tab-separated source and target; - is standard input"
    )
    group.add_argument(
        "--columns",
        type=column,
        nargs=2,
        default=(0, 1),
        metavar=("S", "T"),
        help="columns of source and target in --tsv, from 0 (default 0 1)",
    )


def column(text):
    """The type of an option that is the index of a column."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"columns are counted from 0, so {text} is none")
    return number


@contextlib.contextmanager
def pairs(options):
    """The pairs that the options name, as an iterator of (source, target) strings; looked into at once.

    Raises:
        InputError: if none or too many files are named, besides what `reading` raises.
    """
    check_pair_options(options)
    with stored(options.tsv) as tsv:
        rows = (
            reading.columns(tsv, columns=options.columns)
            if tsv
            else reading.parallel(options.source, options.target)
        )
        yield itertools.chain([next(rows)], rows)


def check_pair_options(options):
    """Raises InputError unless the options name two files, or one."""
    two = options.source is not None and options.target is not None
    if two == (options.tsv is not None) or (options.source is None) != (options.target is None):
        raise InputError("give either --source FILE and --target FILE, or --tsv FILE")


@contextlib.contextmanager
def stored(path):
    """A path that can be read twice: standard input goes to a temporary file, another is as it is."""
    if path != STANDARD_INPUT:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "standard-input"
        with open(file, "wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield file


def one_line(text):
    """A text with spaces for tabs and line breaks, so that it stays one line and one column."""
    return text.translate(_BREAKS)


def _standard_input():
    number = 0
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise InputError(
                f"standard input, line {number:,}: not UTF-8; convert it, e.g. with iconv -t utf8"
            ) from None
    if not number:
        raise InputError("standard input is empty; give one sentence a line")
