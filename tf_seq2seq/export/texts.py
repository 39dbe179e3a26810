"""Texts to ids and back, as an exported model does it: sources are cut to a maximum length, and what is cut is told.

Shapes: **B** texts, **S** source length, **T** target length, **P** tokens of a forced
beginning, **C** phrases, **L** tokens of one.
"""

import functools

import tensorflow as tf

from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import END, PAD, SPECIAL_TOKENS
from tf_seq2seq.decoding.phrase_forms import banned_ids
from tf_seq2seq.decoding.requests import not_empty, unfinished


class CutText:
    """A text processor that cuts rows to a length before they are padded to one matrix.

    What is made of strings has one graph for all signatures, and none if no signature needs it: the graphs of subwords hold
    their model.

    Args:
        text: `TextProcessor`; an equal one is made, so that only what an export reads is exported.
        length: the most tokens, END counted.
    """

    def __init__(self, text, length):
        self.processor = TextProcessor(
            text.split,
            vocabulary=text.vocabulary,
            model=getattr(text.pieces, "model", None),
            lowercase=text.lowercase,
            normalize=text.normalize,
            max_length=length + 1,  # one more tells that something is cut
            add_end=text.add_end,
        )
        self.length = length

    @property
    def resources(self):
        """What an export is to keep for it: the processor with its tables, or nothing, where graphs hold all there is."""
        return [] if self.processor.split == "subwords" else [self.processor]

    @functools.cached_property
    def uncut_ids(self):
        """(B,) string -> ragged (B, None) int32, longer by a token at most."""
        return _traced(self.processor.ids, rank=1)

    @functools.cached_property
    def text_of_tokens(self):
        """(B, K, T) string -> (B, K) string."""
        return _traced(self.processor.text_of_tokens, rank=3)

    def ids(self, text):
        """(B,) string -> (B, S) int32, S >= 1, padded with PAD, and whether each was cut, (B,) bool."""
        ids, cut = self._cut(self.uncut_ids(text), END)
        return not_empty(ids.to_tensor(PAD)), cut

    def tokens(self, ids):
        """(..., T) int32 -> (..., T) string."""
        return self.processor.tokens(ids)

    def written(self, text):
        """(B,) string -> (B, S) string, the tokens of `ids` as they are written, "<pad>" at the right."""
        tokens, _ = self._cut(self._uncut_tokens(text), SPECIAL_TOKENS[END])
        tokens = tokens.to_tensor(SPECIAL_TOKENS[PAD])
        missing = tf.cast(tf.shape(tokens)[1] == 0, tf.int32)
        return tf.pad(tokens, [[0, 0], [0, missing]], constant_values=SPECIAL_TOKENS[PAD])

    def cut_ids(self, ids):
        """(B, S) int32 of any width -> (B, S) int32 that is cut likewise, and (B,) bool."""
        ids = not_empty(ids)
        cut = tf.reduce_any(ids[:, self.length :] != PAD, axis=1)
        ids = ids[:, : self.length]
        last = tf.range(tf.shape(ids)[1]) == self.length - 1
        return (tf.where(cut[:, None] & last, END, ids) if self.processor.add_end else ids), cut

    @functools.cached_property
    def _uncut_tokens(self):
        return _traced(self.processor.tokens_of_text, rank=1)

    def _cut(self, rows, end):
        cut = rows.row_lengths() > self.length
        if not self.processor.add_end:
            return rows[:, : self.length], cut
        rows = rows[:, :-1][:, : self.length - 1]
        return tf.concat([rows, tf.fill([rows.nrows(), 1], end)], axis=1), cut


def _traced(function, rank):
    """The function of strings as one graph for all signatures that call it."""
    spec = tf.TensorSpec([None] * rank, tf.string)
    return tf.function(function, autograph=False).get_concrete_function(spec)


def conditions(options, target_ids, longest):
    """The options in which prefix, banned and phrases are ids.

    Args:
        options: dict of tensors, prefix (B,), banned (B, M) and phrases (B, C) string.
        target_ids: function of texts (B,) -> ragged ids (B, None), which cuts nothing that is not longer than `longest`.
        longest: the most tokens that anything can have; what is longer can't be said, so that it need not be banned.

    Returns:
        the dict with prefix (B, P), banned (B, M*F, L) and phrases (B, C, L) int32.
    """
    prefix = unfinished(target_ids, options["prefix"])
    phrases = unfinished(target_ids, tf.reshape(options["phrases"], [-1])).to_tensor(PAD)
    shape = tf.concat([tf.shape(options["phrases"]), tf.shape(phrases)[1:]], axis=0)
    return options | {
        "prefix": prefix.to_tensor(PAD),
        "banned": banned_ids(options["banned"], target_ids, longest),
        "phrases": tf.reshape(phrases, shape),  # (B*C, L) -> (B, C, L)
    }
