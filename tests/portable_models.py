"""Two hundred sentences, and an untrained generator for each way of splitting them whose answers differ."""

import itertools

import numpy as np

from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import END
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.models import zoo

SUBJECTS = [
    "el gato",
    "La casa",
    "un perro viejo",
    "¿quién",
    "mi abuela",
    "el niño pequeño",
    "nadie",
    "Ese árbol",
]
VERBS = ["duerme", "está aquí", "come pan", "no quiere volver", "canta"]
ENDS = [".", "!", "?", " hoy.", " en el jardín, dice."]
ODD = [
    "",
    "   ",
    "ﬁn de año",
    "¡ÁÉÍÓÚ Ñ!",
    "日本語 と emoji 😀👩‍👩‍👧",
    "\x00 \x7f\t uno",
    "שלום עולם",
    "a" * 70,
    "e\u0301 y é",
    "▁ _ ⁇",
]
SENTENCES = [f"{a} {b}{c}" for a, b, c in itertools.product(SUBJECTS, VERBS, ENDS)][:190] + ODD

PROCESSORS = {
    "subwords": {"split": "subwords", "vocab_size": 54},
    "subwords and bytes": {"split": "subwords", "vocab_size": 305, "byte_fallback": True, "lowercase": True},
    "words": {"split": "words", "lowercase": True},
    "characters": {"split": "characters", "normalize": False},
    "bytes": {"split": "bytes"},
}
"""Options of `TextProcessor.fit`."""


def generator(name, function=zoo.luong2015, units=16):
    """A `TextGenerator` whose two sides are split as `PROCESSORS[name]` says."""
    text = TextProcessor.fit(SENTENCES[:190], max_length=60, **PROCESSORS[name])
    size = text.vocab_size
    model = function(size, size, units=units, depth=1, embedding_size=8, dropout=0.0)
    random = np.random.default_rng(5)
    for weight in model.trainable_weights:
        outer = "embeddings" in weight.path or "projection" in weight.path
        scale = (
            1.5 if outer else 1.2 / np.sqrt(weight.shape[0])
        )  # calm: rounding does not grow from step to step
        weight.assign(random.normal(size=weight.shape) * scale)
    bias = model.decoder.projection_bias
    bias.assign(np.where(np.arange(size) == END, 2.0, 0.0))
    return TextGenerator(model, text, text, BeamSearch(3, "average", max_length=12))
