"""What a generator gives back: tensors, and the same in Python's own types.

Shapes: **B** texts, **K** hypotheses a text, **T** target length, **S** source length.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tf_seq2seq.decoding.hypotheses import Hypotheses


class GeneratedSentence(NamedTuple):
    """What was generated for one text, in Python's own types; best hypothesis first.

    Fields:
        text: list of str, one a hypothesis.
        scores, log_probs: lists of float, in nats for log_probs.
        finished: list of bool.
        tokens: list of lists of str, END included where finished.
        source_tokens: list of str.
        alignments: list of float32 arrays (tokens, source tokens), one a hypothesis; None without attention.
    """

    text: list
    scores: list
    log_probs: list
    finished: list
    tokens: list
    source_tokens: list
    alignments: Any


class GeneratedText(NamedTuple):
    """What was generated for a batch of texts, as tensors; `best` and `sentences` give Python's own types.

    Fields:
        text: (B, K) string, best first; empty for a text that is empty or blank.
        tokens: (B, K, T) string.
        source_tokens: (B, S) string.
        source_lengths: (B,) int32, in tokens.
        hypotheses: `Hypotheses`; its fields can be read here, too.
    """

    text: Any
    tokens: Any
    source_tokens: Any
    source_lengths: Any
    hypotheses: Hypotheses

    @property
    def scores(self):
        """(B, K) float32."""
        return self.hypotheses.scores

    @property
    def log_probs(self):
        """(B, K) float32, nats."""
        return self.hypotheses.log_probs

    @property
    def alignments(self):
        """(B, K, T, S) float32, or None without attention."""
        return self.hypotheses.alignments

    def best(self):
        """The best text of each source: list of str."""
        return _strings(self.text[:, 0])

    def sentences(self):
        """A list of `GeneratedSentence`, one for each text; empty places (see `Hypotheses`) are left out."""
        arrays = tf.nest.map_structure(lambda leaf: None if leaf is None else leaf.numpy(), self)
        return [_sentence(arrays, row) for row in range(len(arrays.text))]


def _strings(texts):
    """list of str from a tensor or an array of strings."""
    return [text.decode("utf-8", "replace") for text in getattr(texts, "numpy", lambda: texts)()]


def _sentence(arrays, row):
    """`GeneratedSentence` of one row of a `GeneratedText` of arrays."""
    found, source_length = arrays.hypotheses, arrays.source_lengths[row]
    lengths = [length for length in found.lengths[row] if length > 0]
    best = slice(len(lengths))
    alignments = None
    if found.alignments is not None:
        alignments = [found.alignments[row, k, :length, :source_length] for k, length in enumerate(lengths)]
    return GeneratedSentence(
        text=_strings(arrays.text[row, best]),
        scores=found.scores[row, best].tolist(),
        log_probs=found.log_probs[row, best].tolist(),
        finished=found.finished[row, best].tolist(),
        tokens=[_strings(arrays.tokens[row, k, :length]) for k, length in enumerate(lengths)],
        source_tokens=_strings(arrays.source_tokens[row, :source_length]),
        alignments=alignments,
    )
