"""The ways to split a text into ids and to merge ids into a text, as modules that an export can track.

Each has ``vocabulary``, ``ids(text (B,) string) -> ragged (B, None) int32`` without special ids, and its
inverse ``text(ids ragged (B, None) int32) -> (B,) string``, which reads ids 1 and 4 to V - 1. With tokens for
ids these are ``tokens(text) -> ragged (B, None) string``, where a token that is not in the vocabulary stands
as it is written, and ``joined(tokens) -> (B,) string``, which reads any tokens but PAD, START and END.

Shapes: **B** batch, **V** vocabulary.
"""

import hashlib

import tensorflow as tf

from tf_seq2seq.data.normalization import valid_utf8
from tf_seq2seq.data.subwords import UNKNOWN, check_sampling, subword_vocabulary
from tf_seq2seq.data.vocabulary import END, SPECIAL_TOKENS, UNK, Vocabulary
from tf_seq2seq.data.words import SPACE, join_words, split_words
from tf_seq2seq.errors import InputError

SPLITS = ("words", "characters", "bytes", "subwords")
FIRST = END + 1
"""The first id that is not a special token's."""


def check_split(split):
    """Raises an `InputError` if there is no such split."""
    if split not in SPLITS:
        raise InputError(f"split is one of {', '.join(SPLITS)}, not {split!r}")


def make_pieces(split, vocabulary=None, model=None):
    """The module that does a split.

    Args:
        split: one of `SPLITS`.
        vocabulary: for words and characters, a `Vocabulary`.
        model: for subwords, the bytes of a ``sentencepiece.model``.

    Returns:
        `TablePieces`, `BytePieces` or `SubwordPieces`.

    Raises:
        InputError: if the vocabulary or the model is missing.
    """
    if split == "bytes":
        return BytePieces()
    if split == "subwords":
        if not isinstance(model, bytes):
            raise InputError(
                "subwords need `model`, the bytes of a sentencepiece.model: TextProcessor.fit makes one"
            )
        return SubwordPieces(model)
    if not isinstance(vocabulary, Vocabulary):
        raise InputError(f"{split} need `vocabulary`, a Vocabulary: TextProcessor.fit makes one")
    return TablePieces(vocabulary, split)


class TablePieces(tf.Module):
    """Words or characters, looked up in a vocabulary; what is not in it is UNK.

    Args:
        vocabulary: a `Vocabulary`.
        split: "words" or "characters".

    Raises:
        InputError: if the vocabulary holds special tokens only.
    """

    def __init__(self, vocabulary, split):
        super().__init__()
        if len(vocabulary) <= FIRST:
            raise InputError(f"the vocabulary holds no {split}: is the file empty, or min_count too high?")
        self.vocabulary = vocabulary
        self._words = split == "words"
        tokens, ids = vocabulary.tokens[FIRST:], range(FIRST, len(vocabulary))
        self._ids = _table(tokens, tf.string, ids, tf.int64, UNK)
        self._tokens = _table(ids, tf.int64, tokens, tf.string, UNKNOWN)

    def ids(self, text):
        """(B,) string to ragged (B, None) int32."""
        tokens = self.tokens(text)
        return tokens.with_flat_values(tf.cast(self._ids.lookup(tokens.flat_values), tf.int32))

    def text(self, ids):
        """Ragged (B, None) int32 to (B,) string."""
        return self.joined(ids.with_flat_values(self._tokens.lookup(tf.cast(ids.flat_values, tf.int64))))

    def tokens(self, text):
        """(B,) string to ragged (B, None) string."""
        return self.split(text, self._words)

    def joined(self, tokens):
        """Ragged (B, None) string to (B,) string."""
        flat = tokens.flat_values
        tokens = tokens.with_flat_values(tf.where(flat == SPECIAL_TOKENS[UNK], UNKNOWN, flat))
        return join_words(tokens) if self._words else tf.strings.reduce_join(tokens, axis=-1)

    @staticmethod
    def split(text, words):
        """(B,) string to ragged (B, None) string, which needs no vocabulary yet."""
        return split_words(text) if words else tf.strings.unicode_split(text, "UTF-8")


class BytePieces(tf.Module):
    """The bytes of UTF-8: ids 4 to 259, nothing is UNK."""

    def __init__(self):
        super().__init__()
        self.vocabulary = Vocabulary(f"<0x{byte:02X}>" for byte in range(256))
        names = [SPECIAL_TOKENS[UNK], *self.vocabulary.tokens[FIRST:]]
        self._places = _table(names, tf.string, range(len(names)), tf.int64, -1)

    def ids(self, text):
        """(B,) string to ragged (B, None) int32."""
        flat = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
        return tf.RaggedTensor.from_row_lengths(tf.cast(flat, tf.int32) + FIRST, tf.strings.length(text))

    def text(self, ids):
        """Ragged (B, None) int32 to (B,) string; what is not UTF-8 becomes U+FFFD."""
        return self._merged(ids.with_flat_values(self._characters(ids.flat_values - END)))

    def tokens(self, text):
        """(B,) string to ragged (B, None) string."""
        ids = self.ids(text)
        return ids.with_flat_values(tf.gather(tf.constant(self.vocabulary.tokens), ids.flat_values))

    def joined(self, tokens):
        """Ragged (B, None) string to (B,) string; a token that is no byte's name stands for itself."""
        flat = tokens.flat_values
        places = self._places.lookup(flat)
        return self._merged(tokens.with_flat_values(tf.where(places < 0, flat, self._characters(places))))

    @staticmethod
    def _characters(places):
        """UNK at 0 and below, the bytes from 1 on."""
        characters = tf.constant([UNKNOWN.encode(), *(bytes([byte]) for byte in range(256))])
        return tf.gather(characters, tf.maximum(places, 0))

    @staticmethod
    def _merged(characters):
        return valid_utf8(tf.strings.reduce_join(characters, axis=-1))


class SubwordPieces(tf.Module):
    """Subwords of a SentencePiece model, run by TF-Text.

    With `sampling`, alpha, each call draws one of the segmentations x of a text in place of the best one::

        unigram   P(x | text) = P(x)^alpha / sum over all segmentations y of P(y)^alpha
        BPE       each possible merge of two neighbours is left out with probability alpha, for good
                  (in the paper until the next merge anywhere)

    So 0 makes all segmentations equally likely with a unigram model, and nothing random with BPE. The
    operation draws from a generator of its own that nobody can seed.

    Args:
        model: bytes, the content of a ``sentencepiece.model`` file.
        name: what to call it in an error's message.
        sampling: alpha, at least 0, for BPE at most 1; None for the best segmentation.

    Raises:
        InputError: for a model that cannot be read, or a `sampling` out of range.

    Source: Kudo, "Subword Regularization" (2018), section 3.3, sampled exactly (l = infinity);
        Provilkov et al., "BPE-Dropout" (2020), section 3.1.
    """

    def __init__(self, model, name="the subword model", sampling=None):
        super().__init__()
        self.vocabulary = subword_vocabulary(model, name)
        self.model = model
        self.sampling = sampling
        if sampling is not None:
            check_sampling(model, sampling)

    def ids(self, text):
        """(B,) string to ragged (B, None) int32."""
        return self._tokenize(text)

    def text(self, ids):
        """Ragged (B, None) int32 to (B,) string."""
        return valid_utf8(self._detokenize(ids))

    def tokens(self, text):
        """(B,) string to ragged (B, None) string."""
        return self._tokenize_strings(text)

    def joined(self, tokens):
        """Ragged (B, None) string to (B,) string."""
        text = valid_utf8(self._detokenize_strings(tokens))
        # SentencePiece leaves the mark in pieces that it does not know; in a text it stands nowhere else.
        for pattern, space in ((f" *{SPACE}", SPACE), (f"^{SPACE}", ""), (SPACE, " ")):
            text = tf.strings.regex_replace(text, pattern, space)
        return text

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def _tokenize(self, text):
        return self._tokenizer().tokenize(text)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def _tokenize_strings(self, text):
        return self._tokenizer(tf.string).tokenize(text)

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)])
    def _detokenize(self, ids):
        return self._tokenizer().detokenize(ids)

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.string)])
    def _detokenize_strings(self, tokens):
        return self._tokenizer(tf.string).detokenize(tokens)

    def _tokenizer(self, out_type=tf.int32):
        import tensorflow_text

        # TF-Text finds a model by the name of its operation alone: two models of one name would be the first.
        # Its resource lives as long as the kernel that made it, and setting TensorFlow's seed drops the
        # kernels of eager operations. Made inside of a graph, it comes back with the graph.
        digest = hashlib.sha256(self.model).hexdigest()[:16]
        drawn = {} if self.sampling is None else {"nbest_size": -1, "alpha": self.sampling}
        with tf.name_scope(f"sentencepiece_{digest}"):
            return tensorflow_text.SentencepieceTokenizer(model=self.model, out_type=out_type, **drawn)


def _table(keys, key_type, values, value_type, default):
    pairs = tf.lookup.KeyValueTensorInitializer(
        tf.constant([*keys], key_type), tf.constant([*values], value_type), key_type, value_type
    )
    return tf.lookup.StaticHashTable(pairs, default)
