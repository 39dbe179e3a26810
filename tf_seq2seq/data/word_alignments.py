"""Word alignments of a corpus, as an aligner wrote them, become matrices beside the batches.

Shapes: **B** batch, **S** source length, **T** target length.

A line in the *Pharaoh format*, as fast_align writes it, is ``i-j`` for each link of source word i and target word j, from
0, parted by spaces: ``0-0 1-2 2-1``.
"""

import itertools
import re
from pathlib import Path

import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.errors import InputError

_LINK = re.compile(r"(\d+)-(\d+)")
_CHUNK = 1_024  # pairs


class WordAlignments:
    """Puts the alignments of a corpus's pairs into batches, under the inputs' key "alignments".

    Give it to `batches` as the first of `noise`. A batch's rows are found again in the corpus by their ids, so batches
    may be shuffled, bucketed and cut as they like, and the corpus may hold more pairs than they do, in any order. A row
    that is not found there has no link; sampled subwords, which are other ids at every turn, are refused. Memory
    holds the links of the whole corpus, about 150 bytes a pair.

    >>> from tf_seq2seq.data.pipeline import batches
    >>> from tf_seq2seq.data.text import TextProcessor
    >>> text, corpus = TextProcessor.fit(["ab c"], "characters"), [("a b", "b c")]
    >>> alignments = WordAlignments(corpus, ["0-1 1-0"], text, text)
    >>> pairs = tf.data.Dataset.from_tensors(corpus[0])
    >>> inputs, labels = next(iter(batches(pairs, text, text, batch_size=1, noise=[alignments])))
    >>> inputs["alignments"][0].numpy().astype(int).tolist()  # "b", " ", "c" and END look at "a", " ", "b" and END
    [[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]

    Args:
        corpus: `tf.data.Dataset` or iterable of (source, target) strings, in the order of the lines.
        lines: path of a file of alignments, or an iterable of lines.
        source_text, target_text: the `TextProcessor` that the batches are made with.
        of: "words": links are of the words that `word_spans` finds, as `GeneratedSentence.pairs` counts them: what
            stands between spaces, or the tokens of the split "words"; all tokens of one word are linked to all of the
            other. "tokens": links are of the processors' tokens.

    Raises:
        InputError: for a line that is no alignment of its pair, for more or fewer lines than pairs, or for a processor
            that samples.
    """

    def __init__(self, corpus, lines, source_text, target_text, of="words"):
        if of not in ("words", "tokens"):
            raise InputError(f'links are of "words" or of "tokens", not {of!r}')
        if any(text.sampling is not None for text in (source_text, target_text)):
            raise InputError(
                "sampled subwords differ at every turn and have no fixed alignments: do not sample"
            )
        self.table = _table(corpus, lines, (source_text, target_text), of)

    def __call__(self, inputs, labels, seed=None):
        """The batch with alignments.

        Args:
            inputs: {"source_ids": (B, S), ...} int32, before any noise.
            labels: (B, T) int32.
            seed: what a noise draws from; nothing is drawn here.

        Returns:
            inputs with "alignments" (B, T, S) float32 of 0 and 1, and labels.
        """
        source_ids = inputs["source_ids"]
        shape = [tf.shape(labels)[0], tf.shape(labels)[1], tf.shape(source_ids)[1]]
        links = self.table.lookup(_keys(source_ids, labels))
        return {**inputs, "alignments": link_matrices(links, shape)}, labels


def link_matrices(links, shape):
    """Lines of links of tokens as matrices.

    >>> link_matrices(tf.constant(["0-0 2-1", ""]), [2, 2, 3]).numpy().astype(int).tolist()
    [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]]

    Args:
        links: (B,) string.
        shape: B, T, S.

    Returns:
        (B, T, S) float32 of 0 and 1.
    """
    pairs = tf.strings.split(links)  # (B, None)
    ends = tf.strings.to_number(tf.strings.split(pairs.values, "-").flat_values, tf.int64)
    places = tf.stack([pairs.value_rowids(), ends[1::2], ends[::2]], axis=1)
    return tf.minimum(
        tf.scatter_nd(places, tf.ones_like(ends[::2], tf.float32), tf.cast(shape, tf.int64)), 1.0
    )


def _keys(source_ids, labels):
    """A number for each pair of rows, the same however they are padded: (B, S), (B, T) -> (B,) int64."""

    def rows(ids):
        ids = ids if isinstance(ids, tf.RaggedTensor) else tf.RaggedTensor.from_tensor(ids, padding=PAD)
        return tf.strings.reduce_join(tf.strings.as_string(ids), axis=-1, separator=" ")

    return tf.strings.to_hash_bucket_fast(rows(source_ids) + "\t" + rows(labels), 2**63 - 1)


def _table(corpus, lines, texts, of):
    """Table of links of tokens by the pairs' keys."""
    if isinstance(corpus, tf.data.Dataset):
        corpus = ([side.decode("utf-8", "replace") for side in pair] for pair in corpus.as_numpy_iterator())
    keys, values, number = [], [], 0
    rows = itertools.zip_longest(corpus, _lines(lines))
    while chunk := list(itertools.islice(rows, _CHUNK)):
        found = [line for pair, line in chunk if pair is not None and line is not None]
        if len(found) < len(chunk):
            more = "lines of alignments" if chunk[-1][0] is None else "pairs"
            raise InputError(f"there are more {more} than the other; give the corpus that was aligned")
        sides = [_side(text, side, of) for text, side in zip(texts, zip(*(pair for pair, _ in chunk)))]
        keys.append(_keys(sides[0][0], sides[1][0]))
        for source, target, line in zip(sides[0][1], sides[1][1], found):
            number += 1
            values.append(_token_links(line, source, target, number))
    keys = tf.concat(keys, axis=0) if keys else tf.zeros([0], tf.int64)
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, default_value="")
    table.insert(keys, tf.constant(values, tf.string))
    return table


def _lines(lines):
    if isinstance(lines, str | Path):
        with open(lines, encoding="utf-8") as file:
            yield from file
    else:
        yield from lines


def _side(text, sentences, of):
    """Ids of sentences, ragged, and for each its words (lists of their tokens' places) and whether it was cut."""
    ids = text.ids(tf.constant(sentences))
    lengths = ids.row_lengths().numpy()
    if of == "tokens":
        words = [[[place] for place in range(length)] for length in lengths]
    else:
        tokens = text.tokens_of_text(tf.constant(sentences)).to_list()
        words = [
            _places(text.word_spans([token.decode("utf-8", "replace") for token in row])) for row in tokens
        ]
    return ids, [*zip(words, lengths == text.max_length)]


def _places(spans):
    places = [[] for _ in spans.words]
    for place, word in enumerate(spans.word_of):
        if word >= 0:
            places[word].append(place)
    return places


def _token_links(line, source, target, number):
    """A line's links of words as links of tokens: "s-t ..."; those into what was cut off are dropped."""
    links = []
    for link in line.split():
        ends = _LINK.fullmatch(link)
        sides = [*zip((source, target), map(int, ends.groups()))] if ends else []
        if not ends or any(place >= len(words) and not cut for (words, cut), place in sides):
            raise InputError(
                f"line {number} of the alignments has {link!r}, but its pair has {len(source[0])} source and "
                f"{len(target[0])} target words; give lines like '0-0 1-2', of the same sentences in this order"
            )
        from_source, from_target = (
            [token for word in words[place : place + 1] for token in word] for (words, _), place in sides
        )
        links += [f"{s}-{t}" for t in from_target for s in from_source]
    return " ".join(links)
