"""What a generator gives back: tensors, and the same in Python's own types.

Shapes: **B** texts, **K** hypotheses a text, **T** target length, **S** source length.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_seq2seq.data.word_spans import word_spans
from tf_seq2seq.decoding.hypotheses import Hypotheses
from tf_seq2seq.errors import InputError


class GeneratedSentence(NamedTuple):
    """What was generated for one text, in Python's own types; best hypothesis first.

    Words and their alignments are made when they are asked for.

    >>> sentence = GeneratedSentence(
    ...     ["The cat"], [-0.5], [-0.5], [True], [["▁The", "▁c", "at", "</s>"]], ["▁el", "▁gato", "</s>"],
    ...     [np.array([[0.6, 0.2, 0.2], [0.1, 0.5, 0.4], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]], "float32")],
    ...     source_split="subwords", target_split="subwords",
    ... )
    >>> sentence.source_words, sentence.words
    (['el', 'gato'], [['The', 'cat']])
    >>> sentence.word_alignments
    [array([[0.75 , 0.25 ],
           [0.125, 0.875]], dtype=float32)]
    >>> sentence.pairs
    ['0-0 1-1']

    Fields:
        text: list of str, one a hypothesis.
        scores, log_probs: lists of float, in nats for log_probs.
        finished: list of bool.
        tokens: list of lists of str, END included where finished.
        source_tokens: list of str.
        alignments: list of float32 arrays (tokens, source tokens), one a hypothesis; None without attention.
        token_log_probs: list of lists of float, nats, one a token; None if the search keeps none.
        source_split, target_split: str, how the tokens were made; see `TextProcessor`. Words need them.
    """

    text: list
    scores: list
    log_probs: list
    finished: list
    tokens: list
    source_tokens: list
    alignments: Any
    token_log_probs: Any = None
    source_split: Any = None
    target_split: Any = None

    @property
    def source_words(self):
        """List of str: the words of the source, as `word_spans` finds them."""
        return self._source_spans().words

    @property
    def words(self):
        """List of lists of str: the words of each hypothesis."""
        return [spans.words for spans in self._target_spans()]

    @property
    def word_alignments(self):
        """List of float32 arrays (words, source words), one a hypothesis; None without attention.

        ::

            a(w, v) = m(w, v) / sum_v' m(w, v')
            m(w, v) = mean over the pieces t of w, sum over the pieces s of v, of alignments[t, s]

        What lies on the source's END is left out and the rest made to sum to 1; only a word that looked at
        END alone has a row of zeros.
        """
        if self.alignments is None:
            return None
        source = self._source_spans()
        return [
            _word_alignments(alignments, target, source)
            for alignments, target in zip(self.alignments, self._target_spans())
        ]

    @property
    def pairs(self):
        """List of str, one a hypothesis: the likeliest source word of each word; None without attention.

        In the Pharaoh format, as fast_align writes it: ``i-j`` for source word i and word j, from 0, in the
        order of j. A word that looked at END alone has no pair; of equals the first source word counts.
        """
        if self.alignments is None:
            return None
        return [
            " ".join(f"{row.argmax()}-{word}" for word, row in enumerate(alignments) if row.any())
            for alignments in self.word_alignments
        ]

    def _source_spans(self):
        return word_spans(self.source_tokens, _known(self.source_split))

    def _target_spans(self):
        return [word_spans(tokens, _known(self.target_split)) for tokens in self.tokens]


class GeneratedText(NamedTuple):
    """What was generated for a batch of texts, as tensors; `best` and `sentences` give Python's own types.

    Fields:
        text: (B, K) string, best first; empty for a text that is empty or blank.
        tokens: (B, K, T) string.
        source_tokens: (B, S) string.
        source_lengths: (B,) int32, in tokens.
        hypotheses: `Hypotheses`; its fields can be read here, too.
        splits: (2,) string, the splits of the source's and the target's `TextProcessor`; None if not told.
    """

    text: Any
    tokens: Any
    source_tokens: Any
    source_lengths: Any
    hypotheses: Hypotheses
    splits: Any = None

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

    def n_best(self):
        """The texts of each source, best first: list of lists of str; empty places but the first left out."""
        counts = np.maximum(1, (self.hypotheses.lengths.numpy() > 0).sum(axis=1))
        return [_strings(texts[:count]) for texts, count in zip(self.text.numpy(), counts)]

    def sentences(self):
        """A list of `GeneratedSentence`, one for each text; empty places (see `Hypotheses`) are left out."""
        arrays = tf.nest.map_structure(lambda leaf: None if leaf is None else leaf.numpy(), self)
        return [_sentence(arrays, row) for row in range(len(arrays.text))]


def target_texts(found, source_tokens, target_text, unknowns=None):
    """The texts and tokens of hypotheses, in the graph.

    Args:
        found: `Hypotheses`.
        source_tokens: (B, S) string, as written.
        target_text: `TextProcessor`.
        unknowns: `UnknownReplacement`, or None.

    Returns:
        text (B, K) string, and tokens (B, K, T) string.
    """
    tokens = target_text.tokens(found.ids)
    if unknowns is not None:
        tokens = unknowns(found.ids, tokens, found.alignments, source_tokens)
    return target_text.text_of_tokens(tokens), tokens


def is_blank(text):
    """Which texts are empty or white space: (B,) string -> (B,) bool."""
    return tf.strings.length(tf.strings.strip(text)) == 0


def _strings(texts):
    """list of str from a tensor or an array of strings."""
    return [text.decode("utf-8", "replace") for text in getattr(texts, "numpy", lambda: texts)()]


def _sentence(arrays, row):
    """`GeneratedSentence` of one row of a `GeneratedText` of arrays."""
    found, source_length = arrays.hypotheses, arrays.source_lengths[row]
    lengths = [length for length in found.lengths[row] if length > 0]
    best = slice(len(lengths))
    alignments, token_log_probs = found.alignments, getattr(found, "token_log_probs", None)
    if alignments is not None:
        alignments = [alignments[row, k, :length, :source_length] for k, length in enumerate(lengths)]
    if token_log_probs is not None:
        token_log_probs = [token_log_probs[row, k, :length].tolist() for k, length in enumerate(lengths)]
    source_split, target_split = (None, None) if arrays.splits is None else _strings(arrays.splits)
    return GeneratedSentence(
        text=_strings(arrays.text[row, best]),
        scores=found.scores[row, best].tolist(),
        log_probs=found.log_probs[row, best].tolist(),
        finished=found.finished[row, best].tolist(),
        tokens=[_strings(arrays.tokens[row, k, :length]) for k, length in enumerate(lengths)],
        source_tokens=_strings(arrays.source_tokens[row, :source_length]),
        alignments=alignments,
        token_log_probs=token_log_probs,
        source_split=source_split,
        target_split=target_split,
    )


def _known(split):
    if split is None:
        raise InputError(
            "the words of these tokens are not known without their split; set source_split and target_split "
            "to those of the text processors"
        )
    return split


def _word_alignments(alignments, target, source):
    """(tokens, source tokens) -> (words, source words) float32, for the `WordSpans` of both."""
    mass = _members(target).T @ alignments @ _members(source)  # (words, T) (T, S) (S, source words)
    total = mass.sum(axis=1, keepdims=True)
    return np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)


def _members(spans):
    """(tokens, words) float32, 1 where a token is of a word."""
    return (np.array(spans.word_of, int)[:, None] == np.arange(len(spans.words))).astype(np.float32)
