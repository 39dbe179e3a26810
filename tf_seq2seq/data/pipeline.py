"""Pairs become batches: tokenised, bucketed by length, right-padded and prefetched, all inside tf.data.

Shapes: **B** batch, **S** source length, **T** target length; a window has W pairs, a chunk C of them.

How a corpus of any size goes through without being in memory::

    lines of two files             read by TextLineDataset, 1 MB at a time
    -> shuffle in a buffer of W    a corpus of `Pairs` is in random order on disk already
    -> chunks of C = 1,024         tokenised by a few operations each, not pair by pair: ragged (C, S), (C, T)
    -> windows of W pairs          ids in memory, 4 bytes a token
    -> sorted by T, then S         and cut into batches: neighbours have equal lengths
    -> batches in random order     padded one by one, some made in advance

So memory holds W strings, about three windows of ids, and some batches, whether the corpus has 100 pairs or
100 million. With subwords, W = 65,536 and 600 target tokens a batch, padding is 0.15% of the target tokens
and 4% of the source tokens of everyday sentences (140,000 pairs of Tatoeba, 10 tokens a side), and one core
makes about 370,000 target tokens a second, or 1.8 million from the second epoch on with `cache=True`. Over
an epoch of 5 million pairs resident memory stood at 862 MB in the first half minute and at 867 MB at the end,
about 600 MB of it TensorFlow itself (`experiments/benchmarks/data_memory.py`).

Shapes are unknown to the graph, (None, None), so that other lengths do not retrace.

The order of an epoch is a function of the seed and of the epoch's number, whatever came before, and so is noise;
`data.position` says how a training that was interrupted finds its place again. Batches that it had already are made
and thrown away, at the speed above. Only subword sampling (`TextProcessor.sampled`) has no seed.
"""

import tensorflow as tf

from tf_seq2seq.data.noise import with_noise
from tf_seq2seq.data.position import DataPosition
from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.errors import InputError

WINDOW = 65_536  # pairs
CHUNK = 1_024  # pairs


@tf.autograph.experimental.do_not_convert  # nothing here needs it, and it takes a second
def batches(
    split,
    source_text=None,
    target_text=None,
    *,
    batch_size=None,
    batch_tokens=None,
    shuffle=True,
    bucket=None,
    seed=0,
    max_length=None,
    cache=False,
    window=WINDOW,
    noise=(),
    prefetch=16,
):
    """Batches for `model.fit` (as they are) or `model.evaluate` (with `shuffle=False`).

    Training batches come in another order each epoch, where pairs meet other pairs of their length; the same
    seed gives the same order of the first epoch, of the second and so on. Each pass over the dataset is the next
    epoch. No pair is left out unless `max_length` says so: the last batch of a window may be smaller. With
    `shuffle=False` the pairs keep their order, too, unless `bucket=True`.

    >>> from tf_seq2seq.data.text import TextProcessor
    >>> text = TextProcessor("bytes")
    >>> pairs = tf.data.Dataset.from_tensor_slices((["a", "bcd"], ["x", "yz"]))
    >>> inputs, labels = next(iter(batches(pairs, text, text, batch_size=2, shuffle=False)))
    >>> inputs["source_ids"].numpy().tolist(), inputs["target_ids"].numpy().tolist(), labels.numpy().tolist()
    ([[101, 3, 0, 0], [102, 103, 104, 3]], [[2, 124, 0], [2, 125, 126]], [[124, 3, 0], [125, 126, 3]])

    Ids are as good an input as strings; END is put at the end where it is missing:

    >>> sides = tf.ragged.constant([[5, 6]]), tf.ragged.constant([[7]])
    >>> inputs, labels = next(iter(batches(tf.data.Dataset.from_tensor_slices(sides), batch_size=1)))
    >>> inputs["source_ids"].numpy().tolist(), inputs["target_ids"].numpy().tolist(), labels.numpy().tolist()
    ([[5, 6, 3]], [[2, 7]], [[7, 3]])

    Args:
        split: tf.data.Dataset of (source, target): scalar strings, or ids (S,) and (T,) of any integer type; or of
            (source, target, weight), where weight is how much the pair's tokens count in the loss, see `mixed`.
        source_text, target_text: `TextProcessor` of each side; may be left out for ids. One with a
            `max_length` cuts what is longer, so give a smaller `max_length` here to drop those pairs instead.
        batch_size: pairs a batch; or
        batch_tokens: at most so many target tokens a batch, padding included: B * T. A pair longer than that
            is a batch of its own.
        shuffle: whether pairs and batches come in random order, another one in each epoch.
        bucket: whether pairs of equal length come together; left out, the same as `shuffle`.
        seed: int.
        max_length: drops pairs of which a side has more tokens, END included: an int, or (source, target).
        cache: keeps the ids of the whole corpus in memory (for up to some million pairs): later epochs do not
            tokenise, and the whole corpus is one window. The first epoch begins when all is tokenised.
        window: W, pairs among which lengths are sorted and that are shuffled together.
        noise: what is done to batches of training, see `data.noise`: a list of callables
            ``noise(inputs, labels, seed (2,) int64) -> inputs, labels``.
        prefetch: batches made in advance.

    Returns:
        tf.data.Dataset of `({"source_ids": (B, S), "target_ids": (B, T)}, labels (B, T))`, int32, padded with
        PAD; `target_ids` begin with START, `labels` end with END. Weights, if there are any, come third, (B,)
        float32. Its `position` is a `DataPosition` of its own.

    Raises:
        InputError: if not exactly one of `batch_size` and `batch_tokens` is given, `split` is not a dataset of pairs, or
            a `sampled` text shall be cached.
    """
    _check(split, (source_text, target_text), batch_size, batch_tokens, window)
    if cache and any(getattr(text, "sampling", None) is not None for text in (source_text, target_text)):
        raise InputError(
            "a sampled text draws another segmentation each epoch, which cache=True would keep out"
        )
    bucket = shuffle if bucket is None else bucket
    size = getattr(split, "chunk_size", CHUNK)

    def windows_of(chunks, window):
        if max_length is not None:
            chunks = chunks.map(lambda *sides: within(sides, max_length))
        return _windows(chunks, window, size)

    texts = source_text, target_text
    whole = windows_of(id_chunks(split, *texts), None).cache() if cache else None

    def windows(epoch):
        if not shuffle:
            return whole if cache else windows_of(id_chunks(split, *texts), window)
        if not cache and not hasattr(split, "chunks"):
            pairs = _with_pairs_shuffled(split, window, seed, epoch)
            return windows_of(id_chunks(pairs, *texts), window)
        made = whole if cache else windows_of(split.chunks(seed, epoch), window)
        return _with_rows_shuffled(made, seed, epoch)

    def of_epoch(epoch):
        cut = windows(epoch).map(lambda *sides: _cut(sides, bucket, shuffle, batch_size, batch_tokens))
        groups = cut.prefetch(1).flat_map(lambda *sides: tf.data.Dataset.from_tensor_slices(sides))
        made = groups.map(_padded, num_parallel_calls=2, deterministic=True)
        return _with_noise(made, noise, seed, epoch) if noise else made

    position = DataPosition()
    dataset = without_tuning(position.passes().flat_map(of_epoch).prefetch(prefetch))
    dataset.position = position
    return dataset


def without_tuning(dataset):
    """The dataset without the thread that tunes tf.data while it runs.

    In TensorFlow 2.21 the end of a pass often misses that thread and waits for its next turn, up to a minute later.

    Args:
        dataset: tf.data.Dataset.

    Returns:
        tf.data.Dataset
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def token_counts(split, source_text=None, target_text=None, max_length=None):
    """Counts the tokens that `batches` would give, in one pass.

    >>> sides = tf.ragged.constant([[5, 6], [5]]), tf.ragged.constant([[7], [8]])
    >>> token_counts(tf.data.Dataset.from_tensor_slices(sides), max_length=2)
    {'pairs': 1, 'source_tokens': 2, 'target_tokens': 2, 'dropped': 1}

    Args:
        split, source_text, target_text, max_length: as for `batches`.

    Returns:
        dict of ints: `pairs` and tokens of each side that are kept, END included, and the pairs `dropped`
            because
        they are longer than `max_length`.
    """
    counts, total = [0, 0, 0], 0
    for source, target, *_ in id_chunks(split, source_text, target_text):
        total += int(source.nrows())
        kept = source, target = within((source, target), max_length)
        counts = [
            old + int(new)
            for old, new in zip(counts, [source.nrows(), *(tf.size(ids.values) for ids in kept)])
        ]
    return dict(zip(["pairs", "source_tokens", "target_tokens"], counts), dropped=total - counts[0])


def _are_strings(split):
    return all(spec.dtype == tf.string for spec in split.element_spec[:2])


def _check(split, texts, batch_size, batch_tokens, window):
    if not isinstance(split, tf.data.Dataset) or len(tf.nest.flatten(split.element_spec)) not in (2, 3):
        raise InputError(f"a tf.data.Dataset of (source, target) is wanted, e.g. pairs.train, not {split!r}")
    if _are_strings(split) and None in texts:
        raise InputError("the pairs are strings: give source_text and target_text, a TextProcessor each")
    if (batch_size is None) == (batch_tokens is None):
        raise InputError("give one of batch_size (pairs) and batch_tokens (target tokens with padding)")
    if min(batch_size or batch_tokens, window) < 1:
        raise InputError(
            f"batch_size={batch_size}, batch_tokens={batch_tokens}, window={window}: give at least 1"
        )


def id_chunks(split, source_text=None, target_text=None):
    """The ids of 1,024 pairs at a time.

    A split that has its ids by many pairs already, as shards have, says so by two attributes: `chunks`, a function of
    (seed, epoch) that gives what this function does, shuffled by both, or in order for seed None; and `chunk_size`.

    Args:
        split, source_text, target_text: as for `batches`.

    Returns:
        tf.data.Dataset of ragged (C, None) source and target, int32, ending with END; weights (C, 1) float32 third.
    """
    if hasattr(split, "chunks"):
        return split.chunks(None, 0)
    are_strings = _are_strings(split)
    chunks = split.batch(CHUNK) if are_strings else split.ragged_batch(CHUNK)

    def ids(source, target, *weights):
        source, target = _ids(source_text, source), _ids(target_text, target)
        if target_text is not None and not target_text.add_end:
            target = _with_end(target)  # labels end with END, whatever the processor does elsewhere
        weights = (tf.RaggedTensor.from_tensor(tf.cast(one, tf.float32)[:, None]) for one in weights)
        return source, target, *weights

    return chunks.map(ids, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _ids(text, rows):
    ids = _with_end(rows) if text is None else text.ids(rows)
    return tf.cast(ids, tf.int32).with_row_splits_dtype(tf.int64)


def _with_end(rows):
    """Ragged rows with END at the end of those that lack it."""
    last = tf.reduce_sum(rows[:, -1:], axis=1)  # (C, None) -> (C,); 0 for an empty row
    ends = tf.RaggedTensor.from_row_lengths(
        tf.fill([tf.math.count_nonzero(last != END)], tf.constant(END, rows.dtype)),
        tf.cast(last != END, tf.int64),
        validate=False,
    )
    return tf.concat([rows.with_row_splits_dtype(tf.int64), ends], axis=1)


def within(sides, max_length):
    """The rows of ragged source and target, and what stands beside them, that are no longer than allowed.

    Args:
        sides: tuple of ragged (C, None) tensors.
        max_length: as for `batches`.

    Returns:
        tuple of ragged (C', None) tensors, C' <= C.
    """
    if max_length is None:
        return sides
    limits = max_length if isinstance(max_length, tuple | list) else (max_length, max_length)
    fits = [ids.row_lengths() <= limit for ids, limit in zip(sides, limits)]
    rows = tf.where(fits[0] & fits[1])[:, 0]
    return tuple(tf.gather(ids, rows) for ids in sides)


def _windows(chunks, window, size=CHUNK):
    """Dataset of the ids of W pairs, or of all pairs in one element: ragged (W, None) source and target."""
    count = 2**16 if window is None else max(1, window // size)
    return chunks.batch(count).map(lambda *ids: tuple(rows.merge_dims(0, 1) for rows in ids))


def _with_pairs_shuffled(split, window, seed, epoch):
    tf.random.set_seed(1)  # of the function that is traced here, so that the program's own has no say
    drawn = tf.random.stateless_uniform([], [seed, epoch], maxval=tf.int64.max, dtype=tf.int64)
    return split.shuffle(window, seed=drawn, reshuffle_each_iteration=False)


def _with_rows_shuffled(windows, seed, epoch):
    def shuffled(*sides):
        rows = tf.random.experimental.stateless_shuffle(tf.range(sides[0].nrows()), [seed, epoch])
        return tuple(tf.gather(side, rows) for side in sides)

    return windows.map(shuffled)


def _with_noise(made, noise, seed, epoch):
    def noisy(number, batch):
        own = tf.random.experimental.stateless_fold_in(tf.stack([seed, epoch]), number)
        return (*with_noise(noise, *batch[:2], own), *batch[2:])

    return made.enumerate().map(noisy, num_parallel_calls=2, deterministic=True)


def _cut(sides, bucket, shuffle, batch_size, batch_tokens):
    """A window cut into batches: ragged (batches, B, None) for each of the sides.

    Batches are put in the order of where their first pair was before sorting; as the pairs came in random
    order, so do the batches.
    """
    sources, lengths = (side.row_lengths() for side in sides[:2])
    order = tf.range(sides[1].nrows())
    if bucket:
        widest = 1 + tf.reduce_max(tf.concat([sources, [0]], axis=0))
        order = tf.argsort(lengths * widest + sources, stable=True)
        order = tf.cast(order, tf.int64)
    starts = _starts(tf.gather(lengths, order), batch_size, batch_tokens)
    groups = [
        tf.RaggedTensor.from_row_starts(tf.gather(side, order), starts, validate=False) for side in sides
    ]
    if bucket and shuffle:
        places = tf.argsort(tf.gather(order, starts))
        groups = [tf.gather(side, places) for side in groups]
    return tuple(groups)


def _starts(lengths, batch_size, batch_tokens):
    """The first row of each batch, int64, for target lengths (W,)."""
    rows = tf.size(lengths, out_type=tf.int64)
    if batch_size:
        return tf.range(0, rows, batch_size, dtype=tf.int64)

    def add(start, count, starts):
        many = batch_tokens // lengths[start]
        longest = tf.reduce_max(lengths[start : start + tf.maximum(many, 1)])
        return start + tf.maximum(batch_tokens // longest, 1), count + 1, starts.write(count, start)

    starts = tf.TensorArray(tf.int64, size=0, dynamic_size=True, element_shape=[])
    start = tf.constant(0, tf.int64)
    return tf.while_loop(lambda start, *_: start < rows, add, (start, 0, starts))[2].stack()


def _padded(source, target, *weights):
    labels = target.to_tensor(PAD)
    before = tf.pad(labels[:, :-1], [[0, 0], [1, 0]], constant_values=START)
    target_ids = tf.where(before == END, PAD, before)
    inputs = {"source_ids": source.to_tensor(PAD), "target_ids": target_ids}
    return inputs, labels, *(one.values for one in weights)  # (B, 1) -> (B,)
