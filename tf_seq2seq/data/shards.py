"""Corpora larger than memory: tokenised once into files of ids, which are read in parallel, by each worker its own.

Shapes: **C** pairs of a record, **S** source length, **T** target length.

A folder of shards holds::

    shards.json                     counts, and the size of each file
    00000-of-00032.tfrecord ...     record i is in shard i mod 32; gzipped if wished
    source_text/, target_text/      the text processors; not there if ids were given

A record is a `tf.train.Example` of up to 256 pairs: ``source`` and ``target`` are their ids one after the other, END
included, ``source_lengths`` and ``target_lengths`` the numbers of ids of each pair: little-endian integers of 2
bytes, or of 4 where one of a record's is above 65,535; ``pairs`` is C. So a pair costs 2 bytes a token and 4 more.
"""

import collections
import contextlib
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_seq2seq.data.pipeline import id_chunks, within
from tf_seq2seq.data.progress import progress
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

RECORD = 256  # pairs
OPEN_FILES = 16  # shards that are read at the same time
MIXED = 256  # records among which the next one is drawn
_FACTS, _TEXTS = "shards.json", ("source_text", "target_text")
_SIDES = ("source", "target")


def write_shards(
    split,
    folder,
    source_text=None,
    target_text=None,
    *,
    shards=32,
    max_length=None,
    compress=False,
):
    """Tokenises a split once and writes it as shards; the folder takes its place whole or not at all.

    Memory holds some thousand pairs, whatever the size of the split.

    >>> import tempfile
    >>> sides = tf.ragged.constant([[5, 6], [5]]), tf.ragged.constant([[7], [8]])
    >>> split = tf.data.Dataset.from_tensor_slices(sides)
    >>> shards = write_shards(split, f"{tempfile.mkdtemp()}/corpus", shards=1)
    >>> shards.counts
    {'pairs': 2, 'source_tokens': 5, 'target_tokens': 4, 'dropped': 0}
    >>> [tuple(side.numpy().tolist() for side in pair) for pair in shards.split()]
    [([5, 6, 3], [7, 3]), ([5, 3], [8, 3])]

    Args:
        split: tf.data.Dataset of (source, target), as for `batches`.
        folder: where the shards shall stand; an older folder of shards is replaced.
        source_text, target_text: `TextProcessor` of each side; may be left out for ids.
        shards: number of files: at least as many as there will be workers, better ten times as many.
        max_length: as for `batches`: drops pairs of which a side has more tokens, END included.
        compress: whether files are gzipped: about half the size, and slower to read.

    Returns:
        Shards

    Raises:
        InputError: for an empty split, a split with weights, or a folder that holds something else.
    """
    if shards < 1:
        raise InputError(f"shards={shards}: give at least 1")
    if len(split.element_spec) != 2:
        raise InputError(
            "shards hold pairs without weights: give the weights where shards are read and mixed"
        )
    with replacing(folder, holds=_own_files(folder)) as new:
        new.mkdir()
        counts, sizes = _write(id_chunks(split, source_text, target_text), new, shards, max_length, compress)
        if not counts["pairs"]:
            raise InputError("no pair is left to write: look into the corpus, or give a larger max_length")
        for name, text in zip(_TEXTS, (source_text, target_text)):
            if text is not None:
                text.save(new / name)
        facts = {"counts": counts, "compressed": compress, "sizes": sizes}
        (new / _FACTS).write_text(json.dumps(facts, indent=1) + "\n")
    return Shards(folder)


def _own_files(folder):
    """Names of what an older folder of shards holds."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return (_FACTS, *_TEXTS, *json.loads((Path(folder) / _FACTS).read_text())["sizes"])
    return ()


def _write(chunks, folder, shards, max_length, compress):
    """Writes the files; counts of pairs and tokens, and the size of each file in bytes."""
    counts = collections.Counter(dict.fromkeys(("pairs", "source_tokens", "target_tokens", "dropped"), 0))
    paths = [folder / f"{number:05}-of-{shards:05}.tfrecord" for number in range(shards)]
    records = 0
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(tf.io.TFRecordWriter(str(path), "GZIP" if compress else "")) for path in paths
        ]
        for chunk in progress(chunks, "writing shards, a row for 1,024 pairs"):
            kept = within(chunk, max_length)
            sides = [(ids.values.numpy(), ids.row_splits.numpy()) for ids in kept]
            pairs = len(sides[0][1]) - 1
            counts.update(pairs=pairs, dropped=int(chunk[0].nrows()) - pairs)
            counts.update({f"{name}_tokens": len(ids) for name, (ids, _) in zip(_SIDES, sides)})
            for first in range(0, pairs, RECORD):
                writers[records % shards].write(_record(sides, first, min(first + RECORD, pairs)))
                records += 1
    return {**counts}, {path.name: path.stat().st_size for path in paths}


def _record(sides, first, end):
    """Pairs from first to end, serialised."""
    feature = {"pairs": tf.train.Feature(int64_list=tf.train.Int64List(value=[end - first]))}
    for name, (ids, splits) in zip(_SIDES, sides):
        feature[name] = _packed(ids[splits[first] : splits[end]])
        feature[f"{name}_lengths"] = _packed(np.diff(splits[first : end + 1]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _packed(numbers):
    narrow = not len(numbers) or numbers.max() < 2**16
    data = numbers.astype("<u2" if narrow else "<i4").tobytes()
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))


class Shards:
    """A folder that `write_shards`, or ``tf-seq2seq data shard``, wrote.

    Its splits are read so that the order of an epoch is a function of seed and epoch, as `Resume` needs it: the files
    come in random order, so many of them at a time, and their records and pairs are shuffled in windows.

    ::

        shards = Shards("corpus")
        every_worker_reads_all = batches(shards.split(), batch_tokens=4096)
        own = each_its_own(lambda number, count: batches(shards.split(number, count), batch_tokens=4096), strategy)

    Args:
        folder: the folder.

    Attributes:
        counts: dict of ints: `pairs`, `source_tokens`, `target_tokens` (END included) and the pairs `dropped` for their
            length.
        source_text, target_text: `TextProcessor` of each side, or None.

    Raises:
        InputError: if the folder is none of shards, or files of it are missing or cut.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        try:
            facts = json.loads((self.folder / _FACTS).read_text())
            self.counts, self._compressed, sizes = (facts[key] for key in ("counts", "compressed", "sizes"))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{folder} is no folder of shards ({getattr(error, 'strerror', None) or error}): make one with "
                "tf-seq2seq data shard"
            ) from error
        for name, size in sizes.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise InputError(f"{path} is missing or not as it was written: make the shards again")
        self._files = [str(self.folder / name) for name in sorted(sizes)]
        self.source_text, self.target_text = (
            TextProcessor.load(self.folder / name) if (self.folder / name).is_dir() else None
            for name in _TEXTS
        )

    def split(self, worker=0, workers=1):
        """Pairs of the whole corpus, or of those files that are one worker's.

        Args:
            worker: number of the worker, from 0.
            workers: how many there are; worker w has the files whose number is w mod workers.

        Returns:
            tf.data.Dataset of ids (S,) and (T,) int32, ending with END, in the order of the corpus (of one worker: as
            nearly). `batches` reads it by records through its attribute `chunks`, a function of (seed, epoch),
            thirty times as fast as pair by pair.

        Raises:
            InputError: for more workers than files, or no such worker.
        """
        if not 0 <= worker < workers <= len(self._files):
            raise InputError(
                f"worker {worker} of {workers} wants a file of its own among {len(self._files)}: give a worker below "
                "the number of workers, or make more shards"
            )
        files = self._files[worker::workers]
        chunks = self._chunks(tf.constant(files), len(files))
        pairs = chunks.flat_map(lambda *sides: tf.data.Dataset.from_tensor_slices(sides))
        if workers == 1:
            pairs = pairs.apply(tf.data.experimental.assert_cardinality(self.counts["pairs"]))
        pairs.chunk_size = RECORD
        pairs.chunks = lambda seed, epoch: self._shuffled_chunks(files, seed, epoch)
        return pairs

    def _shuffled_chunks(self, files, seed, epoch):
        """Ragged (C, None) of both sides; in the order of the files for seed None."""
        if seed is None:
            return self._chunks(tf.constant(files), len(files))
        order = tf.random.experimental.stateless_shuffle(tf.constant(files), [seed, epoch])
        if not tf.executing_eagerly():
            tf.random.set_seed(1)  # of the function that is traced here, so that the program's own has no say
        drawn = tf.random.stateless_uniform([], [epoch, seed], maxval=tf.int64.max, dtype=tf.int64)
        return self._chunks(order, OPEN_FILES, lambda records: records.shuffle(MIXED, seed=drawn))

    def _chunks(self, files, open_files, mixed=lambda records: records):
        records = tf.data.Dataset.from_tensor_slices(files).interleave(
            lambda file: tf.data.TFRecordDataset(file, "GZIP" if self._compressed else None, 1 << 18),
            cycle_length=open_files,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return mixed(records).map(_sides, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _sides(record):
    """Ragged (C, None) int32 of source and target."""
    texts = {
        name: tf.io.FixedLenFeature([], tf.string) for side in _SIDES for name in (side, f"{side}_lengths")
    }
    found = tf.io.parse_single_example(record, {"pairs": tf.io.FixedLenFeature([], tf.int64), **texts})

    def side(name):
        lengths = _unpacked(found[f"{name}_lengths"], found["pairs"])
        ids = _unpacked(found[name], tf.cast(tf.reduce_sum(lengths), tf.int64))
        return tf.RaggedTensor.from_row_lengths(ids, tf.cast(lengths, tf.int64), validate=False)

    return side("source"), side("target")


def _unpacked(data, count):
    """(count,) int32 of as many little-endian integers of 2 or 4 bytes."""
    narrow = tf.strings.length(data) == 2 * tf.cast(count, tf.int32)
    return tf.cond(
        narrow,
        lambda: tf.cast(tf.io.decode_raw(data, tf.uint16), tf.int32),
        lambda: tf.io.decode_raw(data, tf.int32),
    )
