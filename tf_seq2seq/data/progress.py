"""A line on stderr that says how far a long preparation is; silent where it is short."""

import sys
import time

SILENT_SECONDS = 3
LINE_SECONDS = 30  # between two lines where stderr is not a terminal, e.g. a log file


def progress(rows, doing, total=None):
    """Yields `rows` and tells on stderr how many went by, once that takes longer than some seconds.

    On a terminal one line is kept up to date by rich; elsewhere a plain line is written every 30 seconds.

    >>> list(progress("ab", "reading"))
    ['a', 'b']

    Args:
        rows: any iterable.
        doing: what is being done, e.g. "reading tatoeba".
        total: number of rows, if known.
    """
    line = _TerminalLine(doing, total) if sys.stderr.isatty() else _LogLine(doing, total)
    due = time.monotonic() + SILENT_SECONDS
    count = 0
    try:
        for count, row in enumerate(rows, 1):
            if count % 1024 == 0 and time.monotonic() > due:
                due = time.monotonic() + line.show(count)
            yield row
    finally:
        line.end(count)


class _LogLine:
    def __init__(self, doing, total):
        self.doing, self.total, self.shown = doing, total, False

    def show(self, count):
        self.shown = True
        of = f" of {self.total:,}" if self.total else ""
        print(f"{self.doing}: {count:,}{of} rows", file=sys.stderr, flush=True)
        return LINE_SECONDS

    def end(self, count):
        if self.shown:
            print(f"{self.doing}: {count:,} rows, done", file=sys.stderr, flush=True)


class _TerminalLine:
    def __init__(self, doing, total):
        self.doing, self.total, self.bar = doing, total, None

    def show(self, count):
        if self.bar is None:
            self._start()
        self.bar.update(self.task, completed=count)
        return 0.2

    def _start(self):
        from rich import progress as columns
        from rich.console import Console

        self.bar = columns.Progress(
            columns.TextColumn("{task.description}"),
            columns.BarColumn(),
            columns.TextColumn("{task.completed:,.0f} rows"),
            columns.TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.bar.add_task(self.doing, total=self.total)
        self.bar.start()

    def end(self, count):
        if self.bar is not None:
            self.bar.update(self.task, completed=count)
            self.bar.stop()
