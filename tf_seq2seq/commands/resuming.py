"""An output file that a killed run goes on with.

What is there tells how far it is: records are written in whole windows of sources, each flushed to the disk, so that a run
goes on at the last whole window, with the same batches as if it had never stopped. What the file was begun with stands
beside it until it is done, in ``FILE.resume.json``: other options, another model or another input would not continue it.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import tf_seq2seq
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

_HEAD = 1 << 20  # bytes of a long file that are compared
_LONG = ("input", "prefix", "phrases")
_SHORT = ("ban", "allow", "replace_unknowns")
_FOLDERS = ("model", "ensemble")
_OF_THE_RUN = ("run", "output", "resume", "overwrite")  # they change nothing that is written


def add_output_options(group):
    """Adds the options of the output file."""
    group.add_argument("--output", metavar="FILE", help="write there instead of standard output")
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on with --output where a killed run stopped, or begin it; FILE.resume.json, which is there until "
        "it is done, tells whether model, input and options are the same",
    )
    group.add_argument("--overwrite", action="store_true", help="write --output anew if it is there")


def check_output(options):
    """Raises InputError if the output cannot be begun or continued, before anything is loaded."""
    if options.output is None:
        if options.resume or options.overwrite:
            raise InputError("--resume and --overwrite are for a file: give --output FILE")
        return
    path = Path(options.output)
    if options.resume and options.overwrite:
        raise InputError("--resume goes on and --overwrite begins anew: leave one of them out")
    if options.weights == "auto":
        raise InputError(
            "--weights auto may choose another type when a run goes on: with --output name float32 or bfloat16"
        )
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file: give --output one, or leave it out and redirect")
    for name in _LONG + _SHORT:
        for read in _texts(getattr(options, name)):
            if path.exists() and Path(read).is_file() and path.samefile(read):
                raise InputError(f"{path} is read, too: give --output another name")
    if path.exists() and not (options.resume or options.overwrite):
        raise InputError(f"{path} is there already: give --resume to go on with it, or --overwrite")
    if path.exists() and options.resume and not _sidecar(path).is_file():
        raise InputError(
            f"there is no {_sidecar(path)}, so {path} is done, or something else wrote it: give --overwrite to "
            "write it anew"
        )


class ResumableFile:
    """A file of records, one a source, written in whole windows; a context.

    Fields:
        sources: how many are in it already.

    Args:
        path: of the file.
        origin: dict of what the records come of, as `origin` gives it.
        window: sources that are written at once.
        n_best: the most lines of a source that begin with its number; None if a line is a source.
        resume: whether to go on with what is there.

    Raises:
        InputError: if what is there was begun with something else.
    """

    def __init__(self, path, origin, window, n_best=None, resume=False):
        self.path = Path(path)
        self.sources = 0
        if resume and self.path.exists():
            _check_same(self.path, origin)
            with open(self.path, "rb+") as file:
                self.sources, size = whole_windows(file, window, n_best)
                file.truncate(size)
        else:
            self.path.unlink(missing_ok=True)  # first: what is there never stands beside another's sidecar
            with replacing(_sidecar(self.path)) as new:
                new.write_text(json.dumps(origin, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def __enter__(self):
        self._file = open(self.path, "ab")
        return self

    def write(self, text):
        """Adds the records of a window, or of what is left."""
        self._file.write(text.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def __exit__(self, kind, error, traceback):
        with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
            self._file.close()
        if kind is None:
            _sidecar(self.path).unlink()


def whole_windows(file, window, n_best=None):
    """How many sources, a multiple of a window, are whole at the beginning of a file.

    >>> import io
    >>> whole_windows(io.BytesIO(b"a\\nb\\nc\\nd"), window=2)
    (2, 4)
    >>> whole_windows(io.BytesIO(b"1\\ta\\n1\\tb\\n2\\tc\\n3\\td\\n"), window=1, n_best=2)
    (2, 12)

    Args:
        file: binary.
        window: sources.
        n_best: as `ResumableFile` has it.

    Returns:
        sources and the bytes that they take.
    """
    found = 0, 0
    for sources, place in enumerate(_ends(file, n_best), 1):
        if sources % window == 0:
            found = sources, place
    return found


def _ends(file, n_best):
    """Where each whole source ends, in bytes."""
    place, lines, number = 0, 0, None
    for line in file:
        if not line.endswith(b"\n"):
            return
        its = line.partition(b"\t")[0] if n_best else place
        if its != number:
            if 0 < lines < (n_best or 1):
                yield place  # the source before had fewer hypotheses
            number, lines = its, 0
        lines, place = lines + 1, place + len(line)
        if lines == (n_best or 1):
            yield place


def origin(options):
    """What records come of: options by name, and digests of the model and of the files that are read."""
    found = {"version": tf_seq2seq.__version__}
    for name, value in vars(options).items():
        if name in _FOLDERS:
            value = [_folder_digest(folder) for folder in _texts(value)]
        elif name in _LONG + _SHORT:
            value = [_digest(text, name in _LONG) if Path(text).is_file() else text for text in _texts(value)]
        if name not in _OF_THE_RUN:
            found[name] = value
    return json.loads(json.dumps(found))


def _check_same(path, now):
    try:
        then = json.loads(_sidecar(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{_sidecar(path)} is damaged ({error}): give --overwrite to begin anew") from None
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if names:
        told = ", ".join(_told(name, then.get(name), now.get(name)) for name in names)
        raise InputError(
            f"{path} was begun differently: {told}; give the same again to go on, or --overwrite to begin anew"
        )


def _told(name, then, now):
    if name in _FOLDERS + _LONG + _SHORT:
        return f"another {name.replace('_', '-')}"
    return f"{name.replace('_', '-')} was {json.dumps(then)} and is {json.dumps(now)}"


def _sidecar(path):
    return Path(f"{path}.resume.json")


def _texts(value):
    """A list of the texts that an option has."""
    if value is None or isinstance(value, bool):
        return [] if not value else [""]
    return [value] if isinstance(value, str) else value


def _folder_digest(folder):
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {_digest(path)} ".encode())
    return digest.hexdigest()


def _digest(path, head=False):
    with open(path, "rb") as file:
        if head:
            return hashlib.sha256(file.read(_HEAD)).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()
