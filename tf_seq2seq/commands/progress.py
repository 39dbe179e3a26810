"""How far a command is, on a terminal."""

import contextlib
import sys
from pathlib import Path

_BLOCK = 1 << 20  # bytes
_PACKED = (".gz", ".zip")


@contextlib.contextmanager
def progress(doing, file=None, done=0, to_file=False):
    """Yields a function to call with the number of lines that are done; shows them, their speed and what is left.

    It shows nothing unless standard error is a terminal that does not show the answers, too.

    Args:
        doing: str, what is done.
        file: the input, whose lines are counted; None where that cannot be.
        done: lines that were done before.
        to_file: whether the answers go to a file instead of standard output.
    """
    shown = sys.stderr.isatty() and (to_file or not sys.stdout.isatty())
    with _bar(shown, total := shown and line_count(file)) as bar:
        task = bar.add_task(doing, total=total or None, completed=done)
        yield lambda lines=1: bar.advance(task, lines)


def line_count(path):
    """The number of lines of a plain file; None where counting them takes as long as reading them.

    >>> line_count("a.gz"), line_count(None)
    (None, None)
    """
    if path is None or Path(path).suffix in _PACKED or not Path(path).is_file():
        return None
    lines, end = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            lines, end = lines + block.count(b"\n"), block[-1:]
    return lines + (end != b"\n")


def _bar(shown, total):
    from rich import progress as columns
    from rich.console import Console

    class Speed(columns.ProgressColumn):
        """Lines a second."""

        def render(self, task):
            return f"{task.speed:,.0f} lines/s" if task.speed else ""

    lines = "{task.completed:,.0f} of {task.total:,.0f} lines" if total else "{task.completed:,.0f} lines"
    left = (columns.BarColumn(20), columns.TimeRemainingColumn()) if total else (columns.TimeElapsedColumn(),)
    return columns.Progress(
        columns.SpinnerColumn(),
        columns.TextColumn(f"{{task.description}} {lines}"),
        Speed(),
        *left,
        console=Console(stderr=True),
        disable=not shown,
        transient=True,
        redirect_stdout=False,  # it would take the lines to standard error
    )
