"""Text in, hypotheses out: a model, its two text processors and a strategy as one artefact.

Shapes: **B** texts, **K** hypotheses a text, **T** target length, **S** source length.
"""

import itertools
import json
from pathlib import Path

import keras
import tensorflow as tf

from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.decoding import beam_search, greedy  # noqa: F401 like zoo below
from tf_seq2seq.decoding.generated import GeneratedText
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing
from tf_seq2seq.layers import attention, bridges  # noqa: F401 like zoo
from tf_seq2seq.models import zoo  # noqa: F401 it registers the classes that saved models are made of

_MODEL, _SOURCE, _TARGET, _STRATEGY = "model.keras", "source", "target", "strategy.json"


class TextGenerator(tf.Module):
    """Turns texts into texts with a model.

    ``generator("texto")``, ``generator(["uno", "dos"])`` and ``generator(tensor)`` give `GeneratedText`;
    ``generator.generate`` is the same as a `tf.function` of (B,) string with a fixed signature, so it is
    traced once and can be exported. All variables and lookup tables are tracked.

    Args:
        model: a `Seq2Seq`; its `start` and `step` are used.
        source_text: `TextProcessor` of the source.
        target_text: `TextProcessor` of the target.
        strategy: `Greedy`, `BeamSearch` or another. It is traced; for another, make a new generator.

    Raises:
        InputError: if a processor's vocabulary is not as large as the model's.
    """

    def __init__(self, model, source_text, target_text, strategy):
        super().__init__()
        _check_size("source", source_text, getattr(model, "encoder", None))
        _check_size("target", target_text, getattr(model, "decoder", None))
        self.model = model
        self.source_text = source_text
        self.target_text = target_text
        self.strategy = strategy

    def __call__(self, text):
        """Generates for one text or for a batch.

        Args:
            text: str, list of str, or (B,) string tensor; one text is a batch of one.

        Returns:
            `GeneratedText`.

        Raises:
            InputError: if it is something else.
        """
        return self.generate(_as_batch(text))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def generate(self, text):
        """Generates in the graph: text (B,) string -> `GeneratedText`."""
        ids = self.source_text.ids(text)
        source_ids = ids.to_tensor(PAD)  # (B, S)
        hypotheses = self._generate_ids(source_ids)
        blank = tf.strings.length(tf.strings.strip(text)) == 0
        return GeneratedText(
            text=tf.where(blank[:, None], "", self.target_text.text(hypotheses.ids)),
            tokens=self.target_text.tokens(hypotheses.ids),
            source_tokens=self.source_text.tokens(source_ids),
            source_lengths=tf.cast(ids.row_lengths(), tf.int32),
            hypotheses=hypotheses,
        )

    def generate_ids(self, source_ids):
        """Generates for ids.

        Args:
            source_ids: (B, S) integers, right-padded with PAD, with END as the source processor gives it.

        Returns:
            `Hypotheses`.
        """
        return self._generate_ids(tf.cast(source_ids, tf.int32))

    def generate_all(self, texts, batch_size=32, window=16):
        """Generates for any number of texts in constant memory.

        Texts of like length go into one batch: `window` batches of texts are read, sorted by length,
        generated and given back in the order in which they came, before the next ones are read.

        Args:
            texts: an iterable of str, read once.
            batch_size: texts generated at once.
            window: batches that are read ahead.

        Yields:
            `GeneratedSentence`, one for each text, in their order.
        """
        texts = iter(texts)
        while ahead := list(itertools.islice(texts, batch_size * window)):
            order = sorted(range(len(ahead)), key=lambda row: len(ahead[row]))
            found = {}
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                found.update(zip(rows, self([ahead[row] for row in rows]).sentences()))
            yield from (found[row] for row in range(len(ahead)))

    def save(self, folder):
        """Writes a folder of model, processors and strategy; an older one stays as it was if this fails."""
        strategy = keras.saving.serialize_keras_object(self.strategy)
        with replacing(folder, holds=(_MODEL, _SOURCE, _TARGET, _STRATEGY)) as new:
            new.mkdir()
            self.model.save(new / _MODEL)
            self.source_text.save(new / _SOURCE)
            self.target_text.save(new / _TARGET)
            (new / _STRATEGY).write_text(json.dumps(strategy, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder, strategy=None):
        """Reads what `save` wrote.

        Args:
            folder: the folder.
            strategy: one to use instead of the saved one.

        Returns:
            `TextGenerator`.

        Raises:
            InputError: if the folder is not a generator, is damaged, or holds files of different models.
        """
        folder = Path(folder)
        for name in (_MODEL, _SOURCE, _TARGET, _STRATEGY):
            if not (folder / name).exists():
                raise InputError(f"{folder} has no {name}: give a folder that TextGenerator.save wrote")
        return cls(
            _load(folder / _MODEL, lambda path: keras.saving.load_model(path, compile=False)),
            TextProcessor.load(folder / _SOURCE),
            TextProcessor.load(folder / _TARGET),
            _load(folder / _STRATEGY, _load_strategy) if strategy is None else strategy,
        )

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="source_ids")])
    def _generate_ids(self, source_ids):
        """`Hypotheses` for source_ids (B, S); a batch of rows without a token gets one column of PAD."""
        missing = tf.cast(tf.shape(source_ids)[1] == 0, tf.int32)
        source_ids = tf.pad(source_ids, [[0, 0], [0, missing]], constant_values=PAD)
        state, memory = self.model.start({"source_ids": source_ids})
        return self.strategy(self.model.step, state, memory, rows=tf.shape(source_ids)[0])


def _check_size(side, text, layer):
    expected = getattr(layer, "vocab_size", None)
    if expected is not None and expected != text.vocab_size:
        raise InputError(
            f"the model has a {side} vocabulary of {expected} tokens, but the {side} text processor has "
            f"{text.vocab_size}: give the one that the model was trained with"
        )


def _as_batch(text):
    try:
        text = tf.convert_to_tensor([text] if isinstance(text, (str, bytes)) else text, tf.string)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected a text or a list of texts, not {type(text).__name__}: {text!r}"
        ) from error
    if text.shape.rank != 1:
        raise InputError(f"expected one text or a list of texts, but shape {text.shape} came: make it flat")
    return text


def _load(path, read):
    try:
        return read(path)
    except Exception as error:  # a damaged file makes its reader raise anything
        reason = [line for line in str(error).splitlines() if line.strip()][-1:] or [type(error).__name__]
        raise InputError(
            f"cannot load {path} ({reason[0][:200]}): it is damaged, or made of a class of yours that is not "
            "imported; save the generator again, or import the class first"
        ) from error


def _load_strategy(path):
    return keras.saving.deserialize_keras_object(json.loads(path.read_text(encoding="utf-8")))
