"""Text files, plain, gzipped or zipped, are read line by line, and a fault is told with file and line.

Only `\\n` ends a line (a `\\r` before it is dropped), so that other toolkits count the same lines. A
byte-order mark at the beginning of a file is dropped.
"""

import contextlib
import gzip
import zipfile
import zlib
from pathlib import Path

from tf_seq2seq.errors import InputError

_DAMAGED = (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile)


def lines(path, member=None):
    """Yields the lines of a UTF-8 text file as strings, without their ends.

    Args:
        path: a file; `.gz` is unpacked and `.zip` is looked into while reading.
        member: the file inside a zip; may be left out where a zip holds only one `.txt` or `.tsv` file
            besides those whose name begins with an underscore or has a README or a licence in it.

    Raises:
        InputError: if there is no such file, it is empty or damaged, or a line is not UTF-8.
    """
    name = f"{path}" if member is None else f"{member} in {path}"
    number = 0
    try:
        with _opened(Path(path), member) as file:
            for number, line in enumerate(file, 1):
                yield _decoded(line, name, number)
    except _DAMAGED as error:
        raise InputError(
            f"{name} is damaged after line {number:,} ({error}); fetch or make it again"
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error
    if not number:
        raise InputError(f"{name} is empty; give a text file with one sentence a line")


def parallel(source_path, target_path):
    """Yields (source, target) from two files of which line i belongs to line i.

    Raises:
        InputError: if the files have unequal line counts, besides what `lines` raises.
    """
    source_lines, target_lines = lines(source_path), lines(target_path)
    count = 0
    for source in source_lines:
        target = next(target_lines, None)
        if target is None:
            raise _unequal(source_path, count + 1 + _rest(source_lines), target_path, count)
        count += 1
        yield source, target
    rest = _rest(target_lines)
    if rest:
        raise _unequal(source_path, count, target_path, count + rest)


def columns(path, member=None, columns=(0, 1), header=0):
    """Yields (source, target) from two columns of a tab-separated file; a blank line gives empty strings.

    Args:
        path, member: as for `lines`.
        columns: indices of source and target column, from 0.
        header: number of lines to skip at the beginning.

    Raises:
        InputError: if a line has too few columns, besides what `lines` raises.
    """
    for number, line in enumerate(lines(path, member), 1):
        if number <= header:
            continue
        cells = line.split("\t") if line.strip() else [""] * (max(columns) + 1)
        if len(cells) <= max(columns):
            raise InputError(
                f"{path}, line {number:,}: {len(cells)} tab-separated column(s), but columns {columns[0]} "
                f"and {columns[1]} (from 0) are wanted; mend the line or give columns="
            )
        yield cells[columns[0]], cells[columns[1]]


def _decoded(line, name, number):
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}, line {number:,}: not UTF-8 (byte {error.start + 1} of the line is "
            f"0x{line[error.start]:02x}); convert the file, e.g. with iconv -f latin1 -t utf8"
        ) from None
    return text.rstrip("\r\n")


@contextlib.contextmanager
def _opened(path, member):
    if zipfile.is_zipfile(path) and path.suffix != ".gz":
        with zipfile.ZipFile(path) as archive, archive.open(_member(archive, member)) as file:
            yield file
    elif path.suffix == ".zip":
        raise InputError(f"cannot read {path}: it is missing or not a zip file; fetch it again")
    else:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            yield file


def _member(archive, member):
    names = [name for name in archive.namelist() if not name.endswith("/")]
    texts = [name for name in names if _is_text(name)]
    if member is None and len(texts) == 1:
        return texts[0]
    if member in names:
        return member
    told = f"no {member}" if member else "no single text file"
    raise InputError(f"{archive.filename} has {told}; give member= one of: {', '.join(names[:20])}")


def _is_text(name):
    name = name.rsplit("/", 1)[-1].lower()
    about = name.startswith("_") or "readme" in name or "licen" in name
    return name.endswith((".txt", ".tsv")) and not about


def _rest(iterator):
    return sum(1 for _ in iterator)


def _unequal(source_path, source_count, target_path, target_count):
    return InputError(
        f"{source_path} has {source_count:,} lines but {target_path} has {target_count:,}; "
        f"line i of both must belong together"
    )
