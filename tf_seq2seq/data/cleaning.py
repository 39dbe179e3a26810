"""Cleaning repairs and drops pairs while they stream by, and counts what each switch did."""

import functools
import html
import re
import unicodedata
from array import array
from collections import Counter
from dataclasses import dataclass

from tf_seq2seq.errors import InputError

# C0 and C1 controls, soft hyphen, zero-width space, direction marks, word joiner, byte-order mark; the
# joiners U+200C and U+200D stay, because Persian, the Indic scripts and emoji are spelt with them.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SPACES = re.compile("[\t\n\v\f\r\x1c-\x1f\x85]")
_ENTITY = re.compile(r"&(#\d+|#[xX][0-9a-fA-F]+|\w+);")


@dataclass(frozen=True)
class Cleaning:
    """What a corpus is rid of; every switch counts the pairs it repaired or removed.

    Repairs come first, then removals in the order of the arguments; a pair counts for the first switch that
    removes it. Only `duplicates` needs memory that grows with the corpus: a 64-bit hash a pair in a table
    that is between a third and two thirds full, so 12 to 24 bytes a pair that is kept (the old table stands
    beside the new one while it grows), about 2 GB for 100 million pairs. Two different pairs are taken for
    duplicates with a chance of about count² / 2^65: 1 in 3,700 that it ever happens among 100 million pairs.

    >>> cleaner = Cleaning(max_words=3).cleaner()
    >>> list(cleaner([("ja", "yes"), ("ja", "yes"), ("", "no"), ("a b c d", "e")]))
    [('ja', 'yes')]
    >>> cleaner.counts
    {'read': 4, 'removed: empty': 1, 'removed: max_words': 1, 'removed: duplicates': 1, 'kept': 1}

    Args:
        control_characters: repair: drops control and zero-width characters; tabs and line breaks become a
            space.
        html_entities: repair: `&quot;` and the like become the character they stand for (also in a text
            *about* HTML, so it is off unless asked for).
        empty: removes pairs with nothing but white space on a side.
        max_words: removes pairs with more words between spaces on a side, e.g. 100.
        max_ratio: removes pairs of which one side has more than so many times the other's characters, e.g.
            3.0; sides of fewer than 10 characters count as 10.
        script: removes pairs whose letters are mostly not of a script: (source, target), each None or the
            beginnings of Unicode names, parted by spaces, e.g. `("latin", "cjk hiragana katakana")`.
        duplicates: removes pairs that came before.

    Raises:
        InputError: if a limit makes no sense or `script` is not a pair.
    """

    control_characters: bool = True
    html_entities: bool = False
    empty: bool = True
    max_words: int | None = None
    max_ratio: float | None = None
    script: tuple | None = None
    duplicates: bool = True

    def __post_init__(self):
        if self.max_words is not None and self.max_words < 1:
            raise InputError(f"max_words={self.max_words}: give at least 1, or None for no limit")
        if self.max_ratio is not None and self.max_ratio < 1:
            raise InputError(f"max_ratio={self.max_ratio}: give at least 1.0, or None for no limit")
        if self.script is not None and (isinstance(self.script, str) or len(self.script) != 2):
            raise InputError(f"script={self.script!r}: give a pair (source, target), e.g. ('latin', None)")

    def cleaner(self):
        """A `Cleaner` for one corpus, with counts of its own."""
        return Cleaner(self)


class Cleaner:
    """Cleans one stream of (source, target) strings; `counts` says what it did so far."""

    def __init__(self, cleaning):
        self._cleaning = cleaning
        self._repairs = [(name, repair) for name, repair in _REPAIRS.items() if getattr(cleaning, name)]
        self._removals = [
            (name, functools.partial(wrong, getattr(cleaning, name)))
            for name, wrong in _REMOVALS.items()
            if getattr(cleaning, name)
        ]
        if cleaning.duplicates:
            self._removals.append(("duplicates", SeenHashes().seen))
        self._counts = Counter()

    @property
    def counts(self):
        """dict of pairs: `read`, `repaired: <switch>` and `removed: <switch>` unless 0, and `kept`."""
        names = [f"repaired: {name}" for name, _ in self._repairs if self._counts[f"repaired: {name}"]]
        names += [f"removed: {name}" for name, _ in self._removals if self._counts[f"removed: {name}"]]
        return {name: self._counts[name] for name in ["read", *names, "kept"]}

    def __call__(self, pairs):
        """Yields the pairs that are kept, repaired and without white space at their ends."""
        for source, target in pairs:
            self._counts["read"] += 1
            pair = self._repaired(source).strip(), self._repaired(target).strip()
            if pair != (source.strip(), target.strip()):
                self._count_repairs(source, target)
            removal = next((name for name, wrong in self._removals if wrong(*pair)), None)
            self._counts[f"removed: {removal}" if removal else "kept"] += 1
            if removal is None:
                yield pair

    def _repaired(self, text):
        for _, repair in self._repairs:
            text = repair(text)
        return text

    def _count_repairs(self, source, target):
        for name, repair in self._repairs:
            repaired = repair(source), repair(target)
            self._counts[f"repaired: {name}"] += repaired != (source, target)
            source, target = repaired


class SeenHashes:
    """A set of 64-bit hashes in an open-addressed table of 8 bytes a slot.

    >>> seen = SeenHashes()
    >>> seen.seen("a", "b"), seen.seen("a", "b"), len(seen)
    (False, True, 1)
    """

    def __init__(self):
        self._slots = array("Q", bytes(8 * 1024))
        self._count = 0

    def __len__(self):
        return self._count

    def seen(self, source, target):
        """Whether this pair came before; from now on it did."""
        value = hash((source, target)) & 0xFFFFFFFFFFFFFFFF or 1  # 0 marks a free slot
        if not self._insert(value):
            return True
        self._count += 1
        if 3 * self._count > 2 * len(self._slots):
            self._grow()
        return False

    def _insert(self, value):
        slots, last = self._slots, len(self._slots) - 1
        slot = value & last
        while slots[slot]:
            if slots[slot] == value:
                return False
            slot = (slot + 1) & last
        slots[slot] = value
        return True

    def _grow(self):
        old = self._slots
        self._slots = array("Q", bytes(8)) * (2 * len(old))
        for value in old:
            if value:
                self._insert(value)


def without_control_characters(text):
    """The text with spaces for tabs and line breaks and without other control and zero-width characters."""
    if text.isprintable():  # most sentences; what the patterns look for is not printable
        return text
    return _CONTROL.sub("", _SPACES.sub(" ", text))


def _without_entities(text):
    return html.unescape(text) if "&" in text and _ENTITY.search(text) else text


def _is_empty(_, source, target):
    return not (source and target)


def _is_long(limit, source, target):
    return len(source.split()) > limit or len(target.split()) > limit


def _is_lopsided(limit, source, target):
    source, target = max(len(source), 10), max(len(target), 10)
    return max(source, target) > limit * min(source, target)


def _is_other_script(scripts, source, target):
    return not (_is_of_script(source, scripts[0]) and _is_of_script(target, scripts[1]))


def _is_of_script(text, script):
    if script is None:
        return True
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum(_letter_is_of(letter, script) for letter in letters) >= len(letters)


@functools.lru_cache(maxsize=65536)
def _letter_is_of(letter, script):
    return unicodedata.name(letter, "").startswith(tuple(script.upper().split()))


_REPAIRS = {"html_entities": _without_entities, "control_characters": without_control_characters}
_REMOVALS = {
    "empty": _is_empty,
    "max_words": _is_long,
    "max_ratio": _is_lopsided,
    "script": _is_other_script,
}
