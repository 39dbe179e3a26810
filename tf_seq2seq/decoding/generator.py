"""Text in, hypotheses out: a model, its two text processors and a strategy as one artefact.

Shapes: **B** texts, **K** hypotheses a text, **T** target length, **S** source length.
"""

import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.decoding import generator_folder, requests
from tf_seq2seq.decoding.batching import in_batches
from tf_seq2seq.decoding.conditions import of_sources
from tf_seq2seq.decoding.generated import GeneratedText, is_blank, target_texts
from tf_seq2seq.decoding.requests import SPECS
from tf_seq2seq.decoding.scoring import score_ids, with_end
from tf_seq2seq.decoding.shortlist import Shortlisted, begin
from tf_seq2seq.errors import InputError
from tf_seq2seq.layers.precision import fastest_weights
from tf_seq2seq.models.searching import searchable


class TextGenerator(tf.Module):
    """Turns texts into texts with a model.

    ``generator("texto")``, ``generator(["uno", "dos"])`` and ``generator(tensor)`` give `GeneratedText`;
    ``generator.generate`` is the same as a `tf.function` of (B,) string with a fixed signature, so it is
    traced once and can be exported. All variables and lookup tables are tracked.

    What a text gets depends on that text alone: not on the batch it is in, its order or its padding. In float32 that holds
    up to rivals whose scores are within 1e-4, as sums of the same numbers round differently in larger matrices; with
    bfloat16 weights such rivals are those within some hundredths of a nat.

    Args:
        model: a `Seq2Seq`, an `Ensemble`, or anything with ``begin(source) -> step, state, memory``.
        source_text: `TextProcessor` of the source.
        target_text: `TextProcessor` of the target.
        strategy: `Greedy`, `BeamSearch`, `Sampling` or another. It is traced; for another, make a new generator.
        shortlist: `Shortlist`: the only target tokens that a source token brings with it; None for all.
        unknowns: `UnknownReplacement` of unknown words in the text; None to leave them.
        weights: "float32", "bfloat16" or "auto" (what multiplies faster here): search with a copy of the model's weights,
            as they are now, laid out for speed. None: with the model's own, as they are whenever it is called.

    Raises:
        InputError: if a processor's vocabulary is not as large as the model's.
    """

    def __init__(
        self, model, source_text, target_text, strategy, shortlist=None, unknowns=None, weights=None
    ):
        super().__init__()
        _check_size("source", source_text, getattr(model, "encoder", None))
        _check_size("target", target_text, getattr(model, "decoder", None))
        self.model = model
        self.source_text = source_text
        self.target_text = target_text
        self.strategy = strategy
        self.shortlist = shortlist
        self.unknowns = unknowns
        self.weights = weights
        self._searched_model = model if weights is None else searchable(model, _dtype(weights))
        self._traced = {}

    def __call__(self, text, **conditions):
        """Generates for one text or for a batch.

        Args:
            text: str, list of str, or (B,) string tensor; one text is a batch of one.
            **conditions: of the texts, each optional, one value for each text (or the value itself for one text):
                prefix: str, what the target begins with.
                phrases: list of str that the target must contain; needs `BeamSearch`.
                banned: list of str that the target may not contain, as words of their own.
                seeds: int, for strategies that draw; without, a text's own words are its seed.
                limit: int, the most tokens, where that is less than the strategy's maximum.

        Returns:
            `GeneratedText`.

        Raises:
            InputError: if it is something else.
        """
        batch = requests.as_batch(text)
        if not conditions:
            return self.generate(batch)
        single = isinstance(text, (str, bytes))
        conditions = {name: [value] if single else list(value) for name, value in conditions.items()}
        return self._generate_text(
            batch, requests.of_texts(conditions, self.target_text, int(batch.shape[0]))
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def generate(self, text):
        """Generates in the graph: text (B,) string -> `GeneratedText`."""
        return self._generate_text(text, {})

    def _generate_text(self, text, conditions):
        ids = self.source_text.ids(text)
        hypotheses = self._search({"source_ids": ids.to_tensor(PAD), **conditions})
        written = self.source_text.tokens_of_text(text).to_tensor("<pad>")
        said, tokens = target_texts(hypotheses, written, self.target_text, self.unknowns)
        return GeneratedText(
            text=tf.where(is_blank(text)[:, None], "", said),
            tokens=tokens,
            source_tokens=written,
            source_lengths=tf.cast(ids.row_lengths(), tf.int32),
            hypotheses=hypotheses,
            splits=tf.constant([self.source_text.split, self.target_text.split]),
        )

    def generate_ids(self, source_ids, *, add_end=False, **conditions):
        """Generates for ids.

        Args:
            source_ids: (B, S) integers, right-padded with PAD.
            add_end: whether END is put after each source that does not end with it; False: the ids are what the model
                reads, and have END where the source processor gives it.
            **conditions: `start_ids` (() or (B,), START if left out), `prefix` (B, P), `phrases` (B, C, L), `banned`
                (B, M, L), `seeds` (B,) and `limit` (B,), as `Conditions` has them.

        Returns:
            `Hypotheses`.

        Raises:
            InputError: for a condition that there is not, or of another number of rows.
        """
        source_ids = requests.as_ids("source_ids", source_ids)
        rows = int(source_ids.shape[0])
        source_ids = with_end(source_ids, END) if add_end else source_ids
        return self._search({"source_ids": source_ids} | requests.as_conditions(conditions, rows))

    def score(self, source, target):
        """How likely the model thinks given targets: `Scored`, of the target's tokens with END.

        Args:
            source: str, list of str, or (B,) string tensor.
            target: the same of as many.

        Raises:
            InputError: if they are not as many.
        """
        source, target = requests.as_batch(source), requests.as_batch(target)
        if source.shape[0] != target.shape[0]:
            raise InputError(f"{source.shape[0]} sources have {target.shape[0]} targets: give one for each")
        return self.score_ids(self.source_text.dense(source), self.target_text.dense(target))

    def score_ids(self, source_ids, target_ids, *, start_ids=START, add_source_end=False, add_end=False):
        """How likely the model thinks given targets; what a search gave comes out as it was.

        Args:
            source_ids: (B, S) integers, right-padded with PAD.
            target_ids: (B, T) integers, right-padded with PAD, without a start, as `Hypotheses.ids` are.
            start_ids: () or (B,) integers, the token before the first one.
            add_source_end, add_end: whether END is put after each source, each target that does not end with it.

        Returns:
            `Scored`.
        """
        ids = [requests.as_ids("source_ids", source_ids), requests.as_ids("target_ids", target_ids)]
        adds = (add_source_end, add_end)
        source_ids, target_ids = (with_end(one, END) if add else one for one, add in zip(ids, adds))
        return self._score(source_ids, target_ids, tf.broadcast_to(start_ids, tf.shape(target_ids)[:1]))

    @tf.function(input_signature=[SPECS["source_ids"], SPECS["source_ids"], SPECS["start_ids"]])
    def _score(self, source_ids, target_ids, start_ids):
        return score_ids(self.model, {"source_ids": requests.not_empty(source_ids)}, target_ids, start_ids)

    def generate_all(self, texts, batch_size=32, window=16, batch_tokens=None, done=None, **conditions):
        """Generates for any number of texts in constant memory.

        Texts of like length go into one batch: `window` batches of texts are read, sorted by length,
        generated and given back in the order in which they came, before the next ones are read.

        Args:
            texts: an iterable of str, read once.
            batch_size: the most texts generated at once.
            window: batches that are read ahead.
            batch_tokens: the most source tokens at once, padding counted; None for no limit.
            done: function that is called with the number of texts after each batch.
            **conditions: `prefix`, `phrases`, `banned`, `seeds`, `limit`: iterables with one value for each text.

        Yields:
            `GeneratedSentence`, one for each text, in their order.
        """
        names = [*conditions]

        def answer(items):
            texts, *values = zip(*items)
            some = {
                name: each for name, each in zip(names, values) if any(one not in ("", []) for one in each)
            }
            return self([*texts], **some).sentences()

        def lengths(items):
            return self.source_text.ids([text for text, *_ in items]).row_lengths().numpy().tolist()

        items = zip(texts, *conditions.values(), strict=bool(conditions))
        return in_batches(items, lengths, answer, batch_size, batch_tokens, window, done)

    def _search(self, inputs):
        """`Hypotheses` for `source_ids` (B, S) and conditions, traced once for each set of their names."""
        names = sorted(inputs, key=[*SPECS].index)
        key = " ".join(names)
        if key not in self._traced:
            run = lambda *values: self._searched(**dict(zip(names, values)))
            self._traced[key] = tf.function(
                run, input_signature=[SPECS[name] for name in names], autograph=False
            )
        return self._traced[key](*(inputs[name] for name in names))

    def _searched(self, source_ids, **conditions):
        source_ids = requests.not_empty(source_ids)
        model = self._searched_model
        if self.shortlist is not None:
            model = Shortlisted(model, self.shortlist)
        step, state, memory = begin(model, source_ids, conditions)
        conditions = of_sources(source_ids)._replace(**conditions)
        return self.strategy(step, state, memory, tf.shape(source_ids)[0], conditions)

    def with_strategy(self, strategy):
        """Another generator of the same parts that searches by `strategy`."""
        texts = (self.source_text, self.target_text)
        return TextGenerator(self.model, *texts, strategy, self.shortlist, self.unknowns, self.weights)

    def with_weights(self, weights):
        """Another generator of the same parts that searches with other `weights`."""
        texts = (self.source_text, self.target_text)
        return TextGenerator(self.model, *texts, self.strategy, self.shortlist, self.unknowns, weights)

    def save(self, folder):
        """Writes a folder of model, processors and strategy; an older one stays as it was if this fails."""
        generator_folder.write(self, folder)

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
        parts = generator_folder.read(folder)
        return cls(**parts if strategy is None else parts | {"strategy": strategy})


def _dtype(weights):
    """The dtype that an argument `weights` names."""
    if weights not in ("float32", "bfloat16", "auto"):
        raise InputError(f'weights is "float32", "bfloat16", "auto" or None, not {weights!r}')
    return fastest_weights() if weights == "auto" else weights


def _check_size(side, text, layer):
    expected = getattr(layer, "vocab_size", None)
    if expected is not None and expected != text.vocab_size:
        raise InputError(
            f"the model has a {side} vocabulary of {expected} tokens, but the {side} text processor has "
            f"{text.vocab_size}: give the one that the model was trained with"
        )
