"""Any number of texts in batches of like length, answered in the order in which they came."""

import itertools


def in_batches(items, lengths, answer, batch_size=32, batch_tokens=None, window=16, done=None):
    """Answers items in constant memory.

    ``batch_size * window`` items are read, put in order of length, answered batch by batch and given back in the order in
    which they came, before the next ones are read.

    >>> words = ["a", "ccc", "bb", "dddd"]
    >>> count = lambda batch: [[len(word) for word in batch]] * len(batch)
    >>> list(in_batches(words, lambda items: [len(word) for word in items], count, batch_size=2))
    [[1, 2], [3, 4], [1, 2], [3, 4]]
    >>> list(in_batches(words, lambda items: [len(word) for word in items], count, batch_tokens=6))
    [[1, 2], [3], [1, 2], [4]]

    Args:
        items: an iterable, read once.
        lengths: function of a list of items -> their lengths in tokens.
        answer: function of a list of items -> a list of as many answers.
        batch_size: the most items at once.
        batch_tokens: the most tokens at once, padding counted; an item that is longer goes alone. None for no limit.
        window: batches that are read ahead; with 1 and a `batch_size` of 1 every item is answered at once.
        done: function that is called with the number of items after each batch; None for none.

    Yields:
        an answer for each item, in their order.
    """
    items = iter(items)
    while ahead := list(itertools.islice(items, batch_size * window)):
        found = {}
        for rows in _batches(lengths(ahead), batch_size, batch_tokens):
            found.update(zip(rows, answer([ahead[row] for row in rows])))
            if done is not None:
                done(len(rows))
        yield from (found[row] for row in range(len(ahead)))


def _batches(lengths, batch_size, batch_tokens):
    """Lists of row numbers by rising length."""
    batch = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = len(batch) == batch_size or (batch_tokens and (len(batch) + 1) * lengths[row] > batch_tokens)
        if batch and full:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
