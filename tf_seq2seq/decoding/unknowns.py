"""Unknown words are replaced by what they translate: the source word with the highest alignment.

Shapes: **B** texts, **K** hypotheses a text, **T** target length, **S** source length.
"""

from types import MappingProxyType

import keras
import tensorflow as tf

from tf_seq2seq.data.reading import lines
from tf_seq2seq.data.vocabulary import END, PAD, SPECIAL_TOKENS, START, UNK
from tf_seq2seq.data.words import JOIN, SPACE
from tf_seq2seq.errors import InputError

_NO_WORD = [SPECIAL_TOKENS[special] for special in (PAD, START, END)] + [""]
_MARKS = f"[{JOIN}{SPACE}]"


@keras.saving.register_keras_serializable("tf_seq2seq")
class UnknownReplacement(tf.Module):
    """Puts a word in the place of each UNK, in the graph.

    ::

        s* = argmax over s of alignments[t, s], but never END, PAD or START
        token t = dictionary[source token s*], or source token s* itself where it is not in the dictionary

    The marks that `words` and SentencePiece put on a token (``￭ ▁``) are not looked up; they stay around the
    replacement. A hypothesis of a source without a word keeps its UNK.

    >>> replace = UnknownReplacement({"gata": "cat"})
    >>> alignments = [[[[0.1, 0.8, 0.1], [0.3, 0.1, 0.6]]]]
    >>> replace([[[1, 1]]], [[["<unk>", "<unk>"]]], alignments, [["Ana", "gata", "</s>"]]).numpy().tolist()
    [[[b'cat', b'Ana']]]

    Args:
        dictionary: dict of source word to target text; or a UTF-8 file with ``source<TAB>target`` or
            ``source|||target`` on a line (spaces around both are dropped, columns after the second and blank
            lines are not read, and of lines with the same source the first counts); None to copy always.
            Upper and lower case differ, so write it as the source processor does.

    Raises:
        InputError: if the file cannot be read, a line has no target, or a word is empty or a special token.

    Source:
        Luong et al. 2015, Addressing the Rare Word Problem in Neural Machine Translation, which gets the
        source word from tokens of the model's own; from attention: Jean et al. 2015, On Using Very Large
        Target Vocabulary for Neural Machine Translation.
    """

    def __init__(self, dictionary=None):
        super().__init__()
        entries = _entries(dictionary)
        self.dictionary = MappingProxyType(entries)  # the table is made once
        self._table = _table(entries) if entries else None

    def __call__(self, ids, tokens, alignments, source_tokens):
        """Replaces in the graph.

        Args:
            ids: (B, K, T) int32.
            tokens: (B, K, T) string, of these ids.
            alignments: (B, K, T, S) float32.
            source_tokens: (B, S) string, as written in the source: `TextProcessor.tokens_of_text`, not
                `tokens`, where rare words of the source are UNK themselves. It may be narrower than S.

        Returns:
            (B, K, T) string: `tokens` with words for UNK.

        Raises:
            InputError: if there are no alignments.
        """
        if alignments is None:
            raise InputError(
                "unknown words are replaced by alignment, but this model has no attention; train one that "
                "has, such as zoo.luong2015, or leave the replacement out"
            )
        alignments = tf.convert_to_tensor(alignments)
        source_tokens = _widened(tf.convert_to_tensor(source_tokens), tf.shape(alignments)[-1])
        usable = tf.reduce_all([source_tokens != name for name in _NO_WORD], axis=0)  # (B, S)
        weights = tf.where(usable[:, None, None, :], alignments, -1.0)
        source = tf.gather(source_tokens, tf.argmax(weights, axis=-1), batch_dims=1)  # (B, S) -> (B, K, T)
        replaced = (tf.convert_to_tensor(ids) == UNK) & tf.reduce_any(usable, axis=1)[:, None, None]
        return tf.where(replaced, self._translated(source), tokens)

    def get_config(self):
        return {"dictionary": dict(self.dictionary) or None}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def _translated(self, tokens):
        """The dictionary's words for source tokens of any shape, with the tokens' marks; else the tokens."""
        if self._table is None:
            return tokens
        found = self._table.lookup(tf.strings.regex_replace(tokens, f"^{_MARKS}+|{_MARKS}+$", ""))
        before = tf.strings.regex_replace(tokens, f"(?s)^({_MARKS}*).*$", r"\1")
        after = tf.strings.regex_replace(tokens, f"(?s)^.*?({_MARKS}*)$", r"\1")
        return tf.where(found == "", tokens, tf.strings.join([before, found, after]))


def _widened(source_tokens, width):
    missing = tf.maximum(0, width - tf.shape(source_tokens)[1])
    return tf.concat([source_tokens, tf.fill([tf.shape(source_tokens)[0], missing], "")], axis=1)


def _table(entries):
    pairs = tf.lookup.KeyValueTensorInitializer([*entries], [*entries.values()], tf.string, tf.string)
    return tf.lookup.StaticHashTable(pairs, "")


def _entries(dictionary):
    """A dict of str to str from whatever a user gave."""
    entries = {} if dictionary is None else dictionary
    if not isinstance(entries, dict):
        entries = _read(dictionary)
    for pair in entries.items():
        if not all(isinstance(word, str) and word and word not in SPECIAL_TOKENS for word in pair):
            raise InputError(
                f"a dictionary's words are strings that are neither empty nor special tokens, but {pair} came: "
                "remove it"
            )
    return dict(entries)


def _read(path):
    entries = {}
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        words = [word.strip() for word in line.split("|||" if "|||" in line else "\t")]
        if len(words) < 2 or not words[0] or not words[1]:
            raise InputError(
                f"{path}, line {number:,}: expected a source word, a tab or |||, and a target, but "
                f"{line[:60]!r} came; mend the line"
            )
        entries.setdefault(*words[:2])
    return entries
