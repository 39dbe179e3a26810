"""How much each source token has to do with each target token, summed over a corpus in bounded memory.

Shapes: **B** batch, **T** target length, **S** source length, **V** vocabulary, **n** entries kept of a source token.
"""

import numpy as np

from tf_seq2seq.data.vocabulary import END, PAD

_CHUNK = 4_000_000  # pairs waiting to be summed: 48 MB


class LexicalTable:
    """Sums of attention by pair of source and target id.

    >>> table = LexicalTable(source_size=7, target_size=9)
    >>> table.add([[5, 6, 3]], [[8, 3]], [[[0.7, 0.2, 0.1], [0.0, 0.1, 0.9]]])
    >>> table.best(2)[5:].tolist(), table.most_frequent(1).tolist()
    ([[8, 0], [8, 0]], [8])

    Args:
        source_size: V of the source.
        target_size: V of the target.
        kept: beyond this many entries a source token on average, its weakest ones are forgotten.
    """

    def __init__(self, source_size, target_size, kept=1000):
        self.source_size, self.target_size, self.kept = source_size, target_size, kept
        self._counts = np.zeros(target_size, np.int64)
        self._keys, self._sums = np.zeros(0, np.int64), np.zeros(0, np.float32)
        self._waiting, self._size = [], 0

    def add(self, source_ids, labels, alignments):
        """Adds a batch.

        Args:
            source_ids: (B, S) integers, padded with PAD.
            labels: (B, T) integers, padded with PAD.
            alignments: (B, T, S) floats, where the model looked as each label was to come.
        """
        source_ids, labels, alignments = (np.asarray(one) for one in (source_ids, labels, alignments))
        self._counts += np.bincount(labels[labels != PAD], minlength=self.target_size)
        keys = source_ids[:, None].astype(np.int64) * self.target_size + labels[:, :, None]  # (B, T, S)
        real = (source_ids != PAD)[:, None] & (labels != PAD)[:, :, None] & (alignments > 0)
        self._waiting.append((keys[real], alignments[real].astype(np.float32)))
        self._size += len(self._waiting[-1][0])
        if self._size > _CHUNK:
            self._merge()

    def most_frequent(self, count):
        """The most frequent target ids but the four special ones: at most (count,) int32, the most frequent first."""
        counts = self._counts.copy()
        counts[: END + 1] = 0
        order = np.argsort(-counts, kind="stable")[:count]
        return order[counts[order] > 0].astype(np.int32)

    def best(self, count, but=()):
        """The target ids that each source id has most to do with, the best first.

        Args:
            count: n, how many of each.
            but: ids that are left out; the four special ones always are.

        Returns:
            (V, n) int32, padded with PAD.
        """
        self._merge()
        sources, targets = np.divmod(self._keys, self.target_size)
        left = (targets > END) & ~np.isin(targets, np.asarray(but, np.int64))
        sources, targets, ranks = _ranked(sources[left], targets[left], self._sums[left])
        table = np.full((self.source_size, count), PAD, np.int32)
        table[sources[ranks < count], ranks[ranks < count]] = targets[ranks < count]
        return table

    def _merge(self):
        keys, sums = zip((self._keys, self._sums), *self._waiting)
        self._keys, places = np.unique(np.concatenate(keys), return_inverse=True)
        self._sums = np.bincount(places, np.concatenate(sums), len(self._keys)).astype(np.float32)
        self._waiting, self._size = [], 0
        most = self.kept * self.source_size
        if len(self._keys) > most:
            kept = np.sort(np.argpartition(-self._sums, most)[:most])
            self._keys, self._sums = self._keys[kept], self._sums[kept]


def _ranked(sources, targets, sums):
    """Sources, targets and ranks 0, 1, ... of each source's targets, by falling sum."""
    order = np.lexsort((-sums, sources))
    sources, targets = sources[order], targets[order]
    first = np.searchsorted(sources, sources)  # where each source's entries begin
    return sources, targets, np.arange(len(sources)) - first
