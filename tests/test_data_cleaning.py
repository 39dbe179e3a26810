"""Cleaning: each switch alone, its counts, and the set of hashes against Python's own set."""

import pytest

from tf_seq2seq.data.cleaning import Cleaner, Cleaning, SeenHashes
from tf_seq2seq.errors import InputError

OFF = {"control_characters": False, "empty": False, "duplicates": False}
SAME = ("uno", "one")
# switch, its value, a pair it touches, what becomes of the pair (None: removed)
SWITCHES = [
    ("duplicates", True, SAME, None),
    ("empty", True, ("hola", " \u3000"), None),
    ("max_words", 3, ("a b c d", "a"), None),
    ("max_words", 3, ("a", "a b c d"), None),
    ("max_ratio", 2.0, ("ein kurzer Satz", "a sentence that is much longer than it should be"), None),
    ("script", ("latin", "cyrillic"), ("privet", "privet"), None),
    ("script", (None, "cjk hiragana katakana"), ("Ça va", "ça va"), None),
    ("control_characters", True, ("a\tb\x00c\u200bd", "\ufeffe"), ("a bcd", "e")),
    ("html_entities", True, ("&quot;Tom&#39;s&quot;", "R&D; A &amp; B"), ('"Tom\'s"', "R&D; A & B")),
]
# switch, value, a pair that it leaves alone
LEFT_ALONE = [
    ("max_words", 3, ("a b c", "a")),
    ("max_ratio", 2.0, ("Go.", "Váyase.")),
    ("script", ("latin", "cyrillic"), ("Привет is hello", "привет, Tom")),
    ("script", (None, "cjk hiragana katakana"), ("3", "2024年、東京へ")),
    ("control_characters", True, ("می\u200cخواهم", "I\u00a0want — it…")),
    ("html_entities", True, ("AT&T; &unknown;", "a & b;")),
    ("empty", True, (".", "0")),
]


def clean(pairs, **switches):
    cleaner = Cleaning(**{**OFF, **switches}).cleaner()
    return list(cleaner(pairs)), cleaner.counts


def test_every_switch_is_in_the_list():
    assert {switch for switch, *_ in SWITCHES} == set(Cleaning.__dataclass_fields__)


@pytest.mark.parametrize("switch, value, pair, after", SWITCHES)
def test_a_switch_does_its_work_and_counts_it(switch, value, pair, after):
    rows = [SAME, pair] if switch != "script" else [pair]
    kept, counts = clean(rows, **{switch: value})
    assert kept == rows[:-1] + ([after] if after else [])
    effect = f"repaired: {switch}" if after else f"removed: {switch}"
    assert counts == {"read": len(rows), effect: 1, "kept": len(kept)}
    assert clean(rows)[0] == [tuple(side.strip() for side in row) for row in rows], (
        "off, the switch did something"
    )


@pytest.mark.parametrize("switch, value, pair", LEFT_ALONE)
def test_a_switch_leaves_good_pairs_alone(switch, value, pair):
    assert clean([pair], **{switch: value}) == ([pair], {"read": 1, "kept": 1})


def test_repairs_come_before_removals_and_a_pair_counts_once():
    rows = [("a", "b"), ("a\u200b", "b"), ("\u200b", "b"), ("\u200b", "b")]
    cleaner = Cleaning().cleaner()
    assert list(cleaner(iter(rows))) == [("a", "b")]
    assert cleaner.counts == {
        "read": 4,
        "repaired: control_characters": 3,
        "removed: empty": 2,
        "removed: duplicates": 1,
        "kept": 1,
    }


def test_cleaning_streams():
    def endless():
        while True:
            yield "", "x"
            yield "a", "b"

    assert next(Cleaner(Cleaning())(endless())) == ("a", "b")


def test_seen_hashes_is_a_set_and_small():
    seen, reference = SeenHashes(), set()
    for number in range(30_000):
        pair = (str(number * number % 9973), str(number % 7))
        assert seen.seen(*pair) == (pair in reference)
        reference.add(pair)
    assert len(seen) == len(reference)
    assert 12 * len(seen) <= seen._slots.itemsize * len(seen._slots) <= 24 * len(seen)


@pytest.mark.parametrize("switches", [{"max_words": 0}, {"max_ratio": 0.5}, {"script": "latin"}])
def test_senseless_limits_are_told(switches):
    with pytest.raises(InputError, match=f"{next(iter(switches))}=.*give"):
        Cleaning(**switches)
