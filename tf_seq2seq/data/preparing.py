"""A corpus becomes prepared files: cleaned, split without shared sentences, shuffled, read lazily by tf.data.

Preparing takes two streaming passes, and neither loads the corpus. The first cleans the pairs, hashes both
sentences of each and deals the rows to 64 files by hash, while it finds the held-out pairs. The second takes
one of the 64 files after the other, drops the training pairs that share a sentence with a held-out one,
shuffles what is left of this file and appends it to the training set. So at any time memory holds the hashes
of the held-out part (about 200 bytes a pair, a few times the count that was asked for), one file of 1/64 of
the corpus, and, if duplicates are removed, what `Cleaning` says. The rows of the training set come out in a
random order (fixed by the seed), so that a shuffle within a window, as the pipeline does it, is a good one
even for a corpus sorted by length.

Disk: the prepared files are as large as the corpus, the dealt rows take as much again until the second pass
ends.
"""

import contextlib
import json
import random
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import tensorflow as tf

from tf_seq2seq.data.cache import cache_folder, key
from tf_seq2seq.data.cleaning import Cleaning
from tf_seq2seq.data.progress import progress
from tf_seq2seq.data.splitting import HeldOut, Limits, sentence_hash
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

USES = ("train", "valid", "test")
_FORMAT = 1  # to be raised when prepared files change, so that older ones are made again
_FILES = ("counts.json", *(f"{use}.{side}" for use in USES for side in ("source", "target")))
_SHARDS = 64
_LINE_BREAKS = str.maketrans("\t\n\r", "   ")
_OUTSIDE, _SHARED = "dropped: outside the limits", "dropped: shares a sentence with a held-out pair"


@dataclass(frozen=True)
class Pairs:
    """A corpus of sentence pairs in three splits.

    Args:
        train, valid, test: tf.data.Dataset of (source (), target ()) scalar strings, read lazily; `len` is
            known.
        counts: dict of pairs: `read`, what each switch of `Cleaning` repaired or removed, what the split
            dropped, and `train`, `valid`, `test`.
        licence: terms of the data, or "" where nothing is known.
        folder: where the prepared files are, `train.source`, `train.target` and so on, one sentence a line;
            None where there are no files.
    """

    train: tf.data.Dataset
    valid: tf.data.Dataset
    test: tf.data.Dataset
    counts: dict
    licence: str = ""
    folder: Path | None = None

    def __str__(self):
        counts = "; ".join(
            f"{name} {count:,}" for name, count in self.counts.items() if count or name in USES
        )
        return f"pairs: {counts}" + (f"; licence: {self.licence}" if self.licence else "")


def prepare(
    name,
    readers,
    facts,
    *,
    valid=None,
    test=None,
    cleaning=None,
    keep=None,
    seed=0,
    disjoint=True,
    licence="",
):
    """Makes the prepared files of a corpus, or finds them in the user's cache folder, and opens them.

    Args:
        name: what the corpus is called in messages and in the cache folder.
        readers: dict from `train` (and `valid`, `test` where the corpus has its own) to a function without
            arguments that gives an iterator of (source, target) strings.
        facts: what tells this input from others, as JSON; e.g. hashes of the files.
        valid, test: how many pairs to hold out of `train`, where there is no reader for them: a count, a
            fraction of the source sentences, 0 for none, or None for 1,000 (a tenth of a smaller corpus).
        cleaning: a `Cleaning`; None is `Cleaning()`. Held-out sets that the corpus brings along lose only
            pairs with an empty side.
        keep: `Limits` for all three uses, or a dict from use to `Limits`; pairs to hold out are picked among
            those within the limits.
        seed: int; picks the held-out pairs and shuffles the training set.
        disjoint: whether pairs that share a sentence (on either side) with `test` leave `valid`, and those
            that share one with either leave `train`. False compares with published numbers on official
            splits.
        licence: see `Pairs`.

    Returns:
        Pairs

    Raises:
        InputError: if too few pairs are left to split, besides what the readers raise.
    """
    amounts = {use: amount for use, amount in (("valid", valid), ("test", test)) if use not in readers}
    keep = keep if isinstance(keep, dict) else dict.fromkeys(USES, keep)
    if not set(keep) <= set(USES) or not all(isinstance(limits, Limits | None) for limits in keep.values()):
        raise InputError(
            f"keep={keep}: give Limits(...), or a dict with Limits for some of {', '.join(USES)}"
        )
    cleaning = cleaning or Cleaning()
    limits = {use: asdict(limit) for use, limit in keep.items() if limit}
    options = [amounts, asdict(cleaning), limits, seed, disjoint]
    folder = cache_folder() / "prepared" / f"{name}-{key([_FORMAT, facts, options])}"
    if not _is_intact(folder):
        with replacing(folder, holds=_FILES) as new:
            new.mkdir()
            _Preparation(name, new, cleaning, keep, seed, disjoint).run(readers, amounts)
    return _opened(folder, licence)


class _Preparation:
    """Writes the prepared files of one corpus to a folder."""

    def __init__(self, name, folder, cleaning, keep, seed, disjoint):
        self.name, self.folder, self.cleaning, self.keep = name, folder, cleaning, keep
        self.seed, self.disjoint = seed, disjoint
        self.counts = Counter()
        self.held_sentences = set()  # hashes of the sentences of test and valid

    def run(self, readers, amounts):
        for use in ("test", "valid"):  # in this order: a pair that is in both stays in test
            if use in readers:
                self._write_given(use, readers[use]())
        cleaner = self.cleaning.cleaner()
        held_out = HeldOut(**amounts)
        self._deal(cleaner(progress(readers["train"](), f"reading {self.name}")), held_out)
        picked = dict(zip(("valid", "test"), held_out.choose(cleaner.counts["kept"], self.held_sentences)))
        picked = {use: picked[use] for use in amounts}
        self._write_rest(picked)
        shutil.rmtree(self.folder / "dealt", ignore_errors=True)
        counts = {**cleaner.counts, **{name: self.counts[name] for name in (_OUTSIDE, _SHARED, *USES)}}
        wanted = [use for use in ("valid", "test") if amounts.get(use, 1) != 0]
        _check(self.name, counts, ["train", *wanted])
        sizes = {file.name: file.stat().st_size for file in self.folder.iterdir()}
        (self.folder / "counts.json").write_text(json.dumps({"counts": counts, "sizes": sizes}, indent=1))

    def _within(self, use, source, target):
        limits = self.keep.get(use)
        return limits is None or limits(source, target)

    def _write_given(self, use, rows):
        sentences = set()
        empty = Cleaning(control_characters=False, duplicates=False).cleaner()
        with contextlib.ExitStack() as stack:
            writer = _Writer(stack, self.folder, use)
            for source, target in empty(progress(rows, f"reading {self.name}, {use}")):
                pair = {sentence_hash(source, self.seed), sentence_hash(target, self.seed)}
                if not self._within(use, source, target):
                    self.counts[_OUTSIDE] += 1
                elif self.disjoint and not self.held_sentences.isdisjoint(pair):
                    self.counts[_SHARED] += 1
                else:
                    sentences |= pair
                    writer.write(_one_line(source).encode(), _one_line(target).encode())
        self.counts[use] = writer.count
        self.held_sentences |= sentences

    def _deal(self, rows, held_out):
        """First pass: rows to files by hash: both hashes, T if it may train or -, source, tab, target."""
        dealt = self.folder / "dealt"
        dealt.mkdir()
        with contextlib.ExitStack() as stack:
            shards = [stack.enter_context(open(dealt / f"{shard}", "wb")) for shard in range(_SHARDS)]
            for source, target in rows:
                pair = sentence_hash(source, self.seed), sentence_hash(target, self.seed)
                if self._within("test", source, target):
                    held_out.offer_test(pair)
                if self._within("valid", source, target):
                    held_out.offer_valid(pair)
                may_train = "T" if self._within("train", source, target) else "-"
                row = f"{pair[0]}{pair[1]}{may_train}{_one_line(source)}\t{_one_line(target)}\n"
                shards[int(pair[0][-2:], 16) % _SHARDS].write(row.encode())

    def _write_rest(self, picked):
        """Second pass: the dealt rows to the three splits; `picked` maps a use to its pairs of hashes."""
        uses = {pair: use for use, pairs in picked.items() for pair in pairs}
        self.held_sentences.update(sentence for pair in uses for sentence in pair)
        shuffle = random.Random(self.seed).shuffle
        with contextlib.ExitStack() as stack:
            writers = {use: _Writer(stack, self.folder, use) for use in ("train", *picked)}
            for row in progress(self._rows(shuffle), f"splitting {self.name}"):
                pair = row[:16].decode(), row[16:32].decode()
                use = uses.pop(pair, None) or self._use_of_rest(pair, row[32:33] == b"T")
                source, _, target = row[33:-1].partition(b"\t")
                if use in writers:
                    writers[use].write(source, target)
                else:
                    self.counts[use] += 1
        self.counts.update({use: writer.count for use, writer in writers.items()})

    def _use_of_rest(self, pair, may_train):
        if self.disjoint and not self.held_sentences.isdisjoint(pair):
            return _SHARED
        return "train" if may_train else _OUTSIDE

    def _rows(self, shuffle):
        for shard in range(_SHARDS):
            rows = (self.folder / "dealt" / f"{shard}").read_bytes().splitlines(keepends=True)
            shuffle(rows)
            yield from rows


class _Writer:
    """Two files, of which line i belongs to line i."""

    def __init__(self, stack, folder, use):
        paths = [folder / f"{use}.source", folder / f"{use}.target"]
        self.files = [stack.enter_context(path.open("wb", buffering=1 << 20)) for path in paths]
        self.count = 0

    def write(self, source, target):
        self.files[0].write(source + b"\n")
        self.files[1].write(target + b"\n")
        self.count += 1


def _one_line(text):
    return text.translate(_LINE_BREAKS)


def _check(name, counts, wanted):
    if all(counts[use] for use in wanted):
        return
    told = "; ".join(f"{what} {count:,}" for what, count in counts.items())
    if not counts["kept"]:
        raise InputError(
            f"no pair of {name} is left after cleaning ({told}); look into the file or clean less"
        )
    raise InputError(
        f"too few pairs to split: {counts['kept']:,} in {name} ({told}); give more pairs, or other counts "
        f"for valid= and test= (0 holds none out)"
    )


def _is_intact(folder):
    try:
        sizes = json.loads((folder / "counts.json").read_text())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        return False


def _opened(folder, licence):
    counts = json.loads((folder / "counts.json").read_text())["counts"]
    splits = {use: _read_lazily(folder, use, counts[use]) for use in USES}
    return Pairs(**splits, counts=counts, licence=licence, folder=folder)


def _read_lazily(folder, use, count):
    files = [
        tf.data.TextLineDataset(f"{folder / use}.{side}", buffer_size=1 << 20)
        for side in ("source", "target")
    ]
    if count == 0:
        return tf.data.Dataset.from_tensor_slices(([""], [""])).take(0)
    return tf.data.Dataset.zip(tuple(files)).apply(tf.data.experimental.assert_cardinality(count))
