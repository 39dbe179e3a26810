"""Checkpoint files: arrays and facts in one file that is there whole or not at all, and that notices any damage.

A file is NumPy's ``.npz`` (`numpy.load` reads it) and, behind it, 64 bytes: the BLAKE2b digest of what is before.
"""

import hashlib
import json
import os
import zipfile

import numpy as np

from tf_seq2seq.files import replacing

_DIGEST = hashlib.blake2b().digest_size
_FACTS = "facts"


def write_checkpoint(path, arrays, facts):
    """Writes a checkpoint; what stood at `path` stays until all is on the disk.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.npz")
    >>> write_checkpoint(path, {"weights/0": np.arange(3)}, {"epoch": 1})
    >>> arrays, facts = read_checkpoint(path)
    >>> arrays["weights/0"].tolist(), facts
    ([0, 1, 2], {'epoch': 1})

    Args:
        path: where it shall stand.
        arrays: dict of NumPy arrays.
        facts: what JSON can write.

    Raises:
        InputError: if it cannot be written, e.g. because the disk is full.
    """
    with replacing(path) as new, open(new, "w+b") as file:
        np.savez(file, **arrays, **{_FACTS: np.array(json.dumps(facts))})
        file.seek(0)
        digest = hashlib.file_digest(file, "blake2b").digest()
        file.seek(0, os.SEEK_END)
        file.write(digest)
        file.flush()
        os.fsync(file.fileno())  # a name on the disk before its content would be a damaged checkpoint


def read_checkpoint(path):
    """Reads what `write_checkpoint` wrote.

    Args:
        path: of the file.

    Returns:
        arrays, a dict, and facts.

    Raises:
        ValueError: if a bit of it is not as it was written.
        OSError: if it cannot be read.
    """
    size = os.path.getsize(path) - _DIGEST
    with open(path, "rb") as file:
        if size < 0 or _digest(file, size) != file.read():
            raise ValueError(f"{path} is damaged: its content does not fit its digest")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as members:
                arrays = {name: members[name] for name in members.files}
            return arrays, json.loads(str(arrays.pop(_FACTS)))
        except (zipfile.BadZipFile, KeyError) as error:
            raise ValueError(f"{path} is no checkpoint") from error


def _digest(file, size):
    """Digest of the first bytes of a file, which is left right behind them."""
    digest = hashlib.blake2b()
    while size > 0:
        piece = file.read(min(size, 2**20))
        digest.update(piece)
        size -= len(piece) or size
    return digest.digest()
