"""Tokens and their ids: one list of strings, ids 0-3 kept for PAD UNK START END.

This module needs NumPy only, so that ``from tf_seq2seq.data.vocabulary import PAD`` is light.

Shapes: **V** vocabulary (the four special tokens counted), **E** embedding size.
"""

import collections
import gzip
import itertools
import zlib

import numpy as np

from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

PAD, UNK, START, END = 0, 1, 2, 3
SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")
"""The tokens of ids 0-3. No text is ever mapped to ids 0, 2 or 3, even where it spells one of these."""


class Vocabulary:
    """A fixed list of tokens; a token's id is its place in it.

    >>> vocabulary = Vocabulary.build([["a", "b", "a"], ["a", "c"]], max_size=6)
    >>> vocabulary.tokens
    ['<pad>', '<unk>', '<s>', '</s>', 'a', 'b']
    >>> vocabulary.id("a"), vocabulary.id("c") == UNK, vocabulary.token(5), len(vocabulary)
    (4, True, 'b', 6)

    Args:
        tokens: the tokens of ids 4, 5, ... in this order, without the four special ones.

    Raises:
        InputError: if a token comes twice, is empty, or is one of the special tokens.
    """

    def __init__(self, tokens):
        self.tokens = [*SPECIAL_TOKENS, *tokens]
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens):
            twice = next(t for t, n in collections.Counter(self.tokens).items() if n > 1)
            raise InputError(
                f"a vocabulary holds each token once, but {twice!r} came twice: remove one of them"
            )
        if "" in self._ids:
            raise InputError(
                f"a token is a string that is not empty, but token {self._ids['']} is '': remove it"
            )

    @classmethod
    def build(cls, sequences, max_size=None, min_count=1):
        """The tokens of `sequences`, the most frequent first, equals in the order of their code points.

        Args:
            sequences: an iterable of sequences of tokens, read once and not kept.
            max_size: the largest V, the four special tokens counted; None for no limit.
            min_count: rarer tokens are left out.

        Returns:
            A `Vocabulary`.

        Raises:
            InputError: if `max_size` leaves no room beside the special tokens.
        """
        if max_size is not None and max_size <= len(SPECIAL_TOKENS):
            raise InputError(f"max_size counts 4 special tokens, so it must be at least 5, not {max_size}")
        counts = collections.Counter(itertools.chain.from_iterable(sequences))
        for special in (*SPECIAL_TOKENS, ""):
            counts.pop(special, None)
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        kept = itertools.takewhile(lambda token: counts[token] >= min_count, ranked)
        return cls(itertools.islice(kept, max_size and max_size - len(SPECIAL_TOKENS)))

    def __len__(self):
        return len(self.tokens)

    def __contains__(self, token):
        return token in self._ids

    def id(self, token):
        """The id of `token`, UNK if it is not here."""
        return self._ids.get(token, UNK)

    def token(self, id):
        """The token of `id`, which lies between 0 and V - 1."""
        if not 0 <= id < len(self):
            raise InputError(
                f"ids of this vocabulary are 0 to {len(self) - 1}, but {id} came: is it another model's?"
            )
        return self.tokens[id]

    def save(self, path):
        """Writes UTF-8 text, token i on line i + 1; line breaks and backslashes in a token are escaped."""
        with replacing(path) as new, open(new, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(_escape(token) + "\n" for token in self.tokens)

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote.

        Raises:
            InputError: if there is no such file, or it is not a vocabulary.
        """
        try:
            with open(path, encoding="utf-8", newline="\n") as file:
                tokens = [_unescape(line.removesuffix("\n")) for line in file]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"cannot read the vocabulary {path}: {reason}; give a file that Vocabulary.save wrote"
            ) from error
        if tuple(tokens[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise InputError(
                f"a vocabulary begins with the lines {' '.join(SPECIAL_TOKENS)}, but {path} begins with "
                f"{' '.join(tokens[:4])[:60]!r}: give a file that Vocabulary.save wrote"
            )
        try:
            return cls(tokens[len(SPECIAL_TOKENS) :])
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def vectors(self, path, size, initializer=None):
        """Pretrained vectors for an embedding, from a text file in word2vec's or GloVe's format.

        A line is a token and `size` numbers, parted by single spaces; a first line of two numbers (word2vec)
        is passed over. A token that the file has not as written is looked for without the marks ``￭`` and
        ``▁`` of words and subwords, then in lower case. The file is streamed.

        Args:
            path: the file, plain or .gz.
            size: E, how many numbers a vector has.
            initializer: rows for tokens not in the file, as a function of a shape (n, E), such as a Keras
                initializer; by default normal, with the standard deviation of the rows found and a fixed
                seed.

        Returns:
            (V, E) float32; the row of PAD is zero.

        Raises:
            InputError: if the file cannot be read, a line has another size, or none of the tokens is in it.
        """
        spellings = [_spellings(token) for token in self.tokens]
        found = _found_vectors(path, size, {*itertools.chain.from_iterable(spellings)})
        rows = [next((found[s] for s in tried if s in found), None) for tried in spellings]
        missing = [index for index, row in enumerate(rows) if row is None]
        if len(missing) == len(self):
            raise InputError(
                f"none of the {len(self)} tokens has a vector in {path}: is it of another language?"
            )
        table = np.zeros([len(self), size], np.float32)
        known = np.setdiff1d(np.arange(len(self)), missing)
        table[known] = [rows[index] for index in known]
        if initializer is None:
            deviation = table[known].std()
            initializer = lambda shape: np.random.default_rng(0).normal(0.0, deviation, shape)
        if missing:
            table[missing] = np.asarray(initializer((len(missing), size)))
        table[PAD] = 0.0
        return table


def _spellings(token):
    bare = token.strip("￭▁") or token
    return token, bare, token.lower(), bare.lower()


def _found_vectors(path, size, wanted):
    opened = gzip.open if str(path).endswith(".gz") else open
    found = {}
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                token, *numbers = line.rstrip().rsplit(b" ", size)
                if number == 1 and size != 1 and len(numbers) == 1:
                    continue  # word2vec's first line: how many vectors, of which size
                token = token.decode("utf-8", "replace")
                if token in wanted or len(numbers) != size:
                    found.setdefault(token, _vector(numbers, size, path, number))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"cannot read vectors from {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    return found


def _vector(numbers, size, path, line):
    try:
        vector = np.array([float(number) for number in numbers], np.float32)
    except ValueError:
        vector = np.zeros(0)
    if vector.shape != (size,):
        raise InputError(
            f"{path}, line {line}: expected a token and {size} numbers; is `size` that of the file?"
        )
    return vector


def _escape(token):
    return token.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _unescape(line):
    parts = [part.replace("\\n", "\n").replace("\\r", "\r") for part in line.split("\\\\")]
    return "\\".join(parts)
