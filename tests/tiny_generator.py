"""A generator for tests: untrained, units 8, with weights large enough for its answers to differ."""

import numpy as np

from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import END
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.models import zoo

SOURCES = ["el gato duerme", "la casa grande", "un perro y un gato", "¿dónde está la casa?", "el perro come"]
TARGETS = ["the cat sleeps", "the big house", "a dog and a cat", "where is the house?", "the dog eats"]
LENGTH = 9  # tokens
SEARCH = BeamSearch(3, "average", max_length=LENGTH, n_best=1)


def drawn(random, weight):
    """Numbers for a weight; those of a projection are drawn with a column a token."""
    shape = weight.shape
    return (
        random.normal(size=shape[::-1]).T if "projection_kernel" in weight.path else random.normal(size=shape)
    )


def tiny_generator(strategy=SEARCH, seed=3):
    """A `TextGenerator` from Spanish words to English words; that of the defaults is exported by `tiny_export`."""
    source, target = (TextProcessor.fit(side, "words", max_length=40) for side in (SOURCES, TARGETS))
    model = zoo.luong2015(
        source.vocab_size, target.vocab_size, units=8, depth=1, embedding_size=6, dropout=0.0
    )
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" not in weight.path:
            weight.assign(drawn(random, weight) * 1.2)
        if weight.shape == (target.vocab_size,):  # the bias of the projection: a fair chance for END
            weight.assign(weight.numpy() + 2.5 * (np.arange(target.vocab_size) == END))
    return TextGenerator(model, source, target, strategy)
