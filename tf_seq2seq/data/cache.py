"""The user's cache folder, and keys under which what was made of the same input is found again."""

import hashlib
import json
import os
from pathlib import Path


def cache_folder():
    """The folder that keeps fetched corpora and prepared files: `$TF_SEQ2SEQ_CACHE`, else that of XDG.

    It may be removed at any time; what is needed is then fetched and made again.

    Returns:
        Path: `$TF_SEQ2SEQ_CACHE`, else `$XDG_CACHE_HOME/tf_seq2seq`, else `~/.cache/tf_seq2seq`.
    """
    own = os.environ.get("TF_SEQ2SEQ_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tf_seq2seq"


def key(facts):
    """A short name for `facts`, the same for equal facts in any process.

    >>> key({"a": 1, "b": [2]}) == key({"b": [2], "a": 1}) != key({"a": 2, "b": [2]})
    True

    Args:
        facts: anything JSON can write.

    Returns:
        str: 16 hexadecimal digits.
    """
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8).hexdigest()


def file_digest(path, algorithm="sha256"):
    """The hexadecimal digest of a file's content, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
