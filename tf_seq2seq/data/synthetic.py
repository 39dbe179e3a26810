"""Tasks whose answer is known: copy, reverse, sort and addition, made from a seed, as `Pairs` of strings."""

import hashlib
import string

import numpy as np
import tensorflow as tf

from tf_seq2seq.data.preparing import Pairs
from tf_seq2seq.errors import InputError

_BLOCK = 1024  # examples drawn at once
_SHARES = {
    "test": range(0, 10),
    "valid": range(10, 20),
    "train": range(20, 100),
}  # of 100 parts of all sources


class SyntheticTask:
    """Examples of a task without an end, of which each split has its own part.

    A source string belongs to a split by its hash, so that no source is in two splits, whatever their sizes
    and seeds; within a split a short source may come twice. Examples are drawn while they are read and are
    the same in every epoch.

    >>> task = SyntheticTask("reverse")
    >>> task.answer("a b c")
    'c b a'
    >>> pairs = task.pairs(train=2000, valid=10, test=10)
    >>> len(pairs.train), all(task.answer(source.decode()) == target.decode()
    ...                       for source, target in pairs.test.as_numpy_iterator())
    (2000, True)

    Args:
        task: "copy", "reverse" or "sort" of letters, or "addition" of two numbers, "1 2 + 3" -> "1 5".
        min_length, max_length: fewest and most symbols of a source, the plus sign counted; left out, 3 to 20
            for letters and 3 to 7 for addition. Lengths are equally frequent (for addition: the numbers'
            lengths).
        symbols: how many of the 26 letters occur.
        spaced: whether spaces part the symbols, for the split `words`; otherwise use the split `characters`.
        seed: int.

    Raises:
        InputError: if there is no such task or the sizes make no sense.
    """

    def __init__(self, task, *, min_length=3, max_length=None, symbols=26, spaced=True, seed=0):
        max_length = max_length or (7 if task == "addition" else 20)
        if task not in SYNTHETIC_TASKS:
            raise InputError(f"there is no synthetic task {task!r}; there are: {', '.join(SYNTHETIC_TASKS)}")
        if (
            not 1 <= min_length <= max_length
            or not 1 <= symbols <= 26
            or (task == "addition" and max_length < 3)
        ):
            raise InputError(
                f"{min_length=}, {max_length=}, {symbols=}: give 1 <= min_length <= max_length (3 or more "
                f"for addition) and 1 to 26 symbols"
            )
        self.task = task
        self.min_length, self.max_length, self.symbols = min_length, max_length, symbols
        self.spaced, self.seed = spaced, seed

    def answer(self, source):
        """The target that belongs to a source string, as the task says."""
        symbols = source.split() if self.spaced else list(source)
        return self._joined(SYNTHETIC_TASKS[self.task](symbols))

    def pairs(self, train=100_000, valid=1000, test=1000):
        """`Pairs` of so many examples.

        Args:
            train, valid, test: examples of each split.

        Returns:
            Pairs

        Raises:
            InputError: while reading, if a split gets no example because there are too few different sources.
        """
        counts = {"train": train, "valid": valid, "test": test}
        splits = {use: self._dataset(use, count) for use, count in counts.items()}
        return Pairs(**splits, counts=counts, licence="made by a program; free of rights")

    def _dataset(self, use, count):
        spec = tf.TensorSpec([None], tf.string)
        blocks = tf.data.Dataset.from_generator(lambda: self._blocks(use), output_signature=(spec, spec))
        return blocks.unbatch().take(count).apply(tf.data.experimental.assert_cardinality(count))

    def _blocks(self, use):
        """Yields (sources, targets), two lists of at most 1,024 strings, without end."""
        random = np.random.default_rng([self.seed, _SHARES[use].start])
        empty = 0
        while empty < 100:
            sources = [source for source in self._sources(random) if _part(source) in _SHARES[use]]
            empty = 0 if sources else empty + 1
            if sources:
                yield sources, [self.answer(source) for source in sources]
        raise InputError(
            f"too few different sources for a split {use!r}: give more symbols or a larger max_length"
        )

    def _sources(self, random):
        if self.task == "addition":
            return [self._sum(random) for _ in range(_BLOCK)]
        lengths = random.integers(self.min_length, self.max_length + 1, size=_BLOCK)
        letters = random.integers(self.symbols, size=int(lengths.sum()))
        letters = np.array(list(string.ascii_lowercase))[letters].tolist()
        ends = lengths.cumsum().tolist()
        return [self._joined(letters[start:end]) for start, end in zip([0, *ends], ends)]

    def _sum(self, random):
        while True:
            digits = random.integers(1, max(2, (self.max_length - 1) // 2 + 1), size=2)
            if digits.sum() + 1 >= self.min_length:
                break
        numbers = [str(random.integers(10 ** (count - 1) if count > 1 else 0, 10**count)) for count in digits]
        return self._joined([*numbers[0], "+", *numbers[1]])

    def _joined(self, symbols):
        return (" " if self.spaced else "").join(symbols)


def _part(source):
    return int.from_bytes(hashlib.blake2b(source.encode(), digest_size=4).digest()) % 100


def _added(symbols):
    first, _, second = "".join(symbols).partition("+")
    return list(str(int(first) + int(second)))


SYNTHETIC_TASKS = {
    "copy": lambda symbols: symbols,
    "reverse": lambda symbols: symbols[::-1],
    "sort": sorted,
    "addition": _added,
}
