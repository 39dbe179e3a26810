"""Strings to ids and back, inside the TensorFlow graph: one processor for each side of a corpus.

Shapes: **B** batch, **S** length of the longest row in tokens, **T** target length, **V** vocabulary.
"""

import json
from pathlib import Path

import tensorflow as tf

from tf_seq2seq.data.ids import as_tensor, bare_ids, bare_tokens, known_ids
from tf_seq2seq.data.normalization import normalized, normalized_batches
from tf_seq2seq.data.pieces import SubwordPieces, TablePieces, check_split, make_pieces
from tf_seq2seq.data.subwords import train_subwords
from tf_seq2seq.data.vocabulary import END, PAD, SPECIAL_TOKENS, Vocabulary
from tf_seq2seq.data.word_spans import word_spans
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

_CONFIG, _VOCABULARY, _MODEL = "processor.json", "vocabulary.txt", "sentencepiece.model"


class TextProcessor(tf.Module):
    """Splits texts into words, characters, bytes or subwords, gives their ids, and makes texts of ids.

    A text is made valid UTF-8 (U+FFFD for what is not), then NFKC, then lower case if wished, then split,
    cut to the maximum length, and END follows. Everything is done by TensorFlow operations, so it works in
    a `tf.data` map, in a `tf.function` and, this being a `tf.Module`, in an exported SavedModel.

    Ids are as good an input as strings: wherever a text goes in, so do integers, as a padded (B, S) tensor or
    array, a ragged tensor or a list of lists. What comes after END, PAD and START is dropped, an id outside
    the vocabulary becomes UNK, and the rest is treated like the ids of a text, END and maximum length
    included.

    >>> processor = TextProcessor("bytes", max_length=4)
    >>> processor.dense(["hi", "", "hello"]).numpy().tolist()
    [[108, 109, 3, 0], [3, 0, 0, 0], [108, 105, 112, 3]]
    >>> processor.text([[108, 109, 3, 0]]).numpy().tolist()
    [b'hi']

    Args:
        split: "words" (and signs, see `words`), "characters", "bytes" or "subwords".
        vocabulary: for words and characters, a `Vocabulary`.
        model: for subwords, the bytes of a ``sentencepiece.model`` with ids 0-3 for PAD UNK START END.
        lowercase: whether texts are put in lower case; it is not undone.
        normalize: whether texts are put in NFKC; for subwords it is the model that does so, by its own rule.
        max_length: the most tokens that `ids` gives for a text, END counted; None for no limit.
        add_end: whether `ids` puts END at the end; a source needs it, so that no row is empty.

    Raises:
        InputError: if an argument is missing or impossible.
    """

    def __init__(
        self,
        split,
        *,
        vocabulary=None,
        model=None,
        lowercase=False,
        normalize=True,
        max_length=None,
        add_end=True,
    ):
        super().__init__()
        check_split(split)
        if max_length is not None and max_length < 1 + add_end:
            raise InputError(f"max_length counts END, so it must be at least {1 + add_end}, not {max_length}")
        self.split = split
        self.lowercase = lowercase
        self.normalize = normalize
        self.max_length = max_length
        self.add_end = add_end
        self.pieces = make_pieces(split, vocabulary, model)
        self._nfkc = normalize and split != "subwords"
        self._names = tf.constant(self.pieces.vocabulary.tokens)

    @classmethod
    def fit(
        cls,
        sentences,
        split="subwords",
        vocab_size=8000,
        *,
        min_count=1,
        algorithm="unigram",
        character_coverage=1.0,
        byte_fallback=False,
        sentence_limit=1_000_000,
        **options,
    ):
        """A processor whose vocabulary is made from `sentences`; equal sentences give an equal processor.

        >>> processor = TextProcessor.fit(["El gato duerme.", "¿El perro?"], "words", lowercase=True)
        >>> processor.text(processor.ids(["¿EL perro  duerme?"]))[0].numpy().decode()
        '¿el perro duerme?'

        Args:
            sentences: an iterable of strings or a `tf.data.Dataset` of scalar strings; read once, as a
                stream.
            split: "words", "characters", "bytes" (`sentences` is not read) or "subwords".
            vocab_size: V, the special tokens counted: exactly for subwords, at most for words and characters.
            min_count: rarer words or characters are UNK.
            algorithm, character_coverage, byte_fallback, sentence_limit: for subwords, see `train_subwords`.
            options: `lowercase`, `normalize`, `max_length`, `add_end` as for `TextProcessor`.

        Returns:
            A `TextProcessor`.

        Raises:
            InputError: if the sentences cannot give such a vocabulary.
        """
        check_split(split)
        if split == "bytes":
            return cls(split, **options)
        lowercase, normalize = options.get("lowercase", False), options.get("normalize", True)
        texts = normalized_batches(sentences, normalize and split != "subwords", lowercase)
        if split == "subwords":
            model = train_subwords(
                (text.decode() for batch in texts for text in batch.numpy()),
                vocab_size,
                algorithm=algorithm,
                normalize=normalize,
                character_coverage=character_coverage,
                byte_fallback=byte_fallback,
                sentence_limit=sentence_limit,
            )
            return cls(split, model=model, **options)
        batches = (TablePieces.split(batch, split == "words").flat_values for batch in texts)
        tokens = ([token.decode() for token in batch.numpy()] for batch in batches)
        vocabulary = Vocabulary.build(tokens, vocab_size, min_count)
        return cls(split, vocabulary=vocabulary, **options)

    def sampled(self, alpha):
        """The same processor for training data: it draws another segmentation of a text at every call.

        A model so sees a word in many spellings, which makes it robust and, with little data, better. Give it
        to `batches`, without `cache`, for the sides that shall vary; validate and generate with the processor
        itself, which is also what `save` writes. There is no seed: two runs differ.

        >>> from tf_seq2seq.data.subwords import train_subwords
        >>> words = ["low", "lower", "lowest", "new", "newer", "newest"] * 20
        >>> text = TextProcessor("subwords", model=train_subwords(words, 25, algorithm="bpe"))
        >>> len(text.ids(["lowest"])[0]), len(text.sampled(1.0).ids(["lowest"])[0])  # END counted
        (3, 8)

        Args:
            alpha: see `SubwordPieces`. Usual are 0.2 for a unigram model and 0.1 for BPE; with 6,000 pieces of
                29,000 captions they made 28% and 36% more tokens, and 0.1 with the unigram model 84% more.

        Returns:
            A `TextProcessor` with the same ids, vocabulary and settings.

        Raises:
            InputError: if the split is not "subwords", or alpha is out of range.
        """
        if self.split != "subwords":
            raise InputError(
                f"only subwords can be sampled, not {self.split}; tf_seq2seq.data.noise is for any split"
            )
        other = TextProcessor(self.split, model=self.pieces.model, **self._options())
        other.pieces = SubwordPieces(self.pieces.model, sampling=alpha)
        return other

    @property
    def sampling(self):
        """Alpha of what `sampled` gave; None for any other processor, which is deterministic."""
        return getattr(self.pieces, "sampling", None)

    @property
    def vocabulary(self):
        """The `Vocabulary`, whatever the split; ``vocabulary.vectors`` gives pretrained vectors."""
        return self.pieces.vocabulary

    @property
    def vocab_size(self):
        """V, the special tokens counted."""
        return len(self.vocabulary)

    def ids(self, text):
        """The ids of texts, without START, with END if `add_end`.

        Args:
            text: (B,) strings, or ids as the class describes.

        Returns:
            A ragged tensor (B, None) of int32, no row longer than `max_length`.
        """
        text = self._batch(text)
        if text.dtype != tf.string:
            return self._cut(bare_ids(text, self.vocab_size), END)
        return self._cut(self.pieces.ids(normalized(text, self._nfkc, self.lowercase)), END)

    def dense(self, text):
        """The ids of texts as a matrix.

        Args:
            text: (B,) strings, or ids as the class describes.

        Returns:
            (B, S) int32, PAD at the right of shorter rows.
        """
        return self.ids(text).to_tensor(PAD)

    def text(self, ids):
        """The texts that ids stand for: up to the first END, without PAD and START; "⁇" for UNK.

        Args:
            ids: (..., T) integers or a ragged tensor (B, None).

        Returns:
            (...,) string, valid UTF-8.
        """
        ids = known_ids(as_tensor(ids), self.vocab_size)
        return _rowwise(lambda rows: self.pieces.text(bare_ids(rows, self.vocab_size)), ids)

    def tokens(self, ids):
        """The token of each id, special ones included, for labels of pictures and tables.

        >>> TextProcessor("bytes").tokens([[2, 69, 3]]).numpy().tolist()
        [[b'<s>', b'<0x41>', b'</s>']]

        Args:
            ids: (..., T) integers; what is outside of the vocabulary reads as UNK.

        Returns:
            (..., T) string.
        """
        return tf.gather(self._names, known_ids(as_tensor(ids), self.vocab_size))

    def tokens_of_text(self, text):
        """The tokens of texts as they are written there: one that is UNK among the ids is its own self here.

        >>> processor = TextProcessor("words", vocabulary=Vocabulary(["el"]))
        >>> processor.tokens_of_text(["el gato"]), processor.ids(["el gato"])
        (<tf.RaggedTensor [[b'el', b'gato', b'</s>']]>, <tf.RaggedTensor [[4, 1, 3]]>)

        Args:
            text: (B,) strings, or ids as the class describes, which give the tokens of the vocabulary.

        Returns:
            A ragged tensor (B, None) of strings, one for each of `ids`.
        """
        text = self._batch(text)
        if text.dtype != tf.string:
            ids = self.ids(text)
            return ids.with_flat_values(self.tokens(ids.flat_values))
        return self._cut(
            self.pieces.tokens(normalized(text, self._nfkc, self.lowercase)), SPECIAL_TOKENS[END]
        )

    def text_of_tokens(self, tokens):
        """The texts that tokens stand for, made as `text` does; tokens need not be in the vocabulary.

        Args:
            tokens: (..., T) string, "<pad>" or "" at the right of shorter rows.

        Returns:
            (...,) string, valid UTF-8.
        """
        return _rowwise(lambda rows: self.pieces.joined(bare_tokens(rows)), tf.convert_to_tensor(tokens))

    def word_spans(self, tokens):
        """The words of one sentence and which of them each of its tokens, list of str, is of: `WordSpans`."""
        return word_spans(tokens, self.split)

    def _batch(self, text):
        """Strings (B,) or ids (B, S) as a tensor."""
        text = as_tensor(text)
        if text.shape.rank not in (1 if text.dtype == tf.string else 2, None):
            raise InputError(
                f"expected strings (B,) or ids (B, S), but shape {text.shape} came: make it a batch"
            )
        return text

    def _cut(self, rows, end):
        """Ragged rows of at most the maximum length, with the end if there shall be one."""
        if self.max_length is not None:
            rows = rows[:, : self.max_length - self.add_end]
        return tf.concat([rows, tf.fill([rows.nrows(), 1], end)], axis=1) if self.add_end else rows

    def _options(self):
        return {name: getattr(self, name) for name in ("lowercase", "normalize", "max_length", "add_end")}

    def save(self, folder):
        """Writes a folder: processor.json beside vocabulary.txt or sentencepiece.model."""
        config = {"split": self.split, **self._options(), "vocab_size": self.vocab_size}
        with replacing(folder, holds=(_CONFIG, _VOCABULARY, _MODEL)) as new:
            new.mkdir()
            (new / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            if self.split == "subwords":
                (new / _MODEL).write_bytes(self.pieces.model)
            elif self.split != "bytes":
                self.vocabulary.save(new / _VOCABULARY)

    @classmethod
    def load(cls, folder):
        """Reads what `save` wrote.

        Raises:
            InputError: if the folder is not a processor, is damaged, or its files are of different ones.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
            size = config.pop("vocab_size")
            check_split(config["split"])
            if config["split"] == "subwords":
                config["model"] = (folder / _MODEL).read_bytes()
            elif config["split"] != "bytes":
                config["vocabulary"] = Vocabulary.load(folder / _VOCABULARY)
            processor = cls(**config)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"cannot load the text processor {folder} ({reason}): "
                "give a folder that TextProcessor.save wrote"
            ) from error
        if processor.vocab_size != size:
            raise InputError(
                f"the text processor {folder} was saved with {size} tokens but has {processor.vocab_size} "
                "now: put back the vocabulary it was saved with"
            )
        return processor


def _rowwise(function, rows):
    """`function` of a matrix of rows, for rows with any leading dimensions: (..., T) -> (...,)."""
    matrix = tf.reshape(rows, [tf.reduce_prod(tf.shape(rows)[:-1]), tf.shape(rows)[-1]])  # (..., T) -> (N, T)
    return tf.reshape(function(matrix), tf.shape(rows)[:-1])  # (N,) -> (...,)
