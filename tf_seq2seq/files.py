"""Writing files and folders so that a cut or a full disk loses nothing that existed before."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from tf_seq2seq.errors import InputError


@contextlib.contextmanager
def replacing(path, holds=()):
    """Yields a path beside `path` to write a file or a folder to; it takes `path`'s place on success.

    On an error what stood at `path` is left as it was and what was written beside it is removed.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with replacing(folder / "a.txt") as new:
    ...     _ = new.write_text("one")
    >>> (folder / "a.txt").read_text()
    'one'

    Args:
        path: where the file or folder shall stand in the end; missing parents are made.
        holds: names of what a folder written here holds. A folder at `path` is replaced if it holds nothing else, so
            that a path mistyped as a home folder costs nothing.

    Raises:
        InputError: if the disk is full, the place cannot be written, or a folder there holds something else.
    """
    path = Path(path)
    others = sorted(set(os.listdir(path)) - set(holds)) if path.is_dir() else []
    if others:
        raise InputError(f"{path} is a folder that holds {', '.join(others[:3])} already: give a new name")
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        new = beside / path.name
        yield new
        _swap(new, path, beside)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {os.strerror(error.errno) if error.errno else error}; what was there before is kept"
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


def _swap(new, path, beside):
    if not path.is_dir() or path.is_symlink():
        os.replace(new, path)
        return
    old = beside / "old"
    os.rename(path, old)  # a folder that holds something cannot be replaced in one call
    try:
        os.rename(new, path)
    except OSError:
        os.rename(old, path)
        raise
