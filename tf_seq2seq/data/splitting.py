"""Held-out pairs are picked by hash, so that no sentence is in two splits.

A sentence is known by a 64-bit hash of its normalised form. The hash of a pair's source sentence, read as a
number, is the pair's rank: `test` takes the pairs of the lowest ranks, `valid` those of the highest, so that
neither depends on the order of the corpus, and a larger test set leaves the validation set as it is. Of the
pairs with one source sentence, one is held out.
"""

import hashlib
import unicodedata
from dataclasses import dataclass

from tf_seq2seq.errors import InputError

DEFAULT_COUNT = 1000  # held-out pairs of each kind, unless told; a tenth of a small corpus
_ENDS = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~…。！？、，؟،।»”’"
_REVERSED_RANK = str.maketrans("0123456789abcdef", "fedcba9876543210")


def normalised(sentence):
    """The form in which two sentences count as the same: NFKC, casefold, single spaces, no final punctuation.

    >>> normalised("  ¿Vienes  MAÑANA?") == normalised("vienes mañana.")
    True

    Args:
        sentence: str.

    Returns:
        str; a sentence of nothing but punctuation keeps it.
    """
    if not sentence.isascii():
        sentence = unicodedata.normalize("NFKC", sentence)
    words = " ".join(sentence.casefold().split())
    return words.rstrip(_ENDS).lstrip(" ¿¡") or words


def sentence_hash(sentence, seed=0):
    """The 64-bit hash of a normalised sentence.

    Args:
        sentence: str.
        seed: int; another seed gives other hashes and so another split.

    Returns:
        str: 16 hexadecimal digits, so that the order of hashes is the order of numbers.
    """
    salt = seed.to_bytes(8, "little", signed=True)
    return hashlib.blake2b(normalised(sentence).encode(), digest_size=8, salt=salt).hexdigest()


@dataclass(frozen=True)
class Limits:
    """Which pairs one use takes, by words between spaces on each side; None is no limit.

    >>> Limits(source_words=2)("one two", "any number of words"), Limits(source_words=2)("one two three", "")
    (True, False)

    Args:
        source_words, target_words: most words of a side.
        min_words: fewest words of either side.
    """

    source_words: int | None = None
    target_words: int | None = None
    min_words: int = 0

    def __call__(self, source, target):
        source, target = len(source.split()), len(target.split())
        if self.source_words is not None and source > self.source_words:
            return False
        if self.target_words is not None and target > self.target_words:
            return False
        return min(source, target) >= self.min_words


class HeldOut:
    """Finds the held-out pairs of a stream of hashed pairs; only what may be held out is in memory.

    Args:
        valid, test: how many pairs: a count, a fraction of the source sentences between 0 and 1, or None for
            1,000 (a tenth of a smaller corpus).
    """

    def __init__(self, valid=None, test=None):
        self.valid, self.test = _Picked(valid, "valid"), _Picked(test, "test")

    def offer_valid(self, pair):
        """Takes a pair of hashes (source, target) as a possible validation pair."""
        self.valid.offer(pair[0].translate(_REVERSED_RANK), pair)

    def offer_test(self, pair):
        """Takes a pair of hashes (source, target) as a possible test pair."""
        self.test.offer(pair[0], pair)

    def choose(self, total, taken=frozenset()):
        """The pairs that are held out of `total` pairs.

        Args:
            total: pairs that went by, of which a tenth at most is held out for each use where no count was
                given.
            taken: hashes of sentences that another split has already.

        Returns:
            (valid, test): two sets of pairs of hashes that have no sentence in common.
        """
        test = self.test.lowest(total, set(taken))
        sentences = {sentence for pair in test for sentence in pair}
        return self.valid.lowest(total, sentences.union(taken)), test


class _Picked:
    """The pairs of the lowest ranks: `count` of them, or those below a rank."""

    def __init__(self, amount, name):
        if not isinstance(amount, int | float | None):
            raise InputError(f"{name}={amount!r}: give a count, a fraction, or the files of both sides")
        if amount is not None and (amount < 0 or (isinstance(amount, float) and amount >= 1)):
            raise InputError(f"{name}={amount}: give a count of pairs or a fraction below 1")
        fraction = isinstance(amount, float)
        self.automatic = amount is None
        self.count = None if fraction else DEFAULT_COUNT if self.automatic else amount
        self.below = f"{int(amount * 2**64):016x}" if fraction else "g"  # "g" is above every hexadecimal rank
        self.pairs = {}

    def offer(self, rank, pair):
        if rank >= self.below or self.count == 0:
            return
        known = self.pairs.get(rank)
        if known is None or pair < known:
            self.pairs[rank] = pair
        if self.count and len(self.pairs) > 8 * self.count + 1000:
            self._keep_lowest(
                4 * self.count + 500
            )  # more than wanted: some may share a sentence with the test set

    def _keep_lowest(self, count):
        ranks = sorted(self.pairs)[:count]
        self.pairs = {rank: self.pairs[rank] for rank in ranks}
        self.below = ranks[-1] + "0"  # just above the last rank that is kept

    def lowest(self, total, taken):
        count = min(self.count, max(1, total // 10)) if self.automatic else self.count
        pairs = set()
        for rank in sorted(self.pairs):
            if len(pairs) == count:
                break
            if taken.isdisjoint(self.pairs[rank]):
                pairs.add(self.pairs[rank])
        return pairs
