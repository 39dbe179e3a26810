"""Which word of its sentence each token belongs to, in plain Python.

A word is what stands between white space, signs included (``"Hello,"``), for subwords, characters and bytes;
a text without spaces, such as Chinese, is one word. A text split into words and signs has its tokens as its
words.
"""

import bisect
import re
from typing import NamedTuple

from tf_seq2seq.data.pieces import check_split
from tf_seq2seq.data.subwords import UNKNOWN
from tf_seq2seq.data.vocabulary import END, PAD, SPECIAL_TOKENS, START, UNK
from tf_seq2seq.data.words import JOIN, SPACE

_NO_WORD = {SPECIAL_TOKENS[special] for special in (PAD, START, END)}
_BYTE = re.compile("<0x([0-9A-F]{2})>")


class WordSpans(NamedTuple):
    """The words of a sentence and its tokens' places among them.

    Fields:
        words: list of str, without the marks that join or part tokens.
        word_of: list of int, for each token the index of its word; -1 for END, PAD and START.
    """

    words: list
    word_of: list


def word_spans(tokens, split):
    """Finds the words of a sentence in its tokens.

    White space belongs to the word after it, as in SentencePiece's pieces; what is left over at the end, to
    the last word. A subword that holds two words belongs to the first.

    >>> word_spans(["▁Un", "real", "▁", "?", "</s>"], "subwords")
    WordSpans(words=['Unreal', '?'], word_of=[0, 0, 1, 1, -1])
    >>> word_spans(["l'￭", "eau"], "words")
    WordSpans(words=["l'", 'eau'], word_of=[0, 1])

    Args:
        tokens: list of str, as from `TextProcessor.tokens` or `TextProcessor.tokens_of_text`.
        split: "words", "characters", "bytes" or "subwords".

    Returns:
        `WordSpans`; UNK reads "⁇".

    Raises:
        InputError: if there is no such split.
    """
    check_split(split)
    if split == "words":
        return _tokens_as_words(tokens)
    surfaces = [_surface(token, split) for token in tokens]
    spans = [*re.finditer(rb"\S+", b"".join(surfaces))]
    ends, word_of, start = [span.end() for span in spans], [], 0
    for token, surface in zip(tokens, surfaces):
        place = min(bisect.bisect_right(ends, start), len(ends) - 1)  # the first word that ends after it
        word_of.append(-1 if token in _NO_WORD else place)
        start += len(surface)
    return WordSpans([span[0].decode("utf-8", "replace") for span in spans], word_of)


def _tokens_as_words(tokens):
    words, word_of = [], []
    for token in tokens:
        word_of.append(-1 if token in _NO_WORD else len(words))
        if token not in _NO_WORD:
            words.append(UNKNOWN if token == SPECIAL_TOKENS[UNK] else token.strip(JOIN + SPACE) or token)
    return WordSpans(words, word_of)


def _surface(token, split):
    """The bytes that a token stands for in its text; white space is ASCII there."""
    if token in _NO_WORD:
        return b""
    if token == SPECIAL_TOKENS[UNK]:
        token = UNKNOWN
    elif split != "characters" and (byte := _BYTE.fullmatch(token)):
        return bytes.fromhex(byte[1])
    elif split == "subwords":
        token = token.replace(SPACE, " ")
    return re.sub(r"\s", " ", token).encode("utf-8", "replace")
