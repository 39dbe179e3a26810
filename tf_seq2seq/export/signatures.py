"""The signatures of an exported model that search or score, as traced functions.

Shapes: **B** texts, **S** source length, **K** hypotheses a text, **T** target length.
"""

import tensorflow as tf

from tf_seq2seq.data.ids import known_ids
from tf_seq2seq.data.vocabulary import PAD, START
from tf_seq2seq.decoding.conditions import of_sources
from tf_seq2seq.decoding.generated import is_blank, target_texts
from tf_seq2seq.decoding.hypotheses import Hypotheses
from tf_seq2seq.decoding.scoring import score_ids
from tf_seq2seq.decoding.shortlist import Shortlisted, begin
from tf_seq2seq.export import run_time
from tf_seq2seq.export.checks import checked, checked_rows
from tf_seq2seq.export.chunks import in_chunks
from tf_seq2seq.export.options import NAMES, OPTIONS, PER_TEXT
from tf_seq2seq.export.steps import Steps
from tf_seq2seq.export.texts import CutText, conditions

_ROWS = 512  # of a search at once: more are hardly faster on a processor and need more memory
_MORE = (
    10  # tokens, END and what stands beside a phrase, that target texts are longer than the longest target
)
_FOUND = {
    "ids": tf.TensorSpec([None] * 3, tf.int32),
    "lengths": tf.TensorSpec([None] * 2, tf.int32),
    "scores": tf.TensorSpec([None] * 2, tf.float32),
    "log_probs": tf.TensorSpec([None] * 2, tf.float32),
    "finished": tf.TensorSpec([None] * 2, tf.bool),
    "token_log_probs": tf.TensorSpec([None] * 3, tf.float32),
    "alignments": tf.TensorSpec([None] * 4, tf.float32),
}
_SCORED = {
    "log_probs": tf.TensorSpec([None], tf.float32),
    "lengths": tf.TensorSpec([None], tf.int32),
    "token_log_probs": tf.TensorSpec([None] * 2, tf.float32),
}
_OUTPUTS = {"scores": "score", "log_probs": "log_prob", "lengths": "length"}


class Signatures:
    """The functions that are exported of a generator.

    It is no `tf.Module`: one would track the model, with its optimizer, and all of it would be written.

    Args:
        generator: `TextGenerator`.
        model: what is searched: the generator's model, or the same with weights in another form.
        limits: `Limits`.

    Fields:
        traced: dict of name to traced function.
        parts: what has tables and tokenizers that they read, a list.
    """

    def __init__(self, generator, model, limits):
        self.source = CutText(generator.source_text, limits.source_length)
        self.target = CutText(generator.target_text, limits.target_length + _MORE)
        self.unknowns = generator.unknowns
        self.parts = self.source.resources + self.target.resources + [generator.unknowns]
        self._model, self._strategy, self._limits = model, generator.strategy, limits
        self._searched = model if generator.shortlist is None else Shortlisted(model, generator.shortlist)
        steps = Steps(model, self.source, generator.target_text.vocab_size)
        self._aligned = steps.aligned
        ids = _spec("source_ids", "int32", 2)
        search = tf.function(self._search_by, input_signature=[ids, *_options(ids=True)], autograph=False)
        self._search = search.get_concrete_function()  # one graph for two signatures
        text, source, target = (_spec(name, "str", 1) for name in ("text", "source", "target"))
        self.traced = {
            "serving_default": _traced(self._best, [text]),
            "generate": _traced(self._generate, [text, *_options(ids=False)]),
            "generate_ids": _traced(self._generate_ids, [ids, *_options(ids=True)]),
            "score": _traced(self._score, [source, target]),
            **steps.signatures,
        }

    def _best(self, text):
        """`serving_default`: the best hypothesis of the generator's own strategy."""
        ids, cut = self.source.ids(text)
        width = getattr(self._strategy, "beam_size", getattr(self._strategy, "samples", 1))

        def search(rows):
            step, state, memory = begin(self._searched, rows["source_ids"], {})
            found = self._strategy(
                step, state, memory, tf.shape(rows["source_ids"])[0], of_sources(rows["source_ids"])
            )
            return run_time.as_dict(found, 1)

        found = self._in_chunks(search, {"source_ids": ids}, max(_ROWS // width, 1), self._specs())
        outputs = self._told(text, found, self.source.written(text))
        return {name: outputs[name][:, 0] for name in ("text", "score", "length")} | {"truncated": cut}

    def _generate(self, text, **options):
        ids, cut = self.source.ids(text)
        options = conditions(options, self.target.uncut_ids, self._limits.target_length)
        written = self.source.written(text)
        outputs = self._told(text, self._search(ids, *(options[name] for name in NAMES)), written)
        return outputs | {"source_tokens": written, "truncated": cut}

    def _generate_ids(self, source_ids, **options):
        ids, cut = self.source.cut_ids(source_ids)
        known = {
            name: known_ids(options[name], self.target.processor.vocab_size) for name in ("prefix", "phrases")
        }
        options = {**options, **known}
        found = self._search(ids, *(options[name] for name in NAMES))
        return _renamed(found) | {"truncated": cut}

    def _score(self, source, target):
        checked_rows("target", tf.shape(target)[0], tf.shape(source)[0])
        (source_ids, cut), (target_ids, target_cut) = self.source.ids(source), self.target.ids(target)

        def score(rows):
            scored = score_ids(
                self._model, {"source_ids": rows["source_ids"]}, _trimmed(rows["target_ids"]), START
            )
            return {name: getattr(scored, name) for name in _SCORED}

        found = self._in_chunks(score, {"source_ids": source_ids, "target_ids": target_ids}, _ROWS, _SCORED)
        tokens = self.target.tokens(target_ids)
        return _renamed(found) | {"tokens": tokens, "truncated": cut | target_cut}

    def _search_by(self, source_ids, *options):
        """The fields of `Hypotheses` for ids and all options, checked."""
        rows = tf.shape(source_ids)[0]
        options = checked(dict(zip(NAMES, options)), rows, self._limits, self._aligned)
        width = tf.maximum(options["beam_size"], options["samples"])
        of_rows = {name: options[name] for name in PER_TEXT}

        def search(rows):
            own = {**options, **{name: rows[name] for name in PER_TEXT}}
            start = lambda *given: begin(self._searched, *given)
            return run_time.search(start, rows["source_ids"], own, self._aligned)

        return self._in_chunks(
            search, {"source_ids": source_ids, **of_rows}, tf.maximum(_ROWS // width, 1), self._specs()
        )

    def _in_chunks(self, answer, rows, size, specs):
        """As `in_chunks`, each chunk's sources only as wide as the longest of them."""
        lengths = _lengths(rows["source_ids"])
        trimmed = lambda rows: answer({**rows, "source_ids": _trimmed(rows["source_ids"])})
        found = in_chunks(trimmed, rows, lengths, size, specs)
        if "alignments" in found:
            missing = tf.shape(rows["source_ids"])[1] - tf.shape(found["alignments"])[3]
            found["alignments"] = tf.pad(found["alignments"], [[0, 0], [0, 0], [0, 0], [0, missing]])
        return found

    def _specs(self):
        return {name: spec for name, spec in _FOUND.items() if self._aligned or name != "alignments"}

    def _told(self, text, found, written):
        """The outputs for hypotheses of texts."""
        hypotheses = Hypotheses(**{name: found.get(name) for name in Hypotheses._fields})
        said, tokens = target_texts(hypotheses, written, self.target, self.unknowns)
        outputs = {name: one for name, one in _renamed(found).items() if name != "ids"}
        return {"text": tf.where(is_blank(text)[:, None], "", said), "tokens": tokens, **outputs}


def _renamed(found):
    return {_OUTPUTS.get(name, name): field for name, field in found.items()}


def _lengths(ids):
    """(B, S) -> (B,) int32, the place after the last token."""
    return tf.reduce_max(tf.where(ids != PAD, tf.range(1, tf.shape(ids)[1] + 1), 0), axis=1)


def _trimmed(ids):
    """Only as many columns as the longest row has, at least 1."""
    return ids[:, : tf.maximum(tf.reduce_max(_lengths(ids)), 1)]


def _options(ids):
    """The specs of all options, in the order of `NAMES`."""
    ranks = {"seeds": 1, "prefix": 1 + ids, "banned": 2 + ids, "phrases": 2 + ids}
    scalars = [_spec(name, option.dtype, 0) for name, option in OPTIONS.items()]
    return scalars + [
        _spec(name, "int32" if ids and dtype == "str" else dtype, ranks[name])
        for name, (dtype, _) in PER_TEXT.items()
    ]


def _spec(name, dtype, rank):
    return tf.TensorSpec([None] * rank, tf.string if dtype == "str" else tf.as_dtype(dtype), name=name)


def _traced(function, specs):
    return tf.function(function, autograph=False).get_concrete_function(**{spec.name: spec for spec in specs})
